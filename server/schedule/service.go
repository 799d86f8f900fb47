package schedule

import (
	"context"
	"encoding/json"
	"log/slog"
	"reflect"
	"slices"
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
	Approved      int       // devices that a second person has agreed to
	Answers       uuid.UUID // the person who last said what it does; no second person to themselves
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
	name := strings.TrimSpace(d.Name)
	f.Check(len([]rune(name)) >= 1 && len([]rune(name)) <= 120, "/name", "must have 1 to 120 characters")
	d.Recurrence.Check(&f, "/recurrence")
	d.ZoneMode.Check(&f, "/zone")
	d.CatchUp.Check(&f, "/catch_up")
	f.Check(d.JitterSeconds >= 0 && d.JitterSeconds <= maxJitter, "/jitter_seconds", "must be from 0 to %d", maxJitter)
	if d.Window != nil {
		d.checkWindow(&f)
	}
	if err := d.Targets.Validate(); err != nil {
		if e, ok := fault.As(err); ok {
			f = append(f, e.Fields...)
		}
	}
	return f.Err()
}

const (
	maxJitter = 24 * 60 * 60
	minWindow = 5 * time.Minute
	maxWindow = 7 * 24 * time.Hour
)

// checkWindow refuses a window in which the work could never start: nothing would run, and only the
// list of missed runs would tell.
func (d Definition) checkWindow(f *fault.Fields) {
	var faults fault.Fields
	Window{Zone: TenantZone, Start: d.Window.Start, DurationSeconds: d.Window.DurationSeconds}.Check(&faults, "/window")
	for _, x := range faults {
		if rest, ok := strings.CutPrefix(x.Pointer, "/window/start"); ok {
			x.Pointer = "/window/recurrence" + rest
		}
		*f = append(*f, x)
	}
	length := time.Duration(d.Window.DurationSeconds) * time.Second
	if length < minWindow || length > maxWindow {
		if !covered(*f, "/window/duration_seconds") {
			f.Add("/window/duration_seconds", "must be from %d to %d", int(minWindow.Seconds()), int(maxWindow.Seconds()))
		}
		return
	}
	takes := d.What.expectedRun()
	if d.Window.AllowOverrun {
		takes = 0
	}
	switch jitter := time.Duration(d.JitterSeconds) * time.Second; {
	case takes > 0 && takes+Grace > length:
		f.Add("/window/duration_seconds", "is too short: the work may take %d seconds and must fit in with %d to spare; make the window longer, lower the work's timeout_seconds, or allow it to overrun",
			int(takes.Seconds()), int(Grace.Seconds()))
	case jitter > 0 && jitter+takes+Grace > length:
		f.Add("/jitter_seconds", "is too long: the last devices would start after the window, or too late in it")
	}
}

// Order is a firing as the executor of its kind gets it.
type Order struct {
	Schedule Schedule
	Devices  []fleet.Target
	Start    time.Time     // of the first device
	Spread   time.Duration // over which the others follow, each after its Jitter
	Expires  time.Time
	Open     []calendar.Period // times in which it may start; empty means any
	// OpenIn stands instead of Open for devices of tenants that have blackouts of their own.
	OpenIn map[uuid.UUID][]calendar.Period
}

// Superseded is work of an earlier run that never started and that a newer run replaces: at most one
// catch-up, however long a device was away.
type Superseded struct {
	JobID    uuid.UUID
	DeviceID uuid.UUID // zero: the whole job, which still waited for a second person
}

// Executor turns firings into tasks. It is wired to server/tasks, which stands above this package.
type Executor interface {
	// CheckTx refuses work that could not run, with pointers below /payload, and asks a second person
	// where it reaches too far.
	CheckTx(tx *gorm.DB, s Schedule, reach []fleet.Target, reason string) (approval *uuid.UUID, err error)
	// ForgetTx takes back what a second person was asked about the schedule.
	ForgetTx(tx *gorm.DB, s Schedule, why string) error
	// FireTx makes the jobs and their tasks: all, or none.
	FireTx(tx *gorm.DB, orders []Order) (jobs []uuid.UUID, err error)
	// SupersedeTx skips tasks of earlier runs that no endpoint has taken yet, but for those of the jobs
	// to spare.
	SupersedeTx(tx *gorm.DB, again []Renewal, spare []uuid.UUID) ([]Superseded, error)
}

// Renewal is a schedule that is about to run again on devices.
type Renewal struct {
	ScheduleID uuid.UUID
	Devices    []fleet.Target
}

// Service keeps schedules and fires them.
type Service struct {
	db    *tenantdb.DB
	fleet *fleet.Service
	exec  Executor
	log   *slog.Logger
	// clock is the transaction's time on the database's clock; tests move it.
	clock func(tx *gorm.DB) time.Time
}

