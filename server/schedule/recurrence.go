package schedule

import (
	"time"

	"reeve/api/fault"
	"reeve/tenants/calendar"
)

// Recurrence says when something repeats. Exactly one field is set; its JSON is the wire form.
type Recurrence struct {
	Cron           string          `json:"cron,omitempty"` // five fields, or a macro such as @daily
	Every          *Every          `json:"every,omitempty"`
	WeekdayOfMonth *WeekdayOfMonth `json:"weekday_of_month,omitempty"`
	LastDayOfMonth *LastDayOfMonth `json:"last_day_of_month,omitempty"`
	PatchTuesday   *PatchTuesday   `json:"patch_tuesday,omitempty"`
	Once           string          `json:"once,omitempty"` // local date and time
}

// Every repeats after N units, counted from an anchor, which is itself the first run.
type Every struct {
	N      int    `json:"n"`
	Unit   Unit   `json:"unit"`
	Anchor string `json:"anchor"` // local date and time
}

// WeekdayOfMonth is the n-th such weekday of every month.
type WeekdayOfMonth struct {
	N       int    `json:"n"`       // 1 to 5, or -1 for the last
	Weekday string `json:"weekday"` // sun, mon, tue, wed, thu, fri, sat
	Time    string `json:"time"`    // 02:00
}

// LastDayOfMonth is the 28th, 29th, 30th or 31st, whichever ends the month.
type LastDayOfMonth struct {
	Time string `json:"time"`
}

// PatchTuesday is a number of days after the second Tuesday of every month. It is not the same as a
// weekday of the month: the second Wednesday may come before the second Tuesday.
type PatchTuesday struct {
	PlusDays int    `json:"plus_days"` // 0 to 14
	Time     string `json:"time"`
}

// Unit is what Every counts. Minutes and hours are real time: across a change of the clocks the local
// time of the runs shifts. The others keep the local time of day.
type Unit string

// The units.
const (
	Minutes Unit = "minutes"
	Hours   Unit = "hours"
	Days    Unit = "days"
	Weeks   Unit = "weeks"
	Months  Unit = "months" // from the 31st: the last day of shorter months
)

// longest keeps an interval below about ten years.
var longest = map[Unit]int{Minutes: 10 * 366 * 24 * 60, Hours: 10 * 366 * 24, Days: 10 * 366, Weeks: 522, Months: 120}

var weekdays = map[string]time.Weekday{
	"sun": time.Sunday, "mon": time.Monday, "tue": time.Tuesday, "wed": time.Wednesday,
	"thu": time.Thursday, "fri": time.Friday, "sat": time.Saturday,
}

// Validate names every fault, with pointers below the recurrence ("/every/anchor").
func (r Recurrence) Validate() error {
	var faults fault.Fields
	r.Check(&faults, "")
	return faults.Err()
}

// Check is Validate for a recurrence that is part of something larger: at is where it stands.
func (r Recurrence) Check(faults *fault.Fields, at string) { r.compile(faults, at) }

// rule compiles a recurrence that is expected to be valid.
func (r Recurrence) rule() (rule, error) {
	var faults fault.Fields
	compiled := r.compile(&faults, "")
	return compiled, faults.Err()
}

const oneOf = "give exactly one of cron, every, weekday_of_month, last_day_of_month, patch_tuesday, once"

// compile is the only reading of a recurrence, so that what validates is what runs.
func (r Recurrence) compile(faults *fault.Fields, at string) rule {
	if r.kinds() != 1 {
		faults.Add(at, oneOf)
		return rule{}
	}
	switch {
	case r.Cron != "":
		return compileCron(r.Cron, faults, at+"/cron")
	case r.Every != nil:
		return r.Every.compile(faults, at+"/every")
	case r.WeekdayOfMonth != nil:
		return r.WeekdayOfMonth.compile(faults, at+"/weekday_of_month")
	case r.LastDayOfMonth != nil:
		clock := readTime(r.LastDayOfMonth.Time, faults, at+"/last_day_of_month/time")
		return rule{wall: monthly{clock, lastDay}}
	case r.PatchTuesday != nil:
		return r.PatchTuesday.compile(faults, at+"/patch_tuesday")
	}
	return rule{wall: once{readLocal(r.Once, faults, at+"/once")}, oneOff: true}
}

