package tasks_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/dbtest"
	"reeve/server/fleet"
	"reeve/server/tasks"
	"reeve/tenants"
	"reeve/tenants/scope"
)

// newJob is a small job as most tests want it.
func newJob(sel fleet.Selector) tasks.NewJob {
	return tasks.NewJob{Kind: "script.run", Targets: sel, Payload: script("true")}
}

func wantKind(t *testing.T, err error, kind fault.Kind, words string) {
	t.Helper()
	if fault.KindOf(err) != kind || !strings.Contains(err.Error(), words) {
		t.Errorf("got %v, want a fault %s that says %q", err, kind, words)
	}
}

func TestBeyondTheLimitsASecondPersonDecides(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.addPlace(5)
	w.limits(tenants.JobSpec{MaxDevices: 4, MaxTenants: 1})
	asker, other := dbtest.Staff(t, everything...), dbtest.Staff(t, everything...)

	create := func() tasks.Job {
		t.Helper()
		n := newJob(on(p.devices...))
		n.Reason = "the printers"
		j, err := w.s.CreateJob(asker, n)
		must(t, err)
		return j
	}
	j := create()
	if j.State != tasks.WaitingApproval || j.ApprovalID == nil || !strings.Contains(j.StateReason, "5 devices") || j.TasksTotal != 5 {
		t.Fatalf("%+v", j)
	}
	if n := len(w.tasksOf(j.ID)); n != 0 || len(w.rung) != 0 {
		t.Errorf("%d tasks and %d rings before the approval", n, len(w.rung))
	}
	w.sweepJobs()
	if got := w.job(j.ID); got.State != tasks.WaitingApproval {
		t.Errorf("a sweep made it %s", got.State)
	}
	_, err := w.approvals.Approve(asker, *j.ApprovalID, "")
	wantKind(t, err, fault.Forbidden, "second person")
	_, err = w.approvals.Approve(other, *j.ApprovalID, "go")
	must(t, err)
	if got := w.job(j.ID); got.State != tasks.RunningJob || got.Counts[tasks.Queued] != 5 {
		t.Errorf("approved: %+v", got)
	}
	if len(w.lease(p.devices...)) != 5 {
		t.Error("not every device gets its task")
	}

	j = create()
	_, err = w.approvals.Reject(other, *j.ApprovalID, "not today")
	must(t, err)
	if got := w.job(j.ID); got.State != tasks.Rejected || !strings.Contains(got.StateReason, "not today") || got.FinishedAt == nil {
		t.Errorf("rejected: %+v", got)
	}

	j = create()
	_, err = w.s.CancelJob(asker, j.ID)
	must(t, err)
	_, err = w.approvals.Approve(other, *j.ApprovalID, "")
	wantKind(t, err, fault.Conflict, "over already")
	if got := w.job(j.ID); got.State != tasks.CancelledJob || got.FinishedAt == nil || len(w.tasksOf(j.ID)) != 0 {
		t.Errorf("cancelled while it waited: %+v", got)
	}
}

func TestAFirstShareGoesFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.addPlace(20)
	w.limits(tenants.JobSpec{MaxDevices: 100, MaxTenants: 1, CanaryPercent: 10, StopFailurePercent: 50})
	finish := func(j tasks.Job, r tasks.Report) {
		for _, x := range w.tasksOf(j.ID) {
			if !x.State.Final() {
				w.accept(tasks.Update{ID: "u" + x.ID.String()[20:], TenantID: p.tenant, DeviceID: x.DeviceID, TaskID: x.ID, Report: r, At: time.Now()})
			}
		}
	}
	good := w.run(on(p.devices...))
	if good.State != tasks.Canary || good.Counts[tasks.Queued] != 2 || good.TasksTotal != 20 {
		t.Fatalf("%+v", good)
	}
	w.sweepJobs()
	if n := len(w.tasksOf(good.ID)); n != 2 {
		t.Fatalf("%d tasks while the first share is at it", n)
	}
	finish(good, tasks.ReportSucceeded)
	w.sweepJobs()
	if j := w.job(good.ID); j.State != tasks.RunningJob || j.Counts[tasks.Queued] != 18 {
		t.Fatalf("after the first share: %+v", j)
	}
	finish(good, tasks.ReportSucceeded)
	w.sweepJobs()
	if j := w.job(good.ID); j.State != tasks.Finished || j.Counts[tasks.Succeeded] != 20 {
		t.Fatalf("at the end: %+v", j)
	}

	bad := w.run(on(p.devices...))
	finish(bad, tasks.ReportFailed)
	w.sweepJobs()
	if j := w.job(bad.ID); j.State != tasks.Stopped || len(w.tasksOf(bad.ID)) != 2 {
		t.Fatalf("a failing first share: %+v", j)
	}
	w.sweepJobs()
	if j := w.job(bad.ID); j.FinishedAt == nil {
		t.Error("the stopped job never finishes")
	}
}

func TestAJobStopsWhenTooMuchFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.addPlace(12)
	w.limits(tenants.JobSpec{MaxDevices: 100, MaxTenants: 1, StopFailurePercent: 40})
	j := w.run(on(p.devices...))
	list := w.tasksOf(j.ID)
	for i, x := range list[:6] {
		r := tasks.ReportSucceeded
		if i%2 == 0 {
			r = tasks.ReportFailed
		}
		w.accept(tasks.Update{ID: "u", TenantID: p.tenant, DeviceID: x.DeviceID, TaskID: x.ID, Report: r})
	}
	w.accept(tasks.Update{ID: "r", TenantID: p.tenant, DeviceID: list[6].DeviceID, TaskID: list[6].ID, Report: tasks.ReportRunning})
	w.sweepJobs()
	got := w.job(j.ID)
	if got.State != tasks.Stopped || got.Counts[tasks.Cancelled] != 5 || got.Counts[tasks.Running] != 1 || got.FinishedAt != nil {
		t.Errorf("%+v", got)
	}
	w.accept(tasks.Update{ID: "e", TenantID: p.tenant, DeviceID: list[6].DeviceID, TaskID: list[6].ID, Report: tasks.ReportSucceeded})
	w.sweepJobs()
	if got := w.job(j.ID); got.FinishedAt == nil || got.State != tasks.Stopped {
		t.Errorf("%+v", got)
	}

	again, err := w.s.RetryFailed(dbtest.Staff(t, everything...), j.ID)
	must(t, err)
	if again.TasksTotal != 3 || again.Origin != tasks.Retry || *again.RetryOf != j.ID || string(again.Payload) == "" {
		t.Errorf("retry: %+v", again)
	}
	_, err = w.s.RetryFailed(dbtest.Staff(t, everything...), again.ID)
	wantKind(t, err, fault.Conflict, "no task of this job failed")
}

func TestCancelling(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.addPlace(3)
	j := w.run(on(p.devices...))
	lease := func(i int) uuid.UUID { return w.lease(p.devices[i])[p.devices[i]][0].TaskID }
	running, leased := lease(0), lease(1)
	w.accept(p.report(running, 0, "u1", tasks.ReportRunning))
	cancelled, err := w.s.CancelJob(dbtest.Staff(t, everything...), j.ID)
	must(t, err)
	if cancelled.State != tasks.CancelledJob || cancelled.Counts[tasks.Cancelling] != 2 || cancelled.Counts[tasks.Cancelled] != 1 || cancelled.FinishedAt != nil {
		t.Fatalf("%+v", cancelled)
	}
	work := w.work(tasks.Asking{DeviceID: p.devices[0], Ready: true, Running: []uuid.UUID{running}}, tasks.Asking{DeviceID: p.devices[1], Ready: true})
	if len(work[p.devices[0]].Cancel) != 1 || len(work[p.devices[1]].Cancel) != 1 || len(work[p.devices[0]].Leases) != 0 {
		t.Errorf("the devices hear %+v", work)
	}
	w.accept(p.report(running, 0, "u2", tasks.ReportCancelled))
	// This one was quicker than the news.
	w.accept(exit(p.report(leased, 1, "u3", tasks.ReportSucceeded), 0))
	w.sweepJobs()
	if got := w.job(j.ID); got.Counts[tasks.Cancelled] != 2 || got.Counts[tasks.Succeeded] != 1 || got.FinishedAt == nil {
		t.Errorf("%+v", got)
	}
	_, err = w.s.CancelJob(dbtest.Staff(t, everything...), j.ID)
	wantKind(t, err, fault.Conflict, "over")
	_, err = w.s.CancelTask(dbtest.Staff(t, everything...), running)
	wantKind(t, err, fault.Conflict, "over")

	one := w.run(on(p.devices[2]))
	x, err := w.s.CancelTask(dbtest.Staff(t, everything...), w.tasksOf(one.ID)[0].ID)
	must(t, err)
	if x.State != tasks.Cancelled || x.FinishedAt == nil {
		t.Errorf("%+v", x)
	}
}

