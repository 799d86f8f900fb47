//go:build bench

package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// bench is an installation that is measured: a server process, its database with fsync on, and later a
// simulated fleet in a third process.
type bench struct {
	*testing.T
	server  *outside
	admin   *caller
	db      *pgx.Conn // superuser: seeds, and takes the limits without row-level security
	metrics string
	seed    uint64
	commit  string
	only    []string
	big     string // tenant of 20,000 devices
	half    string // its site of 10,000
}

// setting is a number of the environment: REEVE_BENCH_DEVICES=2000 and the like make a smaller run.
func setting(t testing.TB, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv("REEVE_BENCH_" + name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("REEVE_BENCH_%s: %v", name, err)
	}
	return n
}

// wants tells whether a row is among those asked for (REEVE_BENCH_ROWS=list,job).
func (b *bench) wants(row string) bool { return len(b.only) == 0 || slices.Contains(b.only, row) }

// goal prints a row: what the product does, and the limit that was taken in the same minute.
func (b *bench) goal(name string, product float64, limitName string, limit float64, fields object) {
	b.Helper()
	load, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(load), " ")
	loadavg, _ := strconv.ParseFloat(first, 64)
	out := object{"goal": name, "product": product, "limit_name": limitName, "limit": limit, "load": loadavg, "seed": b.seed, "commit": b.commit}
	if limit != 0 {
		out["ratio"] = product / limit
	}
	for k, v := range fields {
		out[k] = v
	}
	row(b, out)
}

// timed puts quantiles of product and limit into a row.
func (b *bench) timed(name string, product []time.Duration, limitName string, limit []time.Duration, fields object) {
	b.Helper()
	all := object{"unit": "ms", "n": len(product), "p50": quantileMS(product, 0.5), "p99": quantileMS(product, 0.99),
		"limit_p50": quantileMS(limit, 0.5), "limit_p99": quantileMS(limit, 0.99)}
	if p := quantileMS(limit, 0.99); p > 0 {
		all["ratio_p99"] = quantileMS(product, 0.99) / p
	}
	for k, v := range fields {
		all[k] = v
	}
	b.goal(name, quantileMS(product, 0.5), limitName, quantileMS(limit, 0.5), all)
}

func (b *bench) exec(sql string, args ...any) {
	b.Helper()
	if _, err := b.db.Exec(context.Background(), sql, args...); err != nil {
		b.Fatalf("%s: %v", sql, err)
	}
}

func (b *bench) query(sql string, args []any, into ...any) {
	b.Helper()
	if err := b.db.QueryRow(context.Background(), sql, args...).Scan(into...); err != nil {
		b.Fatalf("%s: %v", sql, err)
	}
}

// populate makes 1,000 tenants with 100,000 devices, 20,000 of them in one tenant, as they would stand
// after enrolling and telling of themselves.
func (b *bench) populate() {
	b.Helper()
	b.big, _ = b.admin.place(b, "Big")
	b.half = b.admin.ok(b, "POST", "/api/v1/sites", object{"tenant_id": b.big, "name": "Half"}).text(b, "id")
	for _, sql := range []string{
		`insert into tenants (id, name, slug) select gen_random_uuid(), 'Tenant ' || i, 'tenant-' || i from generate_series(1, 999) i`,
		`insert into sites (tenant_id, id, name) select t.id, gen_random_uuid(), 'Site' from tenants t where t.slug like 'tenant-%'`,
		`insert into enrolment_tokens (tenant_id, id, site_id, token_hash, max_uses, expires_at, created_by)
			select tenant_id, id, id, sha256(id::text::bytea), 1, now(), id from sites`,
	} {
		b.exec(sql)
	}
	b.exec(`with places as (select row_number() over (order by (tenant_id <> $1), (id <> $2), id) - 1 as n, tenant_id, id from sites),
		 made as (select i, case when i < 10000 then 0 when i < 20000 then 1 else 2 + i % 999 end as place from generate_series(0, 99999) i)
		 insert into devices (tenant_id, id, site_id, enrolment_token_id, public_key, state, name, name_key, hostname, os_family, os_name, os_name_key, os_version, arch, agent_version, simulated)
		 select p.tenant_id, gen_random_uuid(), p.id, p.id, sha256(i::text::bytea), 'active', v.host, v.host, v.host, 'linux', v.os, lower(v.os), '12', 'amd64', '1.0', true
		 from made m join places p on p.n = m.place,
		 lateral (select 'pc-' || substr(md5(i::text), 1, 9) as host, (array['Debian 12', 'Ubuntu 24.04', 'Windows 11', 'macOS 15'])[1 + i % 4] as os) v`, b.big, b.half)
	for _, sql := range []string{
		`insert into device_presence (tenant_id, device_id, last_seen, interval_seconds) select tenant_id, id, now() - (get_byte(public_key, 0) || ' seconds')::interval, 60 from devices`,
		`insert into device_configs (tenant_id, device_id, interval_seconds) select tenant_id, id, 60 from devices`,
		`insert into device_tags (tenant_id, device_id, tag) select tenant_id, id, 'tag-' || get_byte(public_key, 1) % 20 from devices`,
		`insert into device_terms (tenant_id, device_id, term) select d.tenant_id, d.id, substr(d.name, i) from devices d, generate_series(1, 12) i on conflict do nothing`,
		`insert into device_facts (tenant_id, device_id, field, value_key) select tenant_id, id, f, v from devices d,
			lateral (values ('name', d.name_key), ('os_name', d.os_name_key), ('arch', d.arch)) x (f, v)`,
		`vacuum analyze`,
	} {
		b.exec(sql)
	}
}

