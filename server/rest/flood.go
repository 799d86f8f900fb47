package rest

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"reeve/api/fault"
	"reeve/tenants/scope"
)

// Requests a second that one address and one actor may send, and how many may come at once. A portal
// page asks a dozen questions; a program that needs more than this wants bulk operations.
const (
	perAddress, burstAddress = 200, 1000
	perActor, burstActor     = 100, 500
	floodKeys                = 100_000
)

// floodGuard bounds what a single address or actor can ask of this replica, before any database
// work. Guesses at credentials are throttled elsewhere, in the database and for all replicas.
type floodGuard struct {
	now       func() time.Time
	mu        sync.Mutex
	addresses map[string]*rate.Limiter
	actors    map[scope.ID]*rate.Limiter
}

func newFloodGuard(now func() time.Time) *floodGuard {
	return &floodGuard{now: now, addresses: map[string]*rate.Limiter{}, actors: map[scope.ID]*rate.Limiter{}}
}

func (f *floodGuard) allowAddress(address string) error {
	return f.allow(limiterOf(f, f.addresses, address, perAddress, burstAddress))
}

func (f *floodGuard) allowActor(actor scope.ID) error {
	if actor == (scope.ID{}) {
		return nil
	}
	return f.allow(limiterOf(f, f.actors, actor, perActor, burstActor))
}

func (f *floodGuard) allow(l *rate.Limiter) error {
	if l.AllowN(f.now(), 1) {
		return nil
	}
	return &fault.Error{Kind: fault.RateLimited, Message: "too many requests; slow down", RetryAfter: time.Second}
}

// limiterOf finds the limiter of a key. A full table is emptied: forgetting is cheaper than
// remembering everybody who ever came.
func limiterOf[K comparable](f *floodGuard, table map[K]*rate.Limiter, key K, perSecond rate.Limit, burst int) *rate.Limiter {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := table[key]
	if l == nil {
		if len(table) >= floodKeys {
			clear(table)
		}
		l = rate.NewLimiter(perSecond, burst)
		table[key] = l
	}
	return l
}