// work asks what devices are to do.
func (w *world) work(asking ...tasks.Asking) (work map[uuid.UUID]tasks.Work) {
	w.t.Helper()
	w.system(func(tx *gorm.DB) (err error) {
		work, err = w.s.WorkTx(dbtest.System(w.t), tx, asking)
		return err
	})
	return work
}

func TestLostLeasesAndPoison(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.addPlace(1)
	j := w.run(on(p.devices...))
	id := w.tasksOf(j.ID)[0].ID
	for attempt := 1; attempt <= 5; attempt++ {
		leases := w.lease(p.devices...)[p.devices[0]]
		if len(leases) != 1 || leases[0].TaskID != id {
			t.Fatalf("attempt %d: %v", attempt, leases)
		}
		if again := w.lease(p.devices...); len(again) != 0 {
			t.Fatal("the same task twice within a moment")
		}
		// The answer was lost: who asks again a little later gets it again, as the same lease.
		w.exec("UPDATE tasks SET leased_at = leased_at - interval '11 seconds'")
		if again := w.lease(p.devices...)[p.devices[0]]; len(again) != 1 || string(again[0].Envelope.Payload) != string(leases[0].Envelope.Payload) {
			t.Fatal("the lost answer is not repeated, byte by byte")
		}
		if got := w.task(id); got.Attempts != attempt {
			t.Fatalf("%d attempts counted", got.Attempts)
		}
		w.exec("UPDATE tasks SET lease_until = now() - interval '1 second' WHERE state = 'leased'")
		_, err := w.s.SweepLeases(dbtest.System(t))
		must(t, err)
	}
	got := w.task(id)
	if got.State != tasks.Parked || !strings.Contains(got.Reason, "5 times") {
		t.Fatalf("%+v", got)
	}
	// A late word is kept, and changes nothing else.
	w.accept(exit(with(p.report(id, 0, "late", tasks.ReportSucceeded), out(0, "done after all")), 0))
	w.accept(exit(with(p.report(id, 0, "late", tasks.ReportSucceeded), out(0, "done after all")), 0))
	if got := w.task(id); got.State != tasks.Parked || !got.Late || *got.ExitCode != 0 || got.Output.Stdout != "done after all" {
		t.Errorf("%+v", got)
	}
	// Poison stops nothing: the next task goes out.
	next := w.run(on(p.devices...))
	if l := w.lease(p.devices...)[p.devices[0]]; len(l) != 1 || l[0].TaskID != w.tasksOf(next.ID)[0].ID {
		t.Error("the queue stands still behind a parked task")
	}
}

