package tasks

import (
	"fmt"
	"slices"
)

// State is where a task stands.
type State string

// The states of a task.
const (
	Queued     State = "queued"     // waits for its device
	Leased     State = "leased"     // was handed to the device, which has not said that it began
	Running    State = "running"    // the device is at it
	Succeeded  State = "succeeded"  // exit code 0, or whatever the kind calls success
	Failed     State = "failed"     // ended otherwise; the reason "interrupted…" means that nobody knows how
	TimedOut   State = "timed_out"  // ran longer than it might
	Cancelling State = "cancelling" // somebody cancelled it after the device had it; the device has the last word
	Cancelled  State = "cancelled"  // somebody cancelled it in time
	Expired    State = "expired"    // its device did not come for it in time
	Skipped    State = "skipped"    // was not to be done; the reason says why
	Parked     State = "parked"     // its device took it several times and never began: it may be what stops the device
)

// States are all of them, in the order of a life.
var States = []State{Queued, Leased, Running, Cancelling, Succeeded, Failed, TimedOut, Cancelled, Expired, Skipped, Parked}

// moves is the whole life of a task. What has no moves is final.
var moves = map[State][]State{
	Queued:     {Leased, Cancelled, Expired, Skipped, Parked},
	Leased:     {Running, Queued, Cancelling, Expired, Skipped, Parked}, // back to Queued when the lease is lost
	Running:    {Succeeded, Failed, TimedOut, Cancelling},
	Cancelling: {Cancelled, Succeeded, Failed, TimedOut},
}

// Final tells whether nothing changes the state any more.
func (s State) Final() bool { return len(moves[s]) == 0 }

// CanMove tells whether one step leads from this state to another.
func (s State) CanMove(to State) bool { return slices.Contains(moves[s], to) }

// bad tells whether the task counts as a failure, of its job and for trying again.
func (s State) bad() bool { return s == Failed || s == TimedOut || s == Parked }

// Report is what an endpoint says a task came to.
type Report string

// The reports.
const (
	ReportRunning     Report = "running"
	ReportSucceeded   Report = "succeeded"
	ReportFailed      Report = "failed"
	ReportTimedOut    Report = "timed_out"
	ReportCancelled   Report = "cancelled"
	ReportSkipped     Report = "skipped"
	ReportUnsupported Report = "unsupported" // the endpoint does not know the kind
)

// aims is the state that a report claims.
var aims = map[Report]State{
	ReportRunning: Running, ReportSucceeded: Succeeded, ReportFailed: Failed, ReportTimedOut: TimedOut,
	ReportCancelled: Cancelled, ReportSkipped: Skipped, ReportUnsupported: Skipped,
}

// Known tells whether the report is one of the protocol.
func (r Report) Known() bool { _, ok := aims[r]; return ok }

// Final tells whether the report is the endpoint's last word.
func (r Report) Final() bool { return r != ReportRunning }

// after decides what a report makes of a task. The endpoint's word may skip steps that the server did
// not hear of: it can have run a task whose lease the server believes lost, or whose row comes from a
// restored backup. It walks only along legal moves, and never out of a final state.
//
//   - ok and the same state: nothing new (a repetition, or "running" while cancelling).
//   - late: the task was given up before its result came; the result is stored, the state stays.
//   - not ok: the report makes no sense, and says so.
func (s State) after(r Report) (to State, late bool, err error) {
	aim, known := aims[r]
	switch {
	case !known:
		return s, false, fmt.Errorf("%q is no report", string(r))
	case s.Final():
		return s, r.Final(), nil
	case s == aim, s == Cancelling && r == ReportRunning:
		return s, false, nil
	case s.leadsTo(aim):
		return aim, false, nil
	}
	return s, false, fmt.Errorf("a task that is %s cannot be %s", s, r)
}

// leadsTo tells whether legal moves lead from the state to the aim without giving the task up: a
// report never queues, expires or parks anything on its way.
func (s State) leadsTo(aim State) bool {
	seen := map[State]bool{s: true}
	for next := []State{s}; len(next) > 0; next = next[1:] {
		for _, to := range moves[next[0]] {
			if to == aim {
				return true
			}
			if !seen[to] && to != Queued && !to.Final() {
				seen[to] = true
				next = append(next, to)
			}
		}
	}
	return false
}
