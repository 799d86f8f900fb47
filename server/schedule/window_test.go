package schedule_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"reeve/server/schedule"
)

var berlin = schedule.ZoneNames{Tenant: "Europe/Berlin"}

func nightly(t testing.TB, cron string, length time.Duration) schedule.Window {
	t.Helper()
	return schedule.Window{Zone: schedule.TenantZone, Start: schedule.Recurrence{Cron: cron}, DurationSeconds: int64(length / time.Second)}
}

func openings(t testing.TB, windows []schedule.Window, blackouts ...schedule.Blackout) schedule.Openings {
	t.Helper()
	o, err := schedule.NewOpenings(windows, blackouts, berlin)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestWindows(t *testing.T) {
	night := nightly(t, "0 22 * * *", 6*time.Hour)
	saturdays := nightly(t, "0 22 * * sat", 6*time.Hour)
	dst := nightly(t, "0 1 * * *", 4*time.Hour)
	gap := nightly(t, "30 2 * * *", time.Hour)
	early, late := nightly(t, "0 22 * * *", 2*time.Hour), nightly(t, "0 0 * * *", 2*time.Hour)
	for _, c := range []struct {
		name    string
		windows []schedule.Window
		at      string
		until   string // local time, or closed
	}{
		{"before it opens", []schedule.Window{night}, "2025-06-10T21:59:59", "closed"},
		{"when it opens", []schedule.Window{night}, "2025-06-10T22:00", "2025-06-11T04:00"},
		{"past midnight", []schedule.Window{night}, "2025-06-11T03:59:59", "2025-06-11T04:00"},
		{"when it ends", []schedule.Window{night}, "2025-06-11T04:00", "closed"},
		{"it belongs to the day it opens on", []schedule.Window{saturdays}, "2025-06-15T03:00", "2025-06-15T04:00"},
		{"and not to the day before", []schedule.Window{saturdays}, "2025-06-14T03:00", "closed"},
		{"real time over a gap", []schedule.Window{dst}, "2025-03-30T01:30", "2025-03-30T06:00"},
		{"real time over a fold", []schedule.Window{dst}, "2025-10-26T01:30", "2025-10-26T04:00"},
		{"a start inside a gap", []schedule.Window{gap}, "2025-03-30T03:00", "2025-03-30T04:00"},
		{"windows that touch are one", []schedule.Window{late, early}, "2025-06-10T22:30", "2025-06-11T02:00"},
		{"no windows", nil, "2025-06-10T12:00", "2025-07-11T12:00"},
		{"always open", []schedule.Window{nightly(t, "0 0 * * *", 24*time.Hour)}, "2025-06-10T12:00", "2025-07-11T12:00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			zone := loadZone(t, "Europe/Berlin")
			until, open := openings(t, c.windows).OpenAt(zone.Resolve(wallTime(t, c.at)).First)
			got := "closed"
			if open {
				local, _ := zone.Local(until)
				got = local.String()
			}
			if got != c.until {
				t.Errorf("at %s: %s, want %s", c.at, got, c.until)
			}
		})
	}
}

