package schedule

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/fleet"
	"reeve/tenants"
	"reeve/tenants/audit"
	"reeve/tenants/calendar"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// The permissions that this package asks for.
const (
	permRead   = "schedules.read"
	permManage = "schedules.manage"
)

// Errors of schedules.
var (
	ErrNotFound     = fault.New(fault.NotFound, "there is no such schedule")
	ErrNotPermitted = fault.New(fault.Forbidden, "you may not change this tenant's schedules")
	ErrProviderOnly = fault.New(fault.Forbidden, "schedules of the provider reach every tenant: that needs the permission over all tenants")
	ErrDisabled     = fault.New(fault.Conflict, "the schedule is switched off")
	ErrBlackout     = fault.New(fault.Conflict, "a blackout holds now; run a job by hand and override it with a reason")
)

// Schedule is recurring work.
type Schedule struct {
	TenantID, ID  uuid.UUID
	Name          string
	Enabled       bool
	What          Work
	Targets       fleet.Selector
	Recurrence    Recurrence
	ZoneMode      ZoneMode
	Window        *MaintenanceWindow
	CatchUp       CatchUp
	JitterSeconds int
	ApprovalID    *uuid.UUID
	Approved      int // devices that a second person has agreed to
	CreatedBy     string
	Version       int64
	CreatedAt     time.Time
	UpdatedAt     time.Time

	NextRunAt *time.Time
	LastRunAt *time.Time
	LastJobID *uuid.UUID
	Missed    int64
}

// Work is what a schedule does; Kind says who understands the payload.
type Work struct {
	Kind               string          `json:"kind"`
	Payload            json.RawMessage `json:"payload"`
	TaskExpiresSeconds *int            `json:"task_expires_in_seconds,omitempty"`
}

// MaintenanceWindow is the window of a schedule, in the zone that the schedule follows.
type MaintenanceWindow struct {
	Start           Recurrence `json:"recurrence"`
	DurationSeconds int64      `json:"duration_seconds"`
	AllowOverrun    bool       `json:"allow_overrun"`
}

// Definition is what a person says of a schedule.
type Definition struct {
	TenantID      uuid.UUID
	Name          string
	Enabled       bool
	What          Work
	Targets       fleet.Selector
	Recurrence    Recurrence
	ZoneMode      ZoneMode
	Window        *MaintenanceWindow
	CatchUp       CatchUp
	JitterSeconds int
	Reason        string // for a second approver, when it reaches far
}

// Validate names every fault at once.
func (d Definition) Validate() error {
	var f fault.Fields
	d.Name = strings.TrimSpace(d.Name)
	f.Check(len([]rune(d.Name)) >= 1 && len([]rune(d.Name)) <= 120, "/name", "must have 1 to 120 characters")
	d.Recurrence.Check(&f, "/recurrence")
	d.ZoneMode.Check(&f, "/zone")
	d.CatchUp.Check(&f, "/catch_up")
	f.Check(d.JitterSeconds >= 0 && d.JitterSeconds <= 86400, "/jitter_seconds", "must be from 0 to 86400")
	if d.Window != nil {
		d.Window.Start.Check(&f, "/window/recurrence")
		f.Check(d.Window.DurationSeconds >= 300 && d.Window.DurationSeconds <= 604800, "/window/duration_seconds", "must be from 300 to 604800")
	}
	if err := d.Targets.Validate(); err != nil {
		if e, ok := fault.As(err); ok {
			f = append(f, e.Fields...)
		}
	}
	return f.Err()
}

// Order is a firing as the executor of its kind gets it.
type Order struct {
	Schedule Schedule
	Devices  []fleet.Target
	Start    time.Time     // of the first device
	Spread   time.Duration // over which the others follow, each after its Jitter
	Expires  time.Time
	Open     []calendar.Period // times in which it may start; empty means any
}

// Superseded is work of an earlier run that never started and that a newer run replaces: at most one
// catch-up, however long a device was away.
type Superseded struct {
	JobID    uuid.UUID
	DeviceID uuid.UUID
}

// Executor turns firings into tasks. It is wired to server/tasks, which stands above this package.
type Executor interface {
	// CheckTx refuses work that could not run, and asks a second person where it reaches too far.
	CheckTx(tx *gorm.DB, s Schedule, reach []fleet.Target, reason string) (approval *uuid.UUID, err error)
	// FireTx makes the job and its tasks.
	FireTx(tx *gorm.DB, o Order) (job uuid.UUID, err error)
	// SupersedeTx skips tasks of earlier runs on these devices that no endpoint has taken yet.
	SupersedeTx(tx *gorm.DB, schedule uuid.UUID, devices []uuid.UUID) ([]Superseded, error)
}

// Service keeps schedules and fires them.
type Service struct {
	db    *tenantdb.DB
	fleet *fleet.Service
	exec  Executor
}

