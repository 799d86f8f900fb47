package schedule

import (
	"fmt"
	"time"

	"reeve/api/fault"
	"reeve/tenants/calendar"
)

// Window is a maintenance window: it opens at each run of its recurrence and stays open for a length
// of real time, across midnight and across changes of the clocks. It belongs to the day it opens on.
type Window struct {
	Zone            ZoneMode   `json:"zone"`
	Start           Recurrence `json:"start"`
	DurationSeconds int64      `json:"duration_seconds"`
}

// Blackout is a change freeze, in which nothing may start: either once, between two local times, or
// again and again like a window. It beats every window.
type Blackout struct {
	Zone   ZoneMode `json:"zone"`
	Reason string   `json:"reason"` // what a technician reads who is held up by it

	From  string `json:"from,omitempty"`  // local, with Until
	Until string `json:"until,omitempty"` // local; where it happens twice, the second time

	Start           *Recurrence `json:"start,omitempty"` // or a recurrence, with its duration
	DurationSeconds int64       `json:"duration_seconds,omitempty"`
}

// Longest is the longest window, and the longest recurring blackout.
const Longest = 31 * 24 * time.Hour

// Validate names every fault of a window.
func (w Window) Validate() error {
	var faults fault.Fields
	w.Check(&faults, "")
	return faults.Err()
}

// Check is Validate for a window that is part of something larger.
func (w Window) Check(faults *fault.Fields, at string) { w.compile(ZoneNames{}, faults, at) }

func (w Window) compile(names ZoneNames, faults *fault.Fields, at string) span {
	w.Zone.Check(faults, at+"/zone")
	return newSpan(w.Start, w.DurationSeconds, w.Zone.Resolve(names), faults, at)
}

// Validate names every fault of a blackout.
func (b Blackout) Validate() error {
	var faults fault.Fields
	b.Check(&faults, "")
	return faults.Err()
}

// Check is Validate for a blackout that is part of something larger.
func (b Blackout) Check(faults *fault.Fields, at string) { b.compile(ZoneNames{}, faults, at) }

func (b Blackout) compile(names ZoneNames, faults *fault.Fields, at string) freeze {
	b.Zone.Check(faults, at+"/zone")
	zone := b.Zone.Resolve(names)
	if b.Start != nil {
		faults.Check(b.From == "", at+"/from", "must be absent when the blackout recurs")
		faults.Check(b.Until == "", at+"/until", "must be absent when the blackout recurs")
		return freeze{recurring: true, span: newSpan(*b.Start, b.DurationSeconds, zone, faults, at)}
	}
	faults.Check(b.DurationSeconds == 0, at+"/duration_seconds", "goes with start; a single blackout has from and until")
	from, until := readLocal(b.From, faults, at+"/from"), readLocal(b.Until, faults, at+"/until")
	period := calendar.Period{Start: zone.Resolve(from).First, End: zone.Resolve(until).Last}
	if !covered(*faults, at+"/from") && !covered(*faults, at+"/until") {
		faults.Check(from.Before(until), at+"/until", "must be after from")
	}
	return freeze{single: period}
}

// span is a compiled recurrence with a duration.
type span struct {
	rule     rule
	zone     calendar.Zone
	duration time.Duration
}

func newSpan(start Recurrence, seconds int64, zone calendar.Zone, faults *fault.Fields, at string) span {
	const limit = int64(Longest / time.Second)
	faults.Check(seconds >= 60 && seconds <= limit, at+"/duration_seconds", "must be from 60 to %d", limit)
	known := len(*faults)
	s := span{start.compile(faults, at+"/start"), zone, time.Duration(min(max(seconds, 0), limit)) * time.Second}
	if len(*faults) == known && s.rule.often() {
		faults.Add(at+"/start", "must not come more often than once an hour")
	}
	return s
}

// often tells whether runs come less than an hour apart. Every recurrence that ever does so does it
// among its first runs, because minutes repeat from hour to hour.
func (r rule) often() bool {
	walk := r.after(calendar.UTC, time.Unix(0, 0))
	var last time.Time
	for range 4 {
		run, ok := walk.next()
		if !ok {
			return false
		}
		if !last.IsZero() && run.At.Sub(last) < time.Hour {
			return true
		}
		last = run.At
	}
	return false
}

// around is the occurrence that t lies in; of overlapping ones, the one that ends last.
func (s span) around(t time.Time) (calendar.Period, bool) {
	run, ok := s.rule.latest(s.zone, t.Add(-s.duration), t)
	return s.from(run), ok
}

// after is the first occurrence that begins after t.
func (s span) after(t time.Time) (calendar.Period, bool) {
	run, ok := s.rule.after(s.zone, t).next()
	return s.from(run), ok
}

func (s span) from(run Run) calendar.Period {
	return calendar.Period{Start: run.At, End: run.At.Add(s.duration)}
}

// freeze is a compiled blackout.
type freeze struct {
	recurring bool
	span      span
	single    calendar.Period
}

