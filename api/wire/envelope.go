package wire

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
)

// PayloadVersion is the version of the payload this build signs and understands.
const PayloadVersion = 1

// Bounds of a payload.
const (
	MaxTaskLife     = 90 * 24 * time.Hour
	MaxPayloadBytes = 1 << 20
	MaxSignatures   = 4
	// EarlyTolerance lets a task start a little before its time by the endpoint's clock, so that two
	// clocks a second apart do not cost a round trip.
	EarlyTolerance = 5 * time.Second
)

// Who a task runs as.
const (
	RunAsSystem       = "system"         // root, SYSTEM
	RunAsLoggedInUser = "logged_in_user" // whoever sits in front of the device
)

// Why an envelope was refused.
var (
	ErrMalformed    = errors.New("the task is malformed")
	ErrVersion      = errors.New("the task is of a newer version")
	ErrUnknownKey   = errors.New("the task is signed by no key this device knows")
	ErrBadSignature = errors.New("the task's signature does not fit")
	ErrOtherDevice  = errors.New("the task is for another device")
	ErrNotYet       = errors.New("the task's time has not come")
	ErrExpired      = errors.New("the task has expired")
)

var kindPattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,29}(\.[a-z][a-z0-9_]{0,29}){0,3}$`)

// Payload is a task as it is signed.
type Payload struct {
	V         int             `json:"v"`
	ID        uuid.UUID       `json:"id"`
	DeviceID  uuid.UUID       `json:"device_id"`
	TenantID  uuid.UUID       `json:"tenant_id"`
	Kind      string          `json:"kind"`
	IssuedAt  time.Time       `json:"issued_at"`
	NotBefore time.Time       `json:"not_before"`
	ExpiresAt time.Time       `json:"expires_at"` // mandatory: an endpoint forgets ids only after it
	RunAs     string          `json:"run_as"`
	Body      json.RawMessage `json:"body"` // a JSON object; its shape belongs to the kind
}

// Signature is one key's word for the payload's bytes.
type Signature struct {
	KID string `json:"kid"`
	Sig []byte `json:"sig"`
}

// Envelope carries a payload: the bytes sent are the bytes signed, so nothing depends on how either
// side would encode it again.
type Envelope struct {
	Payload    []byte      `json:"payload_b64"`
	Signatures []Signature `json:"signatures"`
}

// Sign encodes a payload once and signs those bytes. V and an empty RunAs are filled in.
func Sign(p Payload, kid string, key ed25519.PrivateKey) (Envelope, error) {
	p.V = PayloadVersion
	if p.RunAs == "" {
		p.RunAs = RunAsSystem
	}
	if err := p.validate(); err != nil {
		return Envelope{}, err
	}
	p.IssuedAt, p.NotBefore, p.ExpiresAt = p.IssuedAt.UTC(), p.NotBefore.UTC(), p.ExpiresAt.UTC()
	raw, err := json.Marshal(p)
	if err != nil {
		return Envelope{}, fmt.Errorf("encoding the task: %w", err)
	}
	if len(raw) > MaxPayloadBytes {
		return Envelope{}, fmt.Errorf("%w: it is larger than %d bytes", ErrMalformed, MaxPayloadBytes)
	}
	e := Envelope{Payload: raw}
	e.AddSignature(kid, key)
	return e, nil
}

// AddSignature lets a further key vouch for the same bytes.
func (e *Envelope) AddSignature(kid string, key ed25519.PrivateKey) {
	e.Signatures = append(e.Signatures, Signature{KID: kid, Sig: ed25519.Sign(key, e.Payload)})
}

// Open verifies everything that can be verified without state: signature, device and window. Whether
// the id ran before is the journal's business. keys are the pinned keys by kid. When only the time is
// wrong, the payload is returned beside the error.
func Open(e Envelope, keys map[string]ed25519.PublicKey, device uuid.UUID, now time.Time) (Payload, error) {
	if len(e.Payload) == 0 || len(e.Payload) > MaxPayloadBytes || len(e.Signatures) > MaxSignatures {
		return Payload{}, ErrMalformed
	}
	if err := e.verify(keys); err != nil {
		return Payload{}, err
	}
	p, err := decodePayload(e.Payload)
	if err != nil {
		return Payload{}, err
	}
	if p.DeviceID != device {
		return Payload{}, ErrOtherDevice
	}
	if !now.Before(p.ExpiresAt) {
		return p, ErrExpired
	}
	if now.Before(p.NotBefore.Add(-EarlyTolerance)) {
		return p, ErrNotYet
	}
	return p, nil
}

// verify wants one good signature of a known key, and no bad one: a signature that names a known key
// and does not fit means that somebody tampered.
func (e Envelope) verify(keys map[string]ed25519.PublicKey) error {
	good := 0
	for _, s := range e.Signatures {
		key, known := keys[s.KID]
		if !known || len(key) != ed25519.PublicKeySize {
			continue
		}
		if len(s.Sig) != ed25519.SignatureSize || !ed25519.Verify(key, e.Payload, s.Sig) {
			return ErrBadSignature
		}
		good++
	}
	if good == 0 {
		return ErrUnknownKey
	}
	return nil
}

// decodePayload is strict: a field this build does not know could be a restriction that it would
// then ignore, so payloads with new fields carry a new version.
func decodePayload(raw []byte) (Payload, error) {
	var head struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return Payload{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if head.V > PayloadVersion {
		return Payload{}, ErrVersion
	}
	var p Payload
	if err := DecodeStrict(raw, &p); err != nil {
		return Payload{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := p.validate(); err != nil {
		return Payload{}, err
	}
	return p, nil
}

func (p Payload) validate() error {
	switch {
	case p.V != PayloadVersion:
		return fmt.Errorf("%w: version %d", ErrMalformed, p.V)
	case p.ID == uuid.Nil || p.DeviceID == uuid.Nil || p.TenantID == uuid.Nil:
		return fmt.Errorf("%w: id, device_id and tenant_id are required", ErrMalformed)
	case !kindPattern.MatchString(p.Kind):
		return fmt.Errorf("%w: kind", ErrMalformed)
	case p.IssuedAt.IsZero() || p.NotBefore.IsZero() || p.ExpiresAt.IsZero():
		return fmt.Errorf("%w: issued_at, not_before and expires_at are required", ErrMalformed)
	case !p.NotBefore.Before(p.ExpiresAt):
		return fmt.Errorf("%w: it expires before it may start", ErrMalformed)
	case p.ExpiresAt.Sub(p.IssuedAt) > MaxTaskLife:
		return fmt.Errorf("%w: it lives longer than %s", ErrMalformed, MaxTaskLife)
	case p.RunAs != RunAsSystem && p.RunAs != RunAsLoggedInUser:
		return fmt.Errorf("%w: run_as", ErrMalformed)
	}
	if body := bytes.TrimSpace(p.Body); len(body) == 0 || body[0] != '{' || !json.Valid(body) {
		return fmt.Errorf("%w: body is not an object", ErrMalformed)
	}
	return nil
}

// DecodeStrict decodes one JSON object: no unknown field, no field twice (also not in other letter
// case, which encoding/json would merge), nothing behind it.
func DecodeStrict(raw []byte, into any) error {
	if err := uniqueKeys(raw); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is data behind the object")
	}
	return nil
}

func uniqueKeys(raw []byte) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errors.New("not an object")
	}
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok {
			return errors.New("not an object")
		}
		if key = strings.ToLower(key); seen[key] {
			return fmt.Errorf("%q is given twice", key)
		}
		seen[key] = true
		var skip json.RawMessage
		if err := dec.Decode(&skip); err != nil {
			return err
		}
	}
	return nil
}