func TestBlackoutsBeatWindows(t *testing.T) {
	night := nightly(t, "0 22 * * *", 6*time.Hour)
	christmas := schedule.Blackout{Zone: "Europe/Berlin", Reason: "change freeze", From: "2025-12-20T00:00", Until: "2026-01-06T00:00"}
	monthEnd := schedule.Recurrence{Cron: "0 20 1 * *"}
	closing := schedule.Blackout{Zone: schedule.TenantZone, Start: &monthEnd, DurationSeconds: 3 * 3600}
	o := openings(t, []schedule.Window{night}, christmas, closing)
	for _, c := range []struct {
		name, at string
		need     time.Duration
		overrun  bool
		reason   schedule.Reason
		next     string // where the work may start from then on, UTC
	}{
		{"it fits", "2025-06-10T21:00:00Z", 5 * time.Hour, false, "", "2025-06-10T21:00:00Z"},
		{"it does not fit any more", "2025-06-10T21:00:01Z", 5 * time.Hour, false, schedule.MissedWindow, "2025-06-11T20:00:00Z"},
		{"it may overrun", "2025-06-10T21:00:01Z", 5 * time.Hour, true, "", "2025-06-11T20:00:00Z"},
		{"outside", "2025-06-10T12:00:00Z", time.Hour, true, schedule.MissedWindow, "2025-06-10T20:00:00Z"},
		{"inside a freeze", "2025-12-24T22:00:00Z", time.Hour, true, schedule.MissedBlackout, "2026-01-05T23:00:00Z"},
		{"a freeze is near", "2025-12-19T22:30:00Z", time.Hour, false, schedule.MissedBlackout, "2026-01-05T23:00:00Z"},
		{"a freeze is near, and it may overrun", "2025-12-19T22:30:00Z", time.Hour, true, "", "2026-01-05T23:00:00Z"},
		{"inside a recurring freeze", "2025-07-01T20:30:00Z", time.Hour, false, schedule.MissedBlackout, "2025-07-01T21:00:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := instant(t, c.at)
			if reason, ok := o.MayStart(at, c.need, c.overrun); reason != c.reason || ok != (c.reason == "") {
				t.Errorf("may start: %t %q, want %q", ok, reason, c.reason)
			}
			if next, ok := o.NextOpening(at, c.need); !ok || next.Start.UTC().Format(time.RFC3339) != c.next || next.Duration() < c.need {
				t.Errorf("next opening: %v %t, want %s", next, ok, c.next)
			}
		})
	}
	if next, ok := o.NextOpening(instant(t, "2025-06-10T12:00:00Z"), 7*time.Hour); ok {
		t.Errorf("seven hours fit into six: %v", next)
	}
	over := openings(t, []schedule.Window{{Zone: "UTC", Start: schedule.Recurrence{Once: "2025-06-10T02:00"}, DurationSeconds: 3600}})
	if next, ok := over.NextOpening(instant(t, "2025-06-10T03:00:00Z"), 0); ok {
		t.Errorf("a window that is over opens again: %v", next)
	}
}

// A freeze until a time that happens twice holds until the second one.
func TestABlackoutEndsWhenTheClockHasPassedItsEnd(t *testing.T) {
	o := openings(t, nil, schedule.Blackout{Zone: "Europe/Berlin", From: "2025-10-25T00:00", Until: "2025-10-26T02:30"})
	next, ok := o.NextOpening(instant(t, "2025-10-25T12:00:00Z"), time.Hour)
	if !ok || !next.Start.Equal(instant(t, "2025-10-26T01:30:00Z")) {
		t.Errorf("%v %t", next, ok)
	}
}

func TestFaultyWindowsSayWhere(t *testing.T) {
	hourly := schedule.Recurrence{Cron: "0 * * * *"}
	for _, c := range []struct {
		name     string
		err      error
		pointers []string
	}{
		{"an empty window", schedule.Window{}.Validate(), []string{"/zone", "/duration_seconds", "/start"}},
		{"too long", schedule.Window{Zone: "UTC", Start: hourly, DurationSeconds: 31*86400 + 1}.Validate(), []string{"/duration_seconds"}},
		{"overflow", schedule.Window{Zone: "UTC", Start: hourly, DurationSeconds: 1 << 62}.Validate(), []string{"/duration_seconds"}},
		{"too often", schedule.Window{Zone: "UTC", Start: schedule.Recurrence{Cron: "0,30 * * * *"}, DurationSeconds: 60}.Validate(), []string{"/start"}},
		{"often now and then", schedule.Window{Zone: "UTC", Start: schedule.Recurrence{Cron: "5,59 23 29 2 *"}, DurationSeconds: 60}.Validate(), []string{"/start"}},
		{"hourly", schedule.Window{Zone: "UTC", Start: hourly, DurationSeconds: 3600}.Validate(), nil},
		{"a faulty start", schedule.Window{Zone: "UTC", Start: schedule.Recurrence{Cron: "0 3 30 2 *"}, DurationSeconds: 60}.Validate(), []string{"/start/cron"}},
		{"an empty blackout", schedule.Blackout{Zone: "UTC"}.Validate(), []string{"/from", "/until"}},
		{"a blackout backwards", schedule.Blackout{Zone: "UTC", From: "2025-06-11T00:00", Until: "2025-06-10T00:00"}.Validate(), []string{"/until"}},
		{"both forms", schedule.Blackout{Zone: "UTC", From: "2025-06-10T00:00", Until: "2025-06-11T00:00", Start: &hourly, DurationSeconds: 60}.Validate(), []string{"/from", "/until"}},
		{"a single one with a duration", schedule.Blackout{Zone: "UTC", From: "2025-06-10T00:00", Until: "2025-06-11T00:00", DurationSeconds: 60}.Validate(), []string{"/duration_seconds"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.pointers == nil {
				if c.err != nil {
					t.Fatal(c.err)
				}
				return
			}
			checkFaults(t, c.err, c.pointers, "")
		})
	}
	_, err := schedule.NewOpenings([]schedule.Window{nightly(t, "0 22 * * *", time.Hour), {}}, []schedule.Blackout{{Zone: "UTC"}}, berlin)
	checkFaults(t, err, []string{"/windows/1/zone", "/windows/1/duration_seconds", "/windows/1/start", "/blackouts/0/from", "/blackouts/0/until"}, "")
}

