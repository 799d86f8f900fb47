package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"reeve/endpoint/agent"
	"reeve/server/dbtest"
	"reeve/server/privatedb"
)

// tally is the row that a fault ends with.
type tally struct {
	fault      string
	seed       uint64
	trials     int
	violations int
	recovery   []time.Duration
	extra      object
}

func (y *tally) tell(t *testing.T) {
	t.Helper()
	upper := 1.0
	if y.trials > 0 && y.violations == 0 {
		upper = min(3/float64(y.trials), 1)
	}
	fields := object{"fault": y.fault, "trials": y.trials, "violations": y.violations, "upper95": upper, "seed": y.seed,
		"recovery_p50": quantileMS(y.recovery, 0.5) / 1000, "recovery_p99": quantileMS(y.recovery, 0.99) / 1000}
	for name, value := range y.extra {
		fields[name] = value
	}
	row(t, fields)
	if y.violations > 0 {
		t.Errorf("%s: %d violations (seed %d)", y.fault, y.violations, y.seed)
	}
}

func newTally(fault string) (*tally, *rand.Rand) {
	seed := uint64(time.Now().UnixNano())
	return &tally{fault: fault, seed: seed, extra: object{}}, rand.New(rand.NewPCG(seed, 7))
}

// attempt asks without failing the test: the server may be dead. raw is the answer, when there is one.
func (c *caller) attempt(ctx context.Context, method, path string, body any, key string) (status int, raw []byte) {
	text, err := json.Marshal(body)
	if err != nil {
		return 0, nil
	}
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(text))
	if err != nil {
		return 0, nil
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", key)
	response, err := c.http.Do(request)
	if err != nil {
		return 0, nil
	}
	defer response.Body.Close()
	if raw, err = io.ReadAll(response.Body); err != nil {
		return 0, nil
	}
	return response.StatusCode, raw
}

// raiseLimits lets jobs reach the whole fleet without a second person.
func (c *caller) raiseLimits(t testing.TB) {
	t.Helper()
	r := c.ok(t, "GET", "/api/v1/settings/jobs", nil)
	c.ok(t, "PUT", "/api/v1/settings/jobs", object{"version": r.body["version"],
		"value": object{"max_devices": 1_000_000, "max_tenants": 100_000, "canary_percent": 0, "stop_failure_percent": 0}})
}

func tasksOf(job object) (total, succeeded int) {
	n, _ := job["tasks_total"].(float64)
	byState, _ := job["counts"].(object)
	ok, _ := byState["succeeded"].(float64)
	return int(n), int(ok)
}

// TestFaultServerKilled kills the server at random points of a job over a fleet. The request is repeated
// under its key until it is answered, as a careful program does. Afterwards every device has run the
// script once, and the server knows it.
func TestFaultServerKilled(t *testing.T) {
	t.Parallel()
	y, random := newTally("server kill -9 during a job")
	const devices = 1000
	urls := dbtest.NewURLs(t)
	s := serverProcess(t, urls.App, urls.Migrator, t.TempDir(), "off")
	c := s.admin(t)
	c.raiseLimits(t)
	tenant, place := c.place(t, "Acme")
	f := simulate(t, s.site, c.enrolmentToken(t, tenant, place, devices), devices, "--interval", "20s", "--seed", fmt.Sprint(y.seed))
	body := object{"kind": "script.run", "targets": object{"tenant_id": tenant}, "payload": bash("echo x")}
	usual := 2 * time.Second
	executed := 0.0
	for n := range 1 + trials(10, 200) {
		key := uuid.NewString()
		kill := n > 0 // the first round is undisturbed and tells how long a job takes
		killed := make(chan time.Time, 1)
		if kill {
			pause := time.NewTimer(time.Duration(random.Int64N(int64(usual))))
			go func() {
				<-pause.C
				s.kill()
				killed <- time.Now()
			}()
		}
		began, asked := time.Now(), make(chan int, 1)
		go func() {
			status, _ := c.attempt(context.Background(), "POST", "/api/v1/jobs", body, key)
			asked <- status
		}()
		var back time.Time
		if kill {
			back = <-killed
			s.again(t)
		}
		<-asked
		var made object
		until(t, "the job is answered", func() bool {
			status, raw := c.attempt(context.Background(), "POST", "/api/v1/jobs", body, key)
			return status == http.StatusCreated && json.Unmarshal(raw, &made) == nil
		})
		var job object
		untilWithin(t, 4*time.Minute, "every task has ended", func() bool {
			job = c.ok(t, "GET", "/api/v1/jobs/"+made["id"].(string), nil).body
			return job["state"] == "finished"
		})
		if kill {
			y.trials++
			y.recovery = append(y.recovery, time.Since(back))
		} else {
			usual = time.Since(began)
		}
		total, succeeded := tasksOf(job)
		report := f.report(t)
		ran := number(t, report["executed"]) - executed
		executed += ran
		if total != devices || succeeded != devices || int(ran) != devices || number(t, report["executed_twice"]) != 0 {
			y.violations++
			t.Errorf("trial %d: %d tasks, %d succeeded, %v executed, report %v", n, total, succeeded, ran, report)
		}
	}
	if jobs := c.ok(t, "GET", "/api/v1/jobs?limit=200", nil).items(t); len(jobs) != y.trials+1 {
		y.violations++
		t.Errorf("%d jobs of %d requests", len(jobs), y.trials+1)
	}
	y.extra["devices"], y.extra["job_seconds"] = devices, usual.Seconds()
	y.tell(t)
}

