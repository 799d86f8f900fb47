package tasks

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/api/wire"
	"reeve/server/fleet"
	"reeve/tenants"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

const (
	defaultLife = 7 * 24 * time.Hour
	shortest    = time.Minute
	maxName     = 200
	maxReason   = 1000
)

// Validate reports every faulty field that can be seen without the database.
func (n NewJob) Validate(now time.Time) error {
	var f fault.Fields
	f.Check(utf8.RuneCountInString(n.Name) <= maxName && printable(n.Name), "/name", "give at most %d characters without control characters", maxName)
	f.Check(n.ExpiresIn == 0 || n.ExpiresIn >= shortest, "/expires_in_seconds", "give at least %d", int(shortest.Seconds()))
	start := later(n.NotBefore, now)
	f.Check(start.Add(n.life()).Sub(now) <= wire.MaxTaskLife, "/expires_in_seconds", "a task lives at most 90 days from now on")
	f.Check(utf8.RuneCountInString(n.Reason) <= maxReason && plain(n.Reason), "/reason", "give at most %d characters", maxReason)
	f.Check(!n.OverrideBlackout || strings.TrimSpace(n.Reason) != "", "/reason", "say why the blackout is overridden")
	if n.Devices == nil {
		if err := n.Targets.Validate(); err != nil {
			if e, ok := fault.As(err); ok {
				f = append(f, e.Fields...)
			}
		}
	}
	return f.Err()
}

func (n NewJob) life() time.Duration {
	if n.ExpiresIn == 0 {
		return defaultLife
	}
	return n.ExpiresIn
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func printable(s string) bool {
	return plain(s) && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}

// plan is a job as it will be, before anything is written.
type plan struct {
	job      Job
	kind     Kind
	work     work
	targets  []fleet.Target
	reach    reach
	brake    brake
	blackout []string
	request  NewJob
}

// CreateJob asks for work on devices. Within the limits of the brake its tasks are made at once, or for
// a first share of the devices; beyond them the job waits for a second person.
func (s *Service) CreateJob(ctx context.Context, n NewJob) (job Job, err error) {
	var p plan
	narrow := false
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		if p, err = s.plan(ctx, tx, n); err != nil {
			return err
		}
		if narrow = beyond(tx, p.job.TenantID); narrow {
			return nil
		}
		job, err = s.start(ctx, tx, p)
		return err
	})
	if err != nil || !narrow {
		return job, err
	}
	err = s.db.System(ctx, func(tx *gorm.DB) error {
		job, err = s.start(ctx, tx, p)
		return err
	})
	return job, err
}

// beyond tells whether rows of this tenant cannot be written with the transaction's reach: a technician
// of several tenants may run a job over all of them, and it is then the provider's.
func beyond(tx *gorm.DB, tenant uuid.UUID) bool { return !tenantdb.ScopeOf(tx).Sees(tenant) }

// CreateJobTx is CreateJob in the caller's transaction, which must reach the job's owner. The audit
// entries are its last statements.
func (s *Service) CreateJobTx(ctx context.Context, tx *gorm.DB, n NewJob) (Job, error) {
	p, err := s.plan(ctx, tx, n)
	if err != nil {
		return Job{}, err
	}
	return s.start(ctx, tx, p)
}

// CreateJobsTx is CreateJobTx for many jobs, with the statements of few: the limits are read once, and
// the audit entries are written together. Jobs that nobody waits for are not counted.
func (s *Service) CreateJobsTx(ctx context.Context, tx *gorm.DB, list []NewJob) ([]uuid.UUID, error) {
	batch := *s
	batch.o.Brakes = remember(s.o.Brakes)
	ids := make([]uuid.UUID, len(list))
	var entries []audit.Entry
	for i, n := range list {
		p, err := batch.plan(ctx, tx, n)
		if err != nil {
			return nil, err
		}
		j, err := batch.place(ctx, tx, p)
		if err != nil {
			return nil, err
		}
		ids[i], entries = j.ID, append(entries, p.entries(j)...)
	}
	return ids, audit.WriteTx(tx, entries...)
}

type brakesFunc = func(tx *gorm.DB, ids []uuid.UUID) (map[uuid.UUID]tenants.JobSpec, error)

// remember asks once for each set of tenants.
func remember(brakes brakesFunc) brakesFunc {
	known := map[string]map[uuid.UUID]tenants.JobSpec{}
	return func(tx *gorm.DB, ids []uuid.UUID) (map[uuid.UUID]tenants.JobSpec, error) {
		key := fmt.Sprint(ids)
		if specs, ok := known[key]; ok {
			return specs, nil
		}
		specs, err := brakes(tx, ids)
		if err == nil {
			known[key] = specs
		}
		return specs, err
	}
}

// Preview is what a job would reach.
type Preview struct {
	Devices, Tenants, Online int
	NeedsApproval            bool
	Reasons                  []string // why a second person is needed, or what stands against it
	Sample                   []fleet.Ref
}

const sampleSize = 10

