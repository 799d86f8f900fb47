package secrets

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"time"

	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/api/wire"
	"reeve/tenants/tenantdb"
)

// Purpose says what one of the server's own keys signs.
type Purpose string

// The purposes. A key serves one of them only.
const (
	TaskKeys       Purpose = "task"       // task envelopes; endpoints pin them
	AccessKeys     Purpose = "access"     // access tokens
	CheckpointKeys Purpose = "checkpoint" // audit checkpoints
)

var purposes = []Purpose{TaskKeys, AccessKeys, CheckpointKeys}

// reloadEvery bounds how often a token with an unknown key id makes us look for new keys.
const reloadEvery = time.Second

// Errors of server keys.
var (
	ErrUnknownKey = fault.New(fault.NotFound, "no such key")
	ErrLastKey    = fault.New(fault.Conflict, "this key signs now; rotate first, and retire it once the new one is active")
)

// Keys are the server's own signing keys, in memory, as the database has them. Reload is called by
// the timetable, so that keys made by one replica are known to all.
type Keys struct {
	db     *tenantdb.DB
	master *Master
	now    func() time.Time

	mu     sync.RWMutex
	keys   []serverKey // oldest first
	loaded time.Time
}

type serverKey struct {
	wire.ServerKey
	purpose Purpose
	private ed25519.PrivateKey // nil once retired
	active  time.Time
	retired bool
}

type serverKeyRow struct {
	Kid       string
	Purpose   Purpose
	Public    []byte
	MasterID  string
	Sealed    []byte
	SignedBy  *string
	Signature []byte
	ActiveAt  time.Time
	RetiredAt *time.Time
}

