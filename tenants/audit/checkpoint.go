package audit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// Signer gives the key that signs checkpoints now.
type Signer func(ctx context.Context) (kid string, key ed25519.PrivateKey, err error)

// checkpoint is one signed line of the file.
type checkpoint struct {
	At       time.Time        `json:"at"`
	KeyID    string           `json:"kid"`
	Heads    []checkpointHead `json:"heads"`
	Previous string           `json:"previous"` // SHA-256 of the line before; empty on the first
	// Signature is over the line without it.
	Signature []byte `json:"signature,omitempty"`
}

type checkpointHead struct {
	Tenant uuid.UUID `json:"tenant"`
	Number int64     `json:"number"`
	Hash   string    `json:"hash"`
}

// Checkpointer writes the ends of the chains, signed, to a file outside the database: what a
// superuser of the database rewrites or cuts off afterwards no longer agrees with it.
type Checkpointer struct {
	db     *tenantdb.DB
	path   string
	signer Signer
	now    func() time.Time

	mu       sync.Mutex
	loaded   bool
	last     map[scope.ID]Head // what the file says
	previous string
}

// NewCheckpointer writes to the file at path, which it creates; its folder should be copied elsewhere.
// A file has one writer: each replica keeps its own. After the database was restored from a backup the
// file rightly disagrees with it: keep the old file and begin a new one.
func NewCheckpointer(db *tenantdb.DB, path string, signer Signer, now func() time.Time) *Checkpointer {
	return &Checkpointer{db: db, path: path, signer: signer, now: now, last: map[scope.ID]Head{}}
}

// Sweep appends a line with the chains that grew since the last one, and returns how many. It answers
// with an error when a chain no longer continues what an earlier line says: someone rewrote it.
func (c *Checkpointer) Sweep(ctx context.Context) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.load(); err != nil {
		return 0, err
	}
	heads, err := c.grown(ctx)
	if err != nil || len(heads) == 0 {
		return 0, err
	}
	line := checkpoint{At: c.now().UTC(), Previous: c.previous}
	for _, h := range heads {
		line.Heads = append(line.Heads, checkpointHead{h.TenantID, h.Number, hex.EncodeToString(h.Hash)})
	}
	raw, err := c.sign(ctx, line)
	if err != nil {
		return 0, err
	}
	if err := appendLine(c.path, raw); err != nil {
		return 0, fmt.Errorf("writing an audit checkpoint: %w", err)
	}
	sum := sha256.Sum256(raw)
	c.previous = hex.EncodeToString(sum[:])
	for _, h := range heads {
		c.last[h.TenantID] = h
	}
	return len(heads), nil
}

// load picks up where the file ends: lines are the memory across restarts.
func (c *Checkpointer) load() error {
	if c.loaded {
		return nil
	}
	raw, err := os.ReadFile(c.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reading the audit checkpoints: %w", err)
	}
	// A line cut short by a crash has no newline: it was never a checkpoint.
	if cut := bytes.LastIndexByte(raw, '\n') + 1; cut < len(raw) {
		if err := os.Truncate(c.path, int64(cut)); err != nil {
			return fmt.Errorf("repairing the audit checkpoints: %w", err)
		}
		raw = raw[:cut]
	}
	for line := range bytes.Lines(raw) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		var cp checkpoint
		if err := json.Unmarshal(line, &cp); err != nil {
			return fmt.Errorf("an audit checkpoint is damaged: %w", err)
		}
		for _, h := range cp.Heads {
			hash, err := hex.DecodeString(h.Hash)
			if err != nil {
				return fmt.Errorf("an audit checkpoint is damaged: %w", err)
			}
			c.last[scope.ID(h.Tenant)] = Head{scope.ID(h.Tenant), h.Number, hash}
		}
		sum := sha256.Sum256(line)
		c.previous = hex.EncodeToString(sum[:])
	}
	c.loaded = true
	return nil
}

// ErrRewritten says that the log disagrees with a checkpoint. The verifier tells where.
var ErrRewritten = errors.New("an audit chain was rewritten behind a checkpoint; run verify-audit")

