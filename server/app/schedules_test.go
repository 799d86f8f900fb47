package app

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/dbtest"
	"reeve/server/fleet"
	"reeve/server/schedule"
	"reeve/server/tasks"
	"reeve/tenants"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// planner is schedules on the real queue, wired as the server wires them.
type planner struct {
	t         *testing.T
	db        *tenantdb.DB
	tasks     *tasks.Service
	schedules *schedule.Service
	approvals *tenants.Approvals
	settings  *tenants.Settings
	author    context.Context
	second    context.Context

	tenant, site, token uuid.UUID
}

var plannerRights = []string{"schedules.read", "schedules.manage", "jobs.read", "jobs.run", "approvals.read", "approvals.decide",
	"settings.read", "settings.manage", "devices.read"}

func newPlanner(t *testing.T) *planner {
	t.Helper()
	p := &planner{t: t, db: dbtest.New(t), author: dbtest.Staff(t, plannerRights...), second: dbtest.Staff(t, plannerRights...)}
	_, key, err := ed25519.GenerateKey(nil)
	p.must(err)
	p.settings = tenants.NewSettings(p.db, nil)
	p.approvals = tenants.NewApprovals(p.db, map[string]tenants.DecidedFunc{
		tasks.SubjectType:    func(ctx context.Context, tx *gorm.DB, a tenants.Approval) error { return p.tasks.Decided(ctx, tx, a) },
		schedule.SubjectType: func(_ context.Context, tx *gorm.DB, a tenants.Approval) error { return p.schedules.DecidedTx(tx, a) },
	})
	devices := fleet.New(fleet.Options{DB: p.db, Log: dbtest.Log(t)})
	p.tasks, err = tasks.New(tasks.Options{DB: p.db, Log: dbtest.Log(t), Fleet: devices, Brakes: p.settings.JobsOf, Blackout: blackout,
		Signer:          func(context.Context) (string, ed25519.PrivateKey, error) { return "k1", key, nil },
		RequestApproval: p.approvals.RequestTx, Outcome: map[string]tasks.OutcomeFunc{"script.run": missed, "inventory.collect": missed}})
	p.must(err)
	p.schedules = schedule.New(p.db, devices, executor{p.tasks, p.approvals}, dbtest.Log(t))
	p.tenant, p.site, p.token = p.place()
	return p
}

func (p *planner) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *planner) exec(sql string, args ...any) {
	p.t.Helper()
	p.must(p.db.System(dbtest.System(p.t), func(tx *gorm.DB) error { return tx.Exec(sql, args...).Error }))
}

func (p *planner) texts(sql string, args ...any) (list []string) {
	p.t.Helper()
	p.must(p.db.System(dbtest.System(p.t), func(tx *gorm.DB) error { return tx.Raw(sql, args...).Scan(&list).Error }))
	return list
}

func (p *planner) place() (tenant, site, token uuid.UUID) {
	p.t.Helper()
	tenant, site, token = uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	p.must(p.db.Tx(dbtest.Staff(p.t), func(tx *gorm.DB) error {
		return tx.Exec("insert into tenants (id, name, slug) values (?, ?, ?)", tenant, tenant.String(), strings.ToLower(tenant.String())).Error
	}))
	p.exec("insert into sites (tenant_id, id, name) values (?, ?, 'Main')", tenant, site)
	p.exec(`insert into enrolment_tokens (tenant_id, id, site_id, token_hash, max_uses, expires_at, created_by)
		values (?, ?, ?, sha256(?::text::bytea), 1, now(), ?)`, tenant, token, site, token.String(), token)
	return tenant, site, token
}

func (p *planner) device(tenant, site, token uuid.UUID) uuid.UUID {
	p.t.Helper()
	id := uuid.Must(uuid.NewV7())
	p.exec(`insert into devices (tenant_id, id, site_id, enrolment_token_id, public_key, state, name, name_key, hostname, os_family)
		values (?, ?, ?, ?, sha256(?::text::bytea), 'active', 'pc', 'pc', 'pc', 'linux')`, tenant, id, site, token, id.String())
	return id
}

func (p *planner) own() uuid.UUID { return p.device(p.tenant, p.site, p.token) }