func TestExpiryAndLateResults(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.addPlace(3)
	j := w.run(on(p.devices...))
	ran := w.lease(p.devices[1])[p.devices[1]][0].TaskID
	w.accept(p.report(ran, 1, "u1", tasks.ReportRunning))
	took := w.lease(p.devices[2])[p.devices[2]][0].TaskID
	w.exec("UPDATE tasks SET expires_at = now(), lease_until = lease_until - interval '1 hour'")
	w.exec("UPDATE jobs SET expires_at = now()")
	_, err := w.s.SweepExpired(dbtest.System(t))
	must(t, err)
	for _, x := range w.tasksOf(j.ID) {
		want := tasks.Expired
		if x.ID == ran {
			want = tasks.Failed
		}
		if x.State != want || x.FinishedAt == nil || x.Reason == "" {
			t.Errorf("%+v", x)
		}
	}
	if got := w.task(ran); !strings.HasPrefix(got.Reason, "interrupted") {
		t.Errorf("%q", got.Reason)
	}
	w.accept(exit(with(p.report(took, 2, "x", tasks.ReportFailed), errout(0, "no")), 3))
	if got := w.task(took); got.State != tasks.Expired || !got.Late || *got.ExitCode != 3 || got.Output.Stderr != "no" {
		t.Errorf("%+v", got)
	}
	if len(w.lease(p.devices...)) != 0 {
		t.Error("an expired task was handed out")
	}
}

func TestReconciling(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.addPlace(2)
	w.run(on(p.devices...))
	var ids []uuid.UUID
	for i := range 2 {
		id := w.lease(p.devices[i])[p.devices[i]][0].TaskID
		w.accept(p.report(id, i, "u", tasks.ReportRunning))
		ids = append(ids, id)
	}
	asking := []tasks.Asking{{DeviceID: p.devices[0], Running: ids[:1]}, {DeviceID: p.devices[1]}}
	w.work(asking...)
	for _, id := range ids {
		if got := w.task(id); got.State != tasks.Running {
			t.Fatalf("within the lease: %+v", got)
		}
	}
	w.exec("UPDATE tasks SET lease_until = now() - interval '1 second'")
	w.work(asking...)
	if got := w.task(ids[0]); got.State != tasks.Running {
		t.Errorf("what the device names goes on: %+v", got)
	}
	if got := w.task(ids[1]); got.State != tasks.Failed || !strings.HasPrefix(got.Reason, "interrupted") {
		t.Errorf("what it does not know was interrupted: %+v", got)
	}
	w.work(asking...)
	if got := w.task(ids[0]); got.State != tasks.Running {
		t.Errorf("its lease was not extended: %+v", got)
	}
}

