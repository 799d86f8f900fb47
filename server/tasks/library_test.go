package tasks_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/api/wire"
	"reeve/server/dbtest"
	"reeve/server/fleet"
	"reeve/server/scripts"
	"reeve/server/tasks"
	"reeve/tenants/audit"
	"reeve/tenants/calendar"
)

func ptr[T any](v T) *T { return &v }

// addScript puts a script with parameters into the library.
func (w *world) addScript(params ...scripts.Parameter) scripts.Script {
	w.t.Helper()
	s, err := scripts.New(w.db).Create(dbtest.Staff(w.t, everything...), scripts.NewScript{Name: "Clean up", Platforms: []string{"linux"},
		Text: scripts.Text{Interpreter: "bash", Body: "echo one", Parameters: params, TimeoutSeconds: 77}})
	must(w.t, err)
	return s
}

func (w *world) body(device uuid.UUID) (b wire.Script) {
	w.t.Helper()
	must(w.t, json.Unmarshal(w.open(w.lease(device)[device][0]).Body, &b))
	return b
}

func TestAJobPinsTheScriptOfTheLibrary(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.addPlace(3)
	w.exec("UPDATE devices SET os_family = 'windows' WHERE id = ?", p.devices[2])
	s := w.addScript(scripts.Parameter{Name: "days", Type: scripts.Number, Default: "30"}, scripts.Parameter{Name: "path", Type: scripts.Plain, Required: true})
	staff := dbtest.Staff(t, everything...)
	n := tasks.NewJob{Kind: "script.run", Targets: on(p.devices...), Payload: fmt.Appendf(nil, `{"script_id": %q, "parameters": {"path": "/tmp; rm -rf /"}}`, s.ID)}
	j, err := w.s.CreateJob(staff, n)
	must(t, err)
	if j.Name != "Clean up" || j.Counts[tasks.Skipped] != 1 || j.Counts[tasks.Queued] != 2 {
		t.Errorf("%+v", j)
	}
	_, err = scripts.New(w.db).Update(staff, s.ID, scripts.Change{Version: 1, Body: ptr("echo two")})
	must(t, err)
	b := w.body(p.devices[0])
	if b.Script != "echo one" || b.Parameters["days"] != "30" || b.Parameters["path"] != "/tmp; rm -rf /" || b.TimeoutSeconds != 77 {
		t.Errorf("%+v", b)
	}
	var shown struct {
		Script       string
		ScriptID     uuid.UUID `json:"script_id"`
		ScriptNumber int       `json:"script_number"`
	}
	must(t, json.Unmarshal(w.job(j.ID).Payload, &shown))
	if shown.Script != "echo one" || shown.ScriptID != s.ID || shown.ScriptNumber != 1 {
		t.Errorf("%+v", shown)
	}
	for _, x := range w.tasksOf(j.ID) {
		if x.State == tasks.Skipped && (x.DeviceID != p.devices[2] || !strings.Contains(x.Reason, "windows")) {
			t.Errorf("%+v", x)
		}
	}
	// A retry runs what ran, whatever the library says now.
	w.accept(p.report(w.tasksOn(p.devices[0])[0].ID, 0, "u", tasks.ReportFailed))
	_, err = w.s.RetryFailed(staff, j.ID)
	must(t, err)
	if b := w.body(p.devices[0]); b.Script != "echo one" {
		t.Errorf("the retry runs %q", b.Script)
	}
	n.Payload = fmt.Appendf(nil, `{"script_id": %q}`, s.ID)
	_, err = w.s.CreateJob(staff, n)
	wantKind(t, err, fault.Invalid, "[/payload/parameters/path: this parameter is required")
	n.Payload = fmt.Appendf(nil, `{"script_id": %q, "script_number": 9, "parameters": {"path": "x"}}`, s.ID)
	_, err = w.s.CreateJob(staff, n)
	wantKind(t, err, fault.Invalid, "[/payload/script_number")
	n.Payload = fmt.Appendf(nil, `{"script_id": %q, "script": "echo"}`, s.ID)
	_, err = w.s.CreateJob(staff, n)
	wantKind(t, err, fault.Invalid, "[/payload/script")
}

func (w *world) tasksOn(device uuid.UUID) []tasks.Task {
	w.t.Helper()
	page, _, err := w.s.ListTasks(dbtest.Staff(w.t, everything...), tasks.TaskFilter{DeviceID: &device}, "", 1000)
	must(w.t, err)
	return page
}

