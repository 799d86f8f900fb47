package secrets

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// cacheFor is how long an unwrapped data key stays in memory, and therefore how long another replica
// can still open the secrets of a tenant that was shredded.
const cacheFor = time.Minute

// Keeper seals and opens the secrets of tenants.
type Keeper struct {
	db     *tenantdb.DB
	master *Master
	now    func() time.Time

	mu    sync.Mutex
	cache map[dataKeyName]cachedKey
}

type dataKeyName struct {
	tenant  scope.ID
	version uint32
}

type cachedKey struct {
	key   []byte
	until time.Time
}

// newest asks for the data key that seals, whichever version that is.
const newest = 0

// NewKeeper returns a Keeper over the wrapped keys in the database.
func NewKeeper(db *tenantdb.DB, master *Master, now func() time.Time) *Keeper {
	return &Keeper{db: db, master: master, now: now, cache: map[dataKeyName]cachedKey{}}
}

// Check fails when the database holds keys that the master key file cannot unwrap: better at start
// than at the first secret that is needed.
func (k *Keeper) Check(ctx context.Context) error {
	var ids []string
	err := k.db.System(ctx, func(tx *gorm.DB) error {
		return tx.Raw(`SELECT master_id FROM tenant_keys WHERE wrapped IS NOT NULL
			UNION SELECT master_id FROM server_keys WHERE sealed IS NOT NULL`).Scan(&ids).Error
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := k.master.find(id); err != nil {
			return err
		}
	}
	return nil
}

// SealTx seals a secret for one place: tenant, purpose ("mail.password") and row. The result is stored
// by the caller, in the same transaction.
func (k *Keeper) SealTx(tx *gorm.DB, tenant scope.ID, purpose string, row scope.ID, secret []byte) ([]byte, error) {
	name, key, err := k.dataKey(tx, dataKeyName{tenant, newest})
	if err != nil {
		return nil, fmt.Errorf("sealing %s: %w", purpose, err)
	}
	header := binary.BigEndian.AppendUint32([]byte{formatVersion}, name.version)
	body, err := seal(key, secret, append(header, binding(tenant, purpose, row)...))
	if err != nil {
		return nil, fmt.Errorf("sealing %s: %w", purpose, err)
	}
	return append(header[:headerBytes:headerBytes], body...), nil
}

// OpenTx opens what SealTx made for the same place.
func (k *Keeper) OpenTx(tx *gorm.DB, tenant scope.ID, purpose string, row scope.ID, sealed []byte) ([]byte, error) {
	if len(sealed) < headerBytes || sealed[0] != formatVersion {
		return nil, ErrTampered
	}
	version := binary.BigEndian.Uint32(sealed[1:headerBytes])
	if version == newest {
		return nil, ErrTampered
	}
	_, key, err := k.dataKey(tx, dataKeyName{tenant, version})
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", purpose, err)
	}
	aad := append(sealed[:headerBytes:headerBytes], binding(tenant, purpose, row)...)
	plain, err := open(key, sealed[headerBytes:], aad)
	if err != nil {
		return nil, ErrTampered
	}
	return plain, nil
}

// Open is OpenTx where no transaction is at hand; the caller has checked that the actor may.
func (k *Keeper) Open(ctx context.Context, tenant scope.ID, purpose string, row scope.ID, sealed []byte) (secret []byte, err error) {
	err = k.db.System(ctx, func(tx *gorm.DB) error {
		secret, err = k.OpenTx(tx, tenant, purpose, row, sealed)
		return err
	})
	return secret, err
}

