package schedule_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"reeve/server/schedule"
	"reeve/tenants/calendar"
)

// The rule for local times, as a table: what runs when the clocks change.
func TestNext(t *testing.T) {
	for _, c := range []struct {
		name, recurrence, zone string
		from                   string
		want                   []string // nominal local time/fold = instant
	}{
		{"an ordinary day", `{"cron": "30 2 * * *"}`, "Europe/Berlin", "2025-06-10T00:00:00Z", []string{
			"2025-06-10T02:30/0 = 2025-06-10T00:30:00Z",
			"2025-06-11T02:30/0 = 2025-06-11T00:30:00Z"}},
		{"strictly after from", `{"cron": "30 2 * * *"}`, "Europe/Berlin", "2025-06-10T00:30:00Z", []string{
			"2025-06-11T02:30/0 = 2025-06-11T00:30:00Z"}},
		{"fractions of a second", `{"cron": "30 2 * * *"}`, "Europe/Berlin", "2025-06-10T00:29:59.999Z", []string{
			"2025-06-10T02:30/0 = 2025-06-10T00:30:00Z"}},

		{"a missing hour runs once, at the jump", `{"cron": "30 2 * * *"}`, "Europe/Berlin", "2025-03-29T12:00:00Z", []string{
			"2025-03-30T02:30/0 = 2025-03-30T01:00:00Z",
			"2025-03-31T02:30/0 = 2025-03-31T00:30:00Z"}},
		{"the same in New York", `{"cron": "30 2 * * *"}`, "America/New_York", "2025-03-08T12:00:00Z", []string{
			"2025-03-09T02:30/0 = 2025-03-09T07:00:00Z",
			"2025-03-10T02:30/0 = 2025-03-10T06:30:00Z"}},
		{"a missing midnight in São Paulo", `{"cron": "0 0 * * *"}`, "America/Sao_Paulo", "2018-11-03T12:00:00Z", []string{
			"2018-11-04T00:00/0 = 2018-11-04T03:00:00Z", // shows 01:00
			"2018-11-05T00:00/0 = 2018-11-05T02:00:00Z"}},
		{"a missing midnight in Cairo", `{"cron": "0 0 * * *"}`, "Africa/Cairo", "2025-04-24T12:00:00Z", []string{
			"2025-04-25T00:00/0 = 2025-04-24T22:00:00Z", // shows 01:00
			"2025-04-26T00:00/0 = 2025-04-25T21:00:00Z"}},
		{"a jump of 30 minutes", `{"cron": "15 2 * * *"}`, "Australia/Lord_Howe", "2025-10-04T12:00:00Z", []string{
			"2025-10-05T02:15/0 = 2025-10-04T15:30:00Z", // shows 02:30
			"2025-10-06T02:15/0 = 2025-10-05T15:15:00Z"}},
		{"a repeated hour runs once, in New York", `{"cron": "30 1 * * *"}`, "America/New_York", "2025-11-01T12:00:00Z", []string{
			"2025-11-02T01:30/0 = 2025-11-02T05:30:00Z",
			"2025-11-03T01:30/0 = 2025-11-03T06:30:00Z"}},
		{"a repeated hour runs once, in Berlin", `{"cron": "30 2 * * *"}`, "Europe/Berlin", "2025-10-25T12:00:00Z", []string{
			"2025-10-26T02:30/0 = 2025-10-26T00:30:00Z",
			"2025-10-27T02:30/0 = 2025-10-27T01:30:00Z"}},
		{"asked between the two readings", `{"cron": "30 2 * * *"}`, "Europe/Berlin", "2025-10-26T01:00:00Z", []string{
			"2025-10-27T02:30/0 = 2025-10-27T01:30:00Z"}},
		{"wildcard hours run in both", `{"cron": "30 * * * *"}`, "Europe/Berlin", "2025-10-25T23:45:00Z", []string{
			"2025-10-26T02:30/0 = 2025-10-26T00:30:00Z",
			"2025-10-26T02:30/1 = 2025-10-26T01:30:00Z",
			"2025-10-26T03:30/0 = 2025-10-26T02:30:00Z"}},
		{"step hours run in both", `{"cron": "30 */2 * * *"}`, "Europe/Berlin", "2025-10-25T23:45:00Z", []string{
			"2025-10-26T02:30/0 = 2025-10-26T00:30:00Z",
			"2025-10-26T02:30/1 = 2025-10-26T01:30:00Z",
			"2025-10-26T04:30/0 = 2025-10-26T03:30:00Z"}},
		{"wildcard hours go on through a gap", `{"cron": "30 * * * *"}`, "Europe/Berlin", "2025-03-30T00:00:00Z", []string{
			"2025-03-30T01:30/0 = 2025-03-30T00:30:00Z",
			"2025-03-30T03:30/0 = 2025-03-30T01:30:00Z"}},
		{"step hours go on through a gap", `{"cron": "30 2/6 * * *"}`, "Europe/Berlin", "2025-03-30T00:00:00Z", []string{
			"2025-03-30T08:30/0 = 2025-03-30T06:30:00Z"}},
		{"several times in one gap become one run", `{"cron": "0,15,45 2 * * *"}`, "Europe/Berlin", "2025-03-30T00:00:00Z", []string{
			"2025-03-30T02:00/0 = 2025-03-30T01:00:00Z",
			"2025-03-31T02:00/0 = 2025-03-31T00:00:00Z"}},
		{"and so does one right at the jump", `{"cron": "30 2,3 * * *"}`, "Europe/Berlin", "2025-03-30T00:00:00Z", []string{
			"2025-03-30T02:30/0 = 2025-03-30T01:00:00Z",
			"2025-03-30T03:30/0 = 2025-03-30T01:30:00Z"}},
		{"a run at the jump stands for both", `{"cron": "0 2,3 * * *"}`, "Europe/Berlin", "2025-03-30T00:00:00Z", []string{
			"2025-03-30T02:00/0 = 2025-03-30T01:00:00Z",
			"2025-03-31T02:00/0 = 2025-03-31T00:00:00Z"}},
		{"asked at the jump itself", `{"cron": "0 2,3 * * *"}`, "Europe/Berlin", "2025-03-30T01:00:00Z", []string{
			"2025-03-31T02:00/0 = 2025-03-31T00:00:00Z"}},
		{"Samoa's missing day", `{"cron": "30 2 * * *"}`, "Pacific/Apia", "2011-12-29T13:00:00Z", []string{
			"2011-12-30T02:30/0 = 2011-12-30T10:00:00Z", // shows 2011-12-31T00:00
			"2011-12-31T02:30/0 = 2011-12-30T12:30:00Z"}},

		{"day of month or day of week", `{"cron": "0 2 8-14 * 2"}`, "UTC", "2025-06-01T00:00:00Z", []string{
			"2025-06-03T02:00/0 = 2025-06-03T02:00:00Z",
			"2025-06-08T02:00/0 = 2025-06-08T02:00:00Z",
			"2025-06-09T02:00/0 = 2025-06-09T02:00:00Z"}},
		{"the second Tuesday", `{"weekday_of_month": {"n": 2, "weekday": "tue", "time": "02:00"}}`, "UTC", "2025-06-01T00:00:00Z", []string{
			"2025-06-10T02:00/0 = 2025-06-10T02:00:00Z",
			"2025-07-08T02:00/0 = 2025-07-08T02:00:00Z"}},
		{"Sunday is 0 and 7", `{"cron": "0 2 * * 7"}`, "UTC", "2025-06-01T02:00:00Z", []string{
			"2025-06-08T02:00/0 = 2025-06-08T02:00:00Z"}},
		{"ranges up to Sunday", `{"cron": "0 2 * * 5-7"}`, "UTC", "2025-06-01T02:00:00Z", []string{
			"2025-06-06T02:00/0 = 2025-06-06T02:00:00Z",
			"2025-06-07T02:00/0 = 2025-06-07T02:00:00Z",
			"2025-06-08T02:00/0 = 2025-06-08T02:00:00Z"}},
		{"names", `{"cron": "0 2 * jan-mar Mon"}`, "UTC", "2025-03-25T00:00:00Z", []string{
			"2025-03-31T02:00/0 = 2025-03-31T02:00:00Z",
			"2026-01-05T02:00/0 = 2026-01-05T02:00:00Z"}},
		{"short months are skipped", `{"cron": "0 3 31 * *"}`, "UTC", "2025-01-31T12:00:00Z", []string{
			"2025-03-31T03:00/0 = 2025-03-31T03:00:00Z",
			"2025-05-31T03:00/0 = 2025-05-31T03:00:00Z"}},
		{"leap days, over the century without one", `{"cron": "0 3 29 2 *"}`, "UTC", "2096-03-01T00:00:00Z", []string{
			"2104-02-29T03:00/0 = 2104-02-29T03:00:00Z"}},
		{"@daily has a fixed hour", `{"cron": "@daily"}`, "Africa/Cairo", "2025-04-24T12:00:00Z", []string{
			"2025-04-25T00:00/0 = 2025-04-24T22:00:00Z"}},
		{"@weekly", `{"cron": "@weekly"}`, "UTC", "2025-06-10T00:00:00Z", []string{
			"2025-06-15T00:00/0 = 2025-06-15T00:00:00Z"}},
		{"@hourly runs in both", `{"cron": "@hourly"}`, "America/New_York", "2025-11-02T04:30:00Z", []string{
			"2025-11-02T01:00/0 = 2025-11-02T05:00:00Z",
			"2025-11-02T01:00/1 = 2025-11-02T06:00:00Z"}},

		{"hours count real time", `{"every": {"n": 12, "unit": "hours", "anchor": "2025-03-29T09:00"}}`, "Europe/Berlin", "2025-03-29T00:00:00Z", []string{
			"2025-03-29T09:00/0 = 2025-03-29T08:00:00Z",
			"2025-03-29T21:00/0 = 2025-03-29T20:00:00Z",
			"2025-03-30T10:00/0 = 2025-03-30T08:00:00Z"}},
		{"minutes in a repeated hour", `{"every": {"n": 30, "unit": "minutes", "anchor": "2025-01-01T00:00"}}`, "Europe/Berlin", "2025-10-26T00:15:00Z", []string{
			"2025-10-26T02:30/0 = 2025-10-26T00:30:00Z",
			"2025-10-26T02:00/1 = 2025-10-26T01:00:00Z",
			"2025-10-26T02:30/1 = 2025-10-26T01:30:00Z",
			"2025-10-26T03:00/0 = 2025-10-26T02:00:00Z"}},
		{"real time from an anchor that happens twice", `{"every": {"n": 1, "unit": "hours", "anchor": "2025-10-26T02:30"}}`, "Europe/Berlin", "2025-10-25T00:00:00Z", []string{
			"2025-10-26T02:30/0 = 2025-10-26T00:30:00Z",
			"2025-10-26T02:30/1 = 2025-10-26T01:30:00Z",
			"2025-10-26T03:30/0 = 2025-10-26T02:30:00Z"}},
		{"real time from an anchor that never happens", `{"every": {"n": 1, "unit": "hours", "anchor": "2025-03-30T02:30"}}`, "Europe/Berlin", "2025-03-01T00:00:00Z", []string{
			"2025-03-30T03:00/0 = 2025-03-30T01:00:00Z",
			"2025-03-30T04:00/0 = 2025-03-30T02:00:00Z"}},
		{"days keep the local time", `{"every": {"n": 1, "unit": "days", "anchor": "2025-01-01T09:00"}}`, "Europe/Berlin", "2025-03-29T00:00:00Z", []string{
			"2025-03-29T09:00/0 = 2025-03-29T08:00:00Z",
			"2025-03-30T09:00/0 = 2025-03-30T07:00:00Z"}},
		{"days in a gap", `{"every": {"n": 2, "unit": "days", "anchor": "2025-03-28T02:30"}}`, "Europe/Berlin", "2025-03-29T00:00:00Z", []string{
			"2025-03-30T02:30/0 = 2025-03-30T01:00:00Z",
			"2025-04-01T02:30/0 = 2025-04-01T00:30:00Z"}},
		{"weeks", `{"every": {"n": 2, "unit": "weeks", "anchor": "2025-01-06T09:00"}}`, "Europe/Berlin", "2025-03-18T00:00:00Z", []string{
			"2025-03-31T09:00/0 = 2025-03-31T07:00:00Z",
			"2025-04-14T09:00/0 = 2025-04-14T07:00:00Z"}},
		{"months clamp from the anchor", `{"every": {"n": 1, "unit": "months", "anchor": "2025-01-31T09:00"}}`, "UTC", "2025-01-01T00:00:00Z", []string{
			"2025-01-31T09:00/0 = 2025-01-31T09:00:00Z",
			"2025-02-28T09:00/0 = 2025-02-28T09:00:00Z",
			"2025-03-31T09:00/0 = 2025-03-31T09:00:00Z",
			"2025-04-30T09:00/0 = 2025-04-30T09:00:00Z"}},
		{"five months", `{"every": {"n": 5, "unit": "months", "anchor": "2024-09-30T09:00"}}`, "UTC", "2025-01-01T00:00:00Z", []string{
			"2025-02-28T09:00/0 = 2025-02-28T09:00:00Z",
			"2025-07-30T09:00/0 = 2025-07-30T09:00:00Z"}},
		{"not before the anchor", `{"every": {"n": 1, "unit": "days", "anchor": "2025-06-10T09:00"}}`, "UTC", "2020-01-01T00:00:00Z", []string{
			"2025-06-10T09:00/0 = 2025-06-10T09:00:00Z"}},

		{"the last Sunday, in a gap", `{"weekday_of_month": {"n": -1, "weekday": "sun", "time": "02:30"}}`, "Europe/Berlin", "2025-03-01T00:00:00Z", []string{
			"2025-03-30T02:30/0 = 2025-03-30T01:00:00Z",
			"2025-04-27T02:30/0 = 2025-04-27T00:30:00Z"}},
		{"the fifth Friday", `{"weekday_of_month": {"n": 5, "weekday": "fri", "time": "02:00"}}`, "UTC", "2025-06-01T00:00:00Z", []string{
			"2025-08-29T02:00/0 = 2025-08-29T02:00:00Z",
			"2025-10-31T02:00/0 = 2025-10-31T02:00:00Z"}},
		{"the last day", `{"last_day_of_month": {"time": "02:00"}}`, "UTC", "2028-01-31T02:00:00Z", []string{
			"2028-02-29T02:00/0 = 2028-02-29T02:00:00Z",
			"2028-03-31T02:00/0 = 2028-03-31T02:00:00Z",
			"2028-04-30T02:00/0 = 2028-04-30T02:00:00Z"}},
		{"Patch Tuesday + 1 is not the second Wednesday", `{"patch_tuesday": {"plus_days": 1, "time": "02:00"}}`, "UTC", "2025-10-01T00:00:00Z", []string{
			"2025-10-15T02:00/0 = 2025-10-15T02:00:00Z",
			"2025-11-12T02:00/0 = 2025-11-12T02:00:00Z"}},
		{"Patch Tuesday itself", `{"patch_tuesday": {"plus_days": 0, "time": "22:00"}}`, "America/New_York", "2025-10-01T00:00:00Z", []string{
			"2025-10-14T22:00/0 = 2025-10-15T02:00:00Z"}},

		{"once", `{"once": "2025-06-10T02:00"}`, "Europe/Berlin", "2025-06-01T00:00:00Z", []string{
			"2025-06-10T02:00/0 = 2025-06-10T00:00:00Z", "no more"}},
		{"once, in a gap", `{"once": "2025-03-30T02:30"}`, "Europe/Berlin", "2025-03-01T00:00:00Z", []string{
			"2025-03-30T02:30/0 = 2025-03-30T01:00:00Z", "no more"}},
		{"once, in a fold", `{"once": "2025-10-26T02:30"}`, "Europe/Berlin", "2025-10-01T00:00:00Z", []string{
			"2025-10-26T02:30/0 = 2025-10-26T00:30:00Z", "no more"}},
		{"once is over", `{"once": "2025-06-10T02:00"}`, "Europe/Berlin", "2025-06-10T00:00:00Z", []string{"no more"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			runs := next(t, c.recurrence, c.zone, instant(t, c.from), len(c.want))
			for i, want := range c.want {
				got := "no more"
				if i < len(runs) {
					got = describe(runs[i])
				}
				if got != want {
					t.Errorf("run %d: %s, want %s", i, got, want)
				}
			}
		})
	}
}