// TestFaultMessagesRepeated has a fleet repeat and reorder its messages. Nothing runs twice, nothing is
// reported twice, and no device is taken for a copy.
func TestFaultMessagesRepeated(t *testing.T) {
	t.Parallel()
	y, _ := newTally("messages repeated and reordered")
	devices, want := 300, float64(trials(10_000, 100_000))
	i := start(t, "off")
	c := i.admin(t)
	c.raiseLimits(t)
	tenant, place := c.place(t, "Acme")
	f := simulate(t, i.site, c.enrolmentToken(t, tenant, place, devices), devices, "--interval", "2s", "--chaos", "0.9", "--work", "500ms", "--seed", fmt.Sprint(y.seed))
	repeated, jobs := 0.0, 0
	for repeated < want {
		job := c.ok(t, "POST", "/api/v1/jobs", object{"kind": "script.run", "targets": object{"tenant_id": tenant}, "payload": bash("echo once")}).text(t, "id")
		jobs++
		untilWithin(t, 3*time.Minute, "every task has ended", func() bool {
			return c.ok(t, "GET", "/api/v1/jobs/"+job, nil).body["state"] == "finished"
		})
		if total, succeeded := tasksOf(c.ok(t, "GET", "/api/v1/jobs/"+job, nil).body); total != devices || succeeded != devices {
			t.Errorf("%d tasks, %d succeeded", total, succeeded)
			y.violations++
		}
		report := f.report(t)
		repeated += number(t, report["repeated"])
		if number(t, report["executed_twice"]) != 0 || int(number(t, report["executed"])) != jobs*devices {
			t.Errorf("executed: %v", report)
			y.violations++
		}
	}
	y.trials = int(repeated)
	cursor := ""
	for seen := 0; ; {
		page := c.ok(t, "GET", "/api/v1/tasks?include_output=true&limit=200"+cursor, nil)
		for _, task := range page.items(t) {
			seen++
			if want := fmt.Sprintf("once\nsimulated on %s\n", task["device_id"]); task["stdout"] != want {
				y.violations++
				t.Errorf("output %q, not %q", task["stdout"], want)
			}
		}
		next, more := page.body["next_cursor"].(string)
		if !more || seen >= 2000 {
			break
		}
		cursor = "&cursor=" + next
	}
	if away := c.ok(t, "GET", "/api/v1/devices?state=quarantined", nil).items(t); len(away) != 0 {
		y.violations += len(away)
		t.Errorf("%d devices in quarantine, one because %v", len(away), away[0]["state_reason"])
	}
	y.extra["tasks"] = jobs * devices
	y.tell(t)
}

