//go:build bench

package app

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"reeve/server/dbtest"
	"reeve/server/fleet"
	"reeve/server/privatedb"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// TestBench prints the figures of the product, each beside its limit on this machine. REEVE_BENCH_ROWS
// chooses among list, job, fleet, schedules; nothing here fails because a machine is slow.
func TestBench(t *testing.T) {
	b := &bench{T: t, seed: uint64(setting(t, "SEED", 1))}
	if rows := os.Getenv("REEVE_BENCH_ROWS"); rows != "" {
		b.only = strings.Split(rows, ",")
	}
	if out, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output(); err == nil {
		b.commit = strings.TrimSpace(string(out))
	}
	dir, err := os.MkdirTemp("", "reeve-bench-")
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
		_ = cluster.Stop(ctx)
	})
	b.metrics = freeAddress(t)
	t.Setenv("REEVE_METRICS_LISTEN", b.metrics)
	b.server = serverProcess(t, cluster.AppURL, cluster.MigratorURL, t.TempDir(), "auto")
	b.admin = b.server.admin(t)
	b.admin.raiseLimits(t)
	if b.db, err = pgx.Connect(t.Context(), cluster.AdminURL); err != nil {
		t.Fatal(err)
	}
	defer b.db.Close(context.Background())
	if began := time.Now(); b.wants("list") || b.wants("job") || b.wants("schedules") {
		b.populate()
		t.Logf("100,000 devices of 1,000 tenants were made in %s", time.Since(began).Round(time.Second))
	}
	if b.wants("list") {
		b.lists(cluster.AppURL)
	}
	if b.wants("job") {
		b.jobs()
	}
	if b.wants("fleet") {
		b.fleet()
	}
	if b.wants("schedules") {
		b.schedules()
	}
}

// lists reads pages of random tenants under row-level security, and the same rows by an explicit tenant
// and no row-level security, in turns.
func (b *bench) lists(url string) {
	db, err := tenantdb.Open(context.Background(), tenantdb.Options{URL: url, MaxConns: 4, Log: dbtest.Log(b)})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	service := fleet.New(fleet.Options{DB: db, Log: dbtest.Log(b), Tokens: fleet.TokenFormat{
		New:  func() (string, [32]byte) { return "", [32]byte{} },
		Read: func(string) ([32]byte, error) { return [32]byte{}, nil },
	}, Listening: func() fleet.Listening { return fleet.Listening{Since: time.Now().Add(-time.Hour)} }})
	rows, err := b.db.Query(context.Background(), "SELECT id FROM tenants WHERE slug LIKE 'tenant-%' ORDER BY slug LIMIT 300")
	if err != nil {
		b.Fatal(err)
	}
	tenants, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		b.Fatal(err)
	}
	tenants = append(tenants, uuid.MustParse(b.big))
	random := rand.New(rand.NewPCG(b.seed, 2))
	const page = `SELECT d.*, p.last_seen, p.skew_ms FROM devices d JOIN device_presence p ON p.tenant_id = d.tenant_id AND p.device_id = d.id
		WHERE d.tenant_id = $1 AND d.state <> 'retired' %s ORDER BY d.name_key, d.id LIMIT 51`
	search := `AND EXISTS (SELECT FROM device_terms x WHERE x.tenant_id = $1 AND x.device_id = d.id AND x.term >= $2 AND x.term < $3)`
	for _, kind := range []string{"list", "search"} {
		var product, limit, web []time.Duration
		for range 5 {
			for range 60 {
				tenant, word := tenants[random.IntN(len(tenants))], fmt.Sprintf("%03x", random.IntN(4096))
				q, path, sql, args := fleet.Query{Limit: 50}, "/api/v1/devices?limit=50&tenant_id="+tenant.String(), fmt.Sprintf(page, ""), []any{tenant}
				if kind == "search" {
					q.Text, path, sql, args = &word, path+"&q="+word, fmt.Sprintf(page, search), []any{tenant, word, word + "\U0010ffff"}
				}
				ctx := dbtest.Tenant(b, scope.ID(tenant), "devices.read")
				began := time.Now()
				if _, err := service.List(ctx, q); err != nil {
					b.Fatal(err)
				}
				product = append(product, time.Since(began))
				began = time.Now()
				rows, err := b.db.Query(context.Background(), sql, args...)
				if err != nil {
					b.Fatal(err)
				}
				for rows.Next() {
					if _, err := rows.Values(); err != nil {
						b.Fatal(err)
					}
				}
				rows.Close()
				limit = append(limit, time.Since(began))
				began = time.Now()
				b.admin.ok(b, "GET", path, nil)
				web = append(web, time.Since(began))
			}
		}
		b.timed("device "+kind+" of one tenant", product, "explicit WHERE, no row-level security", limit,
			object{"devices": 100_000, "tenants": 1000, "http_p50": quantileMS(web, 0.5), "http_p99": quantileMS(web, 0.99)})
	}
}