// dataKey finds a tenant's data key, in memory or by unwrapping it, and makes the first one.
func (k *Keeper) dataKey(tx *gorm.DB, name dataKeyName) (dataKeyName, []byte, error) {
	// The sealing key is always looked up: a tenant that was shredded must not be sealed for.
	if name.version != newest {
		if key := k.cached(name); key != nil {
			return name, key, nil
		}
	}
	row, err := k.load(tx, name)
	if err != nil {
		return name, nil, err
	}
	name.version = uint32(row.Version)
	if row.Wrapped == nil {
		return name, nil, ErrShredded
	}
	if key := k.cached(name); key != nil {
		return name, key, nil
	}
	key, err := k.master.unwrap(row.MasterID, row.Wrapped, wrapping(name))
	if err != nil {
		return name, nil, err
	}
	// Only a committed key may be remembered: this very transaction may have made it, and may fail.
	tenantdb.AfterCommit(tx, func() { k.remember(name, key) })
	return name, key, nil
}

type keyRow struct {
	Version  int
	MasterID string
	Wrapped  []byte
}

func (k *Keeper) load(tx *gorm.DB, name dataKeyName) (keyRow, error) {
	row, found, err := selectKey(tx, name)
	if err != nil || found {
		return row, err
	}
	if name.version != newest {
		return row, ErrTampered
	}
	if err := k.master.hold(tx, false); err != nil {
		return row, err
	}
	first := dataKeyName{name.tenant, 1}
	masterID, wrapped, err := k.master.wrap(newKey(), wrapping(first))
	if err != nil {
		return row, err
	}
	// Somebody else may be making it too: the first one wins, and both read what is there.
	err = tx.Exec("INSERT INTO tenant_keys (tenant_id, version, master_id, wrapped) VALUES (?, 1, ?, ?) ON CONFLICT DO NOTHING",
		uuid.UUID(name.tenant), masterID, wrapped).Error
	if err != nil {
		return row, err
	}
	row, found, err = selectKey(tx, first)
	if err == nil && !found {
		err = errors.New("the tenant's data key is not visible")
	}
	return row, err
}

func selectKey(tx *gorm.DB, name dataKeyName) (row keyRow, found bool, err error) {
	q := tx.Table("tenant_keys").Select("version, master_id, wrapped").Where("tenant_id = ?", uuid.UUID(name.tenant))
	if name.version != newest {
		q = q.Where("version = ?", name.version)
	}
	var rows []keyRow
	if err := q.Order("version DESC").Limit(1).Scan(&rows).Error; err != nil || len(rows) == 0 {
		return row, false, err
	}
	return rows[0], true, nil
}

func wrapping(name dataKeyName) []byte {
	b := append([]byte("reeve-data-key-1"), name.tenant[:]...)
	return binary.BigEndian.AppendUint32(b, name.version)
}

func (k *Keeper) cached(name dataKeyName) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c, ok := k.cache[name]; ok && k.now().Before(c.until) {
		return c.key
	}
	return nil
}

func (k *Keeper) remember(name dataKeyName, key []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cache[name] = cachedKey{key, k.now().Add(cacheFor)}
}

func (k *Keeper) forget(tenant scope.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name := range k.cache {
		if name.tenant == tenant {
			delete(k.cache, name)
		}
	}
}

// ShredTx destroys a tenant's data keys: what they sealed is unreadable from the commit on, for good.
// It needs the system's reach. Backups of the database still hold the wrapped keys: to make those
// unreadable too, follow with RotateMaster and RetireMasters, after which only backups of the master
// key file itself could undo it.
func (k *Keeper) ShredTx(tx *gorm.DB, tenant scope.ID) error {
	// A tenant that never had a secret gets its tombstone too, so that none is sealed for it later.
	err := tx.Exec(`INSERT INTO tenant_keys (tenant_id, version, master_id, shredded_at) VALUES (?, 1, '', now())
		ON CONFLICT DO NOTHING`, uuid.UUID(tenant)).Error
	if err != nil {
		return err
	}
	err = tx.Exec("UPDATE tenant_keys SET wrapped = NULL, shredded_at = now() WHERE tenant_id = ? AND wrapped IS NOT NULL",
		uuid.UUID(tenant)).Error
	if err != nil {
		return err
	}
	tenantdb.AfterCommit(tx, func() { k.forget(tenant) })
	return nil
}

