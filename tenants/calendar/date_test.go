package calendar_test

import (
	"testing"
	"time"

	"reeve/tenants/calendar"
)

// Every day of eight centuries, against package time in UTC, where it has no choice to make.
func TestDatesAgreeWithPackageTime(t *testing.T) {
	start := time.Date(1600, time.January, 1, 0, 0, 0, 0, time.UTC)
	for at := start; at.Year() < 2400; at = at.AddDate(0, 0, 1) {
		want := calendar.Date{Year: at.Year(), Month: at.Month(), Day: at.Day()}
		days := int((at.Unix() - at.Unix()%86400) / 86400)
		if want.Days() != days || calendar.DateOfDays(days) != want || want.Weekday() != at.Weekday() {
			t.Fatalf("%s: Days %d, DateOfDays(%d) %s, Weekday %s", want, want.Days(), days, calendar.DateOfDays(days), want.Weekday())
		}
		last := at.AddDate(0, 0, 1).Day() == 1
		if (calendar.DaysIn(at.Year(), at.Month()) == at.Day()) != last {
			t.Fatalf("%s: DaysIn %d", want, calendar.DaysIn(at.Year(), at.Month()))
		}
	}
}

func TestMonthsClampToTheirLastDay(t *testing.T) {
	for _, c := range []struct {
		from   string
		months int
		want   string
	}{
		{"2025-01-31", 1, "2025-02-28"},
		{"2024-01-31", 1, "2024-02-29"},
		{"2025-01-31", 2, "2025-03-31"},
		{"2025-01-31", -1, "2024-12-31"},
		{"2025-03-31", -13, "2024-02-29"},
		{"2025-12-15", 1, "2026-01-15"},
	} {
		if got := date(t, c.from).AddMonths(c.months); got != date(t, c.want) {
			t.Errorf("%s %+d months: %s, want %s", c.from, c.months, got, c.want)
		}
	}
}

func TestWeekdaysOfTheMonth(t *testing.T) {
	for _, c := range []struct {
		n       int
		weekday time.Weekday
		want    string
	}{
		{1, time.Sunday, "2025-06-01"},
		{2, time.Tuesday, "2025-06-10"},
		{5, time.Monday, "2025-06-30"},
		{-1, time.Monday, "2025-06-30"},
		{-1, time.Tuesday, "2025-06-24"},
	} {
		if got, ok := calendar.NthWeekday(2025, time.June, c.n, c.weekday); !ok || got != date(t, c.want) {
			t.Errorf("%s number %d: %s %t, want %s", c.weekday, c.n, got, ok, c.want)
		}
	}
	for _, n := range []int{0, 6} {
		if _, ok := calendar.NthWeekday(2025, time.June, n, time.Monday); ok {
			t.Errorf("there is a Monday number %d", n)
		}
	}
	if got, ok := calendar.NthWeekday(2025, time.June, 5, time.Tuesday); ok {
		t.Errorf("June 2025 has no fifth Tuesday, got %s", got)
	}
}

func TestPatchTuesdayIsNotTheDayBeforeTheSecondWednesday(t *testing.T) {
	if got := calendar.PatchTuesday(2025, time.October); got != date(t, "2025-10-14") {
		t.Errorf("Patch Tuesday of October 2025: %s", got)
	}
	if got, _ := calendar.NthWeekday(2025, time.October, 2, time.Wednesday); got != date(t, "2025-10-08") {
		t.Errorf("second Wednesday of October 2025: %s", got)
	}
}

func TestTextsAreReadStrictly(t *testing.T) {
	for _, s := range []string{"", "2025-1-31", "2025-02-30", "2025-01-31T09:00", "31.01.2025"} {
		if d, err := calendar.ParseDate(s); err == nil {
			t.Errorf("date %q: %s", s, d)
		}
	}
	for _, s := range []string{"", "2:30", "24:00", "12:60", "12:30:00", "noon"} {
		if c, err := calendar.ParseTimeOfDay(s); err == nil {
			t.Errorf("time of day %q: %s", s, c)
		}
	}
	for _, s := range []string{"", "2025-01-31", "2025-01-31 09:00", "2025-01-31T09:00Z", "2025-01-31T09:00+01:00",
		"2025-01-31T09:00:00.5", "2025-02-30T09:00", "2025-01-31T24:00"} {
		if l, err := calendar.ParseLocal(s); err == nil {
			t.Errorf("local %q: %s", s, l)
		}
	}
	for _, s := range []string{"2025-01-31T09:00", "2025-01-31T09:00:07", "1969-12-31T23:59", "0001-01-01T00:00"} {
		if l, err := calendar.ParseLocal(s); err != nil || l.String() != s || calendar.LocalOf(l.AsUTC()) != l {
			t.Errorf("local %q: %s %v", s, l, err)
		}
	}
	if l := local(t, "1969-12-31T23:59"); l.Date() != date(t, "1969-12-31") || l.TimeOfDay().String() != "23:59" {
		t.Errorf("before 1970: %s %s", l.Date(), l.TimeOfDay())
	}
}

func TestPeriodsAreHalfOpen(t *testing.T) {
	hour := func(from, until int) calendar.Period {
		day := time.Date(2025, time.June, 10, 0, 0, 0, 0, time.UTC)
		return calendar.Period{Start: day.Add(time.Duration(from) * time.Hour), End: day.Add(time.Duration(until) * time.Hour)}
	}
	morning, afternoon := hour(8, 12), hour(12, 17)
	if morning.Overlaps(afternoon) || !morning.Contains(morning.Start) || morning.Contains(morning.End) {
		t.Error("the end belongs to the next period")
	}
	if got := hour(8, 13).Intersect(afternoon); got != hour(12, 13) || got.Duration() != time.Hour {
		t.Errorf("intersection: %v", got)
	}
	if empty := hour(9, 9); !empty.IsEmpty() || !hour(10, 9).IsEmpty() || hour(10, 9).Duration() != 0 || empty.Contains(empty.Start) {
		t.Error("a period that does not begin before it ends is empty")
	}
}

func date(t *testing.T, s string) calendar.Date {
	t.Helper()
	d, err := calendar.ParseDate(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func local(t *testing.T, s string) calendar.Local {
	t.Helper()
	l, err := calendar.ParseLocal(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