// PreviewJob counts what a job would reach, without starting it.
func (s *Service) PreviewJob(ctx context.Context, n NewJob) (v Preview, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		p, err := s.prepare(ctx, tx, n)
		if err != nil {
			return err
		}
		v = Preview{Devices: p.reach.total, Tenants: len(p.reach.devices), NeedsApproval: len(p.brake.reasons) > 0,
			Reasons: append(append([]string{}, p.brake.reasons...), p.blackout...)}
		v.Online, v.Sample, err = s.o.Fleet.GlanceTx(tx, deviceIDs(p.targets), sampleSize)
		return err
	})
	return v, err
}

// Collect orders a fresh inventory of a device. It changes nothing there, so whoever manages the device
// may do it.
func (s *Service) Collect(ctx context.Context, device uuid.UUID) (t Task, err error) {
	j, err := s.CreateJob(ctx, NewJob{Kind: wire.KindInventory, Targets: fleet.Selector{DeviceIDs: []uuid.UUID{device}},
		Payload: []byte("{}"), Origin: Inventory, Cleared: true, OverrideBlackout: true, Reason: "reading only", permission: permManageDevices})
	if err != nil {
		return Task{}, err
	}
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		var rows []taskView
		if err := taskViews(tx).Where("t.job_id = ?", j.ID).Scan(&rows).Error; err != nil {
			return err
		}
		if len(rows) == 0 {
			return ErrNoDevices
		}
		t = rows[0].task()
		return nil
	})
	return t, err
}

// plan checks everything and decides; it refuses what may not start.
func (s *Service) plan(ctx context.Context, tx *gorm.DB, n NewJob) (plan, error) {
	p, err := s.prepare(ctx, tx, n)
	if err != nil {
		return p, err
	}
	if p.reach.total == 0 {
		return p, ErrNoDevices
	}
	if len(p.blackout) > 0 && !n.OverrideBlackout {
		return p, fault.Newf(fault.Conflict, "%s; override the blackout with a reason, or wait", strings.Join(p.blackout, "; "))
	}
	return p, nil
}

func (s *Service) prepare(ctx context.Context, tx *gorm.DB, n NewJob) (plan, error) {
	now := tenantdb.Now(tx)
	kind, known := s.kinds[n.Kind]
	if !known {
		return plan{}, fault.InvalidField("/kind", "use one of "+strings.Join(s.Kinds(), ", "))
	}
	if err := n.Validate(now); err != nil {
		return plan{}, err
	}
	w, err := kind.prepare(tx, n.Payload)
	if err != nil {
		return plan{}, err
	}
	return s.planWork(ctx, tx, n, kind, w)
}

// planWork plans a job whose payload has been checked.
func (s *Service) planWork(ctx context.Context, tx *gorm.DB, n NewJob, kind Kind, w work) (plan, error) {
	if len(w.body) > wire.MaxPayloadBytes-maxHead {
		return plan{}, fault.InvalidField("/payload", "the payload is too large once encoded")
	}
	w.jitter = n.Jitter
	p := plan{kind: kind, work: w, request: n, targets: n.Devices}
	var err error
	if n.Devices == nil {
		if p.targets, err = s.o.Fleet.ResolveTx(tx, n.Targets); err != nil {
			return p, err
		}
	}
	p.reach = reachOf(p.targets)
	if err := mayReach(tx, p.reach, orElse(n.permission, permRun)); err != nil {
		return p, err
	}
	if n.Origin != Scheduled { // a schedule's tasks wait until its windows and blackouts let them start
		start := later(n.NotBefore, tenantdb.Now(tx))
		if p.blackout, err = s.o.Blackout(ctx, tx, p.targets, start); err != nil {
			return p, err
		}
	}
	specs, err := s.o.Brakes(tx, p.reach.tenants())
	if err != nil {
		return p, err
	}
	p.brake = decideBrake(p.reach, kind, specs)
	if n.Cleared {
		p.brake.reasons = nil
	}
	p.job = newJob(tx, n, p)
	return p, nil
}

// maxHead is more than the fields of an envelope take beside its body.
const maxHead = 1024

// mayReach refuses a job that touches a tenant where the actor may not run any.
func mayReach(tx *gorm.DB, r reach, permission string) error {
	who := tenantdb.ScopeOf(tx)
	var denied []uuid.UUID
	for _, id := range r.tenants() {
		if !who.May(permission, id) {
			denied = append(denied, id)
		}
	}
	if len(denied) == 0 {
		return nil
	}
	var name string
	if err := tx.Table("tenants").Select("name").Where("id = ?", denied[0]).Scan(&name).Error; err != nil {
		return err
	}
	if len(denied) == 1 {
		return fault.Newf(fault.Forbidden, "the targets include devices of %s, where you may not run jobs", name)
	}
	return fault.Newf(fault.Forbidden, "the targets include devices of %s and %d more tenants where you may not run jobs", name, len(denied)-1)
}

