package schedule_test

import (
	"encoding/json"
	"strings"
	"testing"

	"reeve/server/schedule"
)

func TestPreview(t *testing.T) {
	forecast, err := schedule.Preview(parse(t, `{"cron": "30 2 * * *"}`), loadZone(t, "Europe/Berlin"), instant(t, "2025-10-25T12:00:00Z"), 2)
	if err != nil {
		t.Fatal(err)
	}
	written, err := json.Marshal(forecast)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"runs":[{"nominal_local":"2025-10-26T02:30","fold":0,"at":"2025-10-26T00:30:00Z"},` +
		`{"nominal_local":"2025-10-27T02:30","fold":0,"at":"2025-10-27T01:30:00Z"}],` +
		`"notes":["The clocks are set back from 2025-10-26T03:00 to 2025-10-26T02:00. 2025-10-26T02:30 happens twice; it runs the first time only.",` +
		`"The clocks are set forward from 2026-03-29T02:00 to 2026-03-29T03:00. 2026-03-29T02:30 does not exist; it runs at 2026-03-29T03:00.",` +
		`"The clocks are set back from 2026-10-25T03:00 to 2026-10-25T02:00. 2026-10-25T02:30 happens twice; it runs the first time only."]}`
	if string(written) != want {
		t.Errorf("got  %s\nwant %s", written, want)
	}
}

func TestPreviewNotes(t *testing.T) {
	for _, c := range []struct {
		name, recurrence, zone string
		want                   []string // a part of each note
	}{
		{"nothing to say", `{"cron": "0 12 * * *"}`, "Europe/Berlin", nil},
		{"no changes of the clocks", `{"cron": "30 2 * * *"}`, "Asia/Tokyo", nil},
		{"short months", `{"cron": "0 12 31 * *"}`, "UTC", []string{"does not run in February, April, June, September, November: there is no day 31"}},
		{"February", `{"cron": "0 12 30 * *"}`, "UTC", []string{"does not run in February: there is no day 30"}},
		{"leap years", `{"cron": "0 12 29 * *"}`, "UTC", []string{"leap years only"}},
		{"either day", `{"cron": "0 12 8-14 * 2"}`, "UTC", []string{"days that match either"}},
		{"one restricted field", `{"cron": "0 12 * * 2"}`, "UTC", nil},
		{"the fifth weekday", `{"weekday_of_month": {"n": 5, "weekday": "tue", "time": "12:00"}}`, "UTC", []string{"without a fifth Tuesday"}},
		{"months from the 31st", `{"every": {"n": 1, "unit": "months", "anchor": "2025-01-31T12:00"}}`, "UTC", []string{"without a day 31 it runs on their last day"}},
		{"real time", `{"every": {"n": 8, "unit": "hours", "anchor": "2025-01-01T00:00"}}`, "Europe/Berlin", []string{"counts real time", "counts real time"}},
		{"real time in a zone without changes", `{"every": {"n": 8, "unit": "hours", "anchor": "2025-01-01T00:00"}}`, "Asia/Tokyo", nil},
		{"wildcard hours", `{"cron": "30 * * * *"}`, "Europe/Berlin", []string{"are left out", "both passes"}},
		{"a weekday that no change falls on", `{"cron": "30 2 * * 3"}`, "Europe/Berlin", nil},
		{"a change in four years", `{"cron": "30 2 31 3 *"}`, "Europe/Berlin", nil},
		{"a change in two years", `{"cron": "30 2 28 3 *"}`, "Europe/Berlin", []string{"2027-03-28T02:30 does not exist"}},
		{"once", `{"once": "2025-03-30T02:30"}`, "Europe/Berlin", []string{"It ends after these runs", "does not exist; it runs at 2025-03-30T03:00"}},
		{"once is over", `{"once": "2024-03-30T02:30"}`, "Europe/Berlin", []string{"never runs again"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			forecast, err := schedule.Preview(parse(t, c.recurrence), loadZone(t, c.zone), instant(t, "2025-01-10T00:00:00Z"), 3)
			if err != nil {
				t.Fatal(err)
			}
			ok := len(forecast.Notes) == len(c.want)
			for i := 0; ok && i < len(c.want); i++ {
				ok = strings.Contains(forecast.Notes[i], c.want[i])
			}
			if !ok || forecast.Runs == nil || forecast.Notes == nil {
				t.Errorf("notes %q, want %q", forecast.Notes, c.want)
			}
		})
	}
}

func TestPreviewReportsAllFaultsOfItsRequest(t *testing.T) {
	_, err := schedule.Preview(schedule.Recurrence{Cron: "0 3 30 2 *"}, loadZone(t, "UTC"), instant(t, "1960-01-01T00:00:00Z"), 101)
	checkFaults(t, err, []string{"/recurrence/cron", "/count", "/from"}, "never fires")
}
