package schedule_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"reeve/api/fault"
	"reeve/server/schedule"
)

func TestFaultyRecurrencesSayWhere(t *testing.T) {
	for _, c := range []struct {
		name, recurrence string
		pointers         []string // of all faults
		hint             string   // part of a detail
	}{
		{"nothing", `{}`, []string{""}, "exactly one of"},
		{"two kinds", `{"cron": "0 0 * * *", "once": "2025-06-10T02:00"}`, []string{""}, "exactly one of"},
		{"an unknown key", `{"crno": "0 0 * * *"}`, []string{"/crno"}, "is unknown"},
		{"an unknown key beside a known one", `{"cron": "0 0 * * *", "zone": "UTC"}`, []string{"/zone"}, "is unknown"},
		{"other letter case", `{"Cron": "0 0 * * *"}`, []string{"/Cron"}, "is unknown"},
		{"an unknown inner key", `{"every": {"n": 1, "unit": "days", "anchor": "2025-01-31T09:00", "a/b": 1}}`, []string{"/every/a~1b"}, "is unknown"},
		{"a repeated key", `{"cron": "0 0 * * *", "cron": "0 1 * * *"}`, []string{"/cron"}, "twice"},
		{"not an object", `"@daily"`, []string{""}, "must be an object"},
		{"null", `null`, []string{""}, "must be an object"},
		{"a cut object", `{"cron": "0 0 * * *"`, []string{""}, "not valid JSON"},
		{"something after it", `{"cron": "0 0 * * *"} {}`, []string{""}, "after the object"},
		{"cron of a wrong type", `{"cron": 5}`, []string{"/cron"}, "must be text"},
		{"an empty cron", `{"cron": ""}`, []string{"/cron"}, "must not be empty"},

		{"every without anything", `{"every": {}}`, []string{"/every/n", "/every/unit", "/every/anchor"}, "is required"},
		{"every without anchor", `{"every": {"n": 2, "unit": "hours"}}`, []string{"/every/anchor"}, "is required"},
		{"all faults at once", `{"every": {"n": 0, "unit": "hour", "anchor": "31.01.2025"}}`, []string{"/every/unit", "/every/n", "/every/anchor"}, "minutes, hours"},
		{"a fraction", `{"every": {"n": 1.5, "unit": "hours", "anchor": "2025-01-31T09:00"}}`, []string{"/every/n"}, "whole number"},
		{"a number as text", `{"every": {"n": "2", "unit": "hours", "anchor": "2025-01-31T09:00"}}`, []string{"/every/n"}, "whole number"},
		{"too rare", `{"every": {"n": 121, "unit": "months", "anchor": "2025-01-31T09:00"}}`, []string{"/every/n"}, "from 1 to 120"},
		{"an anchor with an offset", `{"every": {"n": 2, "unit": "hours", "anchor": "2025-01-31T09:00Z"}}`, []string{"/every/anchor"}, "no Z"},
		{"an anchor long ago", `{"every": {"n": 2, "unit": "hours", "anchor": "0001-01-01T00:00"}}`, []string{"/every/anchor"}, "1970"},

		{"n-th weekday", `{"weekday_of_month": {"n": 6, "weekday": "tuesday", "time": "2:00"}}`,
			[]string{"/weekday_of_month/weekday", "/weekday_of_month/n", "/weekday_of_month/time"}, "sun, mon"},
		{"the zeroth weekday", `{"weekday_of_month": {"n": 0, "weekday": "tue", "time": "02:00"}}`, []string{"/weekday_of_month/n"}, "-1 for the last"},
		{"last day without time", `{"last_day_of_month": {}}`, []string{"/last_day_of_month/time"}, "is required"},
		{"24:00", `{"last_day_of_month": {"time": "24:00"}}`, []string{"/last_day_of_month/time"}, "00:00 to 23:59"},
		{"Patch Tuesday without days", `{"patch_tuesday": {"time": "02:00"}}`, []string{"/patch_tuesday/plus_days"}, "is required"},
		{"Patch Tuesday + 15", `{"patch_tuesday": {"plus_days": 15, "time": "02:00"}}`, []string{"/patch_tuesday/plus_days"}, "0 to 14"},
		{"once without a time", `{"once": "2025-06-10"}`, []string{"/once"}, "local date and time"},
		{"once on no day", `{"once": "2025-02-30T02:00"}`, []string{"/once"}, "local date and time"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := schedule.ParseRecurrence([]byte(c.recurrence))
			checkFaults(t, err, c.pointers, c.hint)
		})
	}
}

