package schedule

import (
	"time"

	"reeve/tenants/calendar"
)

// Run is one time at which a recurrence runs in a zone.
type Run struct {
	// NominalLocal is the wall time that the recurrence names. Inside a gap it is the first of the
	// times that the jump swallowed.
	NominalLocal calendar.Local `json:"nominal_local"`
	// Fold is 1 when the clocks show the nominal time for the second time.
	Fold int `json:"fold"`
	// At is the instant, in UTC.
	At time.Time `json:"at"`
	// RealTime marks a recurrence counted in real time, whose runs are known by their instant.
	RealTime bool `json:"-"`
}

// Key names the run among all runs of its schedule: two replicas, or a schedule computed twice, give
// the same run the same key.
func (r Run) Key() string {
	if r.RealTime {
		return r.At.Format(time.RFC3339)
	}
	if r.Fold == 1 {
		return r.NominalLocal.String() + "/1"
	}
	return r.NominalLocal.String() + "/0"
}

// Next gives the first n runs strictly after from, ascending; fewer when the recurrence ends.
//
// A wall time that exists once runs then. With a fixed hour, wall times inside a gap run once, at the
// jump, and a wall time that happens twice runs the first time only. With a wildcard or step in the
// hour field, the pattern goes on: nothing runs for a gap, and a repeated time runs both times.
// Runs that meet in one instant are one run, known by the earliest of its nominal times.
func Next(r Recurrence, zone calendar.Zone, from time.Time, n int) ([]Run, error) {
	rule, err := r.rule()
	if err != nil {
		return nil, err
	}
	walk := rule.after(zone, from)
	var runs []Run
	for range n {
		run, ok := walk.next()
		if !ok {
			break
		}
		runs = append(runs, run)
	}
	return runs, nil
}

// walker yields runs one by one. It walks the zone's stretches of constant offset: inside one, wall
// times and instants correspond one to one, so only their borders need thought.
type walker struct {
	rule  rule
	zone  calendar.Zone
	after time.Time // only runs after it are yielded

	stretch calendar.Stretch
	cursor  calendar.Local // wall times of this stretch before it are done
	high    calendar.Local // the latest wall time that earlier stretches showed
}

func (r rule) after(zone calendar.Zone, after time.Time) *walker {
	w := &walker{rule: r, zone: zone, after: after}
	if r.wall != nil {
		// Begin early enough to know of any clock change that still matters: the longest fold is a day.
		begin := after.Add(-48 * time.Hour)
		w.stretch = zone.StretchAt(begin)
		w.cursor = wallAt(begin, w.stretch)
		w.high = w.cursor
	}
	return w
}

func (w *walker) next() (Run, bool) {
	if w.rule.wall == nil {
		return w.nextStep()
	}
	for {
		// Nothing up to and including w.after is wanted; this second of the wall is the first that is.
		if wanted := wallAt(w.after, w.stretch).Add(time.Second); w.cursor.Before(wanted) {
			w.cursor = wanted
		}
		nominal, ok := w.rule.wall.next(w.cursor)
		if !ok {
			return Run{}, false
		}
		if w.stretch.Until.IsZero() || nominal.Before(wallAt(w.stretch.Until, w.stretch)) {
			w.cursor = nominal.Add(time.Second)
			return w.run(nominal), true
		}
		if run, ok := w.cross(); ok {
			return run, true
		}
	}
}

func (w *walker) run(nominal calendar.Local) Run {
	run := Run{NominalLocal: nominal, At: nominal.AsUTC().Add(-w.stretch.Offset)}
	if nominal.Before(w.high) {
		run.Fold = 1
	}
	return run
}

// cross enters the next stretch. When the clocks jump over wall times with a fixed hour, it yields
// their one run, at the jump.
func (w *walker) cross() (Run, bool) {
	jump := w.stretch.Until
	if end := wallAt(jump, w.stretch); w.high.Before(end) {
		w.high = end
	}
	w.stretch = w.zone.StretchAt(jump)
	w.cursor = wallAt(jump, w.stretch)
	if w.rule.everyHour {
		return Run{}, false
	}
	if w.cursor.Before(w.high) { // set back: what was shown before is not run again
		w.cursor = w.high
		return Run{}, false
	}
	nominal, ok := w.rule.wall.next(w.high)
	if !ok || !nominal.Before(w.cursor) {
		return Run{}, false
	}
	w.cursor = w.cursor.Add(time.Second) // the run at the jump also stands for a nominal time right there
	return Run{NominalLocal: nominal, At: jump}, jump.After(w.after)
}

func (w *walker) nextStep() (Run, bool) {
	at := w.zone.Resolve(w.rule.anchor).First
	if !at.After(w.after) {
		step := int64(w.rule.step / time.Second)
		steps := (w.after.Unix()-at.Unix())/step + 1
		at = time.Unix(at.Unix()+steps*step, 0).UTC()
	}
	w.after = at
	nominal, fold := w.zone.Local(at)
	return Run{NominalLocal: nominal, Fold: fold, At: at, RealTime: true}, true
}

// wallAt is what the clocks show at t while the offset of the stretch holds, seconds cut off.
func wallAt(t time.Time, s calendar.Stretch) calendar.Local {
	return calendar.LocalOf(t.UTC().Add(s.Offset))
}

// latest is the last run in (notBefore, t].
func (r rule) latest(zone calendar.Zone, notBefore, t time.Time) (Run, bool) {
	runs := r.recent(zone, notBefore, t, 1)
	if len(runs) == 0 {
		return Run{}, false
	}
	return runs[0], true
}

// recent gives the last runs in (notBefore, t], at most limit, ascending. Runs can only be found
// forwards, so it looks back over ever longer times until it has enough.
func (r rule) recent(zone calendar.Zone, notBefore, t time.Time, limit int) []Run {
	const century = 100 * 366 * 24 * time.Hour // beyond two of them a Duration overflows
	for back := time.Hour; ; back *= 4 {
		from := t.Add(-back)
		if from.Before(notBefore) || back > century {
			from = notBefore
		}
		var runs []Run
		walk := r.after(zone, from)
		for run, ok := walk.next(); ok && !run.At.After(t); run, ok = walk.next() {
			if len(runs) == 2*limit {
				runs = append(runs[:0], runs[limit:]...)
			}
			runs = append(runs, run)
		}
		if len(runs) >= limit {
			return runs[len(runs)-limit:]
		}
		if from.Equal(notBefore) {
			return runs
		}
	}
}