func TestEveryTenantReachedHasItsAuditEntry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, q := w.addPlace(2), w.addPlace(1)
	w.unlimited()
	w.blackout = []string{"Freeze"}
	staff := dbtest.Staff(t, everything...)
	n := newJob(on(p.devices[0], p.devices[1], q.devices[0]))
	n.Reason, n.OverrideBlackout = "it burns", true
	j, err := w.s.CreateJob(staff, n)
	must(t, err)
	for tenant, devices := range map[uuid.UUID]string{p.tenant: `"devices":2`, q.tenant: `"devices":1`, j.TenantID: `"devices":3`} {
		page, err := audit.List(staff, w.db, audit.Filter{TenantID: tenant, ObjectID: j.ID.String()})
		must(t, err)
		if len(page.Records) != 1 {
			t.Fatalf("%d entries of %s", len(page.Records), tenant)
		}
		r := page.Records[0]
		if r.Action != "job.created" || !strings.Contains(string(r.After), devices) || !strings.Contains(string(r.Detail), "it burns") ||
			!strings.Contains(string(r.Detail), "Freeze") {
			t.Errorf("%s %s %s", r.Action, r.After, r.Detail)
		}
	}
}

func TestScheduledWorkWaitsForItsTimeAndItsWindow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.addPlace(2)
	now := time.Now()
	schedule := uuid.Must(uuid.NewV7())
	order := func(n tasks.NewJob) (j tasks.Job) {
		n.Kind, n.Payload, n.Origin, n.ScheduleID, n.Cleared = "script.run", script("true"), tasks.Scheduled, &schedule, true
		n.Devices = []fleet.Target{{DeviceID: p.devices[0], TenantID: p.tenant, SiteID: p.site}, {DeviceID: p.devices[1], TenantID: p.tenant, SiteID: p.site}}
		w.system(func(tx *gorm.DB) (err error) {
			j, err = w.s.CreateJobTx(dbtest.System(t), tx, n)
			return err
		})
		return j
	}
	order(tasks.NewJob{NotBefore: now.Add(time.Hour)})
	if len(w.lease(p.devices...)) != 0 {
		t.Error("before its time")
	}
	w.exec("UPDATE tasks SET not_before = now() - interval '1 hour'")
	var skipped []tasks.Task
	w.system(func(tx *gorm.DB) (err error) {
		skipped, err = w.s.SupersedeTx(dbtest.System(t), tx, []tasks.Renewed{{ScheduleID: schedule, DeviceID: p.devices[0]}, {ScheduleID: schedule, DeviceID: p.devices[1]}}, nil)
		return err
	})
	if len(skipped) != 2 || len(w.lease(p.devices...)) != 0 {
		t.Errorf("%d were replaced by a newer run", len(skipped))
	}
	order(tasks.NewJob{Open: []calendar.Period{{Start: now.Add(-time.Hour), End: now.Add(-time.Minute)}, {Start: now.Add(time.Hour), End: now.Add(2 * time.Hour)}}})
	if len(w.lease(p.devices...)) != 0 {
		t.Error("outside its window")
	}
	order(tasks.NewJob{Open: []calendar.Period{{Start: now.Add(-time.Hour), End: now.Add(time.Hour)}}})
	if len(w.lease(p.devices...)) != 2 {
		t.Error("inside its window")
	}
}

// A secret must not stand in a job, which whoever may read jobs sees, nor in an envelope.
func TestSecretParametersAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.addPlace(1)
	s := w.addScript(scripts.Parameter{Name: "password", Type: scripts.Secret})
	n := tasks.NewJob{Kind: "script.run", Targets: on(p.devices...), Payload: fmt.Appendf(nil, `{"script_id": %q, "parameters": {"password": "hunter2"}}`, s.ID)}
	_, err := w.s.CreateJob(dbtest.Staff(t, everything...), n)
	wantKind(t, err, fault.Invalid, "[/payload/parameters/password: secret parameters cannot be sent")
	if strings.Contains(err.Error(), "hunter2") {
		t.Error("the fault repeats the secret")
	}
	n.Payload = fmt.Appendf(nil, `{"script_id": %q}`, s.ID)
	if _, err := w.s.CreateJob(dbtest.Staff(t, everything...), n); err != nil {
		t.Errorf("without the secret: %v", err)
	}
}
