package tasks_test

import (
	"encoding/json"
	"testing"

	"reeve/api/wire"
	"reeve/server/tasks"
)

func TestAScriptGoesToItsDeviceAndComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.addPlace(1)
	job := w.run(on(p.devices...))
	if job.State != tasks.RunningJob || job.TasksTotal != 1 || job.Counts[tasks.Queued] != 1 || job.TenantID != p.tenant {
		t.Fatalf("a new job: %+v", job)
	}
	if len(w.rung) != 1 || w.rung[0] != p.devices[0] {
		t.Errorf("the device was not woken: %v", w.rung)
	}

	leases := w.lease(p.devices...)[p.devices[0]]
	if len(leases) != 1 {
		t.Fatalf("%d leases", len(leases))
	}
	payload := w.open(leases[0])
	var body wire.Script
	must(t, wire.DecodeStrict(payload.Body, &body))
	if body.Script != "echo hello" || payload.TenantID != p.tenant || payload.Kind != wire.KindScript {
		t.Errorf("the envelope says %+v %+v", payload, body)
	}
	id := leases[0].TaskID

	w.accept(with(p.report(id, 0, "u1", tasks.ReportRunning), out(0, "hel")))
	if got := w.task(id); got.State != tasks.Running || got.Output.Stdout != "hel" || got.StartedAt == nil {
		t.Errorf("running: %+v", got)
	}
	last := exit(with(p.report(id, 0, "u2", tasks.ReportSucceeded), out(3, "lo\n"), errout(0, "warning")), 0)
	last.Result = json.RawMessage(`{"duration_ms": 5}`)
	w.accept(last)
	got := w.task(id)
	if got.State != tasks.Succeeded || got.Output.Stdout != "hello\n" || got.Output.Stderr != "warning" || *got.ExitCode != 0 ||
		string(got.Result) != `{"duration_ms": 5}` || got.FinishedAt == nil || got.DeviceName != "pc" {
		t.Errorf("succeeded: %+v", got)
	}
	w.sweepJobs()
	if j := w.job(job.ID); j.State != tasks.Finished || j.Counts[tasks.Succeeded] != 1 || j.FinishedAt == nil {
		t.Errorf("the job: %+v", j)
	}
}