// New makes the service.
func New(db *tenantdb.DB, devices *fleet.Service, exec Executor) *Service {
	return &Service{db: db, fleet: devices, exec: exec}
}

func mayManage(s scope.Scope, tenant uuid.UUID) error {
	if !s.Sees(tenant) {
		return fault.New(fault.NotFound, "there is no such tenant")
	}
	if tenant == uuid.UUID(scope.Provider) && !s.MayEverywhere(permManage) {
		return ErrProviderOnly
	}
	if !s.May(permManage, tenant) {
		return ErrNotPermitted
	}
	return nil
}

// confined keeps the targets of a tenant's schedule inside the tenant.
func (d *Definition) confine() error {
	if d.TenantID == uuid.UUID(scope.Provider) {
		return nil
	}
	t := &d.Targets
	if t.AllTenants {
		return fault.InvalidField("/targets/all_tenants", "a tenant's schedule reaches that tenant only; make it a schedule of the provider")
	}
	if t.TenantID != nil && *t.TenantID != d.TenantID {
		return fault.InvalidField("/targets/tenant_id", "must be the tenant of the schedule")
	}
	if t.Tag != "" || t.Filter != nil {
		t.TenantID = &d.TenantID
	}
	return nil
}

// Create adds a schedule and computes when it is due.
func (s *Service) Create(ctx context.Context, d Definition) (Schedule, error) {
	if err := d.Validate(); err != nil {
		return Schedule{}, err
	}
	who := scope.From(ctx)
	if err := mayManage(who, d.TenantID); err != nil {
		return Schedule{}, err
	}
	if err := d.confine(); err != nil {
		return Schedule{}, err
	}
	var made Schedule
	err := s.db.Tx(ctx, func(tx *gorm.DB) error {
		made = d.schedule(uuid.Must(uuid.NewV7()), who.Actor.Name)
		made.CreatedAt, made.UpdatedAt, made.Version = tenantdb.Now(tx), tenantdb.Now(tx), 1
		if err := s.checkTx(tx, &made, d.Reason); err != nil {
			return err
		}
		if err := insertSchedule(tx, made, who.Actor.ID); err != nil {
			return err
		}
		if err := s.replanTx(tx, made); err != nil {
			return err
		}
		if err := s.decorate(tx, &made); err != nil {
			return err
		}
		return audit.WriteTx(tx, made.entry("schedule.created", nil, made.face()))
	})
	return made, err
}

func (d Definition) schedule(id uuid.UUID, author string) Schedule {
	return Schedule{TenantID: d.TenantID, ID: id, Name: strings.TrimSpace(d.Name), Enabled: d.Enabled, What: d.What, Targets: d.Targets,
		Recurrence: d.Recurrence, ZoneMode: d.ZoneMode, Window: d.Window, CatchUp: d.CatchUp, JitterSeconds: d.JitterSeconds, CreatedBy: author}
}

// checkTx resolves the targets under the actor's own reach and lets the executor judge the work.
func (s *Service) checkTx(tx *gorm.DB, sch *Schedule, reason string) error {
	reach, err := s.fleet.ResolveTx(tx, sch.Targets)
	if err != nil {
		return err
	}
	if sch.TenantID != uuid.UUID(scope.Provider) {
		for _, t := range reach {
			if t.TenantID != sch.TenantID {
				return fault.InvalidField("/targets", "names a device of another tenant than the schedule's")
			}
		}
	}
	sch.ApprovalID, err = s.exec.CheckTx(tx, *sch, reach, reason)
	return err
}

// Change is an edit; nil leaves a field as it is.
type Change struct {
	Version       int64
	Name          *string
	Enabled       *bool
	What          *Work
	Targets       *fleet.Selector
	Recurrence    *Recurrence
	ZoneMode      *ZoneMode
	Window        *MaintenanceWindow
	DropWindow    bool
	CatchUp       *CatchUp
	JitterSeconds *int
}

func (c Change) apply(sch Schedule) Definition {
	d := Definition{TenantID: sch.TenantID, Name: sch.Name, Enabled: sch.Enabled, What: sch.What, Targets: sch.Targets,
		Recurrence: sch.Recurrence, ZoneMode: sch.ZoneMode, Window: sch.Window, CatchUp: sch.CatchUp, JitterSeconds: sch.JitterSeconds}
	set(&d.Name, c.Name)
	set(&d.Enabled, c.Enabled)
	set(&d.What, c.What)
	set(&d.Targets, c.Targets)
	set(&d.Recurrence, c.Recurrence)
	set(&d.ZoneMode, c.ZoneMode)
	set(&d.CatchUp, c.CatchUp)
	set(&d.JitterSeconds, c.JitterSeconds)
	if c.Window != nil {
		d.Window = c.Window
	} else if c.DropWindow {
		d.Window = nil
	}
	return d
}

