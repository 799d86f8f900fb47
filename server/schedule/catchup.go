package schedule

import (
	"time"

	"reeve/api/fault"
	"reeve/tenants/calendar"
)

// Policy says what becomes of a run that could not start at its time.
type Policy string

// The policies. Without one, recurring work is skipped and one-off work runs as soon as possible.
const (
	Skip            Policy = "skip"
	RunASAP         Policy = "run_asap"           // outside the window too, but never in a blackout
	RunInNextWindow Policy = "run_in_next_window" // a window that is open now counts
)

// CatchUp is what a schedule does about missed runs.
type CatchUp struct {
	Policy              Policy `json:"policy"`
	ExpiresAfterSeconds int64  `json:"expires_after_seconds"` // counted from the run's time; 0 is never
	IncludeReboot       bool   `json:"include_reboot"`        // whether a late run may reboot, too
}

// Check notes the faults of a catch-up policy.
func (c CatchUp) Check(faults *fault.Fields, at string) {
	switch c.Policy {
	case "", Skip, RunASAP, RunInNextWindow:
	default:
		faults.Add(at+"/policy", "must be one of skip, run_asap, run_in_next_window")
	}
	const limit = 366 * 24 * 60 * 60
	faults.Check(c.ExpiresAfterSeconds >= 0 && c.ExpiresAfterSeconds <= limit, at+"/expires_after_seconds",
		"must be from 0 (never) to %d", limit)
}

// Reason says why a run was missed.
type Reason string

// The reasons.
const (
	MissedOffline  Reason = "offline"  // the device could not be reached
	MissedServer   Reason = "server"   // the server was down or late
	MissedBlackout Reason = "blackout" // a change freeze held
	MissedQueue    Reason = "queue"    // the work waited behind other work for too long
	MissedWindow   Reason = "window"   // no maintenance window was open for long enough
)

// Grace is how late a run may start and still be on time.
const Grace = 5 * time.Minute

// MaxMisses is the largest number of misses that one decision lists one by one.
const MaxMisses = 100

// Progress is what is remembered of a schedule in a zone, or on a device, from one decision to the next.
type Progress struct {
	Through time.Time // every run up to this instant is decided, but for
	Waiting *Miss     // the one late run that waits for its time to start
}

// Miss is a run that did not start at its time, and why.
type Miss struct {
	Run    Run
	Reason Reason
}

// Situation is all that a decision depends on.
type Situation struct {
	Recurrence Recurrence
	Zone       calendar.Zone
	CatchUp    CatchUp
	Openings   Openings
	Need       time.Duration // how long the work is expected to take, with its reboot if it may
	Overrun    bool          // the work need not fit into what is left of a window
	Progress   Progress
	Now        time.Time
	Cause      Reason // why runs before Now were not decided at their time; MissedServer if empty
}

// Firing is a run that starts now.
type Firing struct {
	Run     Run
	CatchUp bool      // it starts late
	Reason  Reason    // why it does
	Reboot  bool      // whether it may reboot, as far as the catch-up policy is concerned
	Expires time.Time // when it is no longer worth starting; zero is never
}

// Decision is what to do now, what was missed for good, and what to remember.
type Decision struct {
	Fire        *Firing
	Missed      []Miss // ascending, the latest MaxMisses of
	MissedCount int    // all that were missed, which MissedMore says is only a lower bound
	MissedMore  bool
	Progress    Progress
	WakeAt      time.Time // when to decide again; zero when the recurrence has ended
}

// Decide brings a schedule up to date: of all runs that are due, at most the latest one fires, now or
// when its policy lets it; every other one is missed.
func Decide(s Situation) (Decision, error) {
	rule, err := s.Recurrence.rule()
	if err != nil {
		return Decision{}, err
	}
	if s.Progress.Through.IsZero() {
		return Decision{}, fault.New(fault.Internal, "a schedule's progress has no beginning")
	}
	if s.Cause == "" {
		s.Cause = MissedServer
	}
	d := Decision{Progress: s.Progress}
	s.collect(rule, &d)
	if d.Progress.Waiting != nil {
		s.settle(rule, *d.Progress.Waiting, &d)
	}
	d.Missed = d.Missed[max(0, len(d.Missed)-MaxMisses):]
	d.WakeAt = s.wake(rule, d.Progress)
	return d, nil
}