// jobs orders work for 10,000 devices, and inserts as many rows with a signature in turns.
func (b *bench) jobs() {
	b.exec(`CREATE TABLE bench_tasks (tenant_id uuid, id uuid PRIMARY KEY, device_id uuid, job_id uuid, kind text, state text, signature bytea, not_before timestamptz)`)
	b.exec(`CREATE INDEX ON bench_tasks (device_id, state)`)
	b.exec(`CREATE INDEX ON bench_tasks (job_id, state)`)
	var product, limit []time.Duration
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		b.Fatal(err)
	}
	for range 5 {
		began := time.Now()
		r := b.admin.ok(b, "POST", "/api/v1/jobs", object{"kind": "script.run", "targets": object{"site_id": b.half}, "payload": bash("echo bench")})
		product = append(product, time.Since(began))
		if total, _ := tasksOf(r.body); total != 10_000 {
			b.Fatalf("the job has %d tasks", total)
		}
		b.admin.ok(b, "POST", "/api/v1/jobs/"+r.text(b, "id")+"/cancel", nil)
		began = time.Now()
		ids, devices, signatures := make([]uuid.UUID, 10_000), make([]uuid.UUID, 10_000), make([][]byte, 10_000)
		for i := range ids {
			ids[i], devices[i] = uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
			signatures[i] = ed25519.Sign(key, ids[i][:])
		}
		b.exec(`INSERT INTO bench_tasks SELECT $1, i, d, $1, 'script.run', 'queued', s, now() FROM unnest($2::uuid[], $3::uuid[], $4::bytea[]) x(i, d, s)`,
			uuid.Must(uuid.NewV7()), ids, devices, signatures)
		limit = append(limit, time.Since(began))
	}
	b.timed("job of 10,000 devices, persisted and signed", product, "10,000 signatures and one insert (L14)", limit, object{"answer": "whole API call"})
}

// fleet grows a simulated fleet, holds it, and sends work to it.
func (b *bench) fleet() {
	bare := b.bareConnections()
	devices, hold := setting(b, "DEVICES", 5000), time.Duration(setting(b, "HOLD_SECONDS", 90))*time.Second
	tenant, place := b.admin.place(b, "Simulated")
	token := b.admin.enrolmentToken(b, tenant, place, devices+1)
	ca := filepath.Join(strings.TrimPrefix(b.server.env[1], "REEVE_DATA_DIR="), "tls", "ca.pem")
	var x, y []float64
	steps := []int{devices / 5, devices * 2 / 5, devices}
	f := simulate(b, b.server.site, token, steps[0], "--interval", "60s", "--trace", "--work", "10ms", "--ca", ca, "--seed", fmt.Sprint(b.seed))
	for i, n := range steps {
		if i > 0 {
			f.grow(b, n-steps[i-1])
		}
		x, y = append(x, float64(n)), append(y, b.used())
	}
	b.goal("memory per connected endpoint", slope(x, y), "bare Go TLS connection with a goroutine (L24)", bare, object{"unit": "bytes", "n": devices, "rss": y, "at": x})
	agentPid, agentStop := b.realEndpoint(tenant, place)
	defer agentStop()
	f.report(b)
	cpu, agentCPU, began := processor(b, b.server.cmd.Process.Pid), processor(b, agentPid), time.Now()
	var commits []time.Duration
	b.exec(`CREATE TABLE bench_one (n integer)`)
	b.exec(`INSERT INTO bench_one VALUES (0)`)
	tick := time.NewTicker(hold / 100)
	for range 100 {
		<-tick.C
		start := time.Now()
		b.exec(`UPDATE bench_one SET n = n + 1`)
		commits = append(commits, time.Since(start))
	}
	tick.Stop()
	took, report := time.Since(began), f.report(b)
	cpu, agentCPU = processor(b, b.server.cmd.Process.Pid)-cpu, processor(b, agentPid)-agentCPU
	due := float64(devices) * took.Seconds() / 60
	b.goal("endpoints held with 60-s syncs", float64(devices)-number(b, report["lost"]), "aim", 5000, object{"n": report["syncs"], "syncs_due": due,
		"failed": report["failed"], "lost": report["lost"], "seconds": took.Seconds(), "server_cpu_cores": cpu.Seconds() / took.Seconds()})
	times := report["sync_ms"].(object)
	b.goal("sync", number(b, times["p50"]), "one-row commit", quantileMS(commits, 0.5), object{"unit": "ms", "n": report["syncs"], "p50": times["p50"], "p99": times["p99"],
		"limit_p99": quantileMS(commits, 0.99), "window_ms": 50})
	b.goal("endpoint memory", resident(b, agentPid), "goal", 20<<20, object{"unit": "bytes", "cpu_share": agentCPU.Seconds() / took.Seconds(), "cpu_goal": 0.001})
	b.dispatch(f, tenant)
	f.tell(b, "stop")
	f.expect(b, "report")
}

