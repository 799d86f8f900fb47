package app

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"reeve/endpoint/agent"
	"reeve/server/dbtest"
)

// endpoint is a real agent that runs in this process.
type endpoint struct {
	dir    agent.Dir
	id     string
	cancel context.CancelFunc
	done   chan error
}

// join enrols a real agent and runs it.
func (i *instance) join(t *testing.T, token string) *endpoint {
	t.Helper()
	e := &endpoint{dir: agent.Dir(t.TempDir())}
	enrolled, err := agent.Enrol(t.Context(), agent.Enrolment{Dir: e.dir, Server: i.url, Token: token, Version: "test",
		Host: agent.Host{Hostname: "e2e-host", OSName: "Test Linux"}}, dbtest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	e.id = enrolled.DeviceID.String()
	e.run(t)
	return e
}

func (e *endpoint) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	e.cancel, e.done = cancel, make(chan error, 1)
	go func() {
		e.done <- agent.Run(ctx, agent.Options{Dir: e.dir, Version: "test", Log: dbtest.Log(t), Now: time.Now})
	}()
	t.Cleanup(func() { e.stop(t) })
}

// stop lets the endpoint say goodbye; a second call does nothing.
func (e *endpoint) stop(t *testing.T) {
	t.Helper()
	if e.cancel == nil {
		return
	}
	e.cancel()
	e.cancel = nil
	select {
	case err := <-e.done:
		if err != nil {
			t.Errorf("the endpoint ended with %v", err)
		}
	case <-time.After(patience):
		t.Error("the endpoint does not end")
	}
}

// online waits until a device is seen to be there.
func (c *caller) online(t *testing.T, device string) {
	t.Helper()
	until(t, "device "+device+" is online", func() bool {
		return c.ok(t, "GET", "/api/v1/devices/"+device, nil).body["presence"] == "online"
	})
}

func bash(script string) object {
	return object{"interpreter": "bash", "script": script, "timeout_seconds": 60}
}

// job orders a script and gives the ids of the job and of its only task.
func (c *caller) job(t *testing.T, device string, payload object) (job, task string) {
	t.Helper()
	job = c.ok(t, "POST", "/api/v1/jobs", object{"kind": "script.run", "targets": object{"device_ids": []string{device}}, "payload": payload}).text(t, "id")
	items := c.ok(t, "GET", "/api/v1/tasks?job_id="+job, nil).items(t)
	if len(items) != 1 {
		t.Fatalf("%d tasks for one device", len(items))
	}
	return job, items[0]["id"].(string)
}

// ends waits for the end of a task.
func (c *caller) ends(t *testing.T, task, state string) object {
	t.Helper()
	var r reply
	until(t, "task "+task+" is "+state, func() bool {
		r = c.ok(t, "GET", "/api/v1/tasks/"+task, nil)
		now := r.body["state"]
		if now != state && (now == "succeeded" || now == "failed" || now == "cancelled" || now == "expired" || now == "parked" || now == "skipped") {
			t.Fatalf("the task ended otherwise: %s", r.raw)
		}
		return now == state
	})
	return r.body
}

// TestTheWholeWay walks what a technician does, with the real server and the real endpoint, over both
// kinds of connection.
func TestTheWholeWay(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"off", "auto"} {
		t.Run("tls="+mode, func(t *testing.T) {
			t.Parallel()
			i := start(t, mode)
			if secure := strings.HasPrefix(i.url, "https://"); secure != (mode == "auto") {
				t.Fatalf("the server is at %s", i.url)
			}
			c := i.admin(t)
			tenant, site := c.place(t, "Acme")
			e := i.join(t, c.enrolmentToken(t, tenant, site, 1))
			c.online(t, e.id)
			theInventoryArrives(t, c, e.id)
			aScriptRuns(t, c, e.id)
			aRunningScriptIsCancelled(t, c, e.id)
			theJournalOutlivesTheEndpoint(t, i, c, e)
			theAuditTrailStands(t, i, c, tenant)
			theServerStartsAgain(t, i, c, e)
		})
	}
}