// TestFaultEndpointKilled kills the real endpoint in the middle of a script. It says once that the script
// was interrupted, and does not begin it again.
func TestFaultEndpointKilled(t *testing.T) {
	t.Parallel()
	y, random := newTally("endpoint kill -9 in a script")
	i := start(t, "off")
	c := i.admin(t)
	tenant, place := c.place(t, "Acme")
	dir := t.TempDir()
	enrolled, err := agent.Enrol(t.Context(), agent.Enrolment{Dir: agent.Dir(dir), Server: i.url, Token: c.enrolmentToken(t, tenant, place, 1), Version: "test",
		Host: agent.Host{Hostname: "killed"}}, dbtest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	device := enrolled.DeviceID.String()
	p := launch(t, role("endpoint", "REEVE_DATA_DIR="+dir))
	for range trials(2, 30) {
		c.online(t, device)
		mark := filepath.Join(t.TempDir(), "mark")
		_, task := c.job(t, device, bash("echo begun >> "+mark+"; echo begun; exec sleep 20"))
		until(t, "the script runs", func() bool {
			text, err := os.ReadFile(mark)
			return err == nil && len(text) > 0
		})
		pause := time.NewTimer(time.Duration(random.Int64N(int64(2 * time.Second))))
		<-pause.C
		p.kill()
		killed := time.Now()
		p = launch(t, role("endpoint", "REEVE_DATA_DIR="+dir))
		done := c.ends(t, task, "failed")
		y.trials++
		y.recovery = append(y.recovery, time.Since(killed))
		if text, _ := os.ReadFile(mark); string(text) != "begun\n" || done["reason"] == "" || done["exit_code"] != nil {
			y.violations++
			t.Errorf("began %q; %v", text, done)
		}
		_, next := c.job(t, device, bash("true"))
		c.ends(t, next, "succeeded")
		interrupted := 0
		for _, event := range c.ok(t, "GET", "/api/v1/devices/"+device+"/timeline?limit=200", nil).items(t) {
			if detail, _ := event["detail"].(object); event["kind"] == "task.failed" && detail["task_id"] == task {
				interrupted++
			}
		}
		if interrupted > 1 {
			y.violations++
			t.Errorf("%d events tell of one interruption", interrupted)
		}
		if again := c.ok(t, "GET", "/api/v1/tasks/"+task, nil).body; again["state"] != "failed" || again["finished_at"] != done["finished_at"] {
			y.violations++
			t.Errorf("it changed afterwards: %v", again)
		}
	}
	y.tell(t)
}

// TestFaultDatabaseKilled kills the database, the real one with fsync, under a load of writes. What was
// acknowledged is there afterwards, and writing goes on by itself.
func TestFaultDatabaseKilled(t *testing.T) {
	t.Parallel()
	y, random := newTally("database kill -9 under writes")
	dir, err := os.MkdirTemp("", "reeve-faults-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cluster, err := privatedb.Start(context.Background(), privatedb.Options{Dir: dir, Log: dbtest.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		_ = cluster.Stop(ctx) // it was killed often enough
	})
	s := serverProcess(t, cluster.AppURL, cluster.MigratorURL, t.TempDir(), "off")
	c := s.admin(t)
	tenant, _ := c.place(t, "Acme")
	acknowledged := 0
	for range trials(3, 30) {
		pause := time.NewTimer(500*time.Millisecond + time.Duration(random.Int64N(int64(time.Second))))
		kept, recovery := s.writeThrough(t, c, tenant, func() {
			<-pause.C
			if pid := cluster.Pid(); pid != 0 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		})
		y.trials++
		y.recovery = append(y.recovery, recovery)
		acknowledged += len(kept)
		for _, id := range kept {
			var r reply
			until(t, "the server answers", func() bool {
				r = c.call(t, "GET", "/api/v1/sites/"+id, nil)
				return r.status != http.StatusServiceUnavailable && r.status != http.StatusTooManyRequests
			})
			if r.status != http.StatusOK {
				y.violations++
				t.Errorf("an acknowledged site is lost: %d %s", r.status, r.raw)
			}
		}
	}
	y.extra["acknowledged"] = acknowledged
	y.tell(t)
}

// writeThrough writes from several hands while breaking something, until each could write again. It
// gives what was acknowledged, and the longest time in which nothing was.
func (s *outside) writeThrough(t *testing.T, c *caller, tenant string, harm func()) (kept []string, recovery time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	broken := make(chan struct{})
	var mu sync.Mutex
	var last time.Time // when something was acknowledged
	var hands sync.WaitGroup
	for range 4 {
		hands.Go(func() {
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for after := 0; after < 30 && ctx.Err() == nil; <-tick.C {
				status, raw := c.attempt(ctx, "POST", "/api/v1/sites", object{"tenant_id": tenant, "name": uuid.NewString()}, uuid.NewString())
				var made struct{ ID string }
				if status == http.StatusCreated && json.Unmarshal(raw, &made) == nil {
					mu.Lock()
					kept = append(kept, made.ID)
					now := time.Now()
					select {
					case <-broken:
						recovery = max(recovery, now.Sub(last))
						after++
					default:
					}
					last = now
					mu.Unlock()
				}
			}
		})
	}
	harm()
	close(broken)
	hands.Wait()
	if recovery == 0 {
		t.Error("nothing could be written any more")
	}
	return kept, recovery
}