// New makes the service.
func New(db *tenantdb.DB, devices *fleet.Service, exec Executor, log *slog.Logger) *Service {
	return &Service{db: db, fleet: devices, exec: exec, log: log, clock: tenantdb.Now}
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

// confine keeps the targets of a tenant's schedule inside the tenant.
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

// foreignTx tells whether the targets name a place or device of another tenant, active or not.
func (d Definition) foreignTx(tx *gorm.DB) error {
	if d.TenantID == uuid.UUID(scope.Provider) {
		return nil
	}
	table, at, ids := "devices", "/targets/device_ids", d.Targets.DeviceIDs
	if d.Targets.SiteID != nil {
		table, at, ids = "sites", "/targets/site_id", []uuid.UUID{*d.Targets.SiteID}
	}
	if len(ids) == 0 {
		return nil
	}
	var foreign bool
	err := tx.Raw("select exists (select from "+table+" where id = any(?::uuid[]) and tenant_id <> ?)", idList(ids), d.TenantID).Scan(&foreign).Error
	if err != nil || !foreign {
		return err
	}
	return fault.InvalidField(at, "belongs to another tenant than the schedule")
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
		if err := d.foreignTx(tx); err != nil {
			return err
		}
		made = d.schedule(uuid.Must(uuid.NewV7()), who.Actor.Name)
		made.CreatedAt, made.UpdatedAt, made.Version = tenantdb.Now(tx), tenantdb.Now(tx), 1
		made.Answers = who.Actor.Person()
		if err := insertSchedule(tx, made); err != nil {
			return err
		}
		runs, err := s.replanTx(tx, made)
		if err != nil {
			return err
		}
		if made.Enabled && !runs {
			return errNeverRuns
		}
		reach, err := s.fleet.ResolveTx(tx, made.Targets)
		if err != nil {
			return err
		}
		if err := s.checkTx(tx, &made, reach, d.Reason); err != nil {
			return err
		}
		if err := s.decorate(tx, &made); err != nil {
			return err
		}
		return audit.WriteTx(tx, made.entry("schedule.created", nil, made.face()))
	})
	return made, err
}

var errNeverRuns = fault.InvalidField("/recurrence", "never runs again: its times lie in the past")

func (d Definition) schedule(id uuid.UUID, author string) Schedule {
	d.CatchUp.Policy = d.CatchUp.effective(d.Recurrence)
	return Schedule{TenantID: d.TenantID, ID: id, Name: strings.TrimSpace(d.Name), Enabled: d.Enabled, What: d.What, Targets: d.Targets,
		Recurrence: d.Recurrence, ZoneMode: d.ZoneMode, Window: d.Window, CatchUp: d.CatchUp, JitterSeconds: d.JitterSeconds, CreatedBy: author}
}

// effective is the policy in force when nobody chose one.
func (c CatchUp) effective(r Recurrence) Policy {
	switch {
	case c.Policy != "":
		return c.Policy
	case r.Once != "":
		return RunASAP
	}
	return Skip
}

// checkTx lets the executor judge the work, and keeps the question that it asked a second person.
func (s *Service) checkTx(tx *gorm.DB, sch *Schedule, reach []fleet.Target, reason string) error {
	if sch.TenantID != uuid.UUID(scope.Provider) {
		for _, t := range reach {
			if t.TenantID != sch.TenantID {
				return fault.InvalidField("/targets", "names a device of another tenant than the schedule's")
			}
		}
	}
	approval, err := s.exec.CheckTx(tx, *sch, reach, reason)
	if err != nil {
		return ofWork(err)
	}
	if approval == sch.ApprovalID || approval != nil && sch.ApprovalID != nil && *approval == *sch.ApprovalID {
		return nil
	}
	sch.ApprovalID = approval
	return tx.Exec("update schedules set approval_id = ? where tenant_id = ? and id = ?", approval, sch.TenantID, sch.ID).Error
}