func theInventoryArrives(t *testing.T, c *caller, device string) {
	t.Helper()
	until(t, "the inventory is there", func() bool {
		r := c.ok(t, "GET", "/api/v1/devices/"+device+"/inventory", nil)
		sections, _ := r.body["sections"].([]any)
		names := map[any]bool{}
		for _, s := range sections {
			names[s.(object)["name"]] = true
		}
		return names["os"] && names["hardware"] && names["software"]
	})
	for _, path := range []string{"inventory/changes", "software", "timeline", "policies"} {
		c.ok(t, "GET", "/api/v1/devices/"+device+"/"+path, nil)
	}
}

func aScriptRuns(t *testing.T, c *caller, device string) {
	t.Helper()
	payload := bash("echo \"hello $REEVE_PARAM_WHO\"; echo oops >&2; exit 3")
	payload["parameters"] = object{"who": "O'Neil $(reboot) <b>"}
	job, task := c.job(t, device, payload)
	done := c.ends(t, task, "failed")
	if done["exit_code"] != 3.0 || done["stdout"] != "hello O'Neil $(reboot) <b>\n" || done["stderr"] != "oops\n" {
		t.Errorf("exit %v, stdout %q, stderr %q", done["exit_code"], done["stdout"], done["stderr"])
	}
	for _, field := range []string{"leased_at", "started_at", "finished_at"} {
		if done[field] == nil {
			t.Errorf("%s is missing", field)
		}
	}
	until(t, "the job is finished", func() bool {
		return c.ok(t, "GET", "/api/v1/jobs/"+job, nil).body["state"] == "finished"
	})
	_, task = c.job(t, device, bash("exit 0"))
	c.ends(t, task, "succeeded")
}

// aRunningScriptIsCancelled looks at the output while the script goes on, and then ends it.
func aRunningScriptIsCancelled(t *testing.T, c *caller, device string) {
	t.Helper()
	_, task := c.job(t, device, bash("echo begun; sleep 600; echo never"))
	until(t, "output is there while the script runs", func() bool {
		r := c.ok(t, "GET", "/api/v1/tasks/"+task+"/output?stdout_from=0", nil)
		return r.body["state"] == "running" && r.body["stdout"] == "begun\n"
	})
	c.ok(t, "POST", "/api/v1/tasks/"+task+"/cancel", nil)
	if done := c.ends(t, task, "cancelled"); done["stdout"] != "begun\n" {
		t.Errorf("stdout %q", done["stdout"])
	}
}

// theJournalOutlivesTheEndpoint stops the endpoint, orders work while it is away, and starts it again
// with what it had: the same device comes back and catches up.
func theJournalOutlivesTheEndpoint(t *testing.T, i *instance, c *caller, e *endpoint) {
	t.Helper()
	e.stop(t)
	until(t, "the goodbye is heard", func() bool {
		return c.ok(t, "GET", "/api/v1/devices/"+e.id, nil).body["presence"] != "online"
	})
	mark := t.TempDir() + "/runs"
	_, task := c.job(t, e.id, bash("echo x >> "+mark))
	if state := c.ok(t, "GET", "/api/v1/tasks/"+task, nil).body["state"]; state != "queued" {
		t.Errorf("work for a device that is away is %v", state)
	}
	e.run(t)
	c.ends(t, task, "succeeded")
	if runs, err := os.ReadFile(mark); err != nil || string(runs) != "x\n" {
		t.Errorf("the script ran %q times, %v", runs, err)
	}
	if list := c.ok(t, "GET", "/api/v1/devices", nil).items(t); len(list) != 1 {
		t.Errorf("%d devices after a second start", len(list))
	}
}

// theAuditTrailStands looks for who did what, and has the chains verified by API and by command.
func theAuditTrailStands(t *testing.T, i *instance, c *caller, tenant string) {
	t.Helper()
	seen := map[any]bool{}
	for _, entry := range c.ok(t, "GET", "/api/v1/audit?limit=200", nil).items(t) {
		seen[entry["action"]] = true
	}
	for _, action := range []string{"session.started", "tenant.created", "site.created", "enrolment_token.created", "device.enrolled", "job.created", "task.cancelled"} {
		if !seen[action] {
			t.Errorf("nothing tells of %s: %v", action, seen)
		}
	}
	if r := c.ok(t, "POST", "/api/v1/audit/verify?tenant_id="+tenant, nil); r.body["intact"] != true || r.body["entries"].(float64) < 3 {
		t.Errorf("verified %s", r.raw)
	}
	var report bytes.Buffer
	if err := VerifyAudit(t.Context(), i.o.Defaults(), &report); err != nil {
		t.Errorf("%v\n%s", err, &report)
	}
}