// TestFaultReplicaPaused has two servers race for schedules that are all due at once, and stops one of
// them for longer than any claim should last. Each occurrence makes one job, none is missed.
func TestFaultReplicaPaused(t *testing.T) {
	t.Parallel()
	y, random := newTally("replicas race for schedules, one paused")
	urls, data := dbtest.NewURLs(t), t.TempDir()
	one := serverProcess(t, urls.App, urls.Migrator, data, "off")
	two := serverProcess(t, urls.App, urls.Migrator, data, "off")
	c := one.admin(t)
	tenant, place := c.place(t, "Acme")
	v := c.enrol(t, c.enrolmentToken(t, tenant, place, 1), "one")
	template := c.ok(t, "POST", "/api/v1/schedules", object{"tenant_id": tenant, "name": "template", "zone_mode": "fixed", "zone": "UTC",
		"recurrence": object{"cron": "0 3 29 2 *"}, "targets": object{"device_ids": []string{v.id.String()}},
		"what": object{"kind": "script.run", "payload": bash("true")}}).text(t, "id")
	db, err := pgx.Connect(t.Context(), urls.Admin)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(context.Background())
	const many = 200
	for range trials(3, 20) {
		began := time.Now()
		round := dueNow(t, db, tenant, template, many)
		stopped := one
		if random.IntN(2) == 0 {
			stopped = two
		}
		pause := time.NewTimer(time.Duration(random.Int64N(int64(1500 * time.Millisecond))))
		<-pause.C
		stopped.signal(syscall.SIGSTOP)
		away := time.NewTimer(time.Duration(trials(5, 30)) * time.Second)
		<-away.C
		stopped.signal(syscall.SIGCONT)
		var runs, jobs, missed, doubled int
		until(t, "every schedule of the round has run", func() bool {
			err := db.QueryRow(context.Background(), `SELECT count(DISTINCT r.schedule_id) FILTER (WHERE r.state = 'done'), count(DISTINCT j.schedule_id),
					(SELECT count(*) FROM missed_runs m WHERE m.schedule_id = ANY ($1)),
					count(*) - count(DISTINCT (r.schedule_id, r.key)) + (SELECT count(*) - count(DISTINCT schedule_id) FROM jobs WHERE schedule_id = ANY ($1))
				FROM schedule_runs r LEFT JOIN jobs j ON j.id = r.job_id AND j.tenant_id = r.tenant_id WHERE r.schedule_id = ANY ($1)`, round).Scan(&runs, &jobs, &missed, &doubled)
			if err != nil {
				t.Fatal(err)
			}
			return runs == many
		})
		y.trials += many
		y.recovery = append(y.recovery, time.Since(began))
		if jobs != many || missed != 0 || doubled != 0 {
			y.violations++
			t.Errorf("%d schedules ran with %d jobs, %d missed, %d doubled", runs, jobs, missed, doubled)
		}
	}
	y.tell(t)
}

// dueNow makes many schedules like the template of which one run each is due at this moment.
func dueNow(t *testing.T, db *pgx.Conn, tenant, template string, many int) (ids []string) {
	t.Helper()
	for range many {
		ids = append(ids, uuid.Must(uuid.NewV7()).String())
	}
	tx, err := db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	columns := `name, name_key, enabled, kind, payload, task_expires_seconds, targets, recurrence, zone_mode, maintenance_window, catch_up, jitter_seconds,
		approval_id, approved_devices, created_by, created_by_name, version, created_at, updated_at, deleted_at, zones_checked_at`
	for _, sql := range []string{
		`INSERT INTO schedules (tenant_id, id, ` + columns + `) SELECT tenant_id, i.id, ` + columns + ` FROM schedules, unnest($3::uuid[]) AS i(id) WHERE tenant_id = $1 AND schedules.id = $2`,
		// Of the minute that is running exactly the beginning is due; the next one is not, for the recurrence is once a year.
		`UPDATE schedules SET recurrence = jsonb_build_object('cron', to_char(now() AT TIME ZONE 'UTC', 'FMMI FMHH24 FMDD FMMM "*"')) WHERE tenant_id = $1 AND id = ANY ($3) AND $2::uuid IS NOT NULL`,
		`INSERT INTO schedule_due (tenant_id, schedule_id, zone, wake_at, through)
			SELECT tenant_id, i.id, zone, now(), date_trunc('minute', now()) - interval '1 second'
			FROM schedule_due, unnest($3::uuid[]) AS i(id) WHERE tenant_id = $1 AND schedule_id = $2`,
	} {
		if _, err := tx.Exec(t.Context(), sql, tenant, template, ids); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	return ids
}