func TestForeignAndUnknownTasks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, q := w.addPlace(2), w.addPlace(1)
	w.run(on(p.devices[0]))
	id := w.lease(p.devices...)[p.devices[0]][0].TaskID
	for name, u := range map[string]tasks.Update{
		"a sibling":               p.report(id, 1, "a", tasks.ReportSucceeded),
		"a device of a neighbour": q.report(id, 0, "b", tasks.ReportSucceeded),
	} {
		if a := w.apply(u); a[0].Verdict != tasks.Refused || !strings.Contains(a[0].Detail, "not a task of this device") {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if got := w.task(id); got.State != tasks.Leased {
		t.Errorf("%+v", got)
	}
	unknown := exit(with(p.report(uuid.Must(uuid.NewV7()), 0, "o1", tasks.ReportSucceeded), out(0, "x\x00y")), 0)
	unknown.Result = json.RawMessage(`{"a": "\u0000"}`)
	w.accept(unknown, unknown)
	w.accept(unknown)
	var n int
	w.system(func(tx *gorm.DB) error { return tx.Raw("SELECT count(*) FROM orphan_results").Scan(&n).Error })
	if n != 1 {
		t.Errorf("%d orphans", n)
	}
}

// Nothing an endpoint says can break the transaction that it shares with others.
func TestHostileUpdates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.addPlace(1)
	w.run(on(p.devices...))
	id := w.lease(p.devices...)[p.devices[0]][0].TaskID
	big := int64(1) << 62
	never := time.Date(50000, 1, 1, 0, 0, 0, 0, time.UTC)
	updates := []tasks.Update{
		{ID: ""}, {ID: strings.Repeat("x", 65), Report: tasks.ReportRunning}, {ID: "a\x00b", Report: tasks.ReportRunning},
		{ID: "1", Report: "gone"},
		{ID: "2", Report: tasks.ReportRunning, Reason: strings.Repeat("ü\x00\xff", 5000), StartedAt: &never, At: never},
		with(tasks.Update{ID: "3", Report: tasks.ReportRunning}, tasks.Chunk{Stream: "stdin", Data: []byte("x")}),
		with(tasks.Update{ID: "4", Report: tasks.ReportRunning}, tasks.Chunk{Stream: "stdout", Offset: -1, Data: []byte("x")}),
		with(tasks.Update{ID: "5", Report: tasks.ReportRunning}, out(1<<62, "x")),
		{ID: "6", Report: tasks.ReportRunning, Result: json.RawMessage(strings.Repeat("[", 5000))},
		{ID: "7", Report: tasks.ReportRunning, Result: json.RawMessage(`{"x": `)},
		{ID: "8", Report: tasks.ReportRunning, Result: json.RawMessage(`"` + strings.Repeat("x", 70<<10) + `"`)},
		{ID: "9", Report: tasks.ReportFailed, ExitCode: &big, FinishedAt: &never, Reason: strings.Repeat("ü\x00\xff", 5000),
			Result: json.RawMessage(`{"a": "\u0000 \ud800 ` + "\xff" + `", "n": 1e400000}`)},
	}
	for i := range updates {
		updates[i].TenantID, updates[i].DeviceID, updates[i].TaskID = p.tenant, p.devices[0], id
	}
	for i, a := range w.apply(updates...) {
		t.Logf("%s: %s %s", updates[i].ID, a.Verdict, a.Detail)
	}
	got := w.task(id)
	if got.State != tasks.Failed || strings.ContainsRune(got.Reason, 0) || len([]rune(got.Reason)) > 2000 || got.EndpointFinishedAt != nil {
		t.Errorf("%s %d %v", got.State, len(got.Reason), got.EndpointFinishedAt)
	}
}

func TestTenantsStayApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, q, r := w.addPlace(1), w.addPlace(1), w.addPlace(1)
	w.unlimited()
	j := w.run(on(p.devices[0]))
	id := w.tasksOf(j.ID)[0].ID
	foreign := dbtest.Tenant(t, q.tenant, everything...)
	for name, err := range map[string]error{
		"get job":      second(w.s.GetJob(foreign, j.ID)),
		"cancel job":   second(w.s.CancelJob(foreign, j.ID)),
		"retry job":    second(w.s.RetryFailed(foreign, j.ID)),
		"get task":     second(w.s.GetTask(foreign, id)),
		"cancel task":  second(w.s.CancelTask(foreign, id)),
		"output":       second(w.s.OutputFrom(foreign, id, 0, 0)),
		"run there":    second(w.s.CreateJob(foreign, newJob(on(p.devices[0])))),
		"collect":      second(w.s.Collect(foreign, p.devices[0])),
		"a whole site": second(w.s.CreateJob(foreign, newJob(fleet.Selector{SiteID: &p.site}))),
		"preview":      second(w.s.PreviewJob(foreign, newJob(on(p.devices[0])))),
	} {
		if fault.KindOf(err) != fault.NotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	page, _, err := w.s.ListTasks(foreign, tasks.TaskFilter{JobID: &j.ID}, "", 10)
	jobs, _, err2 := w.s.ListJobs(foreign, tasks.JobFilter{TenantID: &p.tenant}, "", 10)
	if err != nil || err2 != nil || len(page) != 0 || len(jobs) != 0 {
		t.Errorf("lists show %d tasks and %d jobs: %v %v", len(page), len(jobs), err, err2)
	}
	if got := w.job(j.ID); got.State != tasks.RunningJob || w.task(id).State != tasks.Queued {
		t.Errorf("something changed: %+v", got)
	}

	// "All tenants" is what the actor reaches; a role that differs per tenant limits, too.
	own, err := w.s.CreateJob(foreign, newJob(fleet.Selector{AllTenants: true}))
	if err == nil && (own.TasksTotal != 1 || own.TenantID != q.tenant) {
		t.Errorf("all tenants of a tenant: %+v", own)
	}
	mixed := scope.From(dbtest.Granted(t, []scope.ID{p.tenant, q.tenant}, everything...))
	mixed.Grants[1].Permissions = []string{"jobs.read"}
	_, err = w.s.CreateJob(scope.With(context.Background(), mixed), newJob(on(p.devices[0], q.devices[0])))
	wantKind(t, err, fault.Forbidden, "where you may not run jobs")

	// A job of a technician over their tenants belongs to the provider, and they can follow it.
	both := dbtest.Granted(t, []scope.ID{p.tenant, q.tenant}, everything...)
	cross, err := w.s.CreateJob(both, newJob(on(p.devices[0], q.devices[0])))
	must(t, err)
	if uuid.UUID(scope.Provider) != cross.TenantID || len(cross.TenantIDs) != 2 {
		t.Errorf("%+v", cross)
	}
	seen, err := w.s.GetJob(both, cross.ID)
	if err != nil || seen.Counts[tasks.Queued] != 2 {
		t.Errorf("its maker sees %+v: %v", seen, err)
	}
	listed, _, err := w.s.ListJobs(both, tasks.JobFilter{}, "", 10)
	if err != nil || len(listed) < 2 {
		t.Errorf("its maker lists %d: %v", len(listed), err)
	}
	for _, ctx := range []context.Context{foreign, dbtest.Granted(t, []scope.ID{q.tenant, r.tenant}, everything...)} {
		if err := second(w.s.GetJob(ctx, cross.ID)); fault.KindOf(err) != fault.NotFound {
			t.Errorf("a job that reaches further than its reader: %v", err)
		}
	}
	if _, err := w.s.CancelJob(both, cross.ID); err != nil {
		t.Errorf("its maker cancels it: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestWhatIsAskedForIsChecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.addPlace(2)
	staff := dbtest.Staff(t, everything...)
	with := func(change func(*tasks.NewJob)) error {
		n := newJob(on(p.devices...))
		change(&n)
		return second(w.s.CreateJob(staff, n))
	}
	wantKind(t, with(func(n *tasks.NewJob) { n.Kind = "disk.wipe" }), fault.Invalid, "[/kind")
	wantKind(t, with(func(n *tasks.NewJob) { n.Targets = fleet.Selector{} }), fault.Invalid, "[/targets")
	wantKind(t, with(func(n *tasks.NewJob) { n.ExpiresIn = time.Second }), fault.Invalid, "[/expires_in_seconds")
	wantKind(t, with(func(n *tasks.NewJob) { n.NotBefore = time.Now().AddDate(0, 0, 89) }), fault.Invalid, "[/expires_in_seconds")
	wantKind(t, with(func(n *tasks.NewJob) { n.OverrideBlackout = true }), fault.Invalid, "[/reason")
	wantKind(t, with(func(n *tasks.NewJob) { n.Targets = on(uuid.Must(uuid.NewV7())) }), fault.NotFound, "")
	id := uuid.Must(uuid.NewV7())
	wantKind(t, with(func(n *tasks.NewJob) { n.Payload = fmt.Appendf(nil, `{"script_id": %q}`, id) }), fault.Invalid, "[/payload/script_id")

	w.blackout = []string{"Christmas freeze until January"}
	wantKind(t, with(func(*tasks.NewJob) {}), fault.Conflict, "Christmas freeze")
	v, err := w.s.PreviewJob(staff, newJob(on(p.devices...)))
	if err != nil || v.Devices != 2 || v.Tenants != 1 || len(v.Reasons) != 1 || len(v.Sample) != 2 || v.NeedsApproval {
		t.Errorf("preview: %+v %v", v, err)
	}
	must(t, with(func(n *tasks.NewJob) { n.OverrideBlackout, n.Reason = true, "the shop is closed" }))
	w.blackout = nil
	w.exec("UPDATE devices SET state = 'quarantined' WHERE id = ?", p.devices[0])
	must(t, with(func(*tasks.NewJob) {}))
	w.exec("UPDATE devices SET state = 'quarantined' WHERE id = ?", p.devices[1])
	wantKind(t, with(func(*tasks.NewJob) {}), fault.Conflict, "no active device")
	if len(w.lease(p.devices...)) != 0 {
		t.Error("a device in quarantine was given work")
	}
	w.exec("UPDATE devices SET state = 'active'")
	w.exec("UPDATE tenants SET state = 'suspended' WHERE id = ?", p.tenant)
	if len(w.lease(p.devices...)) != 0 {
		t.Error("a device of a suspended tenant was given work")
	}
	w.exec("UPDATE tenants SET state = 'active' WHERE id = ?", p.tenant)
	if len(w.lease(p.devices...)) != 2 {
		t.Error("the work did not wait for the tenant to come back")
	}
}

func TestOneTaskAtATimeAndInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.addPlace(1)
	d := p.devices[0]
	first, second := w.tasksOf(w.run(on(d)).ID)[0].ID, w.tasksOf(w.run(on(d)).ID)[0].ID
	inventory, err := w.s.Collect(dbtest.Tenant(t, p.tenant, "devices.manage"), d)
	must(t, err)
	got := map[uuid.UUID]bool{}
	for _, l := range w.lease(d)[d] {
		got[l.TaskID] = true
	}
	if len(got) != 2 || !got[first] || !got[inventory.ID] {
		t.Fatalf("leased %v", got)
	}
	w.accept(p.report(first, 0, "u1", tasks.ReportRunning))
	if l := w.lease(d); len(l) != 0 {
		t.Fatalf("a second one beside it: %v", l)
	}
	w.accept(p.report(first, 0, "u2", tasks.ReportSucceeded))
	if l := w.lease(d)[d]; len(l) != 1 || l[0].TaskID != second {
		t.Fatalf("then: %v", l)
	}

	w.accept(p.report(second, 0, "u3", tasks.ReportFailed))
	third := w.tasksOf(w.run(on(d)).ID)[0].ID
	w.exec("UPDATE tasks SET after_task_id = ? WHERE id = ?", second, third)
	if l := w.lease(d); len(l) != 0 {
		t.Error("its predecessor failed")
	}
	_, err = w.s.SweepExpired(dbtest.System(t))
	must(t, err)
	if x := w.task(third); x.State != tasks.Skipped {
		t.Errorf("%+v", x)
	}
}

func TestMissingOutputWaitsForWhatIsBeforeIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.addPlace(1)
	w.run(on(p.devices...))
	id := w.lease(p.devices...)[p.devices[0]][0].TaskID
	late := exit(with(p.report(id, 0, "u2", tasks.ReportSucceeded), out(5, "world")), 0)
	if a := w.apply(late); a[0].Verdict != tasks.Deferred {
		t.Fatalf("%+v", a)
	}
	if got := w.task(id); got.State != tasks.Leased || got.Output.StdoutBytes != 0 {
		t.Errorf("%+v", got)
	}
	w.accept(with(p.report(id, 0, "u1", tasks.ReportRunning), out(0, "hello")), late)
	if got := w.task(id); got.State != tasks.Succeeded || got.Output.Stdout != "helloworld" || got.Output.StdoutTruncated {
		t.Errorf("%+v", got)
	}

	// What never comes does not hold up the result for ever.
	w.run(on(p.devices...))
	id = w.lease(p.devices...)[p.devices[0]][0].TaskID
	lost := with(p.report(id, 0, "u9", tasks.ReportFailed), out(100, "the end"))
	for range 10 {
		w.apply(lost, lost)
	}
	w.accept(lost)
	if got := w.task(id); got.State != tasks.Failed || !got.Output.StdoutTruncated {
		t.Errorf("%+v", got)
	}
}