func TestFaultyCronExpressions(t *testing.T) {
	for _, c := range []struct{ expression, hint string }{
		{"0 3 30 2 *", "never fires"},
		{"0 3 31 4,6,9,11 *", "never fires: there is no day 31 in April, June, September, November"},
		{"0 3 30,31 2 *", "never fires"},
		{"CRON_TZ=Europe/Berlin 0 3 * * *", "set the schedule's zone"},
		{"TZ=UTC", "set the schedule's zone"},
		{"@every 1h", `{"every"`},
		{"@reboot", "unknown macro"},
		{"@Daily", "unknown macro"},
		{"0 0 3 * * *", "no seconds), found 6"},
		{"0 3 * *", "found 4"},
		{" ", "found 0"},
		{"60 3 * * *", "minute: end of range (60)"},
		{"0 24 * * *", "hour: end of range (24)"},
		{"0 3 0 * *", "day of month: beginning of range (0)"},
		{"0 3 * 13 *", "month: "},
		{"0 3 * * 8", "day of week: "},
		{"0 3 * * fri-sun", "day of week: beginning of range (5) beyond end of range (0)"},
		{"0 3 * foo *", "month: "},
		{"0 3 L * *", "last_day_of_month"},
		{"0 3 * * 2#2", "weekday_of_month"},
		{"0 3 * * 5L", "last_day_of_month"},
		{", 3 * * *", `"" is not a minute`},
		{"1,,2 3 * * *", `"" is not a minute`},
		{"*-5 3 * * *", `"*-5" is not a minute`},
		{"+5 3 * * *", `"+5" is not a minute`},
		{"*/0 3 * * *", "minute: "},
		{"30-10 3 * * *", "minute: "},
		{strings.Repeat("0,", 200) + "0 3 * * *", "256 characters"},
	} {
		t.Run(c.expression, func(t *testing.T) {
			err := schedule.Recurrence{Cron: c.expression}.Validate()
			checkFaults(t, err, []string{"/cron"}, c.hint)
		})
	}
}

func checkFaults(t *testing.T, err error, pointers []string, hint string) {
	t.Helper()
	e, ok := fault.As(err)
	if !ok || e.Kind != fault.Invalid {
		t.Fatalf("got %v, want an invalid field", err)
	}
	var got, details []string
	for _, f := range e.Fields {
		got, details = append(got, f.Pointer), append(details, f.Detail)
	}
	if !slices.Equal(got, pointers) {
		t.Errorf("faults at %q, want %q (%s)", got, pointers, err)
	}
	if !strings.Contains(strings.Join(details, "\n"), hint) {
		t.Errorf("%q do not speak of %q", details, hint)
	}
}

func TestFaultsInsideSomethingLargerSayWhere(t *testing.T) {
	var faults fault.Fields
	schedule.Recurrence{Once: "soon"}.Check(&faults, "/recurrence")
	checkFaults(t, faults.Err(), []string{"/recurrence/once"}, "soon")
}

func TestTheWireFormIsExact(t *testing.T) {
	for _, wire := range []string{
		`{"cron":"30 2 * * *"}`,
		`{"every":{"n":2,"unit":"minutes","anchor":"2025-01-31T09:00"}}`,
		`{"weekday_of_month":{"n":-1,"weekday":"tue","time":"02:00"}}`,
		`{"last_day_of_month":{"time":"02:00"}}`,
		`{"patch_tuesday":{"plus_days":0,"time":"02:00"}}`,
		`{"once":"2025-06-10T02:00"}`,
	} {
		written, err := json.Marshal(parse(t, wire))
		if err != nil || string(written) != wire {
			t.Errorf("%s is written as %s, %v", wire, written, err)
		}
	}
}

func TestEveryValidRecurrenceSurvivesTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyRecurrence().Draw(t, "recurrence")
		if err := r.Validate(); err != nil {
			t.Fatal(err)
		}
		written, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		read, err := schedule.ParseRecurrence(written)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := json.Marshal(read)
		if string(again) != string(written) {
			t.Fatalf("%s became %s", written, again)
		}
	})
}

func TestStoredRecurrencesLoadEvenWhenRulesBecameStricter(t *testing.T) {
	var r schedule.Recurrence
	if err := json.Unmarshal([]byte(`{"cron": "0 3 30 2 *"}`), &r); err != nil || r.Validate() == nil {
		t.Errorf("loading: %v, validating: %v", err, r.Validate())
	}
}
