package schedule

import (
	"fmt"
	"time"

	"reeve/tenants/calendar"
)

// rule is a compiled recurrence: either wall times that a zone turns into runs, or steps of real time.
type rule struct {
	wall      pattern
	everyHour bool // the hour is a wildcard or steps: the pattern goes on through gaps and folds
	oneOff    bool // runs once only

	anchor calendar.Local // without wall: the first run, and
	step   time.Duration  // the real time between runs

	notes []string // what the author may not expect, for the preview
}

func (r *rule) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// pattern names times on a wall, in no zone.
type pattern interface {
	// next is the first such time at or after l; false when there is no more.
	next(l calendar.Local) (calendar.Local, bool)
}

var (
	_ pattern = cronTimes{}
	_ pattern = monthly{}
	_ pattern = everyDays{}
	_ pattern = everyMonths{}
	_ pattern = once{}
)

// monthly is one day of every month that has it.
type monthly struct {
	clock calendar.TimeOfDay
	day   func(year int, month time.Month) (calendar.Date, bool)
}

func (m monthly) next(l calendar.Local) (calendar.Local, bool) {
	first := l.Date()
	first.Day = 1
	for range 13 { // no weekday lacks a fifth occurrence for a whole year
		if day, ok := m.day(first.Year, first.Month); ok {
			if at := day.At(m.clock); !at.Before(l) {
				return at, true
			}
		}
		first = first.AddMonths(1)
	}
	return calendar.Local{}, false
}

// everyDays is the anchor and every n days after it.
type everyDays struct {
	anchor calendar.Local
	n      int
}

func (e everyDays) next(l calendar.Local) (calendar.Local, bool) {
	if !e.anchor.Before(l) {
		return e.anchor, true
	}
	// On the wall every day has 24 hours. Seconds, because a Duration ends after 292 years.
	step := int64(e.n) * 24 * 60 * 60
	elapsed := l.AsUTC().Unix() - e.anchor.AsUTC().Unix()
	steps := int((elapsed + step - 1) / step)
	return e.anchor.Date().AddDays(steps * e.n).At(e.anchor.TimeOfDay()), true
}

// everyMonths is the anchor and every n months after it, always counted from the anchor, so that
// the 31st comes back after a short month.
type everyMonths struct {
	anchor calendar.Local
	n      int
}

func (e everyMonths) next(l calendar.Local) (calendar.Local, bool) {
	if !e.anchor.Before(l) {
		return e.anchor, true
	}
	from, to := e.anchor.Date(), l.Date()
	steps := ((to.Year-from.Year)*12 + int(to.Month-from.Month)) / e.n
	for {
		at := from.AddMonths(steps * e.n).At(e.anchor.TimeOfDay())
		if !at.Before(l) {
			return at, true
		}
		steps++
	}
}

type once struct{ at calendar.Local }

func (o once) next(l calendar.Local) (calendar.Local, bool) { return o.at, !o.at.Before(l) }