// theServerStartsAgain restarts the server with the same state at the same address: sessions, devices
// and keys are those from before, and there is no second first administrator.
func theServerStartsAgain(t *testing.T, i *instance, c *caller, e *endpoint) {
	t.Helper()
	address := i.app.addr
	i.stop(t)
	o := i.o
	o.Listen, o.AdminEmail, o.AdminPassword = address, "second@reeve.example", "another-password-99"
	again := startWith(t, o, i.urls)
	c = &caller{site: again.site, name: c.name, token: c.token}
	if r := again.send(t, "", "POST", "/api/v1/auth/login", object{"email": o.AdminEmail, "password": o.AdminPassword}); r.status != http.StatusUnauthorized {
		t.Errorf("a second first administrator: %d %s", r.status, r.raw)
	}
	_, task := c.job(t, e.id, bash("echo again"))
	if done := c.ends(t, task, "succeeded"); done["stdout"] != "again\n" {
		t.Errorf("stdout %q", done["stdout"])
	}
}

// TestAScheduleFires waits for a schedule of every minute to come round, which is what cron can do at
// the quickest.
func TestAScheduleFires(t *testing.T) {
	t.Parallel()
	i := start(t, "off")
	c := i.admin(t)
	tenant, site := c.place(t, "Acme")
	e := i.join(t, c.enrolmentToken(t, tenant, site, 1))
	c.online(t, e.id)
	schedule := c.ok(t, "POST", "/api/v1/schedules", object{"tenant_id": tenant, "name": "each minute", "zone_mode": "fixed", "zone": "Europe/Berlin",
		"recurrence": object{"cron": "* * * * *"}, "targets": object{"device_ids": []string{e.id}},
		"what": object{"kind": "script.run", "payload": bash("echo by the clock")}}).text(t, "id")
	var task object
	untilWithin(t, 100*time.Second, "the schedule has run", func() bool {
		for _, run := range c.ok(t, "GET", "/api/v1/schedules/"+schedule+"/runs", nil).items(t) {
			if run["job_id"] == nil {
				continue
			}
			for _, task = range c.ok(t, "GET", "/api/v1/tasks?include_output=true&job_id="+run["job_id"].(string), nil).items(t) {
				if task["state"] == "succeeded" {
					return true
				}
			}
		}
		return false
	})
	if task["stdout"] != "by the clock\n" {
		t.Errorf("stdout %v", task["stdout"])
	}
	if missed := c.ok(t, "GET", "/api/v1/missed-runs?schedule_id="+schedule, nil).items(t); len(missed) != 0 {
		t.Errorf("missed %v", missed)
	}
}

// TestReplicasStartTogether has several servers migrate, bootstrap and serve one empty database at once.
func TestReplicasStartTogether(t *testing.T) {
	t.Parallel()
	urls, data := dbtest.Empty(t), t.TempDir()
	var group sync.WaitGroup
	urlsOf := make([]string, 3)
	for n := range urlsOf {
		group.Go(func() {
			a, err := Start(dbtest.System(t), Options{Listen: "127.0.0.1:0", DataDir: data, DatabaseURL: urls.App, MigrationURL: urls.Migrator,
				AdminEmail: adminEmail, AdminPassword: adminPassword, Log: dbtest.Log(t)})
			if err != nil {
				t.Errorf("replica %d: %v", n, err)
				return
			}
			urlsOf[n] = a.URL()
			t.Cleanup(func() {
				ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
				defer cancel()
				if err := a.Stop(ctx); err != nil {
					t.Error(err)
				}
			})
		})
	}
	group.Wait()
	if t.Failed() {
		return
	}
	c := newSite(t, urlsOf[0], data).admin(t)
	for _, url := range urlsOf {
		other := &caller{site: newSite(t, url, data), name: c.name, token: c.token}
		if users := other.ok(t, "GET", "/api/v1/users", nil).items(t); len(users) != 1 {
			t.Errorf("%d first administrators", len(users))
		}
	}
}