// grown reads the heads that moved, and checks that each chain still holds the record its last
// checkpoint names.
func (c *Checkpointer) grown(ctx context.Context) ([]Head, error) {
	var grown []Head
	err := c.db.System(ctx, func(tx *gorm.DB) error {
		heads, err := readHeads(tx)
		if err != nil {
			return err
		}
		seen := map[scope.ID]bool{}
		for _, h := range heads {
			seen[h.TenantID] = true
			last, known := c.last[h.TenantID]
			if known && (h.Number < last.Number || h.Number == last.Number && !bytes.Equal(h.Hash, last.Hash)) {
				return fmt.Errorf("tenant %s: %w", uuid.UUID(h.TenantID), ErrRewritten)
			}
			if known && h.Number == last.Number {
				continue
			}
			if known {
				if err := stillThere(tx, last); err != nil {
					return err
				}
			}
			grown = append(grown, h)
		}
		for tenant := range c.last {
			if !seen[tenant] {
				return fmt.Errorf("tenant %s: %w", uuid.UUID(tenant), ErrRewritten)
			}
		}
		return nil
	})
	return grown, err
}

func readHeads(tx *gorm.DB) ([]Head, error) {
	var rows []struct {
		TenantID uuid.UUID
		Number   int64
		Hash     []byte
	}
	if err := tx.Raw("SELECT tenant_id, number, hash FROM audit_heads ORDER BY tenant_id").Scan(&rows).Error; err != nil {
		return nil, err
	}
	heads := make([]Head, len(rows))
	for i, r := range rows {
		heads[i] = Head{scope.ID(r.TenantID), r.Number, r.Hash}
	}
	return heads, nil
}

func stillThere(tx *gorm.DB, h Head) error {
	var hashes [][]byte
	err := tx.Raw("SELECT hash FROM audit_entries WHERE tenant_id = ? AND number = ?", uuid.UUID(h.TenantID), h.Number).Scan(&hashes).Error
	if err != nil {
		return err
	}
	if len(hashes) != 1 || !bytes.Equal(hashes[0], h.Hash) {
		return fmt.Errorf("tenant %s, entry %d: %w", uuid.UUID(h.TenantID), h.Number, ErrRewritten)
	}
	return nil
}

func (c *Checkpointer) sign(ctx context.Context, line checkpoint) ([]byte, error) {
	kid, key, err := c.signer(ctx)
	if err != nil {
		return nil, fmt.Errorf("finding the checkpoint key: %w", err)
	}
	line.KeyID = kid
	unsigned, err := json.Marshal(line)
	if err != nil {
		return nil, err
	}
	line.Signature = ed25519.Sign(key, unsigned)
	return json.Marshal(line)
}

// appendLine is durable when it returns.
func appendLine(path string, line []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(append(line, '\n')); err != nil {
		return err
	}
	return f.Sync()
}

// Checkpoints are the heads that signed lines vouch for, by tenant, in ascending order.
type Checkpoints map[scope.ID][]Head

// ReadCheckpoints reads and verifies a file of checkpoints. It needs nothing but the file and the
// public keys, so that another machine can do it.
func ReadCheckpoints(r io.Reader, key func(kid string) (ed25519.PublicKey, error)) (Checkpoints, error) {
	found := Checkpoints{}
	previous := ""
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 64<<20)
	for n := 1; lines.Scan(); n++ {
		cp, err := verifyLine(lines.Bytes(), previous, key)
		if err != nil {
			return nil, fmt.Errorf("checkpoint line %d: %w", n, err)
		}
		for _, h := range cp.Heads {
			hash, err := hex.DecodeString(h.Hash)
			if err != nil {
				return nil, fmt.Errorf("checkpoint line %d: %w", n, err)
			}
			found[scope.ID(h.Tenant)] = append(found[scope.ID(h.Tenant)], Head{scope.ID(h.Tenant), h.Number, hash})
		}
		sum := sha256.Sum256(lines.Bytes())
		previous = hex.EncodeToString(sum[:])
	}
	for _, heads := range found {
		slices.SortStableFunc(heads, func(a, b Head) int { return int(a.Number - b.Number) })
	}
	return found, lines.Err()
}

func verifyLine(line []byte, previous string, key func(string) (ed25519.PublicKey, error)) (checkpoint, error) {
	var cp checkpoint
	if err := json.Unmarshal(line, &cp); err != nil {
		return cp, err
	}
	if cp.Previous != previous {
		return cp, errors.New("does not follow the line before it")
	}
	public, err := key(cp.KeyID)
	if err != nil {
		return cp, err
	}
	unsigned := cp
	unsigned.Signature = nil
	raw, err := json.Marshal(unsigned)
	if err != nil {
		return cp, err
	}
	if len(public) != ed25519.PublicKeySize || !ed25519.Verify(public, raw, cp.Signature) {
		return cp, errors.New("the signature is wrong")
	}
	return cp, nil
}