func set[T any](field *T, change *T) {
	if change != nil {
		*field = *change
	}
}

// Update changes a schedule. Runs that were due before keep what they were; the rest is planned anew.
func (s *Service) Update(ctx context.Context, id uuid.UUID, c Change) (Schedule, error) {
	var after Schedule
	err := s.db.Tx(ctx, func(tx *gorm.DB) error {
		before, err := s.manageable(ctx, tx, id)
		if err != nil {
			return err
		}
		d := c.apply(before)
		if err := d.Validate(); err != nil {
			return err
		}
		if err := d.confine(); err != nil {
			return err
		}
		after = d.schedule(id, before.CreatedBy)
		after.CreatedAt, after.ApprovalID, after.Approved = before.CreatedAt, before.ApprovalID, before.Approved
		// Switching off is always possible, whatever became of the targets.
		if after.Enabled {
			if err := s.checkTx(tx, &after, "changed schedule"); err != nil {
				return err
			}
		}
		after.Version, after.UpdatedAt = c.Version+1, tenantdb.Now(tx)
		if err := updateSchedule(tx, after, c.Version); err != nil {
			return err
		}
		if err := s.replanTx(tx, after); err != nil {
			return err
		}
		if err := s.decorate(tx, &after); err != nil {
			return err
		}
		return audit.WriteTx(tx, after.entry("schedule.changed", before.face(), after.face()))
	})
	return after, err
}

// Delete ends a schedule. What it ran stays readable.
func (s *Service) Delete(ctx context.Context, id uuid.UUID) error {
	return s.db.Tx(ctx, func(tx *gorm.DB) error {
		sch, err := s.manageable(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := tx.Exec("update schedules set deleted_at = now(), enabled = false, version = version + 1 where tenant_id = ? and id = ?", sch.TenantID, id).Error; err != nil {
			return err
		}
		if err := tx.Exec("delete from schedule_due where tenant_id = ? and schedule_id = ?", sch.TenantID, id).Error; err != nil {
			return err
		}
		return audit.WriteTx(tx, sch.entry("schedule.deleted", sch.face(), nil))
	})
}

// RunNow fires a schedule once, for all of its devices, whatever its zone and window say.
func (s *Service) RunNow(ctx context.Context, id uuid.UUID) (job uuid.UUID, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		sch, err := s.manageable(ctx, tx, id)
		if err != nil {
			return err
		}
		now := tenantdb.Now(tx)
		if hold, err := HoldTx(tx, sch.TenantID); err != nil {
			return err
		} else if hold != nil {
			return ErrBlackout
		}
		nominal, fold := calendar.UTC.Local(now)
		run := fired{TenantID: sch.TenantID, ID: uuid.Must(uuid.NewV7()), ScheduleID: id, Key: "manual/" + uuid.NewString(),
			Nominal: nominal.String(), Fold: fold, At: now, FiredAt: now}
		if err := insertRuns(tx, []fired{run}); err != nil {
			return err
		}
		if job, err = s.expandTx(tx, sch, run); err != nil {
			return err
		}
		return audit.WriteTx(tx, sch.entry("schedule.run", nil, map[string]any{"job_id": job}))
	})
	return job, err
}

func (s *Service) manageable(ctx context.Context, tx *gorm.DB, id uuid.UUID) (Schedule, error) {
	sch, err := loadSchedule(tx, id, true)
	if err != nil {
		return sch, err
	}
	return sch, mayManage(scope.From(ctx), sch.TenantID)
}

// SubjectType is how approvals name a schedule.
const SubjectType = "schedule"

// DecidedTx is told of the decision of a second person over a schedule that reaches far: from then on
// its runs may reach as many devices as were shown to that person.
func (s *Service) DecidedTx(tx *gorm.DB, a tenants.Approval) error {
	if a.State != tenants.Approved {
		return nil
	}
	devices, _ := a.Detail["devices"].(float64)
	return tx.Exec("update schedules set approved_devices = ? where tenant_id = ? and id = ?", int(devices), a.TenantID, a.SubjectID).Error
}

// face is the public side of a schedule, for the audit log.
func (sch Schedule) face() map[string]any {
	return map[string]any{"name": sch.Name, "enabled": sch.Enabled, "what": sch.What, "targets": sch.Targets, "recurrence": sch.Recurrence,
		"zone": sch.ZoneMode, "window": sch.Window, "catch_up": sch.CatchUp, "jitter_seconds": sch.JitterSeconds}
}

func (sch Schedule) entry(action string, before, after any) audit.Entry {
	return audit.Entry{TenantID: sch.TenantID, Action: action, ObjectType: "schedule", ObjectID: sch.ID.String(), ObjectName: sch.Name,
		Before: before, After: after}
}
