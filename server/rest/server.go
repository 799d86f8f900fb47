package rest

import (
	"context"
	"time"

	"github.com/google/uuid"

	. "reeve/api"
	"reeve/server/auth"
	"reeve/server/fleet"
	"reeve/server/notify"
	"reeve/server/policy"
	"reeve/server/reports"
	"reeve/server/schedule"
	"reeve/server/scripts"
	"reeve/server/tasks"
	"reeve/tenants"
	"reeve/tenants/audit"
	"reeve/tenants/secrets"
	"reeve/tenants/tenantdb"
)

// Services are the domains that the API speaks for.
type Services struct {
	DB           *tenantdb.DB
	Keeper       *secrets.Keeper
	Tenants      *tenants.Service
	Users        *tenants.Users
	Settings     *tenants.Settings
	Approvals    *tenants.Approvals
	CustomFields *tenants.CustomFields
	Mailer       *notify.Mailer
	Auth         *auth.Service
	Fleet        *fleet.Service
	Policies     *policy.Service
	Scripts      *scripts.Service
	Tasks        *tasks.Service
	Schedules    *schedule.Service
	Reports      *reports.Service

	About       About
	Ready       func(context.Context) error
	Checkpoints func() (audit.Checkpoints, error)
	Now         func() time.Time
}

// Server is the API: one small struct for each tag of the contract.
type Server struct {
	authHandlers
	tenantHandlers
	userHandlers
	settingsHandlers
	approvalHandlers
	enrolmentHandlers
	deviceHandlers
	policyHandlers
	scriptHandlers
	jobHandlers
	scheduleHandlers
	auditHandlers
	operationsHandlers
}

var _ StrictServerInterface = (*Server)(nil)

// NewServer makes the API over the domains.
func NewServer(s Services, contract []byte) (*Server, error) {
	doc, err := ParseContract(contract)
	if err != nil {
		return nil, err
	}
	described, err := contractJSON(doc)
	if err != nil {
		return nil, err
	}
	return &Server{
		authHandlers:      authHandlers{auth: s.Auth},
		userHandlers:      userHandlers{auth: s.Auth, users: s.Users, settings: s.Settings},
		tenantHandlers:    tenantHandlers{tenants: s.Tenants},
		settingsHandlers:  settingsHandlers{settings: s.Settings, fields: s.CustomFields, mailer: s.Mailer},
		approvalHandlers:  approvalHandlers{approvals: s.Approvals},
		enrolmentHandlers: enrolmentHandlers{fleet: s.Fleet},
		deviceHandlers:    deviceHandlers{fleet: s.Fleet, tasks: s.Tasks},
		policyHandlers:    policyHandlers{policies: s.Policies},
		scriptHandlers:    scriptHandlers{scripts: s.Scripts},
		jobHandlers:       jobHandlers{tasks: s.Tasks},
		scheduleHandlers: scheduleHandlers{schedules: s.Schedules, now: s.Now, job: func(ctx context.Context, id uuid.UUID) (Job, error) {
			made, err := s.Tasks.GetJob(ctx, id)
			if err != nil {
				return Job{}, err
			}
			return jobOut(ctx, made)
		}},
		auditHandlers:      auditHandlers{db: s.DB, checkpoints: s.Checkpoints, now: s.Now},
		operationsHandlers: operationsHandlers{reports: s.Reports, about: s.About, contract: described, ready: s.Ready, now: s.Now},
	}, nil
}
