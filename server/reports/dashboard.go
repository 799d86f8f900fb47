// Package reports answers questions that no single domain can, reading only.
package reports

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/server/fleet"
	"reeve/server/schedule"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// Service reads across the domains.
type Service struct {
	db        *tenantdb.DB
	fleet     *fleet.Service
	schedules *schedule.Service
}

// New makes the service.
func New(db *tenantdb.DB, devices *fleet.Service, schedules *schedule.Service) *Service {
	return &Service{db: db, fleet: devices, schedules: schedules}
}

// Dashboard is the state of the fleet at a glance. Parts the actor may not read are empty.
type Dashboard struct {
	Devices          fleet.Counts
	Tasks            map[string]int // of the last 24 hours, by state
	JobsRunning      int
	ApprovalsPending int
	SchedulesEnabled int
	Coming           []schedule.Coming
	Recent           []audit.Record
}

// recentTasks is the time that the dashboard's task counts cover.
const recentTasks = 24 * time.Hour

// Dashboard reads the dashboard of one tenant, or of all that the actor reaches.
func (s *Service) Dashboard(ctx context.Context, tenant *uuid.UUID) (d Dashboard, err error) {
	who := scope.From(ctx)
	if d.Devices, err = s.fleet.Count(ctx, tenant); err != nil {
		return d, err
	}
	if who.MayAnywhere("jobs.read") {
		if err := s.work(ctx, tenant, &d); err != nil {
			return d, err
		}
	}
	if who.MayAnywhere("approvals.read") {
		if err := s.approvals(ctx, tenant, &d); err != nil {
			return d, err
		}
	}
	if who.MayAnywhere("schedules.read") {
		coming, enabled, err := s.schedules.Coming(ctx, tenant, 5)
		if err != nil {
			return d, err
		}
		d.Coming, d.SchedulesEnabled = coming, int(enabled)
	}
	if who.MayAnywhere(audit.PermRead) {
		f := audit.Filter{Limit: 10}
		if tenant != nil {
			f.TenantID = *tenant
		}
		page, err := audit.List(ctx, s.db, f)
		if err != nil {
			return d, err
		}
		d.Recent = page.Records
	}
	return d, nil
}

// work counts tasks and jobs.
func (s *Service) work(ctx context.Context, tenant *uuid.UUID, d *Dashboard) error {
	return s.db.Tx(ctx, func(tx *gorm.DB) error {
		// Ids begin with their time, so that the primary key answers "since".
		since := firstID(tenantdb.Now(tx).Add(-recentTasks))
		q := within(tx.Table("tasks x").Where("x.id >= ?", since), "jobs.read", tenant)
		var states []struct {
			State string
			N     int
		}
		if err := q.Select("x.state, count(*) as n").Group("x.state").Scan(&states).Error; err != nil {
			return err
		}
		d.Tasks = map[string]int{}
		for _, r := range states {
			d.Tasks[r.State] = r.N
		}
		var running int64
		jobs := within(tx.Table("jobs x").Where("x.finished_at is null and x.state <> 'waiting_approval'"), "jobs.read", tenant)
		if err := jobs.Count(&running).Error; err != nil {
			return err
		}
		d.JobsRunning = int(running)
		return nil
	})
}

// approvals counts what waits for a second person.
func (s *Service) approvals(ctx context.Context, tenant *uuid.UUID, d *Dashboard) error {
	return s.db.Tx(ctx, func(tx *gorm.DB) error {
		var pending int64
		q := within(tx.Table("approvals x").Where("x.state = 'pending'"), "approvals.read", tenant)
		if err := q.Count(&pending).Error; err != nil {
			return err
		}
		d.ApprovalsPending = int(pending)
		return nil
	})
}

// within keeps rows of one tenant, or of those over which the actor holds a permission.
func within(q *gorm.DB, permission string, tenant *uuid.UUID) *gorm.DB {
	if tenant != nil {
		q = q.Where("x.tenant_id = ?", *tenant)
	}
	return tenantdb.Permitted(q, permission, "x.tenant_id")
}

// firstID is the smallest id that a row made at t can have.
func firstID(t time.Time) (id uuid.UUID) {
	ms := t.UnixMilli()
	for i := range 6 {
		id[5-i] = byte(ms >> (8 * i))
	}
	return id
}