func TestReadingAlong(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.addPlace(1)
	w.run(on(p.devices...))
	id := w.lease(p.devices...)[p.devices[0]][0].TaskID
	staff := dbtest.Staff(t, everything...)
	whole := strings.Repeat("zeile ä\n", 90_000)[:700_000]
	whole = strings.ToValidUTF8(whole, "")
	var read strings.Builder
	var next int64
	for at := 0; at < len(whole); {
		end := min(len(whole), at+100_001)
		w.accept(with(p.report(id, 0, fmt.Sprint(at), tasks.ReportRunning), out(int64(at), whole[at:end])))
		at = end
		live, err := w.s.OutputFrom(staff, id, next, 0)
		must(t, err)
		read.WriteString(live.Stdout)
		next = live.StdoutNext
	}
	w.accept(p.report(id, 0, "end", tasks.ReportSucceeded))
	for {
		live, err := w.s.OutputFrom(staff, id, next, 99)
		must(t, err)
		if live.Stdout == "" {
			break
		}
		read.WriteString(live.Stdout)
		next = live.StdoutNext
	}
	if read.String() != whole {
		t.Errorf("read %d bytes of %d", read.Len(), len(whole))
	}
	page, _, err := w.s.ListTasks(staff, tasks.TaskFilter{DeviceID: &p.devices[0], WithOutput: true}, "", 10)
	if err != nil || len(page) != 1 || len(page[0].Output.Stdout) > 64<<10 || !strings.HasSuffix(whole, page[0].Output.Stdout) || page[0].Output.StdoutBytes != int64(len(whole)) {
		t.Errorf("the tail in a list: %v", err)
	}
}

func TestOutcomesAreTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := tasks.Options{DB: w.db, Fleet: fleet.New(fleet.Options{DB: w.db}), Brakes: w.settings.JobsOf, RequestApproval: w.approvals.RequestTx,
		Signer: nil, Outcome: map[string]tasks.OutcomeFunc{"disk.wipe": nil}}
	if _, err := tasks.New(o); err == nil || !strings.Contains(err.Error(), "disk.wipe") {
		t.Errorf("an outcome of an unknown kind: %v", err)
	}
	o.Outcome = nil
	if _, err := tasks.New(o); err == nil {
		t.Error("a queue without a key")
	}
	var told []tasks.Task
	w.s = w.withOutcome(func(_ context.Context, _ *gorm.DB, ended []tasks.Task) error {
		told = append(told, ended...)
		return nil
	})
	p := w.addPlace(2)
	w.run(on(p.devices...))
	for i, d := range p.devices {
		id := w.lease(d)[d][0].TaskID
		u := p.report(id, i, "u", tasks.ReportSucceeded)
		w.accept(u)
		w.accept(u)
	}
	if len(told) != 2 {
		t.Errorf("told %d times of 2 ends", len(told))
	}
	var events int
	w.system(func(tx *gorm.DB) error {
		return tx.Raw("SELECT count(*) FROM device_timeline WHERE kind = 'task.succeeded'").Scan(&events).Error
	})
	if events != 2 {
		t.Errorf("%d events in the timelines", events)
	}
	w.s = w.withOutcome(func(context.Context, *gorm.DB, []tasks.Task) error { return errors.New("no") })
	w.run(on(p.devices[0]))
	id := w.lease(p.devices[0])[p.devices[0]][0].TaskID
	err := w.db.System(dbtest.System(t), func(tx *gorm.DB) error {
		return second(w.s.ApplyUpdatesTx(t.Context(), tx, []tasks.Update{p.report(id, 0, "u", tasks.ReportSucceeded)}))
	})
	if err == nil || w.task(id).State != tasks.Leased {
		t.Error("an outcome that fails must undo the update")
	}
}