// collect makes the latest due run, or else the one that waited, the only one that waits; all others
// are missed.
func (s Situation) collect(r rule, d *Decision) {
	const countable = 100_000
	var count int
	walk := r.after(s.Zone, s.Progress.Through)
	run, ok := walk.next()
	for ; ok && !run.At.After(s.Now) && count < countable; run, ok = walk.next() {
		count++
	}
	d.MissedMore = ok && !run.At.After(s.Now)
	if count == 0 {
		return
	}
	if d.Progress.Waiting != nil {
		d.miss(*d.Progress.Waiting)
	}
	runs := r.recent(s.Zone, s.Progress.Through, s.Now, MaxMisses+1)
	latest := runs[len(runs)-1]
	for _, run := range runs[:len(runs)-1] {
		d.miss(Miss{run, s.reason(run)})
	}
	d.MissedCount += count - len(runs)
	d.Progress = Progress{Through: latest.At, Waiting: &Miss{latest, s.reason(latest)}}
}

func (d *Decision) miss(m Miss) {
	d.Missed = append(d.Missed, m)
	d.MissedCount++
}

// reason tells why a run did not start at its time: where the work was not allowed anyway, that.
func (s Situation) reason(run Run) Reason {
	if reason, ok := s.Openings.MayStart(run.At, s.Need, s.Overrun); !ok {
		return reason
	}
	return s.Cause
}

// settle lets the candidate fire, wait, or be missed.
func (s Situation) settle(r rule, candidate Miss, d *Decision) {
	run := candidate.Run
	firing := Firing{Run: run, Reboot: true}
	if s.CatchUp.ExpiresAfterSeconds > 0 {
		firing.Expires = run.At.Add(time.Duration(s.CatchUp.ExpiresAfterSeconds) * time.Second)
	}
	if _, ok := s.Openings.MayStart(s.Now, s.Need, s.Overrun); ok && s.Now.Sub(run.At) <= Grace {
		d.Progress.Waiting, d.Fire = nil, &firing
		return
	}
	start, ok := s.lateStart(r, run)
	if !ok || !firing.Expires.IsZero() && start.After(firing.Expires) {
		d.Progress.Waiting = nil
		d.miss(candidate)
		return
	}
	if start.After(s.Now) {
		return // it keeps waiting
	}
	firing.CatchUp, firing.Reason, firing.Reboot = true, candidate.Reason, s.CatchUp.IncludeReboot
	d.Progress.Waiting, d.Fire = nil, &firing
}

// lateStart is the earliest time, from now on, at which the policy lets a late run start.
func (s Situation) lateStart(r rule, run Run) (time.Time, bool) {
	policy := s.CatchUp.Policy
	if policy == "" {
		policy = Skip
		if r.oneOff {
			policy = RunASAP
		}
	}
	if policy == Skip {
		return time.Time{}, false
	}
	openings := s.Openings
	// As soon as possible lifts the window from a run whose time was inside one. A run that had to wait
	// for a window anyway still does.
	inWindow := Openings{windows: openings.windows}
	if _, ok := inWindow.MayStart(run.At, s.Need, s.Overrun); ok && policy == RunASAP {
		openings = Openings{blackouts: openings.blackouts}
	}
	need := s.Need
	if s.Overrun {
		need = 0
	}
	opening, ok := openings.NextOpening(s.Now, need)
	return opening.Start, ok
}

// wake is when the next run is due or the waiting one may start, whichever comes first.
func (s Situation) wake(r rule, p Progress) (at time.Time) {
	if run, ok := r.after(s.Zone, s.Now).next(); ok {
		at = run.At
	}
	if p.Waiting != nil {
		if start, ok := s.lateStart(r, p.Waiting.Run); ok && (at.IsZero() || start.Before(at)) {
			at = start
		}
	}
	return at
}
