package tasks

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The table of moves is the architecture's, word for word.
func TestMovesAreThoseOfTheArchitecture(t *testing.T) {
	t.Parallel()
	legal := map[[2]State]bool{}
	for _, m := range [][2]State{
		{Queued, Leased}, {Leased, Running}, {Running, Succeeded}, {Running, Failed}, {Running, TimedOut}, {Leased, Queued},
		{Queued, Cancelled}, {Leased, Cancelling}, {Running, Cancelling}, {Cancelling, Cancelled}, {Cancelling, Succeeded},
		{Cancelling, Failed}, {Cancelling, TimedOut}, {Queued, Expired}, {Leased, Expired}, {Queued, Skipped}, {Leased, Skipped},
		{Queued, Parked}, {Leased, Parked},
	} {
		legal[m] = true
	}
	for _, from := range States {
		for _, to := range States {
			if from.CanMove(to) != legal[[2]State{from, to}] {
				t.Errorf("%s to %s: %t", from, to, from.CanMove(to))
			}
		}
	}
	for _, s := range []State{Succeeded, Failed, TimedOut, Cancelled, Expired, Skipped, Parked} {
		if !s.Final() {
			t.Errorf("%s is not final", s)
		}
	}
	if len(States) != len(slices.Compact(slices.Sorted(slices.Values(States)))) {
		t.Error("a state stands twice in the list")
	}
}

func TestReports(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from   State
		report Report
		to     State
		late   bool
		ok     bool
	}{
		{Leased, ReportRunning, Running, false, true},
		{Running, ReportSucceeded, Succeeded, false, true},
		{Running, ReportRunning, Running, false, true},
		// The lease was believed lost, or the row comes from a restored backup: the device knows better.
		{Queued, ReportRunning, Running, false, true},
		{Queued, ReportFailed, Failed, false, true},
		{Leased, ReportTimedOut, TimedOut, false, true},
		{Leased, ReportSkipped, Skipped, false, true},
		{Leased, ReportUnsupported, Skipped, false, true},
		{Running, ReportSkipped, Running, false, false},
		// Somebody at the machine stopped it.
		{Running, ReportCancelled, Cancelled, false, true},
		{Queued, ReportCancelled, Cancelled, false, true},
		{Cancelling, ReportRunning, Cancelling, false, true},
		{Cancelling, ReportCancelled, Cancelled, false, true},
		{Cancelling, ReportSucceeded, Succeeded, false, true},
		// Too late: the word stands, the state too.
		{Expired, ReportSucceeded, Expired, true, true},
		{Cancelled, ReportFailed, Cancelled, true, true},
		{Expired, ReportRunning, Expired, false, true},
		{Succeeded, ReportFailed, Succeeded, true, true},
		{Running, "exploded", Running, false, false},
	} {
		to, late, err := c.from.after(c.report)
		if to != c.to || late != c.late || (err == nil) != c.ok {
			t.Errorf("%s after %s: %s late=%t %v", c.from, c.report, to, late, err)
		}
	}
}

// Whatever endpoints say in whatever order, a task walks along legal moves and stays where it ended.
func TestReportsNeverBreakTheStateMachine(t *testing.T) {
	t.Parallel()
	reports := []Report{ReportRunning, ReportSucceeded, ReportFailed, ReportTimedOut, ReportCancelled, ReportSkipped, ReportUnsupported, "nonsense", ""}
	rapid.Check(t, func(t *rapid.T) {
		s := Queued
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			before := s
			if rapid.Bool().Draw(t, "server") && !s.Final() {
				s = rapid.SampledFrom(moves[s]).Draw(t, "move")
			} else {
				to, late, err := s.after(rapid.SampledFrom(reports).Draw(t, "report"))
				switch {
				case err != nil && to != s:
					t.Fatalf("a refused report moved %s to %s", s, to)
				case late && !s.Final():
					t.Fatalf("late although %s is not final", s)
				case to != s && !reachable(s, to):
					t.Fatalf("%s to %s along no legal moves", s, to)
				}
				s = to
			}
			if before.Final() && s != before {
				t.Fatalf("%s was final and became %s", before, s)
			}
		}
	})
}

func reachable(from, to State) bool {
	seen := map[State]bool{from: true}
	for next := []State{from}; len(next) > 0; next = next[1:] {
		for _, s := range moves[next[0]] {
			if s == to {
				return true
			}
			if !seen[s] {
				seen[s] = true
				next = append(next, s)
			}
		}
	}
	return false
}