func TestKeysTellRunsApart(t *testing.T) {
	from := instant(t, "2025-10-25T23:45:00Z")
	for _, recurrence := range []string{
		`{"cron": "*/20 * * * *"}`,
		`{"every": {"n": 20, "unit": "minutes", "anchor": "2025-01-01T00:00"}}`,
	} {
		keys := map[string]bool{}
		for _, run := range next(t, recurrence, "Europe/Berlin", from, 20) {
			if keys[run.Key()] {
				t.Errorf("%s: two runs are known as %s", recurrence, run.Key())
			}
			keys[run.Key()] = true
		}
	}
	// A device that moves to another zone keeps its nightly occurrence.
	berlin := next(t, `{"cron": "30 2 * * *"}`, "Europe/Berlin", from, 1)[0]
	tokyo := next(t, `{"cron": "30 2 * * *"}`, "Asia/Tokyo", instant(t, "2025-10-25T12:00:00Z"), 1)[0]
	if berlin.Key() != tokyo.Key() || berlin.Key() != "2025-10-26T02:30/0" {
		t.Errorf("%s and %s", berlin.Key(), tokyo.Key())
	}
}

// However runs are asked for, they are the same ones.
func TestRunsDoNotDependOnHowTheyAreAskedFor(t *testing.T) {
	zones := []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "Antarctica/Troll", "Asia/Kolkata"}
	rapid.Check(t, func(t *rapid.T) {
		r := anyRecurrence().Draw(t, "recurrence")
		zone, err := calendar.LoadZone(rapid.SampledFrom(zones).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		from := time.Unix(rapid.Int64Range(1_600_000_000, 1_900_000_000).Draw(t, "from"), rapid.Int64Range(0, 999).Draw(t, "ns"))
		runs, err := schedule.Next(r, zone, from, 30)
		if err != nil {
			t.Fatal(err)
		}
		last := from
		for i, run := range runs {
			if !run.At.After(last) {
				t.Fatalf("run %d at %s is not after %s", i, run.At, last)
			}
			// From anywhere since the run before, this run is the next.
			gap := int64(run.At.Sub(last))
			between := last.Add(time.Duration(rapid.Int64Range(0, gap-1).Draw(t, "between")))
			again, err := schedule.Next(r, zone, between, 1)
			if err != nil || len(again) != 1 || again[0] != run {
				t.Fatalf("after %s: %v %v, want %v", between, again, err, run)
			}
			last = run.At
		}
	})
}

