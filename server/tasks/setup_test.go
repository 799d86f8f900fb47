package tasks_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/wire"
	"reeve/server/dbtest"
	"reeve/server/fleet"
	"reeve/server/tasks"
	"reeve/tenants"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// world is the queue with what is around it.
type world struct {
	t         testing.TB
	db        *tenantdb.DB
	url       string
	s         *tasks.Service
	approvals *tenants.Approvals
	settings  *tenants.Settings
	public    ed25519.PublicKey
	private   ed25519.PrivateKey
	blackout  []string

	mu   sync.Mutex
	rung []uuid.UUID
}

var everything = []string{"jobs.read", "jobs.run", "jobs.cancel", "scripts.read", "scripts.manage", "approvals.read", "approvals.decide",
	"settings.read", "settings.manage", "devices.read", "tenants.read", "tenants.manage", "audit.read"}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, url: dbtest.NewURLs(t).App}
	w.db = dbtest.Open(t, w.url)
	public, private, err := ed25519.GenerateKey(nil)
	must(t, err)
	w.public = public
	w.settings = tenants.NewSettings(w.db, nil)
	w.approvals = tenants.NewApprovals(w.db, map[string]tenants.DecidedFunc{
		tasks.SubjectType: func(ctx context.Context, tx *gorm.DB, a tenants.Approval) error { return w.s.Decided(ctx, tx, a) }})
	w.private = private
	w.s = w.withOutcome(nil)
	return w
}

// withOutcome makes a queue on the same database that tells the end of scripts.
func (w *world) withOutcome(outcome tasks.OutcomeFunc) *tasks.Service {
	w.t.Helper()
	o := tasks.Options{
		DB: w.db, Log: dbtest.Log(w.t), Fleet: fleet.New(fleet.Options{DB: w.db, Log: dbtest.Log(w.t)}),
		Signer:          func(context.Context) (string, ed25519.PrivateKey, error) { return "k1", w.private, nil },
		Brakes:          w.settings.JobsOf,
		RequestApproval: w.approvals.RequestTx,
		Blackout:        func(context.Context, *gorm.DB, []fleet.Target, time.Time) ([]string, error) { return w.blackout, nil },
		Doorbell: func(devices []uuid.UUID) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.rung = append(w.rung, devices...)
		},
	}
	if outcome != nil {
		o.Outcome = map[string]tasks.OutcomeFunc{"script.run": outcome}
	}
	s, err := tasks.New(o)
	must(w.t, err)
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// system runs fn as the server.
func (w *world) system(fn func(tx *gorm.DB) error) {
	w.t.Helper()
	must(w.t, w.db.System(dbtest.System(w.t), fn))
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	w.system(func(tx *gorm.DB) error { return tx.Exec(sql, args...).Error })
}

// place is a site of a tenant with devices in it.
type place struct {
	tenant, site uuid.UUID
	devices      []uuid.UUID
}

// addPlace makes a tenant with one site and n Linux devices.
func (w *world) addPlace(n int) place {
	w.t.Helper()
	p := place{tenant: uuid.Must(uuid.NewV7()), site: uuid.Must(uuid.NewV7())}
	name := "T" + p.tenant.String()
	staff := dbtest.Staff(w.t, everything...)
	must(w.t, w.db.Tx(staff, func(tx *gorm.DB) error {
		return tx.Exec("INSERT INTO tenants (id, name, slug) VALUES (?, ?, ?)", p.tenant, name, strings.ToLower(name)).Error
	}))
	token := uuid.Must(uuid.NewV7())
	w.exec("INSERT INTO sites (tenant_id, id, name) VALUES (?, ?, 'Main')", p.tenant, p.site)
	w.exec(`INSERT INTO enrolment_tokens (tenant_id, id, site_id, token_hash, max_uses, expires_at, created_by)
		VALUES (?, ?, ?, sha256(?::text::bytea), 1, now(), ?)`, p.tenant, token, p.site, token.String(), token)
	w.system(func(tx *gorm.DB) error {
		var ids []uuid.UUID
		for range n {
			ids = append(ids, uuid.Must(uuid.NewV7()))
		}
		p.devices = ids
		var list strings.Builder
		for i, id := range ids {
			if i > 0 {
				list.WriteByte(',')
			}
			list.WriteString(id.String())
		}
		err := tx.Exec(`INSERT INTO devices (tenant_id, id, site_id, enrolment_token_id, public_key, state, name, name_key, hostname, os_family)
			SELECT ?, id, ?, ?, sha256(id::text::bytea), 'active', 'pc', 'pc', 'pc', 'linux' FROM unnest(('{' || ? || '}')::uuid[]) AS id`,
			p.tenant, p.site, token, list.String()).Error
		if err != nil {
			return err
		}
		return tx.Exec(`INSERT INTO device_presence (tenant_id, device_id, interval_seconds)
			SELECT tenant_id, id, 60 FROM devices WHERE tenant_id = ?`, p.tenant).Error
	})
	return p
}