// Openings against a plain search: minute by minute, with windows and blackouts as lists of times.
func TestOpeningsAgreeWithASearchMinuteByMinute(t *testing.T) {
	const searched = 4 * 24 * 60
	rapid.Check(t, func(t *rapid.T) {
		var windows []schedule.Window
		for range rapid.IntRange(0, 3).Draw(t, "windows") {
			windows = append(windows, schedule.Window{Zone: schedule.TenantZone, Start: anyStart().Draw(t, "start"), DurationSeconds: anyLength().Draw(t, "length")})
		}
		var blackouts []schedule.Blackout
		for range rapid.IntRange(0, 2).Draw(t, "blackouts") {
			start := anyStart().Draw(t, "freeze")
			blackouts = append(blackouts, schedule.Blackout{Zone: schedule.TenantZone, Start: &start, DurationSeconds: anyLength().Draw(t, "freeze length")})
		}
		o, err := schedule.NewOpenings(windows, blackouts, berlin)
		if err != nil {
			t.Fatal(err)
		}
		// Around the days on which the clocks change.
		day := rapid.SampledFrom([]int64{1_743_200_000, 1_761_350_000, 1_750_000_000}).Draw(t, "day")
		at := time.Unix((day/60+rapid.Int64Range(0, 3*24*60).Draw(t, "minute"))*60, 0).UTC()
		need := time.Duration(rapid.IntRange(0, 10).Draw(t, "need")) * 30 * time.Minute

		open := make([]bool, searched)
		for i := range open {
			open[i] = len(windows) == 0
		}
		mark := func(start schedule.Recurrence, seconds int64, value bool) {
			length := time.Duration(seconds) * time.Second
			runs, _ := schedule.Next(start, schedule.TenantZone.Resolve(berlin), at.Add(-length), 2000)
			for _, run := range runs {
				for m := max(0, int(run.At.Sub(at)/time.Minute)); m < searched && at.Add(time.Duration(m)*time.Minute).Before(run.At.Add(length)); m++ {
					open[m] = value
				}
			}
		}
		for _, w := range windows {
			mark(w.Start, w.DurationSeconds, true)
		}
		for _, b := range blackouts {
			mark(*b.Start, b.DurationSeconds, false)
		}

		until, isOpen := o.OpenAt(at)
		if isOpen != open[0] {
			t.Fatalf("open at %s: %t, want %t", at, isOpen, open[0])
		}
		if end := firstFrom(open, 0, false); isOpen && end >= 0 && !until.Equal(at.Add(time.Duration(end)*time.Minute)) {
			t.Fatalf("open at %s until %s, want %d minutes", at, until, end)
		}
		start := 0
		for start = firstFrom(open, 0, true); start >= 0; start = firstFrom(open, start, true) {
			end := firstFrom(open, start, false)
			if end < 0 || time.Duration(end-start)*time.Minute >= need {
				break
			}
			start = end
		}
		next, found := o.NextOpening(at, need)
		if start >= 0 && start < searched-24*60 && (!found || !next.Start.Equal(at.Add(time.Duration(start)*time.Minute))) {
			t.Fatalf("the opening for %s after %s: %v %t, want in %d minutes", need, at, next, found, start)
		}
		if start < 0 && found && next.Start.Before(at.Add((searched-24*60)*time.Minute)) {
			t.Fatalf("the opening for %s after %s: %v, want none", need, at, next)
		}
	})
}

func anyStart() *rapid.Generator[schedule.Recurrence] {
	return rapid.Custom(func(t *rapid.T) schedule.Recurrence {
		return schedule.Recurrence{Cron: rapid.SampledFrom([]string{
			"0 22 * * *", "30 2 * * *", "0 0 * * *", "0 */6 * * *", "15 1 * * 0", "0 23 * * 6", "30 2 * * 1-5",
		}).Draw(t, "cron")}
	})
}

func anyLength() *rapid.Generator[int64] {
	return rapid.Map(rapid.Int64Range(1, 36), func(n int64) int64 { return n * 20 * 60 })
}

// firstFrom is the first index at or after i that has the value, or -1.
func firstFrom(all []bool, i int, value bool) int {
	for ; i < len(all); i++ {
		if all[i] == value {
			return i
		}
	}
	return -1
}