// resident is the memory of a process in bytes.
func resident(t testing.TB, pid int) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib * 1024
}

// processor is the time that a process has spent on it.
func processor(t testing.TB, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond // 100 ticks a second
}

// slope is the least-squares growth of y with x.
func slope(x, y []float64) float64 {
	var mx, my, above, below float64
	for i := range x {
		mx, my = mx+x[i]/float64(len(x)), my+y[i]/float64(len(x))
	}
	for i := range x {
		above += (x[i] - mx) * (y[i] - my)
		below += (x[i] - mx) * (x[i] - mx)
	}
	return above / below
}

// bareConnections is what an idle TLS connection with a goroutine costs a Go program that does nothing
// else: the limit of memory per endpoint.
func (b *bench) bareConnections() float64 {
	b.Helper()
	address, dir := freeAddress(b), b.TempDir()
	p := launch(b, role("connections", "REEVE_LISTEN="+address, "REEVE_DATA_DIR="+dir))
	until(b, "the bare server listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	var x, y []float64
	var open []net.Conn
	defer func() {
		for _, conn := range open {
			_ = conn.Close()
		}
		p.kill()
	}()
	for _, n := range []int{250, 500, 1000, 2000} {
		for len(open) < n {
			conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}) // a certificate made for this measurement
			if err != nil {
				b.Fatal(err)
			}
			open = append(open, conn)
		}
		x, y = append(x, float64(n)), append(y, resident(b, p.cmd.Process.Pid))
	}
	return slope(x, y)
}

// natsRoundTrips are times of a request and its reply through a NATS server.
func (b *bench) natsRoundTrips(n int) (list []time.Duration) {
	b.Helper()
	s, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true})
	if err != nil {
		b.Fatal(err)
	}
	go s.Start()
	defer s.Shutdown()
	if !s.ReadyForConnections(patience) {
		b.Fatal("NATS does not start")
	}
	one, err := nats.Connect(s.ClientURL())
	if err != nil {
		b.Fatal(err)
	}
	defer one.Close()
	other, err := nats.Connect(s.ClientURL())
	if err != nil {
		b.Fatal(err)
	}
	defer other.Close()
	if _, err := other.Subscribe("ask", func(m *nats.Msg) { _ = m.Respond(m.Data) }); err != nil {
		b.Fatal(err)
	}
	if err := other.Flush(); err != nil {
		b.Fatal(err)
	}
	for range n {
		began := time.Now()
		if _, err := one.Request("ask", []byte("0123456789abcdef"), patience); err != nil {
			b.Fatal(err)
		}
		list = append(list, time.Since(began))
	}
	return list
}

func (b *bench) endpointBinary() string {
	b.Helper()
	path := b.TempDir() + "/reeve-endpoint"
	if out, err := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "reeve/endpoint").CombinedOutput(); err != nil {
		b.Fatalf("building the endpoint: %v: %s", err, out)
	}
	return path
}

// verifiedAt is when the device of a task had verified it, in Unix nanoseconds.
func (f *simulated) verifiedAt(task string) (int64, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, seen := f.took[task]
	return at, seen
}

func (f *simulated) grow(t testing.TB, n int) object {
	t.Helper()
	f.tell(t, fmt.Sprintf("grow %d", n))
	return f.expect(t, "ready")
}
