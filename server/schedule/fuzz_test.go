package schedule_test

import (
	"encoding/json"
	"testing"
	"time"

	"reeve/api/fault"
	"reeve/server/schedule"
)

// Whatever stands in a cron expression: either a fault of that field, or runs that ascend, soon begin
// (eight years is the wait for a leap day over 2100) and fall on times that the clock shows.
func FuzzCron(f *testing.F) {
	for _, seed := range []string{"30 2 * * *", "*/15 0-6/2 1,15 jan-dec mon", "0 0 29 2 *", "0 3 30 2 *", "@daily", "@every 1s",
		"CRON_TZ=UTC 0 0 * * *", "TZ=", "0 2 * * 5-7/2", "* * * * ?", ",,, , , , ,", "*/99 */99 */99 */99 */99", "0 0 31 2,4 7"} {
		f.Add(seed, int64(1_743_289_200))
	}
	zone := loadZone(f, "Australia/Lord_Howe")
	f.Fuzz(func(t *testing.T, expression string, at int64) {
		r := schedule.Recurrence{Cron: expression}
		from := time.Unix(at%4_000_000_000, 0)
		runs, err := schedule.Next(r, zone, from, 3)
		if err != nil {
			checkInvalid(t, err)
			return
		}
		if len(runs) != 3 || runs[0].At.After(from.AddDate(8, 0, 3)) {
			t.Fatalf("%q after %s: %v", expression, from, runs)
		}
		checkRuns(t, from, runs)
	})
}

// Whatever is sent as a recurrence: faults with pointers, or a recurrence that is the same after
// another trip over the wire and can be previewed.
func FuzzRecurrence(f *testing.F) {
	for _, seed := range []string{
		`{"cron": "30 2 * * *"}`,
		`{"every": {"n": 2, "unit": "months", "anchor": "2025-01-31T09:00"}}`,
		`{"every": {"n": 5270400, "unit": "minutes", "anchor": "2199-12-31T23:59"}}`,
		`{"weekday_of_month": {"n": -1, "weekday": "tue", "time": "02:00"}}`,
		`{"last_day_of_month": {"time": "02:00"}}`,
		`{"patch_tuesday": {"plus_days": 14, "time": "02:00"}}`,
		`{"once": "2025-06-10T02:00"}`,
		`{"once": {"once": []}}`, `{"cron": "0 0 * * *", "Cron": ""}`, `[[[[`, `{"a":`, `{"\ud800": 1}`,
	} {
		f.Add([]byte(seed), int64(1_743_289_200))
	}
	zone := loadZone(f, "America/New_York")
	f.Fuzz(func(t *testing.T, data []byte, at int64) {
		r, err := schedule.ParseRecurrence(data)
		if err != nil {
			checkInvalid(t, err)
			return
		}
		written, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		read, err := schedule.ParseRecurrence(written)
		if err != nil {
			t.Fatalf("%s was accepted, %s is not: %v", data, written, err)
		}
		if again, _ := json.Marshal(read); string(again) != string(written) {
			t.Fatalf("%s became %s", written, again)
		}
		from := time.Unix(max(at, -at)%4_000_000_000, 0)
		forecast, err := schedule.Preview(r, zone, from, 5)
		if err != nil {
			t.Fatalf("%s has no preview: %v", written, err)
		}
		checkRuns(t, from, forecast.Runs)
	})
}

func checkInvalid(t *testing.T, err error) {
	t.Helper()
	e, ok := fault.As(err)
	if !ok || e.Kind != fault.Invalid || len(e.Fields) == 0 {
		t.Fatalf("not a fault of a field: %v", err)
	}
	for _, field := range e.Fields {
		if len(field.Pointer) > 400 || len(field.Detail) > 800 {
			t.Fatalf("a fault of %d bytes", len(field.Pointer)+len(field.Detail))
		}
	}
}

func checkRuns(t *testing.T, after time.Time, runs []schedule.Run) {
	t.Helper()
	for _, run := range runs {
		if !run.At.After(after) {
			t.Fatalf("%s is not after %s", describe(run), after)
		}
		after = run.At
	}
}
