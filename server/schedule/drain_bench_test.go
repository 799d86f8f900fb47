package schedule_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"reeve/server/dbtest"
)

// BenchmarkDrain works off very many schedules that are due in one minute: deciding them, and handing
// their runs to an executor that does nothing.
func BenchmarkDrain(b *testing.B) {
	const n = 100_000
	for b.Loop() {
		b.StopTimer()
		h := newHouse(b)
		p := h.place("UTC")
		h.plenty(p, h.device(p, ""), n)
		h.exec1("analyze schedules, schedule_due")
		h.at("2025-06-11T09:00:00Z")
		b.StartTimer()
		start := time.Now()
		h.drainAll(h.s.SweepDue, n)
		b.ReportMetric(time.Since(start).Seconds(), "s-decide")
		start = time.Now()
		h.drainAll(h.s.SweepRuns, 4000)
		b.ReportMetric(4000/time.Since(start).Seconds(), "runs/s")
	}
}

func (h *house) drainAll(sweep func(context.Context) (int, error), atLeast int) {
	h.t.Helper()
	for done := 0; done < atLeast; {
		n, err := sweep(dbtest.System(h.t))
		must(h.t, err)
		if n == 0 {
			h.t.Fatalf("%d of %d", done, atLeast)
		}
		done += n
	}
}

// TestTheClaimIsAnsweredByAnIndex keeps the sweep from reading what is not due.
func TestTheClaimIsAnsweredByAnIndex(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.place("UTC")
	h.plenty(p, h.device(p, ""), 20_000)
	h.exec1("analyze")
	for name, sql := range map[string]string{
		"due": `explain select s.id, d.zone from schedule_due d join schedules s on s.tenant_id = d.tenant_id and s.id = d.schedule_id
			where d.wake_at <= '2025-06-11T09:00:00Z' order by d.wake_at limit 1000 for update of d skip locked`,
		"runs": `explain select r.id from schedule_runs r join schedules s on s.tenant_id = r.tenant_id and s.id = r.schedule_id
			where r.state = 'fired' and r.next_try_at <= now() order by r.next_try_at limit 400`,
	} {
		var plan []string
		h.system(func(tx *gorm.DB) error { return tx.Raw(sql).Scan(&plan).Error })
		for _, line := range plan {
			t.Log(line)
			if containsAny(line, "Seq Scan on schedule_due", "Seq Scan on schedule_runs", "Seq Scan on schedules", "Sort ") {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}

func containsAny(s string, parts ...string) bool {
	return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(s, p) })
}