// OpenKeys loads the keys, and makes the first of each purpose.
func OpenKeys(ctx context.Context, db *tenantdb.DB, master *Master, now func() time.Time) (*Keys, error) {
	k := &Keys{db: db, master: master, now: now}
	err := db.System(ctx, func(tx *gorm.DB) error {
		if err := k.lockKeys(tx); err != nil {
			return err
		}
		for _, purpose := range purposes {
			var n int64
			if err := tx.Table("server_keys").Where("purpose = ? AND retired_at IS NULL", purpose).Count(&n).Error; err != nil {
				return err
			}
			if n > 0 {
				continue
			}
			if _, err := k.insert(tx, purpose, nil, 0); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("preparing the server's keys: %w", err)
	}
	return k, k.Reload(ctx)
}

// lockKeys lets one transaction at a time change the set.
func (k *Keys) lockKeys(tx *gorm.DB) error {
	if err := k.master.hold(tx, false); err != nil {
		return err
	}
	return tx.Exec("SELECT pg_advisory_xact_lock(hashtext('reeve_server_keys'))").Error
}

// Reload reads the keys anew.
func (k *Keys) Reload(ctx context.Context) error {
	var keys []serverKey
	err := k.db.System(ctx, func(tx *gorm.DB) error {
		var err error
		keys, err = k.read(tx)
		return err
	})
	if err != nil {
		return fmt.Errorf("reading the server's keys: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys, k.loaded = keys, k.now()
	return nil
}

func (k *Keys) read(tx *gorm.DB) ([]serverKey, error) {
	var rows []serverKeyRow
	err := tx.Raw(`SELECT kid, purpose, public, master_id, sealed, signed_by, signature, active_at, retired_at
		FROM server_keys ORDER BY created_at, kid`).Scan(&rows).Error
	if err != nil {
		return nil, err
	}
	keys := make([]serverKey, len(rows))
	for i, r := range rows {
		keys[i] = serverKey{
			ServerKey: wire.ServerKey{KeyID: r.Kid, Public: r.Public, Signature: r.Signature},
			purpose:   r.Purpose, active: r.ActiveAt, retired: r.RetiredAt != nil,
		}
		if r.SignedBy != nil {
			keys[i].SignedBy = *r.SignedBy
		}
		if r.Sealed == nil {
			continue
		}
		seed, err := k.master.unwrap(r.MasterID, r.Sealed, serverKeyBinding(r.Purpose, r.Kid))
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", r.Kid, err)
		}
		keys[i].private = ed25519.NewKeyFromSeed(seed)
	}
	return keys, nil
}

// signer is the youngest key that is active.
func (k *Keys) signer(purpose Purpose) (serverKey, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	now := k.now()
	for _, key := range slices.Backward(k.keys) {
		if key.purpose == purpose && !key.retired && key.private != nil && !key.active.After(now) {
			return key, nil
		}
	}
	// A clock that runs behind the database's must not stop the server: the oldest key will do.
	for _, key := range k.keys {
		if key.purpose == purpose && !key.retired && key.private != nil {
			return key, nil
		}
	}
	return serverKey{}, fmt.Errorf("there is no %s key", purpose)
}

// Chain lists the public keys of a purpose, oldest first. An endpoint that pinned any of them can
// follow the signatures to the newest; retired ones are in it for that alone.
func (k *Keys) Chain(purpose Purpose) []wire.ServerKey {
	k.mu.RLock()
	defer k.mu.RUnlock()
	var chain []wire.ServerKey
	for _, key := range k.keys {
		if key.purpose == purpose {
			chain = append(chain, key.ServerKey)
		}
	}
	return chain
}

// Ring is the key set of one purpose, as those who sign and verify want it.
type Ring struct {
	keys    *Keys
	purpose Purpose
}

// Ring returns the keys of a purpose.
func (k *Keys) Ring(purpose Purpose) *Ring { return &Ring{k, purpose} }

// Signer is the key to sign with now. It does no I/O, so that it may be used inside a transaction.
func (r *Ring) Signer(context.Context) (kid string, key ed25519.PrivateKey, err error) {
	k, err := r.keys.signer(r.purpose)
	return k.KeyID, k.private, err
}

// Public is a key that has not been retired. An unknown id may be one that another replica just made.
func (r *Ring) Public(ctx context.Context, kid string) (ed25519.PublicKey, error) {
	if public := r.lookup(kid); public != nil {
		return public, nil
	}
	r.keys.mu.RLock()
	stale := r.keys.now().Sub(r.keys.loaded) >= reloadEvery
	r.keys.mu.RUnlock()
	if !stale {
		return nil, ErrUnknownKey
	}
	if err := r.keys.Reload(ctx); err != nil {
		return nil, err
	}
	if public := r.lookup(kid); public != nil {
		return public, nil
	}
	return nil, ErrUnknownKey
}

func (r *Ring) lookup(kid string) ed25519.PublicKey {
	r.keys.mu.RLock()
	defer r.keys.mu.RUnlock()
	for _, key := range r.keys.keys {
		if key.KeyID == kid && key.purpose == r.purpose && !key.retired {
			return key.Public
		}
	}
	return nil
}

// PublicKeys are all keys of the purpose by id, retired ones too: old checkpoints stay verifiable.
func (r *Ring) PublicKeys() map[string]ed25519.PublicKey {
	keys := map[string]ed25519.PublicKey{}
	for _, k := range r.keys.Chain(r.purpose) {
		keys[k.KeyID] = k.Public
	}
	return keys
}

// RotateTx makes a new key, signed by the one in use, that takes over after lead: time enough for
// replicas and endpoints to learn it. It needs the system's reach; the caller writes the audit entry.
func (k *Keys) RotateTx(tx *gorm.DB, purpose Purpose, lead time.Duration) (wire.ServerKey, error) {
	if !slices.Contains(purposes, purpose) {
		return wire.ServerKey{}, fmt.Errorf("unknown purpose %q", purpose)
	}
	if err := k.lockKeys(tx); err != nil {
		return wire.ServerKey{}, err
	}
	present, err := k.read(tx)
	if err != nil {
		return wire.ServerKey{}, err
	}
	// The newest key vouches, active or not, so that the chain stays one line.
	for _, voucher := range slices.Backward(present) {
		if voucher.purpose == purpose && voucher.private != nil {
			return k.insert(tx, purpose, &voucher, lead)
		}
	}
	return wire.ServerKey{}, fmt.Errorf("there is no %s key that could vouch for a new one", purpose)
}

func (k *Keys) insert(tx *gorm.DB, purpose Purpose, voucher *serverKey, lead time.Duration) (wire.ServerKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return wire.ServerKey{}, err
	}
	sum := sha256.Sum256(public)
	key := wire.ServerKey{KeyID: string(purpose) + "-" + hex.EncodeToString(sum[:8]), Public: public}
	var signedBy *string
	if voucher != nil {
		key.SignedBy = voucher.KeyID
		signedBy = &key.SignedBy
		key.Signature = ed25519.Sign(voucher.private, key.Statement(string(purpose)))
	}
	masterID, sealed, err := k.master.wrap(private.Seed(), serverKeyBinding(purpose, key.KeyID))
	if err != nil {
		return wire.ServerKey{}, err
	}
	// clock_timestamp, because two rotations may share a transaction and have an order all the same.
	return key, tx.Exec(`INSERT INTO server_keys (kid, purpose, public, master_id, sealed, signed_by, signature, created_at, active_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, clock_timestamp(), now() + ? * interval '1 second')`,
		key.KeyID, purpose, []byte(public), masterID, sealed, signedBy, key.Signature, lead.Seconds()).Error
}

// RetireTx ends a key: its private half is destroyed and what it signed is refused from the next
// Reload of each replica on. The key that signs now cannot be retired.
func (k *Keys) RetireTx(tx *gorm.DB, kid string) error {
	if err := k.lockKeys(tx); err != nil {
		return err
	}
	present, err := k.read(tx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(present, func(key serverKey) bool { return key.KeyID == kid && !key.retired })
	if i < 0 {
		return ErrUnknownKey
	}
	now := tenantdb.Now(tx)
	successor := slices.ContainsFunc(present[i+1:], func(key serverKey) bool {
		return key.purpose == present[i].purpose && !key.retired && !key.active.After(now)
	})
	if !successor {
		return ErrLastKey
	}
	return tx.Exec("UPDATE server_keys SET sealed = NULL, retired_at = now() WHERE kid = ?", kid).Error
}

func serverKeyBinding(purpose Purpose, kid string) []byte {
	return []byte("reeve-server-key-1 " + string(purpose) + " " + kid)
}
