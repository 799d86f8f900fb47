package gateway

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/time/rate"

	"reeve/api/fault"
)

// Limits bound what endpoints may cost. They are asked before any work on the database; zero values
// are replaced by the defaults.
type Limits struct {
	DeviceSyncs   rate.Limit // per second; a device streams the output of tasks at a few a second
	DeviceBurst   int
	DeviceBytes   rate.Limit // per second
	TenantSyncs   rate.Limit // per second
	TenantBurst   int
	AddressEnrols rate.Limit // per second and address
	EnrolBurst    int
	Connects      rate.Limit // per second, all together: each costs a handshake
	ConnectBurst  int
	Sockets       int // of this replica
	// RetryLeast and RetryMost bound the random time after which the refused are asked to come back.
	RetryLeast, RetryMost time.Duration
	Window                time.Duration // how long a sync waits for company
	BatchItems            int
	// PingAfter is the silence after which a socket is asked for a sign of life, and DeadAfter the one
	// after which it is closed.
	PingAfter, DeadAfter time.Duration
	WatchEvery           time.Duration // between looks for changes that no message told of
}

func (l Limits) withDefaults() Limits {
	def(&l.DeviceSyncs, 5)
	def(&l.DeviceBurst, 60)
	def(&l.DeviceBytes, 2<<20)
	def(&l.TenantSyncs, 1500)
	def(&l.TenantBurst, 10_000)
	def(&l.AddressEnrols, 200)
	def(&l.EnrolBurst, 2000)
	def(&l.Connects, 400)
	def(&l.ConnectBurst, 1000)
	def(&l.Sockets, 60_000)
	def(&l.RetryLeast, 2*time.Second)
	def(&l.RetryMost, 15*time.Second)
	def(&l.Window, 50*time.Millisecond)
	def(&l.BatchItems, 500)
	def(&l.PingAfter, 45*time.Second)
	def(&l.DeadAfter, 110*time.Second)
	def(&l.WatchEvery, 2*time.Second)
	return l
}

func def[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}

// burstBytes lets a device send a full inventory and what it spooled at once.
const burstBytes = 32 << 20

func jitter(least, most time.Duration) time.Duration {
	return least + rand.N(max(most-least, 1))
}

// limiter keeps the buckets of tenants and addresses; those of devices are kept with the devices.
type limiter struct {
	limits   Limits
	now      func() time.Time
	connects *rate.Limiter
	mu       sync.Mutex
	tenants  map[uuid.UUID]*rate.Limiter
	enrols   map[string]*rate.Limiter
}

func newLimiter(l Limits, now func() time.Time) *limiter {
	return &limiter{limits: l, now: now, connects: rate.NewLimiter(l.Connects, l.ConnectBurst),
		tenants: map[uuid.UUID]*rate.Limiter{}, enrols: map[string]*rate.Limiter{}}
}

// maxAddresses bounds the memory of addresses; when it is full all of them are forgotten.
const maxAddresses = 10_000

var errTooMany = fault.New(fault.RateLimited, "too many requests; come back later")

// sync asks whether a device may sync with so many bytes now.
func (l *limiter) sync(d *Device, bytes int) error {
	now := l.now()
	l.mu.Lock()
	tenant := l.tenants[d.tenant]
	if tenant == nil {
		tenant = rate.NewLimiter(l.limits.TenantSyncs, l.limits.TenantBurst)
		l.tenants[d.tenant] = tenant
	}
	l.mu.Unlock()
	if !d.syncs.AllowN(now, 1) || !d.bytes.AllowN(now, bytes) || !tenant.AllowN(now, 1) {
		return errTooMany
	}
	return nil
}

func (l *limiter) enrol(address string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	bucket := l.enrols[address]
	if bucket == nil {
		if len(l.enrols) >= maxAddresses {
			clear(l.enrols)
		}
		bucket = rate.NewLimiter(l.limits.AddressEnrols, l.limits.EnrolBurst)
		l.enrols[address] = bucket
	}
	if !bucket.AllowN(l.now(), 1) {
		return errTooMany
	}
	return nil
}

func (l *limiter) connect() error {
	if !l.connects.AllowN(l.now(), 1) {
		return errTooMany
	}
	return nil
}