func (f freeze) around(t time.Time) (calendar.Period, bool) {
	if f.recurring {
		return f.span.around(t)
	}
	return f.single, f.single.Contains(t)
}

func (f freeze) after(t time.Time) (calendar.Period, bool) {
	if f.recurring {
		return f.span.after(t)
	}
	return f.single, f.single.Start.After(t)
}

// Openings are the times at which work may start: inside a window and outside every blackout.
// Without windows every time is inside one. The zero Openings are always open.
type Openings struct {
	windows   []span
	blackouts []freeze
}

// NewOpenings compiles the windows and blackouts that hold for a device in the given zones.
func NewOpenings(windows []Window, blackouts []Blackout, names ZoneNames) (Openings, error) {
	var o Openings
	var faults fault.Fields
	for i, w := range windows {
		o.windows = append(o.windows, w.compile(names, &faults, fmt.Sprintf("/windows/%d", i)))
	}
	for i, b := range blackouts {
		o.blackouts = append(o.blackouts, b.compile(names, &faults, fmt.Sprintf("/blackouts/%d", i)))
	}
	if err := faults.Err(); err != nil {
		return Openings{}, err
	}
	return o, nil
}

// OpenAt tells whether work may start at t, and until when the opening lasts: to the end of the window
// or the start of a blackout. Windows that touch or overlap are one opening. What is open for longer
// than Longest is said to last Longest.
func (o Openings) OpenAt(t time.Time) (until time.Time, open bool) {
	if _, frozen := o.freezeEnd(t); frozen {
		return time.Time{}, false
	}
	window, ok := o.windowFrom(t)
	if !ok || window.Start.After(t) {
		return time.Time{}, false
	}
	return o.cut(window.End, t), true
}

// NextOpening is the first time at or after t at which work of the given length may start, and how
// long it may last. It is false when no opening is long enough among the next few hundred.
func (o Openings) NextOpening(t time.Time, need time.Duration) (calendar.Period, bool) {
	const steps = 1000 // two for each opening: more than a year of nights, or forty years of Patch Tuesdays
	need = min(need, Longest)
	for range steps {
		if end, frozen := o.freezeEnd(t); frozen {
			t = end
			continue
		}
		window, ok := o.windowFrom(t)
		if !ok {
			return calendar.Period{}, false
		}
		if window.Start.After(t) {
			t = window.Start // where a blackout may hold
			continue
		}
		end := o.cut(window.End, t)
		if end.Sub(t) >= need {
			return calendar.Period{Start: t, End: end}, true
		}
		t = end
	}
	return calendar.Period{}, false
}

// MayStart tells whether work of the given length may start at t: the work must fit before the window
// ends or a blackout begins. With overrun it need only start in time. When it may not, the reason is
// MissedBlackout or MissedWindow.
func (o Openings) MayStart(t time.Time, need time.Duration, overrun bool) (Reason, bool) {
	until, open := o.OpenAt(t)
	if open && (overrun || until.Sub(t) >= min(need, Longest)) {
		return "", true
	}
	if open {
		t = until // what ends the opening is what is in the way
	}
	if _, frozen := o.freezeEnd(t); frozen {
		return MissedBlackout, false
	}
	return MissedWindow, false
}

// windowFrom is the opening around t, or else the next one, blackouts not yet considered.
func (o Openings) windowFrom(t time.Time) (calendar.Period, bool) {
	limit := t.Add(Longest)
	if len(o.windows) == 0 {
		return calendar.Period{Start: t, End: limit}, true
	}
	var open calendar.Period
	var found bool
	for _, w := range o.windows {
		p, ok := w.around(t)
		if !ok {
			p, ok = w.after(t)
		}
		if ok && (!found || p.Start.Before(open.Start)) {
			open, found = p, true
		}
	}
	if open.Start.After(t) {
		limit = open.Start.Add(Longest)
	}
	for open.End.Before(limit) {
		later, ok := o.lastEnd(open.End)
		if !ok {
			break
		}
		open.End = later
	}
	if open.End.After(limit) {
		open.End = limit
	}
	return open, found
}

// lastEnd is the end of the window around t that ends last.
func (o Openings) lastEnd(t time.Time) (end time.Time, open bool) {
	for _, w := range o.windows {
		if p, ok := w.around(t); ok && p.End.After(end) {
			end, open = p.End, true
		}
	}
	return end, open
}

// cut is where an opening around t that would last until end is cut off by a blackout.
func (o Openings) cut(end, t time.Time) time.Time {
	for _, b := range o.blackouts {
		if p, ok := b.after(t); ok && p.Start.Before(end) {
			end = p.Start
		}
	}
	return end
}

// freezeEnd is the end of the blackout around t that ends last.
func (o Openings) freezeEnd(t time.Time) (end time.Time, frozen bool) {
	for _, b := range o.blackouts {
		if p, ok := b.around(t); ok && p.End.After(end) {
			end, frozen = p.End, true
		}
	}
	return end, frozen
}