// limits sets the provider's brake.
func (w *world) limits(spec tenants.JobSpec) {
	w.t.Helper()
	staff := dbtest.Staff(w.t, everything...)
	doc, err := w.settings.ReadJobs(staff, scope.Provider)
	must(w.t, err)
	_, err = w.settings.PutJobs(staff, scope.Provider, tenants.Document[tenants.JobSpec]{Version: doc.Version, Value: spec})
	must(w.t, err)
}

func (w *world) unlimited() {
	w.limits(tenants.JobSpec{MaxDevices: 1_000_000, MaxTenants: 100_000})
}

func script(text string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"interpreter": "bash", "script": %q, "timeout_seconds": 60}`, text))
}

func on(devices ...uuid.UUID) fleet.Selector { return fleet.Selector{DeviceIDs: devices} }

// run makes a job as staff.
func (w *world) run(sel fleet.Selector) tasks.Job {
	w.t.Helper()
	j, err := w.s.CreateJob(dbtest.Staff(w.t, everything...), tasks.NewJob{Kind: "script.run", Targets: sel, Payload: script("echo hello")})
	must(w.t, err)
	return j
}

func (w *world) lease(devices ...uuid.UUID) map[uuid.UUID][]tasks.Lease {
	w.t.Helper()
	var leases map[uuid.UUID][]tasks.Lease
	w.system(func(tx *gorm.DB) (err error) {
		leases, err = w.s.LeaseTx(tx, devices)
		return err
	})
	return leases
}

func (w *world) apply(updates ...tasks.Update) []tasks.Applied {
	w.t.Helper()
	var applied []tasks.Applied
	w.system(func(tx *gorm.DB) (err error) {
		applied, err = w.s.ApplyUpdatesTx(dbtest.System(w.t), tx, updates)
		return err
	})
	return applied
}

func (w *world) accept(updates ...tasks.Update) {
	w.t.Helper()
	for i, a := range w.apply(updates...) {
		if a.Verdict != tasks.Accepted {
			w.t.Fatalf("update %d (%s) was %s: %s", i, updates[i].Report, a.Verdict, a.Detail)
		}
	}
}

func (w *world) task(id uuid.UUID) tasks.Task {
	w.t.Helper()
	t, err := w.s.GetTask(dbtest.Staff(w.t, everything...), id)
	must(w.t, err)
	return t
}

func (w *world) job(id uuid.UUID) tasks.Job {
	w.t.Helper()
	j, err := w.s.GetJob(dbtest.Staff(w.t, everything...), id)
	must(w.t, err)
	return j
}

func (w *world) tasksOf(job uuid.UUID) []tasks.Task {
	w.t.Helper()
	page, _, err := w.s.ListTasks(dbtest.Staff(w.t, everything...), tasks.TaskFilter{JobID: &job}, "", 1000)
	must(w.t, err)
	return page
}

// sweepJobs moves jobs on as if a second had passed.
func (w *world) sweepJobs() {
	w.t.Helper()
	w.exec("UPDATE jobs SET checked_at = checked_at - interval '1 minute'")
	_, err := w.s.SweepJobs(dbtest.System(w.t))
	must(w.t, err)
}

// report makes an update of a task.
func (p place) report(task uuid.UUID, device int, id string, r tasks.Report) tasks.Update {
	return tasks.Update{ID: id, TenantID: p.tenant, DeviceID: p.devices[device], TaskID: task, Report: r, At: time.Now()}
}

func out(offset int64, data string) tasks.Chunk {
	return tasks.Chunk{Stream: tasks.Stdout, Offset: offset, Data: []byte(data)}
}

func errout(offset int64, data string) tasks.Chunk {
	return tasks.Chunk{Stream: tasks.Stderr, Offset: offset, Data: []byte(data)}
}

func with(u tasks.Update, chunks ...tasks.Chunk) tasks.Update {
	u.Output = chunks
	return u
}

func exit(u tasks.Update, code int64) tasks.Update {
	u.ExitCode = &code
	return u
}

// open verifies an envelope as its device would.
func (w *world) open(l tasks.Lease) wire.Payload {
	w.t.Helper()
	p, err := wire.Open(l.Envelope, map[string]ed25519.PublicKey{"k1": w.public}, l.DeviceID, time.Now())
	must(w.t, err)
	return p
}

// reopen opens the same database once more, with every statement in a log.
func (w *world) reopen(log *slog.Logger) *tenantdb.DB {
	w.t.Helper()
	db, err := tenantdb.Open(context.Background(), tenantdb.Options{URL: w.url, MaxConns: 4, Log: log, SlowQuery: 1})
	must(w.t, err)
	w.t.Cleanup(func() { must(w.t, db.Close()) })
	return db
}