// anyRecurrence draws valid recurrences of every kind.
func anyRecurrence() *rapid.Generator[schedule.Recurrence] {
	return rapid.Custom(func(t *rapid.T) schedule.Recurrence {
		clock := fmt.Sprintf("%02d:%02d", rapid.IntRange(0, 23).Draw(t, "hour"), rapid.IntRange(0, 59).Draw(t, "minute"))
		day := fmt.Sprintf("20%02d-%02d-%02d", rapid.IntRange(10, 35).Draw(t, "year"), rapid.IntRange(1, 12).Draw(t, "month"), rapid.IntRange(1, 28).Draw(t, "day"))
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			return schedule.Recurrence{Cron: anyCron().Draw(t, "cron")}
		case 1:
			unit := rapid.SampledFrom([]schedule.Unit{schedule.Minutes, schedule.Hours, schedule.Days, schedule.Weeks, schedule.Months})
			return schedule.Recurrence{Every: &schedule.Every{N: rapid.IntRange(1, 90).Draw(t, "n"), Unit: unit.Draw(t, "unit"), Anchor: day + "T" + clock}}
		case 2:
			weekday := rapid.SampledFrom([]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}).Draw(t, "weekday")
			return schedule.Recurrence{WeekdayOfMonth: &schedule.WeekdayOfMonth{N: rapid.SampledFrom([]int{-1, 1, 2, 3, 4, 5}).Draw(t, "n"), Weekday: weekday, Time: clock}}
		case 3:
			return schedule.Recurrence{LastDayOfMonth: &schedule.LastDayOfMonth{Time: clock}}
		case 4:
			return schedule.Recurrence{PatchTuesday: &schedule.PatchTuesday{PlusDays: rapid.IntRange(0, 14).Draw(t, "plus"), Time: clock}}
		}
		return schedule.Recurrence{Once: day + "T" + clock}
	})
}

