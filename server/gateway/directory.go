package gateway

import (
	"context"
	"crypto/ed25519"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/time/rate"
	"gorm.io/gorm"

	"reeve/server/auth"
	"reeve/server/fleet"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// Device is what is remembered of a device between its requests: who it is and what it may cost. The
// key never changes, and what may change is read again inside each sync's transaction.
type Device struct {
	id     uuid.UUID
	tenant uuid.UUID
	key    ed25519.PublicKey
	state  fleet.State
	*allowance
}

// allowance is what a device may cost. It outlives what else is remembered of the device, or each change
// of the device would grant it anew.
type allowance struct {
	syncs *rate.Limiter
	bytes *rate.Limiter
	open  atomic.Int32 // syncs over HTTPS that are being read or answered
}

// maxOpen is how many requests of one device are read at once. An endpoint sends one; a second may come
// while the first is given up. A device that opens many and sends slowly must not fill the memory.
const maxOpen = 3

// enter takes a place among the requests of the device; leave gives it back.
func (a *allowance) enter() bool {
	if a.open.Add(1) > maxOpen {
		a.leave()
		return false
	}
	return true
}

func (a *allowance) leave() { a.open.Add(-1) }

// directory remembers devices. Unknown ones are looked up together, so that a storm of reconnects after
// a restart costs few statements.
type directory struct {
	limits Limits
	lookup *tenantdb.Batcher[uuid.UUID, *Device]
	mu     sync.RWMutex
	known  map[uuid.UUID]*Device
	grants map[uuid.UUID]*allowance
}

// maxKnown bounds the memory; when it is full all devices are forgotten and looked up again.
const maxKnown = 250_000

func newDirectory(db *tenantdb.DB, l Limits) *directory {
	d := &directory{limits: l, known: map[uuid.UUID]*Device{}, grants: map[uuid.UUID]*allowance{}}
	d.lookup = tenantdb.NewBatcher(tenantdb.BatchOptions[uuid.UUID, *Device]{Window: 5 * time.Millisecond, Workers: 2,
		Flush: func(ctx context.Context, ids []uuid.UUID) ([]*Device, error) { return d.load(ctx, db, ids) }})
	return d
}

// find gives the device with an id, or nil.
func (d *directory) find(ctx context.Context, id uuid.UUID) (*Device, error) {
	d.mu.RLock()
	found := d.known[id]
	d.mu.RUnlock()
	if found != nil {
		return found, nil
	}
	return d.lookup.Do(ctx, id)
}

func (d *directory) load(ctx context.Context, db *tenantdb.DB, ids []uuid.UUID) ([]*Device, error) {
	var rows []fleet.Credential
	err := db.System(scope.AsSystem(ctx, "gateway"), func(tx *gorm.DB) (err error) {
		rows, err = fleet.CredentialsTx(tx, ids)
		return err
	})
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.known)+len(rows) > maxKnown {
		clear(d.known)
	}
	byID := make(map[uuid.UUID]*Device, len(rows))
	for _, r := range rows {
		one := &Device{id: r.DeviceID, tenant: r.TenantID, key: r.PublicKey, state: r.State, allowance: d.grant(r.DeviceID)}
		byID[one.id], d.known[one.id] = one, one
	}
	found := make([]*Device, len(ids))
	for i, id := range ids {
		found[i] = byID[id]
	}
	return found, nil
}

// grant gives a device its allowance, the same as before where it had one. The caller holds the lock.
func (d *directory) grant(id uuid.UUID) *allowance {
	a := d.grants[id]
	if a == nil {
		if len(d.grants) >= maxKnown {
			clear(d.grants)
		}
		a = &allowance{syncs: rate.NewLimiter(d.limits.DeviceSyncs, d.limits.DeviceBurst), bytes: rate.NewLimiter(d.limits.DeviceBytes, burstBytes)}
		d.grants[id] = a
	}
	return a
}

// forget drops devices that changed.
func (d *directory) forget(ids []uuid.UUID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		delete(d.known, id)
	}
}

func (d *directory) close(ctx context.Context) error { return d.lookup.Close(ctx) }

// authenticate finds the device that a claim proves to come from. The tenant follows from the device's
// key, never from anything it says.
func (s *Service) authenticate(ctx context.Context, token string) (*Device, error) {
	id, err := auth.EndpointDevice(token)
	if err != nil {
		return nil, err
	}
	d, err := s.devices.find(ctx, id)
	if err != nil {
		return nil, err
	}
	if d == nil {
		return nil, auth.ErrUnauthenticated
	}
	if err := auth.VerifyEndpoint(token, id, d.key, s.o.Now()); err != nil {
		return nil, err
	}
	if d.state == fleet.Retired {
		return nil, ErrRetired
	}
	return d, nil
}
