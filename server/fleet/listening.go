package fleet

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"gorm.io/gorm"

	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// Ear knows since when some replica has listened without a break, so that a restart of the server makes
// nobody overdue. It is kept in the database, because presence is judged by whichever replica is asked.
type Ear struct {
	db  *tenantdb.DB
	now atomic.Pointer[Listening]
}

// ListeningEvery is how often a replica says that it listens; listeningGap is the silence after which
// the listening begins anew.
const (
	ListeningEvery = 5 * time.Second
	listeningGap   = 20 * time.Second
)

// NewEar begins to listen. Sweep must be called every ListeningEvery from then on.
func NewEar(ctx context.Context, db *tenantdb.DB) (*Ear, error) {
	e := &Ear{db: db}
	_, err := e.Sweep(scope.AsSystem(ctx, "listening"))
	return e, err
}

// Listening is what presence is judged by.
func (e *Ear) Listening() Listening { return *e.now.Load() }

// Sweep says that this replica listens, and learns how long somebody has.
func (e *Ear) Sweep(ctx context.Context) (int, error) {
	var row struct {
		Since  time.Time
		Before *time.Time
	}
	err := e.db.System(ctx, func(tx *gorm.DB) error {
		return tx.Raw(`insert into server_listening as l (since, until) values (now(), now())
			on conflict (only_row) do update set until = now(),
				since  = case when l.until < now() - ? * interval '1 second' then now() else l.since end,
				before = case when l.until < now() - ? * interval '1 second' then l.until else l.before end
			returning since, before`, listeningGap.Seconds(), listeningGap.Seconds()).Scan(&row).Error
	})
	if err != nil {
		return 0, fmt.Errorf("noting that the server listens: %w", err)
	}
	l := Listening{Since: row.Since}
	if row.Before != nil {
		l.Before = *row.Before
	}
	e.now.Store(&l)
	return 1, nil
}
