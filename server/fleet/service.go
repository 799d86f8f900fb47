package fleet

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// The permissions that this package's verbs ask for, over the tenant of the object at hand.
const (
	permRead    = "devices.read"
	permManage  = "devices.manage"
	permApprove = "devices.approve"
	permEnrol   = "devices.enrol"
	permFields  = "custom_fields.read"
)

// Options is what the fleet needs from the rest of the program.
type Options struct {
	DB  *tenantdb.DB
	Log *slog.Logger
	// Listening tells since when endpoints can be heard at all.
	Listening func() Listening
	// Tokens makes and reads enrolment tokens.
	Tokens TokenFormat
	// Install describes how a machine reaches this server.
	Install Install
	// DevicesChanged recomputes what holds for devices whose site or tags changed, or that are new, in
	// the same transaction.
	DevicesChanged func(tx *gorm.DB, devices []uuid.UUID) error
	// StateChanged tells every replica, after the commit, that devices may do more or less than before.
	StateChanged func(devices []uuid.UUID)
}

// TokenFormat is how enrolment tokens look and what is kept of them.
type TokenFormat struct {
	New  func() (token string, stored [32]byte)
	Read func(token string) (stored [32]byte, err error)
}

// Service knows the fleet.
type Service struct {
	db *tenantdb.DB
	o  Options
}

// New makes the service. Hooks that are not given do nothing.
func New(o Options) *Service {
	if o.Listening == nil {
		o.Listening = func() Listening { return Listening{} }
	}
	if o.DevicesChanged == nil {
		o.DevicesChanged = func(*gorm.DB, []uuid.UUID) error { return nil }
	}
	if o.StateChanged == nil {
		o.StateChanged = func([]uuid.UUID) {}
	}
	return &Service{db: o.DB, o: o}
}

func (s *Service) clock() clock { return clock{s.o.Listening()} }

// need refuses an actor without a permission over a tenant that it otherwise sees.
func need(ctx context.Context, permission string, tenant uuid.UUID) error {
	if !scope.From(ctx).May(permission, tenant) {
		return ErrForbidden
	}
	return nil
}

// changed rings for devices whose state changed, once the transaction has committed.
func (s *Service) changed(tx *gorm.DB, devices ...uuid.UUID) {
	tenantdb.AfterCommit(tx, func() { s.o.StateChanged(devices) })
}

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// databaseNow is the transaction's time.
func databaseNow(tx *gorm.DB) time.Time { return tenantdb.Now(tx) }