func anyCron() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		field := func(name string, low, high int) string {
			a := rapid.IntRange(low, high).Draw(t, name)
			b := rapid.IntRange(a, high).Draw(t, name+" to")
			step := rapid.IntRange(1, 12).Draw(t, name+" step")
			forms := []string{"*", fmt.Sprint(a), fmt.Sprintf("%d-%d", a, b), fmt.Sprintf("*/%d", step), fmt.Sprintf("%d,%d", a, b), fmt.Sprintf("%d-%d/%d", a, b, step)}
			return rapid.SampledFrom(forms).Draw(t, name+" form")
		}
		// Days up to the 28th exist in every month.
		return field("minute", 0, 59) + " " + field("hour", 0, 23) + " " + field("day", 1, 28) + " " + field("month", 1, 12) + " " + field("weekday", 0, 7)
	})
}

func describe(r schedule.Run) string {
	return fmt.Sprintf("%s/%d = %s", r.NominalLocal, r.Fold, r.At.Format(time.RFC3339))
}

func next(t *testing.T, recurrence, zone string, from time.Time, n int) []schedule.Run {
	t.Helper()
	runs, err := schedule.Next(parse(t, recurrence), loadZone(t, zone), from, n)
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

func parse(t testing.TB, recurrence string) schedule.Recurrence {
	t.Helper()
	r, err := schedule.ParseRecurrence([]byte(recurrence))
	if err != nil {
		t.Fatalf("%s: %v", recurrence, err)
	}
	return r
}

func loadZone(t testing.TB, name string) calendar.Zone {
	t.Helper()
	z, err := calendar.LoadZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func instant(t testing.TB, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func wallTime(t testing.TB, s string) calendar.Local {
	t.Helper()
	l, err := calendar.ParseLocal(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
