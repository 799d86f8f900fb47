package schedule_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"reeve/api/fault"
	"reeve/server/schedule"
	"reeve/tenants/calendar"
)

// Every case is a daily run at 02:00 UTC that was last decided on June 10, unless it says otherwise.
func TestDecide(t *testing.T) {
	daily := `{"cron": "0 2 * * *"}`
	night := []schedule.Window{{Zone: "UTC", Start: schedule.Recurrence{Cron: "0 1 * * *"}, DurationSeconds: 4 * 3600}}
	evening := []schedule.Window{{Zone: "UTC", Start: schedule.Recurrence{Cron: "0 20 * * *"}, DurationSeconds: 2 * 3600}}
	freeze := []schedule.Blackout{{Zone: "UTC", From: "2025-06-11T00:00", Until: "2025-06-14T12:00"}}
	for _, c := range []struct {
		name       string
		recurrence string
		policy     schedule.Policy
		expires    time.Duration
		windows    []schedule.Window
		blackouts  []schedule.Blackout
		now        string
		fire       string // the run, "late" if it catches up
		missed     []string
		waiting    string
		wake       string
	}{
		{name: "not yet", recurrence: daily, now: "2025-06-11T01:59:59Z", wake: "2025-06-11T02:00:00Z"},
		{name: "on time", recurrence: daily, now: "2025-06-11T02:00:00Z", fire: "2025-06-11T02:00", wake: "2025-06-12T02:00:00Z"},
		{name: "nearly on time", recurrence: daily, now: "2025-06-11T02:05:00Z", fire: "2025-06-11T02:00", wake: "2025-06-12T02:00:00Z"},
		{name: "late, without a policy", recurrence: daily, now: "2025-06-11T02:05:01Z",
			missed: []string{"2025-06-11T02:00 server"}, wake: "2025-06-12T02:00:00Z"},
		{name: "late, skipped", recurrence: daily, policy: schedule.Skip, now: "2025-06-11T09:00:00Z",
			missed: []string{"2025-06-11T02:00 server"}, wake: "2025-06-12T02:00:00Z"},
		{name: "late, as soon as possible", recurrence: daily, policy: schedule.RunASAP, now: "2025-06-11T09:00:00Z",
			fire: "late 2025-06-11T02:00", wake: "2025-06-12T02:00:00Z"},
		{name: "one catch-up however many were missed", recurrence: daily, policy: schedule.RunASAP, now: "2025-06-14T09:00:00Z",
			fire:   "late 2025-06-14T02:00",
			missed: []string{"2025-06-11T02:00 server", "2025-06-12T02:00 server", "2025-06-13T02:00 server"}, wake: "2025-06-15T02:00:00Z"},
		{name: "no catch-up beside a run on time", recurrence: daily, policy: schedule.RunASAP, now: "2025-06-12T02:01:00Z",
			fire: "2025-06-12T02:00", missed: []string{"2025-06-11T02:00 server"}, wake: "2025-06-13T02:00:00Z"},
		{name: "expired", recurrence: daily, policy: schedule.RunASAP, expires: 4 * time.Hour, now: "2025-06-11T06:00:01Z",
			missed: []string{"2025-06-11T02:00 server"}, wake: "2025-06-12T02:00:00Z"},
		{name: "just not expired", recurrence: daily, policy: schedule.RunASAP, expires: 4 * time.Hour, now: "2025-06-11T06:00:00Z",
			fire: "late 2025-06-11T02:00", wake: "2025-06-12T02:00:00Z"},

		{name: "in the next window", recurrence: daily, policy: schedule.RunInNextWindow, windows: night, now: "2025-06-11T09:00:00Z",
			waiting: "2025-06-11T02:00", wake: "2025-06-12T01:00:00Z"},
		{name: "a window that is open counts", recurrence: daily, policy: schedule.RunInNextWindow, windows: night, now: "2025-06-11T03:00:00Z",
			fire: "late 2025-06-11T02:00", wake: "2025-06-12T02:00:00Z"},
		{name: "but not when the work does not fit any more", recurrence: daily, policy: schedule.RunInNextWindow, windows: night, now: "2025-06-11T04:30:00Z",
			waiting: "2025-06-11T02:00", wake: "2025-06-12T01:00:00Z"},
		{name: "the next window comes too late", recurrence: daily, policy: schedule.RunInNextWindow, expires: 12 * time.Hour, windows: night, now: "2025-06-11T09:00:00Z",
			missed: []string{"2025-06-11T02:00 server"}, wake: "2025-06-12T02:00:00Z"},
		{name: "as soon as possible does not wait for a window", recurrence: daily, policy: schedule.RunASAP, windows: night, now: "2025-06-11T09:00:00Z",
			fire: "late 2025-06-11T02:00", wake: "2025-06-12T02:00:00Z"},

		{name: "its time is outside the window, skipped", recurrence: daily, windows: evening, now: "2025-06-11T02:00:00Z",
			missed: []string{"2025-06-11T02:00 window"}, wake: "2025-06-12T02:00:00Z"},
		{name: "its time is outside the window, so it waits", recurrence: daily, policy: schedule.RunInNextWindow, windows: evening, now: "2025-06-11T02:00:00Z",
			waiting: "2025-06-11T02:00", wake: "2025-06-11T20:00:00Z"},
		{name: "its time is outside the window, and soon is not at once", recurrence: daily, policy: schedule.RunASAP, windows: evening, now: "2025-06-11T02:00:00Z",
			waiting: "2025-06-11T02:00", wake: "2025-06-11T20:00:00Z"},

		{name: "the window opens within the grace", recurrence: daily, policy: schedule.RunInNextWindow, windows: []schedule.Window{
			{Zone: "UTC", Start: schedule.Recurrence{Cron: "4 2 * * *"}, DurationSeconds: 4 * 3600}}, now: "2025-06-11T02:04:00Z",
			fire: "2025-06-11T02:00", wake: "2025-06-12T02:00:00Z"},

		{name: "a blackout, skipped", recurrence: daily, blackouts: freeze, now: "2025-06-11T02:00:00Z",
			missed: []string{"2025-06-11T02:00 blackout"}, wake: "2025-06-12T02:00:00Z"},
		{name: "a blackout, waiting", recurrence: daily, policy: schedule.RunASAP, blackouts: freeze, now: "2025-06-11T02:00:00Z",
			waiting: "2025-06-11T02:00", wake: "2025-06-12T02:00:00Z"},
		{name: "a blackout, waiting for its end", recurrence: daily, policy: schedule.RunASAP, blackouts: freeze, now: "2025-06-14T02:00:00Z",
			waiting: "2025-06-14T02:00", missed: []string{"2025-06-11T02:00 blackout", "2025-06-12T02:00 blackout", "2025-06-13T02:00 blackout"},
			wake: "2025-06-14T12:00:00Z"},
		{name: "after the blackout", recurrence: daily, policy: schedule.RunASAP, blackouts: freeze, now: "2025-06-14T12:00:00Z",
			fire: "late 2025-06-14T02:00", missed: []string{"2025-06-11T02:00 blackout", "2025-06-12T02:00 blackout", "2025-06-13T02:00 blackout"},
			wake: "2025-06-15T02:00:00Z"},
		{name: "after the blackout, but outside the window that it never had", recurrence: daily, policy: schedule.RunASAP, blackouts: freeze, windows: evening, now: "2025-06-14T12:00:00Z",
			waiting: "2025-06-14T02:00", missed: []string{"2025-06-11T02:00 blackout", "2025-06-12T02:00 blackout", "2025-06-13T02:00 blackout"},
			wake: "2025-06-14T20:00:00Z"},

		{name: "one-off work runs at the next contact", recurrence: `{"once": "2025-06-11T02:00"}`, now: "2025-06-20T09:00:00Z", fire: "late 2025-06-11T02:00"},
		{name: "one-off work expires", recurrence: `{"once": "2025-06-11T02:00"}`, expires: time.Hour, now: "2025-06-20T09:00:00Z",
			missed: []string{"2025-06-11T02:00 server"}},
		{name: "one-off work that must not be late", recurrence: `{"once": "2025-06-11T02:00"}`, policy: schedule.Skip, now: "2025-06-20T09:00:00Z",
			missed: []string{"2025-06-11T02:00 server"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			openings, err := schedule.NewOpenings(c.windows, c.blackouts, schedule.ZoneNames{})
			if err != nil {
				t.Fatal(err)
			}
			d, err := schedule.Decide(schedule.Situation{
				Recurrence: parse(t, c.recurrence), Zone: calendar.UTC, Openings: openings, Need: time.Hour,
				CatchUp:  schedule.CatchUp{Policy: c.policy, ExpiresAfterSeconds: int64(c.expires / time.Second)},
				Progress: schedule.Progress{Through: instant(t, "2025-06-10T02:00:00Z")}, Now: instant(t, c.now),
			})
			if err != nil {
				t.Fatal(err)
			}
			var fire, waiting, wake string
			if d.Fire != nil {
				fire = d.Fire.Run.NominalLocal.String()
				if d.Fire.CatchUp {
					fire = "late " + fire
				}
				if d.Fire.Reboot == d.Fire.CatchUp {
					t.Errorf("reboot: %t", d.Fire.Reboot)
				}
			}
			if d.Progress.Waiting != nil {
				waiting = d.Progress.Waiting.Run.NominalLocal.String()
			}
			if !d.WakeAt.IsZero() {
				wake = d.WakeAt.Format(time.RFC3339)
			}
			if fire != c.fire || waiting != c.waiting || wake != c.wake {
				t.Errorf("fires %q, waits %q, wakes %q; want %q, %q, %q", fire, waiting, wake, c.fire, c.waiting, c.wake)
			}
			var missed []string
			for _, m := range d.Missed {
				missed = append(missed, fmt.Sprintf("%s %s", m.Run.NominalLocal, m.Reason))
			}
			if fmt.Sprint(missed) != fmt.Sprint(c.missed) || d.MissedCount != len(c.missed) || d.MissedMore {
				t.Errorf("missed %q (%d), want %q", missed, d.MissedCount, c.missed)
			}
		})
	}
}