func (r Recurrence) kinds() (n int) {
	for _, set := range []bool{r.Cron != "", r.Every != nil, r.WeekdayOfMonth != nil,
		r.LastDayOfMonth != nil, r.PatchTuesday != nil, r.Once != ""} {
		if set {
			n++
		}
	}
	return n
}

func (e Every) compile(faults *fault.Fields, at string) rule {
	limit, known := longest[e.Unit]
	if !known {
		faults.Add(at+"/unit", "must be one of minutes, hours, days, weeks, months")
		limit = longest[Minutes]
	}
	faults.Check(e.N >= 1 && e.N <= limit, at+"/n", "must be from 1 to %d", limit)
	anchor := readLocal(e.Anchor, faults, at+"/anchor")
	switch e.Unit {
	case Minutes:
		return rule{anchor: anchor, step: time.Duration(e.N) * time.Minute}
	case Hours:
		return rule{anchor: anchor, step: time.Duration(e.N) * time.Hour}
	case Days:
		return rule{wall: everyDays{anchor, e.N}}
	case Weeks:
		return rule{wall: everyDays{anchor, 7 * e.N}}
	}
	r := rule{wall: everyMonths{anchor, e.N}}
	if day := anchor.Date().Day; day > 28 {
		r.note("In months without a day %d it runs on their last day.", day)
	}
	return r
}

func (w WeekdayOfMonth) compile(faults *fault.Fields, at string) rule {
	weekday, known := weekdays[w.Weekday]
	faults.Check(known, at+"/weekday", "must be one of sun, mon, tue, wed, thu, fri, sat")
	faults.Check(w.N >= 1 && w.N <= 5 || w.N == -1, at+"/n", "must be from 1 to 5, or -1 for the last of the month")
	r := rule{wall: monthly{readTime(w.Time, faults, at+"/time"), func(year int, month time.Month) (calendar.Date, bool) {
		return calendar.NthWeekday(year, month, w.N, weekday)
	}}}
	if w.N == 5 {
		r.note("Months without a fifth %s are skipped; n = -1 is the last of every month.", weekday)
	}
	return r
}

func (p PatchTuesday) compile(faults *fault.Fields, at string) rule {
	faults.Check(p.PlusDays >= 0 && p.PlusDays <= 14, at+"/plus_days", "must be from 0 to 14")
	return rule{wall: monthly{readTime(p.Time, faults, at+"/time"), func(year int, month time.Month) (calendar.Date, bool) {
		return calendar.PatchTuesday(year, month).AddDays(p.PlusDays), true
	}}}
}

func lastDay(year int, month time.Month) (calendar.Date, bool) {
	return calendar.LastOfMonth(year, month), true
}

func readTime(s string, faults *fault.Fields, at string) calendar.TimeOfDay {
	t, err := calendar.ParseTimeOfDay(clip(s))
	switch {
	case s == "":
		faults.Add(at, "is required: a time of day from 00:00 to 23:59")
	case err != nil:
		faults.Add(at, "%s", err)
	}
	return t
}

func readLocal(s string, faults *fault.Fields, at string) calendar.Local {
	l, err := calendar.ParseLocal(clip(s))
	switch {
	case s == "":
		faults.Add(at, "is required: a local date and time such as 2025-01-31T09:00")
	case err != nil:
		faults.Add(at, "%s", err)
	case l.Date().Year < 1970 || l.Date().Year > 2199:
		faults.Add(at, "must lie in the years 1970 to 2199")
	}
	return l
}

// clip keeps what a message quotes short.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
