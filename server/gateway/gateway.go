// Package gateway is the server's side of the endpoint protocol: joining, proving who one is, syncing,
// and the doorbell that says when to.
package gateway

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api"
	"reeve/api/fault"
	"reeve/server/bus"
	"reeve/server/fleet"
	"reeve/server/tasks"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// Options is what the gateway needs from the rest of the program.
type Options struct {
	DB    *tenantdb.DB
	Fleet *fleet.Service
	Tasks Tasks
	Bus   bus.Bus
	Log   *slog.Logger
	Now   func() time.Time // the server's clock
	// TaskKeys are the public keys that sign tasks, as endpoints are told them.
	TaskKeys func(ctx context.Context) ([]api.TaskKey, error)
	// Downloads are the endpoint programs that are handed out; nil for none.
	Downloads *Downloads
	// CA is the certificate of the private authority, in PEM; empty without one.
	CA []byte
	// Observe is told what happens, for metrics.
	Observe Observer
	Limits  Limits
}

// Tasks is the queue of tasks, as endpoints meet it. All of it works for many devices in a fixed number
// of statements.
type Tasks interface {
	ApplyUpdatesTx(ctx context.Context, tx *gorm.DB, updates []tasks.Update) ([]tasks.Applied, error)
	WorkTx(ctx context.Context, tx *gorm.DB, asking []tasks.Asking) (map[uuid.UUID]tasks.Work, error)
}

var _ Tasks = (*tasks.Service)(nil)

// Observer is told what happens, for metrics; each function may be nil.
type Observer struct {
	Sync  func(carrier string, took time.Duration, err error)
	Batch func(items int, took time.Duration, err error)
	Ring  func(delivered int)
}

// Service serves endpoints.
type Service struct {
	o        Options
	devices  *directory
	limits   *limiter
	hub      *hub
	syncs    *tenantdb.Batcher[*report, answer]
	enrols   *tenantdb.Batcher[fleet.Enrolment, fleet.Enrolled]
	stopping atomic.Bool
	stop     sync.Once
	cancel   context.CancelFunc
	watched  chan struct{} // closed when the watch has ended
	wake     chan struct{} // has the watch look at once
	bells    bus.Subscription
	changes  bus.Subscription
}

// Faults of the protocol.
var (
	ErrRetired  = fault.New(fault.Forbidden, "the device is retired")
	errStopping = fault.New(fault.Unavailable, "the server is shutting down")
)

// New makes the gateway and starts its workers; Stop ends them.
func New(o Options) (*Service, error) {
	if o.DB == nil || o.Fleet == nil || o.Tasks == nil || o.Bus == nil || o.Log == nil || o.Now == nil || o.TaskKeys == nil {
		return nil, errors.New("gateway: DB, Fleet, Tasks, Bus, Log, Now and TaskKeys are required")
	}
	o.Limits = o.Limits.withDefaults()
	s := &Service{o: o, limits: newLimiter(o.Limits, o.Now), hub: newHub(o.Log, o.Now, o.Limits), watched: make(chan struct{}), wake: make(chan struct{}, 1)}
	s.devices = newDirectory(o.DB, o.Limits)
	s.syncs = tenantdb.NewBatcher(tenantdb.BatchOptions[*report, answer]{Flush: s.flush, Window: o.Limits.Window, MaxItems: o.Limits.BatchItems, Eager: true})
	s.enrols = tenantdb.NewBatcher(tenantdb.BatchOptions[fleet.Enrolment, fleet.Enrolled]{Flush: s.admit, Window: o.Limits.Window, MaxItems: 200})
	var err error
	if s.bells, err = o.Bus.Subscribe(ringSubject+".*", s.hear); err != nil {
		return nil, err
	}
	if s.changes, err = o.Bus.Subscribe(changeSubject, s.hearChange); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(scope.AsSystem(context.Background(), "gateway"))
	s.cancel = cancel
	go s.watch(ctx)
	return s, nil
}

// Mount registers the protocol's addresses. Each handler enforces its own limits before it reads.
func (s *Service) Mount(app *fiber.App) {
	g := app.Group("/agent/v1", func(c *fiber.Ctx) error {
		c.Set(fiber.HeaderCacheControl, "no-store")
		if s.stopping.Load() {
			return s.busy(errStopping)
		}
		err := c.Next()
		if err != nil && c.Method() == fiber.MethodPost && c.Locals(bodyRead) == nil {
			// The body is still on its way: it must not be taken for the next request.
			c.Context().SetConnectionClose()
		}
		return err
	})
	g.Post("/enrol", s.serveEnrol)
	g.Post("/sync", s.serveSync)
	g.Get("/connect", s.serveConnect())
	g.Get("/downloads/:file", s.serveDownload)
	g.Get("/ca.pem", s.serveCA)
}

// busy spreads those who come back over some time, so that they do not come back together.
func (s *Service) busy(f *fault.Error) error {
	again := *f
	again.RetryAfter = jitter(s.o.Limits.RetryLeast, s.o.Limits.RetryMost)
	return &again
}

// Stop takes nothing new, answers what is under way, and closes the sockets. Only the first call does
// anything.
func (s *Service) Stop(ctx context.Context) (err error) {
	s.stop.Do(func() {
		s.stopping.Store(true)
		s.cancel()
		<-s.watched
		s.bells.Cancel()
		s.changes.Cancel()
		err = errors.Join(s.syncs.Close(ctx), s.enrols.Close(ctx), s.devices.close(ctx), s.hub.stop(ctx))
	})
	return err
}

// Stats describes the gateway, for metrics.
type Stats struct {
	Connected int // sockets of this replica
	Queued    int // syncs that wait to be committed
}

// Stats reads the present figures.
func (s *Service) Stats() Stats {
	return Stats{Connected: s.hub.count(), Queued: s.syncs.Queued()}
}