// everyMinute is a schedule of the tenant over all of its devices.
func (p *planner) everyMinute() schedule.Definition {
	return schedule.Definition{TenantID: p.tenant, Name: "Every minute", Enabled: true, Targets: fleet.Selector{TenantID: &p.tenant},
		What:       schedule.Work{Kind: "script.run", Payload: json.RawMessage(`{"interpreter": "bash", "script": "true", "timeout_seconds": 60}`)},
		Recurrence: schedule.Recurrence{Cron: "* * * * *"}, ZoneMode: "UTC", CatchUp: schedule.CatchUp{Policy: schedule.RunASAP}}
}

func (p *planner) create(d schedule.Definition) schedule.Schedule {
	p.t.Helper()
	made, err := p.schedules.Create(p.author, d)
	p.must(err)
	return made
}

// fire has the schedule run once more. The runs before it are moved a day back, out of its way.
func (p *planner) fire(s schedule.Schedule) tasks.Job {
	p.t.Helper()
	p.exec(`update schedule_runs set key = 'before/' || id, nominal = 'before', fired_at = fired_at - interval '1 day' where schedule_id = ?`, s.ID)
	p.exec("update schedule_occurrences set key = 'before/' || run_id where schedule_id = ?", s.ID)
	p.exec("update schedule_due set through = now() - interval '1 minute', wake_at = now() where schedule_id = ?", s.ID)
	for _, sweep := range []func(context.Context) (int, error){p.schedules.SweepDue, p.schedules.SweepRuns} {
		_, err := sweep(dbtest.System(p.t))
		p.must(err)
	}
	job := p.texts("select coalesce(job_id::text, state || ': ' || reason) from schedule_runs where schedule_id = ? order by id desc limit 1", s.ID)[0]
	id, err := uuid.Parse(job)
	if err != nil {
		p.t.Fatalf("no job: %s", job)
	}
	return p.job(id)
}

func (p *planner) job(id uuid.UUID) tasks.Job {
	p.t.Helper()
	j, err := p.tasks.GetJob(p.author, id)
	p.must(err)
	return j
}

func (p *planner) lease(devices ...uuid.UUID) (n int) {
	p.t.Helper()
	p.must(p.db.System(dbtest.System(p.t), func(tx *gorm.DB) error {
		leases, err := p.tasks.LeaseTx(tx, devices)
		for _, list := range leases {
			n += len(list)
		}
		return err
	}))
	return n
}

func (p *planner) ledger(s schedule.Schedule) []string {
	p.t.Helper()
	return p.texts("select reason || case when device_id is null then '' else ' device' end from missed_runs where schedule_id = ? order by id", s.ID)
}

func (p *planner) want(what string, got, want []string) {
	p.t.Helper()
	if !slices.Equal(got, want) {
		p.t.Errorf("%s: %v, not %v", what, got, want)
	}
}

func TestDevicesOfAScheduleStartEachAtItsPlace(t *testing.T) {
	t.Parallel()
	p := newPlanner(t)
	for range 20 {
		p.own()
	}
	d := p.everyMinute()
	d.JitterSeconds = 3600
	s := p.create(d)
	places := func(j tasks.Job) map[uuid.UUID]time.Duration {
		all := map[uuid.UUID]time.Duration{}
		list, _, err := p.tasks.ListTasks(p.author, tasks.TaskFilter{JobID: &j.ID}, "", 100)
		p.must(err)
		for _, task := range list {
			all[task.DeviceID] = task.NotBefore.Sub(j.NotBefore)
			if want := schedule.Jitter(s.ID, task.DeviceID, time.Hour); all[task.DeviceID] != want {
				t.Errorf("device %s starts %s after the first, not %s", task.DeviceID, all[task.DeviceID], want)
			}
			if !task.ExpiresAt.After(task.NotBefore) {
				t.Errorf("it expires at %s, before it begins", task.ExpiresAt)
			}
		}
		return all
	}
	first, second := places(p.fire(s)), places(p.fire(s))
	if len(first) != 20 || len(second) != 20 {
		t.Fatalf("%d and %d tasks", len(first), len(second))
	}
	distinct := map[time.Duration]bool{}
	for device, at := range first {
		if second[device] != at {
			t.Error("a device lost its place")
		}
		distinct[at] = true
	}
	if len(distinct) < 15 {
		t.Errorf("%d places for 20 devices", len(distinct))
	}
}