func newJob(tx *gorm.DB, n NewJob, p plan) Job {
	who, now := tenantdb.ScopeOf(tx), tenantdb.Now(tx)
	j := Job{ID: uuid.Must(uuid.NewV7()), TenantID: p.reach.owner(), Name: strings.TrimSpace(n.Name), Kind: n.Kind, Targets: n.Targets,
		Payload: p.work.shown, Origin: n.Origin, ScheduleID: n.ScheduleID, RetryOf: n.retryOf, TenantIDs: p.reach.tenants(),
		TasksTotal: p.reach.total, Counts: map[State]int{}, CreatedBy: who.Actor.Name, CreatedAt: now,
		NotBefore: later(n.NotBefore.UTC().Truncate(time.Microsecond), now)}
	if j.Name == "" {
		j.Name = p.work.title
	}
	if j.Origin == "" {
		j.Origin = Manual
	}
	j.ExpiresAt = j.NotBefore.Add(n.life())
	switch {
	case len(p.brake.reasons) > 0:
		j.State, j.StateReason = WaitingApproval, strings.Join(p.brake.reasons, "; ")
	case p.brake.canary > 0 && p.reach.total*p.brake.canary <= (p.reach.total-1)*100:
		j.State = Canary
	default:
		j.State = RunningJob
	}
	return j
}

// start writes a planned job, and the audit log.
func (s *Service) start(ctx context.Context, tx *gorm.DB, p plan) (Job, error) {
	j, err := s.place(ctx, tx, p)
	if err != nil {
		return Job{}, err
	}
	if err := countTasks(tx, []*Job{&j}); err != nil {
		return Job{}, err
	}
	return j, audit.WriteTx(tx, p.entries(j)...)
}

// place writes a planned job: its row, what waits, and the tasks that need not.
func (s *Service) place(ctx context.Context, tx *gorm.DB, p plan) (Job, error) {
	j := p.job
	first, rest := splitCanary(j.ID, p.targets, p.brake.canary)
	if rest != nil && j.State == RunningJob {
		j.State = Canary
	}
	if err := insertJob(tx, j, p); err != nil {
		return Job{}, err
	}
	waiting := map[int][]fleet.Target{}
	if rest != nil {
		waiting[restWave] = rest
	}
	if j.State == WaitingApproval {
		waiting[firstWave] = first
	}
	if err := insertWaves(tx, j, waiting); err != nil {
		return Job{}, err
	}
	if j.State == WaitingApproval {
		a, err := s.askApproval(tx, j, p)
		if err != nil {
			return Job{}, err
		}
		j.ApprovalID = &a.ID
	} else if err := s.release(ctx, tx, &j, p.work, first); err != nil {
		return Job{}, err
	}
	return j, nil
}

func (s *Service) askApproval(tx *gorm.DB, j Job, p plan) (tenants.Approval, error) {
	a, err := s.o.RequestApproval(tx, tenants.ApprovalRequest{TenantID: j.TenantID, Kind: tenants.BlastRadius,
		Summary:     cut(fmt.Sprintf("Job %q: %s on %d devices of %d tenants", j.Name, p.kind.Title, p.reach.total, len(p.reach.devices)), 500),
		SubjectType: SubjectType, SubjectID: j.ID, Reason: p.request.Reason,
		Detail: map[string]any{"devices": p.reach.total, "tenants": len(p.reach.devices), "reasons": p.brake.reasons, "kind": j.Kind}})
	if err != nil {
		return a, err
	}
	return a, tx.Exec("UPDATE jobs SET approval_id = ? WHERE tenant_id = ? AND id = ?", a.ID, j.TenantID, j.ID).Error
}

// entries are what the audit logs say: one entry for each tenant reached, and one for the owner.
func (p plan) entries(j Job) []audit.Entry {
	entry := func(tenant uuid.UUID, devices int) audit.Entry {
		e := audit.Entry{TenantID: tenant, Action: "job.created", ObjectType: "job", ObjectID: j.ID.String(), ObjectName: j.Name,
			After: map[string]any{"kind": j.Kind, "origin": j.Origin, "state": j.State, "devices": devices, "run_as": p.work.runAs,
				"not_before": j.NotBefore, "expires_at": j.ExpiresAt, "payload_sha256": digest(p.work.body)}}
		e.Detail = map[string]any{}
		if p.request.Reason != "" {
			e.Detail["reason"] = p.request.Reason
		}
		if p.request.OverrideBlackout && len(p.blackout) > 0 {
			e.Detail["blackout_overridden"] = p.blackout
		}
		return e
	}
	entries := make([]audit.Entry, 0, len(p.reach.devices)+1)
	for _, id := range p.reach.tenants() {
		entries = append(entries, entry(id, p.reach.devices[id]))
	}
	if j.TenantID == scope.Provider && p.reach.devices[scope.Provider] == 0 {
		entries = append(entries, entry(scope.Provider, p.reach.total))
	}
	return entries
}

func deviceIDs(targets []fleet.Target) []uuid.UUID {
	ids := make([]uuid.UUID, len(targets))
	for i, t := range targets {
		ids[i] = t.DeviceID
	}
	return ids
}

func cut(s string, runes int) string {
	if utf8.RuneCountInString(s) <= runes {
		return s
	}
	return string([]rune(s)[:runes-1]) + "…"
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