func TestAWaitingRunGivesWayToTheNext(t *testing.T) {
	evening, err := schedule.NewOpenings([]schedule.Window{{Zone: "UTC", Start: schedule.Recurrence{Cron: "0 20 * * 6"}, DurationSeconds: 3600}}, nil, schedule.ZoneNames{})
	if err != nil {
		t.Fatal(err)
	}
	s := schedule.Situation{
		Recurrence: parse(t, `{"cron": "0 2 * * *"}`), Zone: calendar.UTC, Openings: evening,
		CatchUp:  schedule.CatchUp{Policy: schedule.RunInNextWindow, IncludeReboot: true},
		Progress: schedule.Progress{Through: instant(t, "2025-06-12T02:00:00Z")},
	}
	var missed []string
	for _, now := range []string{"2025-06-13T02:00:00Z", "2025-06-14T02:00:00Z", "2025-06-14T20:00:00Z"} {
		s.Now = instant(t, now)
		d, err := schedule.Decide(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range d.Missed {
			missed = append(missed, m.Run.Key()+" "+string(m.Reason))
		}
		if last := now == "2025-06-14T20:00:00Z"; (d.Fire != nil) != last || last && (d.Fire.Run.Key() != "2025-06-14T02:00/0" || !d.Fire.Reboot) {
			t.Errorf("at %s: %+v", now, d.Fire)
		}
		s.Progress = d.Progress
	}
	if fmt.Sprint(missed) != "[2025-06-13T02:00/0 window]" {
		t.Errorf("missed %q", missed)
	}
}

func TestManyMissesAreCountedAndTheLatestAreListed(t *testing.T) {
	now := instant(t, "2025-06-11T00:00:30Z")
	s := schedule.Situation{Recurrence: parse(t, `{"cron": "* * * * *"}`), Zone: calendar.UTC, Now: now, Cause: schedule.MissedOffline}
	for _, c := range []struct {
		away  time.Duration
		count int
		more  bool
	}{
		{24 * time.Hour, 24*60 - 1, false}, // the latest run fires
		{3 * 365 * 24 * time.Hour, 99_999, true},
	} {
		s.Progress = schedule.Progress{Through: now.Add(-c.away)}
		d, err := schedule.Decide(s)
		if err != nil {
			t.Fatal(err)
		}
		last := d.Missed[len(d.Missed)-1]
		if len(d.Missed) != schedule.MaxMisses || d.MissedCount != c.count || d.MissedMore != c.more ||
			last.Run.Key() != "2025-06-10T23:59/0" || last.Reason != schedule.MissedOffline || d.Fire == nil || d.Fire.CatchUp {
			t.Errorf("after %s: %d listed up to %s, %d counted, more: %t, fires %v", c.away, len(d.Missed), last.Run.Key(), d.MissedCount, d.MissedMore, d.Fire)
		}
	}
}

func TestFaultyCatchUpSaysWhere(t *testing.T) {
	var faults fault.Fields
	schedule.CatchUp{Policy: "later", ExpiresAfterSeconds: -1}.Check(&faults, "/catch_up")
	checkFaults(t, faults.Err(), []string{"/catch_up/policy", "/catch_up/expires_after_seconds"}, "run_in_next_window")
	if _, err := schedule.Decide(schedule.Situation{Recurrence: parse(t, `{"cron": "@daily"}`), Now: time.Now()}); fault.KindOf(err) != fault.Internal {
		t.Errorf("progress without a beginning: %v", err)
	}
}

// However a server sleeps and wakes, every run is fired once, or missed once, or the only one that
// waits; nothing starts in a blackout; and after each decision the schedule wakes in time.
func TestEveryRunIsAccountedForOnce(t *testing.T) {
	zone := loadZone(t, "Europe/Berlin")
	rapid.Check(t, func(t *rapid.T) {
		begin := time.Unix(rapid.SampledFrom([]int64{1_743_000_000, 1_761_000_000}).Draw(t, "begin"), 0).UTC()
		s := schedule.Situation{
			Recurrence: schedule.Recurrence{Cron: rapid.SampledFrom([]string{"30 2 * * *", "0 */3 * * *", "15 22 * * 6", "0,30 1-3 * * *"}).Draw(t, "cron")},
			Zone:       zone,
			CatchUp: schedule.CatchUp{
				Policy:              rapid.SampledFrom([]schedule.Policy{"", schedule.Skip, schedule.RunASAP, schedule.RunInNextWindow}).Draw(t, "policy"),
				ExpiresAfterSeconds: rapid.SampledFrom([]int64{0, 3600, 86400}).Draw(t, "expires"),
			},
			Need: time.Duration(rapid.IntRange(0, 3).Draw(t, "need")) * time.Hour, Overrun: rapid.Bool().Draw(t, "overrun"),
			Progress: schedule.Progress{Through: begin},
		}
		freeze := anyStart().Draw(t, "freeze")
		blackouts := []schedule.Blackout{{Zone: "Europe/Berlin", Start: &freeze, DurationSeconds: anyLength().Draw(t, "freeze length")}}
		var windows []schedule.Window
		if rapid.Bool().Draw(t, "window") {
			windows = []schedule.Window{{Zone: "Europe/Berlin", Start: anyStart().Draw(t, "start"), DurationSeconds: anyLength().Draw(t, "length")}}
		}
		var err error
		if s.Openings, err = schedule.NewOpenings(windows, blackouts, schedule.ZoneNames{}); err != nil {
			t.Fatal(err)
		}
		frozen, err := schedule.NewOpenings(nil, blackouts, schedule.ZoneNames{})
		if err != nil {
			t.Fatal(err)
		}

		seen := map[string]int{}
		s.Now = begin
		for range 25 {
			d, err := schedule.Decide(s)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range d.Missed {
				seen[m.Run.Key()]++
			}
			if d.Fire != nil {
				seen[d.Fire.Run.Key()]++
				if _, open := frozen.OpenAt(s.Now); !open {
					t.Fatalf("%s fires at %s, in a blackout", d.Fire.Run.Key(), s.Now)
				}
				if d.Fire.CatchUp && (s.CatchUp.Policy == schedule.Skip || s.CatchUp.Policy == "") {
					t.Fatalf("%s is caught up although it is skipped", d.Fire.Run.Key())
				}
			}
			if !d.WakeAt.After(s.Now) {
				t.Fatalf("at %s it wakes at %s", s.Now, d.WakeAt)
			}
			s.Progress = d.Progress
			// On time, a little late, or after an outage.
			s.Now = d.WakeAt.Add(time.Duration(rapid.SampledFrom([]int{0, 0, 0, 1, 10, 400, 5000}).Draw(t, "late")) * time.Minute)
		}
		if s.Progress.Waiting != nil {
			seen[s.Progress.Waiting.Run.Key()]++
		}
		runs, err := schedule.Next(s.Recurrence, zone, begin, 5000)
		if err != nil {
			t.Fatal(err)
		}
		for _, run := range runs {
			if run.At.After(s.Progress.Through) {
				break
			}
			if seen[run.Key()] != 1 {
				t.Fatalf("%s is accounted for %d times", run.Key(), seen[run.Key()])
			}
			delete(seen, run.Key())
		}
		if len(seen) != 0 {
			t.Fatalf("runs that never were: %v", seen)
		}
	})
}
