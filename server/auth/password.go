package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"reeve/api/fault"
)

// HashParams are the costs of argon2id. They are recorded in every hash, so that they can be
// raised without breaking the hashes that exist.
type HashParams struct {
	MemoryKiB uint32
	Passes    uint32
	Lanes     uint8
}

// DefaultHashParams cost about 60 ms of one core: slow for a guesser, bearable for a person.
var DefaultHashParams = HashParams{MemoryKiB: 46 * 1024, Passes: 2, Lanes: 1}

// Bounds on the parameters read back from a hash: a planted row must not exhaust the server.
const (
	maxMemoryKiB = 256 * 1024
	maxPasses    = 16
	saltBytes    = 16
	hashBytes    = 32
	// maxPasswordBytes bounds the work a request can ask for.
	maxPasswordBytes = 1024
	// maxHashWait is how long a sign-in queues for a hashing slot before it is shed.
	maxHashWait = 5 * time.Second
)

// Hasher hashes passwords, a few at a time: hashing is the one operation a stranger can make the
// server spend real time and memory on.
type Hasher struct {
	params HashParams
	slots  chan struct{}
	decoy  string
}

// NewHasher returns a Hasher; concurrent ≤ 0 means half of the cores, so that the other half serves.
func NewHasher(params HashParams, concurrent int) (*Hasher, error) {
	if concurrent <= 0 {
		concurrent = max(1, runtime.GOMAXPROCS(0)/2)
	}
	h := &Hasher{params: params, slots: make(chan struct{}, concurrent)}
	decoy, err := h.Hash(context.Background(), rand.Text())
	if err != nil {
		return nil, fmt.Errorf("making the decoy hash: %w", err)
	}
	h.decoy = decoy
	return h, nil
}

// Hash returns the password's PHC string.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	if len(password) > maxPasswordBytes {
		return "", fault.InvalidField("/password", "must be at most 1024 bytes long")
	}
	if err := h.acquire(ctx); err != nil {
		return "", err
	}
	defer h.release()
	salt := make([]byte, saltBytes)
	rand.Read(salt)
	sum := argon2.IDKey([]byte(password), salt, h.params.Passes, h.params.MemoryKiB, h.params.Lanes, hashBytes)
	return encodePHC(h.params, salt, sum), nil
}

// Verify tells whether the password is the hashed one, and whether the hash should be renewed
// because it was made with other parameters than today's.
func (h *Hasher) Verify(ctx context.Context, password, phc string) (ok, renew bool, err error) {
	if len(password) > maxPasswordBytes {
		return false, false, nil
	}
	params, salt, want, err := decodePHC(phc)
	if err != nil {
		return false, false, fmt.Errorf("reading a password hash: %w", err)
	}
	if err := h.acquire(ctx); err != nil {
		return false, false, err
	}
	defer h.release()
	got := argon2.IDKey([]byte(password), salt, params.Passes, params.MemoryKiB, params.Lanes, uint32(len(want)))
	ok = subtle.ConstantTimeCompare(got, want) == 1
	return ok, ok && params != h.params, nil
}

// Waste spends the time of a Verify, so that an unknown account answers as slowly as a known one.
func (h *Hasher) Waste(ctx context.Context, password string) error {
	_, _, err := h.Verify(ctx, password, h.decoy)
	return err
}

func (h *Hasher) acquire(ctx context.Context) error {
	timer := time.NewTimer(maxHashWait)
	defer timer.Stop()
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return &fault.Error{Kind: fault.Unavailable, Message: "too many sign-ins at once; try again shortly",
			RetryAfter: maxHashWait}
	}
}

func (h *Hasher) release() { <-h.slots }

func encodePHC(p HashParams, salt, sum []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.MemoryKiB, p.Passes, p.Lanes,
		b64.EncodeToString(salt), b64.EncodeToString(sum))
}

func decodePHC(phc string) (p HashParams, salt, sum []byte, err error) {
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return p, nil, nil, fmt.Errorf("not an argon2id hash")
	}
	if parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return p, nil, nil, fmt.Errorf("unknown argon2 version %q", parts[2])
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.MemoryKiB, &p.Passes, &p.Lanes); err != nil {
		return p, nil, nil, fmt.Errorf("reading the parameters: %w", err)
	}
	if p.MemoryKiB < 8 || p.MemoryKiB > maxMemoryKiB || p.Passes < 1 || p.Passes > maxPasses || p.Lanes < 1 {
		return p, nil, nil, fmt.Errorf("parameters are out of bounds")
	}
	if salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil || len(salt) < 8 {
		return p, nil, nil, fmt.Errorf("the salt is damaged")
	}
	if sum, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil || len(sum) < 16 || len(sum) > 64 {
		return p, nil, nil, fmt.Errorf("the hash is damaged")
	}
	return p, salt, sum, nil
}
