package tasks_test

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"reeve/server/dbtest"
	"reeve/server/fleet"
	"reeve/server/tasks"
)

// A job over 10,000 devices against the floor: one insert of as many rows with a signature into a table
// with three indexes, taken in turns.
func BenchmarkTenThousandDevices(b *testing.B) {
	const n = 10_000
	w := newWorld(b)
	w.unlimited()
	p := w.addPlace(n)
	floor := newFloor(b, n)
	var product, limit time.Duration
	for b.Loop() {
		limit += floor()
		start := time.Now()
		j, err := w.s.CreateJob(dbtest.Staff(b, everything...), tasks.NewJob{Kind: "script.run", Targets: fleet.Selector{TenantID: &p.tenant}, Payload: script("true")})
		product += time.Since(start)
		if err != nil || j.Counts[tasks.Queued] != n {
			b.Fatal(j.Counts, err)
		}
	}
	b.ReportMetric(float64(product.Milliseconds())/float64(b.N), "job-ms")
	b.ReportMetric(float64(limit.Milliseconds())/float64(b.N), "floor-ms")
	b.ReportMetric(float64(product)/float64(limit), "ratio")
}

// newFloor prepares the comparison in a database of its own.
func newFloor(b *testing.B, n int) func() time.Duration {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, dbtest.NewURLs(b).Migrator)
	must(b, err)
	b.Cleanup(func() { _ = conn.Close(ctx) })
	_, err = conn.Exec(ctx, `SET ROLE reeve_owner; CREATE TABLE floor (tenant_id uuid, id uuid PRIMARY KEY, job_id uuid, device_id uuid, state text,
		created_at timestamptz DEFAULT now(), signature bytea); CREATE INDEX ON floor (device_id, state); CREATE INDEX ON floor (job_id)`)
	must(b, err)
	devices, signatures := make([]uuid.UUID, n), make([][]byte, n)
	for i := range n {
		devices[i], signatures[i] = uuid.Must(uuid.NewV7()), make([]byte, 64)
		_, _ = rand.Read(signatures[i])
	}
	return func() time.Duration {
		ids := make([]uuid.UUID, n)
		for i := range ids {
			ids[i] = uuid.Must(uuid.NewV7())
		}
		start := time.Now()
		_, err := conn.Exec(ctx, `INSERT INTO floor (tenant_id, id, job_id, device_id, state, signature)
			SELECT $1, u.id, $2, u.device_id, 'queued', u.signature FROM unnest($3::uuid[], $4::uuid[], $5::bytea[]) AS u (id, device_id, signature)`,
			uuid.New(), uuid.New(), ids, devices, signatures)
		must(b, err)
		return time.Since(start)
	}
}

// A fleet that syncs with nothing to do, and one that fetches and finishes a task each.
func BenchmarkSyncs(b *testing.B) {
	w := newWorld(b)
	w.unlimited()
	p := w.addPlace(500)
	asking := make([]tasks.Asking, len(p.devices))
	for i, d := range p.devices {
		asking[i] = tasks.Asking{DeviceID: d, Ready: true}
	}
	b.Run("idle", func(b *testing.B) {
		for b.Loop() {
			w.work(asking...)
		}
	})
	b.Run("lease-and-finish", func(b *testing.B) {
		for b.Loop() {
			w.run(fleet.Selector{TenantID: &p.tenant})
			var updates []tasks.Update
			for _, d := range p.devices {
				updates = append(updates, tasks.Update{ID: "u", TenantID: p.tenant, DeviceID: d, Report: tasks.ReportSucceeded})
			}
			work := w.work(asking...)
			for i := range updates {
				updates[i].TaskID = work[updates[i].DeviceID].Leases[0].TaskID
				updates[i].Output = []tasks.Chunk{out(0, "hello\n")}
			}
			w.accept(updates...)
		}
	})
}