// used is the memory of the server without what it has freed and not yet given back.
func (b *bench) used() float64 {
	get := func(path string) string {
		response, err := http.Get("http://" + b.metrics + path)
		if err != nil {
			b.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			b.Fatal(err)
		}
		return string(text)
	}
	get("/debug/pprof/heap?gc=1")
	value := func(name string) float64 {
		for line := range strings.Lines(get("/metrics")) {
			if rest, found := strings.CutPrefix(line, name+" "); found {
				n, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
				if err != nil {
					b.Fatal(err)
				}
				return n
			}
		}
		b.Fatalf("the server does not tell %s", name)
		return 0
	}
	return resident(b, b.server.cmd.Process.Pid) - value("go_memstats_heap_idle_bytes") + value("go_memstats_heap_released_bytes")
}

// dispatch orders one-device jobs and waits until the device has verified each.
func (b *bench) dispatch(f *simulated, tenant string) {
	var ids []string
	for _, d := range b.admin.ok(b, "GET", "/api/v1/devices?limit=200&presence=online&tenant_id="+tenant, nil).items(b) {
		if d["simulated"] == true {
			ids = append(ids, d["id"].(string))
		}
	}
	random := rand.New(rand.NewPCG(b.seed, 3))
	var product, limit []time.Duration
	for range 5 {
		limit = append(limit, b.natsRoundTrips(200)...)
		for range 60 {
			began := time.Now()
			_, task := b.admin.job(b.T, ids[random.IntN(len(ids))], bash("exit 0"))
			until(b, "the device has verified the task", func() bool { _, seen := f.verifiedAt(task); return seen })
			at, _ := f.verifiedAt(task)
			product = append(product, time.Unix(0, at).Sub(began))
		}
	}
	b.timed("dispatch to a connected endpoint", product, "NATS request and reply (L22)", limit, object{"from": "API call", "to": "signature verified"})
}

// realEndpoint runs the endpoint's own program.
func (b *bench) realEndpoint(tenant, place string) (pid int, stop func()) {
	path, dir := b.endpointBinary(), b.TempDir()
	enrol := exec.Command(path, "enrol", "--server", b.server.site.url, "--data", dir)
	enrol.Env = append(os.Environ(), "REEVE_ENROL_TOKEN="+b.admin.enrolmentToken(b, tenant, place, 1))
	if out, err := enrol.CombinedOutput(); err != nil {
		b.Fatalf("enrolling: %v: %s", err, out)
	}
	p := launch(b, exec.Command(path, "run", "--data", dir))
	var id string
	until(b, "the endpoint is online", func() bool {
		for _, d := range b.admin.ok(b, "GET", "/api/v1/devices?limit=200&presence=online&sort=-enrolled_at&tenant_id="+tenant, nil).items(b) {
			if d["simulated"] == false {
				id = d["id"].(string)
			}
		}
		return id != ""
	})
	return p.cmd.Process.Pid, p.kill
}