func TestADeviceThatWasAwayDoesRecurringWorkOnce(t *testing.T) {
	t.Parallel()
	p := newPlanner(t)
	device := p.own()
	s := p.create(p.everyMinute())
	var jobs []tasks.Job
	for range 4 {
		jobs = append(jobs, p.fire(s))
	}
	p.want("missed", p.ledger(s), []string{"offline device", "offline device", "offline device"})
	if n := p.lease(device); n != 1 {
		t.Errorf("the device gets %d tasks on its return", n)
	}
	for i, j := range jobs {
		if counts := p.job(j.ID).Counts; i < 3 && counts[tasks.Skipped] != 1 || i == 3 && counts[tasks.Leased] != 1 {
			t.Errorf("run %d: %v", i, counts)
		}
	}
	// What somebody starts by hand is not replaced by the run that comes a moment later, nor replaces it.
	p.exec("update tasks set state = 'succeeded', finished_at = now() where state = 'leased'")
	byHand, err := p.schedules.RunNow(p.author, s.ID)
	p.must(err)
	p.exec("update schedule_due set through = now() - interval '1 minute', wake_at = now()")
	_, err = p.schedules.SweepDue(dbtest.System(t))
	p.must(err)
	_, err = p.schedules.SweepRuns(dbtest.System(t))
	p.must(err)
	if c := p.job(byHand).Counts; c[tasks.Queued] != 1 {
		t.Errorf("the job by hand: %v", c)
	}
}

func TestATaskThatNobodyFetchedIsAMiss(t *testing.T) {
	t.Parallel()
	p := newPlanner(t)
	p.own()
	s := p.create(p.everyMinute())
	j := p.fire(s)
	p.exec("update tasks set expires_at = now() - interval '1 second' where job_id = ?", j.ID)
	p.exec("update jobs set expires_at = now() - interval '1 second' where id = ?", j.ID)
	_, err := p.tasks.SweepExpired(dbtest.System(t))
	p.must(err)
	p.want("missed", p.ledger(s), []string{"offline device"})
	misses, _, err := p.schedules.Missed(p.author, schedule.MissedFilter{ScheduleID: &s.ID}, "", 10)
	if err != nil || len(misses) != 1 || misses[0].DeviceName == nil || *misses[0].DeviceName != "pc" {
		t.Errorf("%+v, %v", misses, err)
	}
}

func TestWindowsAndBlackoutsTravelWithTheTasks(t *testing.T) {
	t.Parallel()
	p := newPlanner(t)
	here := p.own()
	otherTenant, otherSite, otherToken := p.place()
	there := p.device(otherTenant, otherSite, otherToken)
	d := p.everyMinute()
	d.TenantID, d.Targets = scope.Provider, fleet.Selector{AllTenants: true}
	s := p.create(d)
	now := time.Now().UTC()
	_, err := p.schedules.CreateBlackout(p.author, otherTenant, "Freeze", schedule.Blackout{Zone: "UTC",
		From: now.AddDate(0, 0, -1).Format("2006-01-02T15:04"), Until: now.AddDate(0, 0, 1).Format("2006-01-02T15:04")})
	p.must(err)
	p.exec("update schedules set approved_devices = 10") // the limits are another test's
	j := p.fire(s)
	if n := p.lease(here); n != 1 {
		t.Errorf("%d tasks where nothing holds", n)
	}
	if n := p.lease(there); n != 0 {
		t.Errorf("%d tasks in the blackout of their tenant", n)
	}
	p.exec("update tasks set open_ranges = null where device_id = ?", there)
	if n := p.lease(there); n != 1 {
		t.Errorf("%d tasks when nothing holds any more, of %v", n, p.job(j.ID).Counts)
	}
	p.exec("update tasks set state = 'succeeded', finished_at = now()")

	// A window that is over before the work would be: the devices wait for the next one.
	d = p.everyMinute()
	start := now.Add(-10 * time.Minute)
	d.Window = &schedule.MaintenanceWindow{Start: schedule.Recurrence{Cron: fmt.Sprintf("%d %d * * *", start.Minute(), start.Hour())}, DurationSeconds: 3600}
	d.CatchUp.Policy = schedule.RunInNextWindow
	s = p.create(d)
	p.fire(s)
	if n := p.lease(here); n != 1 {
		t.Errorf("%d tasks inside the window", n)
	}
	p.exec("update tasks set state = 'succeeded', finished_at = now()")
	p.fire(s)
	p.exec("update tasks set open_ranges = range_merge(open_ranges)::tstzmultirange - tstzmultirange(tstzrange(now() - interval '1 hour', now() + interval '1 hour')) where state = 'queued'")
	if n := p.lease(here); n != 0 {
		t.Errorf("%d tasks after the window", n)
	}
}

