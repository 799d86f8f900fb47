package wire

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

var (
	issued   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	deviceID = uuid.MustParse("01900000-0000-7000-8000-000000000001")
)

func testKey(seed byte) (ed25519.PublicKey, ed25519.PrivateKey) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	return key.Public().(ed25519.PublicKey), key
}

func testPayload() Payload {
	return Payload{
		ID: uuid.MustParse("01900000-0000-7000-8000-0000000000aa"), DeviceID: deviceID,
		TenantID: uuid.MustParse("01900000-0000-7000-8000-0000000000bb"), Kind: KindScript,
		IssuedAt: issued, NotBefore: issued, ExpiresAt: issued.Add(7 * 24 * time.Hour),
		RunAs: RunAsSystem, Body: json.RawMessage(`{"interpreter":"sh","script":"id"}`),
	}
}

func signed(t testing.TB) (Envelope, map[string]ed25519.PublicKey) {
	t.Helper()
	public, private := testKey(1)
	e, err := Sign(testPayload(), "k1", private)
	if err != nil {
		t.Fatal(err)
	}
	return e, map[string]ed25519.PublicKey{"k1": public}
}

func TestWhatIsSignedOpens(t *testing.T) {
	e, keys := signed(t)
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var sent Envelope
	if err := json.Unmarshal(text, &sent); err != nil {
		t.Fatal(err)
	}
	got, err := Open(sent, keys, deviceID, issued.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	want := testPayload()
	want.V = PayloadVersion
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(want)
	if !bytes.Equal(a, b) {
		t.Errorf("opened %s, signed %s", a, b)
	}
}

func TestOpenRefuses(t *testing.T) {
	_, stranger := testKey(9)
	public, private := testKey(1)
	keys := map[string]ed25519.PublicKey{"k1": public}
	now := issued.Add(time.Minute)
	raw := func(text string) Envelope {
		e := Envelope{Payload: []byte(text)}
		e.AddSignature("k1", private)
		return e
	}
	good, _ := signed(t)
	text := string(good.Payload)
	cases := map[string]struct {
		envelope Envelope
		device   uuid.UUID
		now      time.Time
		want     error
	}{
		"no signature":      {Envelope{Payload: good.Payload}, deviceID, now, ErrUnknownKey},
		"no payload":        {Envelope{Signatures: good.Signatures}, deviceID, now, ErrMalformed},
		"unknown kid":       {Envelope{good.Payload, []Signature{{"k2", good.Signatures[0].Sig}}}, deviceID, now, ErrUnknownKey},
		"foreign key":       {Envelope{good.Payload, []Signature{{"k1", ed25519.Sign(stranger, good.Payload)}}}, deviceID, now, ErrBadSignature},
		"short signature":   {Envelope{good.Payload, []Signature{{"k1", good.Signatures[0].Sig[:63]}}}, deviceID, now, ErrBadSignature},
		"one good, one bad": {Envelope{good.Payload, []Signature{good.Signatures[0], {"k1", make([]byte, 64)}}}, deviceID, now, ErrBadSignature},
		"many signatures":   {Envelope{good.Payload, make([]Signature, MaxSignatures+1)}, deviceID, now, ErrMalformed},
		"other device":      {good, uuid.New(), now, ErrOtherDevice},
		"early":             {good, deviceID, issued.Add(-time.Minute), ErrNotYet},
		"on expiry":         {good, deviceID, issued.Add(7 * 24 * time.Hour), ErrExpired},
		"newer version":     {raw(strings.Replace(text, `"v":1`, `"v":2,"only_if":"x"`, 1)), deviceID, now, ErrVersion},
		"unknown field":     {raw(strings.Replace(text, `"v":1`, `"v":1,"only_if":"x"`, 1)), deviceID, now, ErrMalformed},
		"field twice":       {raw(strings.Replace(text, `"v":1`, `"v":1,"Run_As":"logged_in_user"`, 1)), deviceID, now, ErrMalformed},
		"trailing data":     {raw(text + `{}`), deviceID, now, ErrMalformed},
		"bad kind":          {raw(strings.Replace(text, `"script.run"`, `"Script Run"`, 1)), deviceID, now, ErrMalformed},
		"bad run_as":        {raw(strings.Replace(text, `"system"`, `"anyone"`, 1)), deviceID, now, ErrMalformed},
		"no expiry":         {raw(strings.Replace(text, `"expires_at":"2026-03-08T12:00:00Z",`, ``, 1)), deviceID, now, ErrMalformed},
		"a life too long":   {raw(strings.Replace(text, `2026-03-08T`, `2027-03-08T`, 1)), deviceID, now, ErrMalformed},
		"body of no object": {raw(strings.Replace(text, `"body":{`, `"body":[],"x":{`, 1)), deviceID, now, ErrMalformed},
		"not JSON":          {raw("x"), deviceID, now, ErrMalformed},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := Open(c.envelope, keys, c.device, c.now); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestASecondKeyMayVouchToo(t *testing.T) {
	e, keys := signed(t)
	public, private := testKey(2)
	e.AddSignature("k2", private)
	if _, err := Open(e, keys, deviceID, issued); err != nil {
		t.Errorf("a device that does not know the second key: %v", err)
	}
	if _, err := Open(e, map[string]ed25519.PublicKey{"k2": public}, deviceID, issued); err != nil {
		t.Errorf("a device that knows only the second key: %v", err)
	}
}

func TestSignRefusesWhatNoDeviceWouldTake(t *testing.T) {
	_, private := testKey(1)
	for name, change := range map[string]func(*Payload){
		"no id":       func(p *Payload) { p.ID = uuid.Nil },
		"no expiry":   func(p *Payload) { p.ExpiresAt = time.Time{} },
		"backwards":   func(p *Payload) { p.ExpiresAt = p.NotBefore },
		"91 days":     func(p *Payload) { p.ExpiresAt = p.IssuedAt.Add(91 * 24 * time.Hour) },
		"kind":        func(p *Payload) { p.Kind = "../x" },
		"list body":   func(p *Payload) { p.Body = json.RawMessage(`[]`) },
		"broken body": func(p *Payload) { p.Body = json.RawMessage(`{"a":`) },
		"huge body": func(p *Payload) {
			p.Body = json.RawMessage(`{"a":"` + strings.Repeat("x", MaxPayloadBytes) + `"}`)
		},
	} {
		p := testPayload()
		change(&p)
		if _, err := Sign(p, "k1", private); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// mutate changes one to three places of b and never returns b itself.
func mutate(r *rand.Rand, b []byte) []byte {
	for {
		out := bytes.Clone(b)
		for range 1 + r.IntN(3) {
			i := r.IntN(len(out))
			switch r.IntN(5) {
			case 0:
				out[i] ^= 1 << r.IntN(8)
			case 1:
				out[i] = byte(r.IntN(256))
			case 2:
				out = append(out[:i], out[i+1:]...)
			case 3:
				out = append(out[:i], append([]byte{byte(r.IntN(256))}, out[i:]...)...)
			case 4:
				j := r.IntN(len(out))
				out[i], out[j] = out[j], out[i]
			}
		}
		if !bytes.Equal(out, b) {
			return out
		}
	}
}

func TestNoMutationIsAccepted(t *testing.T) {
	t.Parallel()
	const trials = 100_000
	e, keys := signed(t)
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	accepted, kept := 0, 0
	for i := range trials {
		m := Envelope{Payload: e.Payload, Signatures: []Signature{{e.Signatures[0].KID, e.Signatures[0].Sig}}}
		switch i % 4 {
		case 0, 1:
			m.Payload = mutate(r, m.Payload)
		case 2:
			m.Signatures[0].Sig = mutate(r, m.Signatures[0].Sig)
		case 3: // the text in transit: a change that leaves payload and signature the same alters no task
			m = Envelope{}
			if json.Unmarshal(mutate(r, text), &m) != nil {
				continue
			}
			if bytes.Equal(m.Payload, e.Payload) && len(m.Signatures) > 0 && bytes.Equal(m.Signatures[0].Sig, e.Signatures[0].Sig) {
				kept++
				continue
			}
		}
		if _, err := Open(m, keys, deviceID, issued.Add(time.Minute)); err == nil {
			accepted++
		}
	}
	t.Logf("%d mutations, %d of them changed nothing of the task, %d accepted", trials, kept, accepted)
	if accepted != 0 {
		t.Errorf("%d mutated envelopes were accepted", accepted)
	}
}

func FuzzOpen(f *testing.F) {
	e, keys := signed(f)
	text, _ := json.Marshal(e)
	f.Add(text)
	f.Add([]byte(`{"payload_b64":"e30=","signatures":[{"kid":"k1","sig":""}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var m Envelope
		if json.Unmarshal(text, &m) != nil {
			return
		}
		if _, err := Open(m, keys, deviceID, issued); err == nil && !bytes.Equal(m.Payload, e.Payload) {
			t.Errorf("a payload that was never signed was accepted: %q", m.Payload)
		}
	})
}

// FuzzPayload drives what lies behind the signature, as a stolen key could.
func FuzzPayload(f *testing.F) {
	e, _ := signed(f)
	f.Add([]byte(e.Payload))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := decodePayload(raw)
		if err != nil {
			return
		}
		if p.ExpiresAt.Sub(p.IssuedAt) > MaxTaskLife || p.ID == uuid.Nil || len(p.Body) == 0 {
			t.Errorf("accepted %s", raw)
		}
	})
}
