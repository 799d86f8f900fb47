package schedule_test

import (
	"testing"
	"time"

	"reeve/server/schedule"
)

// What the sweep pays for each due schedule: one Next, from the stored recurrence.
func BenchmarkNext(b *testing.B) {
	for _, c := range []struct{ name, recurrence, zone string }{
		{"daily", `{"cron": "30 2 * * *"}`, "Europe/Berlin"},
		{"quarter-hourly", `{"cron": "*/15 * * * *"}`, "America/New_York"},
		{"leap-day", `{"cron": "0 0 29 2 *"}`, "Australia/Lord_Howe"},
		{"every-90-minutes", `{"every": {"n": 90, "unit": "minutes", "anchor": "2025-01-31T09:00"}}`, "Europe/Berlin"},
		{"every-3-months", `{"every": {"n": 3, "unit": "months", "anchor": "2025-01-31T09:00"}}`, "Europe/Berlin"},
		{"patch-tuesday", `{"patch_tuesday": {"plus_days": 4, "time": "02:00"}}`, "America/Sao_Paulo"},
	} {
		b.Run(c.name, func(b *testing.B) {
			recurrence, zone := parse(b, c.recurrence), loadZone(b, c.zone)
			from := instant(b, "2026-06-10T00:00:00Z")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := schedule.Next(recurrence, zone, from, 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecide(b *testing.B) {
	now := instant(b, "2026-06-10T00:30:01Z")
	window := schedule.Window{Zone: schedule.TenantZone, Start: parse(b, `{"cron": "0 22 * * *"}`), DurationSeconds: 6 * 3600}
	freeze := schedule.Blackout{Zone: schedule.TenantZone, From: "2026-12-20T00:00", Until: "2027-01-06T00:00"}
	openings, err := schedule.NewOpenings([]schedule.Window{window}, []schedule.Blackout{freeze}, schedule.ZoneNames{Tenant: "Europe/Berlin"})
	if err != nil {
		b.Fatal(err)
	}
	situation := schedule.Situation{
		Recurrence: parse(b, `{"cron": "30 2 * * *"}`), Zone: loadZone(b, "Europe/Berlin"), Openings: openings,
		Need: time.Hour, Progress: schedule.Progress{Through: now.Add(-24 * time.Hour)}, Now: now,
	}
	b.ReportAllocs()
	for b.Loop() {
		if d, err := schedule.Decide(situation); err != nil || d.Fire == nil {
			b.Fatal(d, err)
		}
	}
}