func TestFarReachingSchedulesNeedASecondPerson(t *testing.T) {
	t.Parallel()
	p := newPlanner(t)
	for range 4 {
		p.own()
	}
	doc, err := p.settings.ReadJobs(p.author, scope.Provider)
	p.must(err)
	_, err = p.settings.PutJobs(p.author, scope.Provider, tenants.Document[tenants.JobSpec]{Version: doc.Version,
		Value: tenants.JobSpec{MaxDevices: 3, MaxTenants: 10, CanaryPercent: 25, StopFailurePercent: 50}})
	p.must(err)
	s := p.create(p.everyMinute())
	if s.ApprovalID == nil {
		t.Fatal("nobody is asked")
	}

	// Until somebody agrees each run asks by itself, in the author's name, and a newer one replaces it.
	first := p.fire(s)
	if first.State != tasks.WaitingApproval || first.ApprovalID == nil {
		t.Fatalf("the first run is %s", first.State)
	}
	for what, id := range map[string]uuid.UUID{"the schedule": *s.ApprovalID, "a run": *first.ApprovalID} {
		if _, err := p.approvals.Approve(p.author, id, "me, too"); !errors.Is(err, tenants.ErrOwnRequest) {
			t.Errorf("the author agrees to %s: %v", what, err)
		}
	}
	second := p.fire(s)
	if first = p.job(first.ID); first.State != tasks.CancelledJob || second.State != tasks.WaitingApproval {
		t.Errorf("the first run is %s, the second %s", first.State, second.State)
	}
	p.want("missed", p.ledger(s), []string{"queue"})

	// A change of the name asks nobody; the same question stands.
	name := "Renamed"
	renamed, err := p.schedules.Update(p.author, s.ID, schedule.Change{Version: s.Version, Name: &name})
	p.must(err)
	if renamed.ApprovalID == nil || *renamed.ApprovalID != *s.ApprovalID {
		t.Error("another question is asked")
	}

	// From the yes on runs go ahead without asking, a first share before the rest as ever.
	_, err = p.approvals.Approve(p.second, *s.ApprovalID, "fine")
	p.must(err)
	third := p.fire(s)
	if third.State != tasks.Canary || third.ApprovalID != nil {
		t.Errorf("the third run is %s", third.State)
	}
	p.exec("update jobs set finished_at = now(), state = 'finished'")

	// It reaches further than was agreed: that run asks again.
	p.own()
	if wider := p.fire(s); wider.State != tasks.WaitingApproval {
		t.Errorf("a wider run is %s", wider.State)
	}

	// Other work is another question, and the old yes is worth nothing.
	evil := schedule.Work{Kind: "script.run", Payload: json.RawMessage(`{"interpreter": "bash", "script": "rm -rf /"}`)}
	changed, err := p.schedules.Update(p.second, s.ID, schedule.Change{Version: renamed.Version, What: &evil})
	p.must(err)
	if changed.ApprovalID == nil || *changed.ApprovalID == *s.ApprovalID || changed.Approved != 0 {
		t.Errorf("other work goes under the consent to the first: %+v", changed)
	}
	if _, err := p.approvals.Approve(p.second, *changed.ApprovalID, "mine"); !errors.Is(err, tenants.ErrOwnRequest) {
		t.Errorf("who changed it agrees: %v", err)
	}
	p.must(p.schedules.Delete(p.author, s.ID))
	a, err := p.approvals.Get(p.author, *changed.ApprovalID)
	if err != nil || a.State != tenants.Withdrawn {
		t.Errorf("the question about a deleted schedule is %s, %v", a.State, err)
	}
}

// The right to keep schedules alone runs nothing, also where today's targets are empty.
func TestAScheduleNeedsTheRightToRunJobs(t *testing.T) {
	t.Parallel()
	p := newPlanner(t)
	d := p.everyMinute()
	d.Targets = fleet.Selector{Tag: "later"}
	_, err := p.schedules.Create(dbtest.Staff(t, "schedules.read", "schedules.manage"), d)
	if fault.KindOf(err) != fault.Forbidden {
		t.Errorf("%v", err)
	}
	p.create(d)
}