// rewrapBatch bounds a transaction of RotateMaster.
const rewrapBatch = 500

// RotateMaster makes a new master key and wraps every key anew. The secrets themselves are not
// touched, so that it takes as long as there are tenants. It may be run again when it was interrupted.
func (k *Keeper) RotateMaster(ctx context.Context) (rewrapped int, err error) {
	id, err := k.master.add()
	if err != nil {
		return 0, err
	}
	for _, batch := range []func(tx *gorm.DB, id string) (int, error){k.rewrapTenants, k.rewrapServer} {
		for {
			var n int
			err := k.db.System(ctx, func(tx *gorm.DB) error {
				n, err = batch(tx, id)
				return err
			})
			if err != nil {
				return rewrapped, fmt.Errorf("wrapping keys anew: %w", err)
			}
			if rewrapped += n; n < rewrapBatch {
				break
			}
		}
	}
	return rewrapped, nil
}

func (k *Keeper) rewrapTenants(tx *gorm.DB, id string) (int, error) {
	var rows []struct {
		TenantID uuid.UUID
		Version  int
		MasterID string
		Wrapped  []byte
	}
	err := tx.Raw(`SELECT tenant_id, version, master_id, wrapped FROM tenant_keys WHERE master_id <> ? AND wrapped IS NOT NULL
		ORDER BY tenant_id, version LIMIT ? FOR UPDATE`, id, rewrapBatch).Scan(&rows).Error
	if err != nil {
		return 0, err
	}
	for _, r := range rows {
		aad := wrapping(dataKeyName{scope.ID(r.TenantID), uint32(r.Version)})
		masterID, wrapped, err := k.rewrap(r.MasterID, r.Wrapped, aad)
		if err != nil {
			return 0, err
		}
		err = tx.Exec("UPDATE tenant_keys SET master_id = ?, wrapped = ? WHERE tenant_id = ? AND version = ?",
			masterID, wrapped, r.TenantID, r.Version).Error
		if err != nil {
			return 0, err
		}
	}
	return len(rows), nil
}

func (k *Keeper) rewrapServer(tx *gorm.DB, id string) (int, error) {
	var rows []serverKeyRow
	err := tx.Raw(`SELECT kid, purpose, master_id, sealed FROM server_keys WHERE master_id <> ? AND sealed IS NOT NULL
		ORDER BY kid LIMIT ? FOR UPDATE`, id, rewrapBatch).Scan(&rows).Error
	if err != nil {
		return 0, err
	}
	for _, r := range rows {
		masterID, sealed, err := k.rewrap(r.MasterID, r.Sealed, serverKeyBinding(r.Purpose, r.Kid))
		if err != nil {
			return 0, err
		}
		if err := tx.Exec("UPDATE server_keys SET master_id = ?, sealed = ? WHERE kid = ?", masterID, sealed, r.Kid).Error; err != nil {
			return 0, err
		}
	}
	return len(rows), nil
}

func (k *Keeper) rewrap(masterID string, wrapped, aad []byte) (string, []byte, error) {
	plain, err := k.master.unwrap(masterID, wrapped, aad)
	if err != nil {
		return "", nil, err
	}
	return k.master.wrap(plain, aad)
}

// RetireMasters removes the master keys that nothing in the database is wrapped with from the file.
// Backups made before the rotation can then be read only with an older copy of the file.
func (k *Keeper) RetireMasters(ctx context.Context) (dropped int, err error) {
	err = k.db.System(ctx, func(tx *gorm.DB) error {
		if err := k.master.hold(tx, true); err != nil {
			return err
		}
		var ids []string
		err := tx.Raw(`SELECT master_id FROM tenant_keys WHERE wrapped IS NOT NULL
			UNION SELECT master_id FROM server_keys WHERE sealed IS NOT NULL`).Scan(&ids).Error
		if err != nil {
			return err
		}
		dropped, err = k.master.keep(ids)
		return err
	})
	return dropped, err
}