// schedules makes very many due at once, and watches how they are worked off.
func (b *bench) schedules() {
	n := setting(b, "SCHEDULES", 100_000)
	b.exec(`CREATE TABLE bench_due (id uuid PRIMARY KEY, next_run timestamptz, spec jsonb)`)
	b.exec(`INSERT INTO bench_due SELECT gen_random_uuid(), now(), '{"cron": "* * * * *"}' FROM generate_series(1, $1)`, n)
	b.exec(`CREATE INDEX ON bench_due (next_run)`)
	began := time.Now()
	for left := n; left > 0; left -= 10_000 {
		b.exec(`UPDATE bench_due SET next_run = next_run + interval '1 day' WHERE id IN (SELECT id FROM bench_due WHERE next_run <= now() LIMIT 10000 FOR UPDATE SKIP LOCKED)`)
	}
	limit := time.Since(began)
	device := b.admin.ok(b, "GET", "/api/v1/devices?limit=1&tenant_id="+b.big, nil).items(b)[0]["id"].(string)
	template := b.admin.ok(b, "POST", "/api/v1/schedules", object{"tenant_id": b.big, "name": "bench", "zone_mode": "fixed", "zone": "UTC",
		"recurrence": object{"cron": "0 3 29 2 *"}, "targets": object{"device_ids": []string{device}}, "what": object{"kind": "script.run", "payload": bash("true")}}).text(b, "id")
	const columns = `enabled, kind, payload, task_expires_seconds, zone_mode, maintenance_window, catch_up, jitter_seconds, approved_devices, created_by, created_by_name`
	tx, err := b.db.Begin(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	for _, sql := range []string{
		`INSERT INTO schedules (tenant_id, id, name, name_key, targets, recurrence, ` + columns + `)
			SELECT d.tenant_id, d.id, 'bench', 'bench', jsonb_build_object('device_ids', jsonb_build_array(d.id)),
				jsonb_build_object('cron', to_char(now() AT TIME ZONE 'UTC', 'FMMI FMHH24 FMDD FMMM "*"')), s.enabled, ` + strings.TrimPrefix(columns, "enabled, ") + `
			FROM schedules s, (SELECT tenant_id, id FROM devices WHERE public_key IS NOT NULL LIMIT $2) d WHERE s.id = $1`,
		`INSERT INTO schedule_due (tenant_id, schedule_id, zone, wake_at, through)
			SELECT s.tenant_id, s.id, t.zone, now(), date_trunc('minute', now()) - interval '1 second'
			FROM schedules s, schedule_due t WHERE t.schedule_id = $1 AND s.name = 'bench' AND s.id <> $1 AND $2::int > 0`,
	} {
		if _, err := tx.Exec(context.Background(), sql, template, n); err != nil {
			b.Fatalf("%s: %v", sql, err)
		}
	}
	if err := tx.Commit(context.Background()); err != nil {
		b.Fatal(err)
	}
	began = time.Now()
	var claimed, done, missed int
	var first, last time.Time
	end := time.NewTimer(time.Duration(setting(b, "SCHEDULES_SECONDS", 180)) * time.Second)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for waiting := true; waiting && (claimed < n || done < n); {
		b.query(`SELECT count(*), count(*) FILTER (WHERE state = 'done'), (SELECT count(*) FROM missed_runs), coalesce(min(fired_at), now()), coalesce(max(fired_at), now())
			FROM schedule_runs r WHERE schedule_id <> $1`, []any{template}, &claimed, &done, &missed, &first, &last)
		select {
		case <-end.C:
			waiting = false
		case <-tick.C:
		}
	}
	took := time.Since(began)
	var p50, p99 float64
	b.query(`SELECT coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY late), 0), coalesce(percentile_cont(0.99) WITHIN GROUP (ORDER BY late), 0)
		FROM (SELECT extract(epoch FROM fired_at - $1::timestamptz)::float8 AS late FROM schedule_runs WHERE schedule_id <> $2) x`, []any{began, template}, &p50, &p99)
	b.goal("schedules due in one minute, claimed", last.Sub(began).Seconds(), "claim and advance in batches (L13)", limit.Seconds(),
		object{"unit": "s", "n": claimed, "of": n, "p50": p50, "p99": p99, "missed": missed})
	b.goal("schedules due in one minute, work ordered", took.Seconds(), "claim and advance in batches (L13)", limit.Seconds(),
		object{"unit": "s", "n": done, "of": n, "per_second": float64(done) / took.Seconds()})
}