// ofWork puts the executor's faults where the work stands in a schedule.
func ofWork(err error) error {
	f, ok := fault.As(err)
	if !ok || f.Kind != fault.Invalid {
		return err
	}
	moved := *f
	moved.Fields = slices.Clone(f.Fields)
	for i, x := range moved.Fields {
		if strings.HasPrefix(x.Pointer, "/payload") || x.Pointer == "/kind" {
			moved.Fields[i].Pointer = "/what" + x.Pointer
		}
	}
	return &moved
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

// Update changes a schedule. Runs that are due already happen, or are missed, by what it was; the rest
// is planned anew when its times change.
func (s *Service) Update(ctx context.Context, id uuid.UUID, c Change) (Schedule, error) {
	var after Schedule
	err := s.db.Tx(ctx, func(tx *gorm.DB) error {
		before, err := s.manageable(ctx, tx, id)
		if err != nil {
			return err
		}
		if before.Version != c.Version {
			return tenantdb.ErrStale
		}
		d := c.apply(before)
		if err := d.Validate(); err != nil {
			return err
		}
		if err := d.confine(); err != nil {
			return err
		}
		if c.Targets != nil {
			if err := d.foreignTx(tx); err != nil {
				return err
			}
		}
		after = d.schedule(id, before.CreatedBy)
		after.CreatedAt, after.Version, after.UpdatedAt = before.CreatedAt, c.Version+1, tenantdb.Now(tx)
		if err := s.carryOver(tx, before, &after); err != nil {
			return err
		}
		if err := updateSchedule(tx, after, c.Version); err != nil {
			return err
		}
		if err := s.retimeTx(tx, before, after); err != nil {
			return err
		}
		// Switching off is always possible, whatever became of the targets.
		if after.Enabled || !same(before.What, after.What) || !same(before.Targets, after.Targets) {
			if err := s.recheckTx(tx, &after, c.Targets != nil); err != nil {
				return err
			}
		}
		if err := s.decorate(tx, &after); err != nil {
			return err
		}
		return audit.WriteTx(tx, after.entry("schedule.changed", before.face(), after.face()))
	})
	return after, err
}

// carryOver decides what of a second person's consent still counts: what was agreed to is this work on
// these targets, and other work is asked about anew. Who changed it answers for it from then on.
func (s *Service) carryOver(tx *gorm.DB, before Schedule, after *Schedule) error {
	after.ApprovalID, after.Approved, after.Answers = before.ApprovalID, before.Approved, before.Answers
	if same(before.What, after.What) && same(before.Targets, after.Targets) {
		return nil
	}
	after.ApprovalID, after.Approved, after.Answers = nil, 0, tenantdb.ScopeOf(tx).Actor.Person()
	return s.exec.ForgetTx(tx, before, "the schedule was changed")
}

func (s *Service) recheckTx(tx *gorm.DB, after *Schedule, chosen bool) error {
	resolve := s.reachTx
	if chosen { // what somebody names now must be there
		resolve = func(tx *gorm.DB, sch Schedule) ([]fleet.Target, error) { return s.fleet.ResolveTx(tx, sch.Targets) }
	}
	reach, err := resolve(tx, *after)
	if err != nil {
		return err
	}
	return s.checkTx(tx, after, reach, "changed schedule")
}

// same compares by what is stored.
func same(a, b any) bool {
	x, err := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err == nil && err2 == nil && sameJSON(x, y)
}

// sameJSON ignores the order of keys and white space, which the database does not keep.
func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
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
		if err := s.exec.ForgetTx(tx, sch, "the schedule was deleted"); err != nil {
			return err
		}
		return audit.WriteTx(tx, sch.entry("schedule.deleted", sch.face(), nil))
	})
}

// ErrNoDevices says that there is nothing to run on.
var ErrNoDevices = fault.New(fault.Conflict, "the targets choose no active device now")

// RunNow fires a schedule once, for all of its devices, whatever its zone and window say.
func (s *Service) RunNow(ctx context.Context, id uuid.UUID) (job uuid.UUID, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		sch, err := s.manageable(ctx, tx, id)
		if err != nil {
			return err
		}
		now := s.clock(tx)
		if hold, err := s.holdTx(tx, sch.TenantID); err != nil {
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
		jobs, err := s.expandTx(tx, []expansion{{schedule: sch, run: run}})
		if err != nil {
			return err
		}
		if job = jobs[0]; job == uuid.Nil {
			return ErrNoDevices
		}
		return audit.WriteTx(tx, sch.entry("schedule.run", nil, map[string]any{"job_id": job}))
	})
	return job, err
}

func (s *Service) manageable(ctx context.Context, tx *gorm.DB, id uuid.UUID) (Schedule, error) {
	sch, err := loadSchedule(tx, nil, id, true)
	if err != nil {
		return sch, err
	}
	return sch, mayManage(scope.From(ctx), sch.TenantID)
}

// SubjectType is how approvals name a schedule.
const SubjectType = "schedule"

// DecidedTx is told of the decision of a second person over a schedule that reaches far: from then on
// its runs may reach as many devices as were shown to that person. A yes to what the schedule was before
// somebody changed it counts for nothing.
func (s *Service) DecidedTx(tx *gorm.DB, a tenants.Approval) error {
	if a.State != tenants.Approved {
		return nil
	}
	devices, _ := a.Detail["devices"].(float64)
	return tx.Exec("update schedules set approved_devices = ? where tenant_id = ? and id = ? and approval_id = ?",
		int(devices), a.TenantID, a.SubjectID, a.ID).Error
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
