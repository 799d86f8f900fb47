package tasks

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/server/fleet"
	"reeve/tenants"
	"reeve/tenants/tenantdb"
)

// The permissions that this package's verbs ask for, over every tenant that is reached.
const (
	permRead   = "jobs.read"
	permRun    = "jobs.run"
	permCancel = "jobs.cancel"

	permManageDevices = "devices.manage" // enough to read an inventory anew
)

// OutcomeFunc is told which tasks of its kind came to an end, in the transaction that ends them. It must
// not ask the database once per task.
type OutcomeFunc func(ctx context.Context, tx *gorm.DB, ended []Task) error

// Options is what the queue needs from the rest of the program.
type Options struct {
	DB    *tenantdb.DB
	Log   *slog.Logger
	Fleet *fleet.Service
	// Signer is the key that tasks are signed with now.
	Signer func(ctx context.Context) (kid string, key ed25519.PrivateKey, err error)
	// Brakes are the limits of the provider and of each tenant.
	Brakes func(tx *gorm.DB, tenants []uuid.UUID) (map[uuid.UUID]tenants.JobSpec, error)
	// RequestApproval asks for a second person; Decided is told the end under SubjectType.
	RequestApproval func(tx *gorm.DB, r tenants.ApprovalRequest) (tenants.Approval, error)
	// Blackout says what forbids starting work on these devices at a time; nothing when it may start.
	Blackout func(ctx context.Context, tx *gorm.DB, targets []fleet.Target, at time.Time) (reasons []string, err error)
	// Doorbell wakes devices that have something to fetch; it may fail without harm.
	Doorbell func(devices []uuid.UUID)
	// Outcome has an entry for every kind that somebody waits for.
	Outcome map[string]OutcomeFunc
}

// SubjectType is how approvals name a job.
const SubjectType = "job"

// Service keeps jobs and tasks.
type Service struct {
	db    *tenantdb.DB
	o     Options
	kinds map[string]Kind
}

// New makes the service. An outcome for a kind that does not exist is an error of the program's wiring.
func New(o Options) (*Service, error) {
	s := &Service{db: o.DB, o: o, kinds: map[string]Kind{}}
	for _, k := range builtin {
		s.kinds[k.Name] = k
	}
	for name := range o.Outcome {
		if _, known := s.kinds[name]; !known {
			return nil, fmt.Errorf("tasks: there is no kind %q to have an outcome", name)
		}
	}
	if o.DB == nil || o.Fleet == nil || o.Signer == nil || o.Brakes == nil || o.RequestApproval == nil {
		return nil, fmt.Errorf("tasks: DB, Fleet, Signer, Brakes and RequestApproval are required")
	}
	if o.Blackout == nil {
		s.o.Blackout = func(context.Context, *gorm.DB, []fleet.Target, time.Time) ([]string, error) { return nil, nil }
	}
	if o.Doorbell == nil {
		s.o.Doorbell = func([]uuid.UUID) {}
	}
	if o.Log == nil {
		s.o.Log = slog.New(slog.DiscardHandler)
	}
	return s, nil
}

// Kinds are the names of what a task can be.
func (s *Service) Kinds() []string {
	names := make([]string, len(builtin))
	for i, k := range builtin {
		names[i] = k.Name
	}
	return names
}

// ring wakes devices once the transaction has committed.
func (s *Service) ring(tx *gorm.DB, devices []uuid.UUID) {
	if len(devices) > 0 {
		tenantdb.AfterCommit(tx, func() { s.o.Doorbell(devices) })
	}
}
