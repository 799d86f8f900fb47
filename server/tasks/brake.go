package tasks

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"reeve/server/fleet"
	"reeve/tenants"
	"reeve/tenants/scope"
)

// reach is what a job would touch.
type reach struct {
	devices map[uuid.UUID]int // of each tenant
	total   int
}

func reachOf(targets []fleet.Target) reach {
	r := reach{devices: map[uuid.UUID]int{}, total: len(targets)}
	for _, t := range targets {
		r.devices[t.TenantID]++
	}
	return r
}

// tenants lists who is reached, in ascending order.
func (r reach) tenants() []uuid.UUID {
	ids := make([]uuid.UUID, 0, len(r.devices))
	for id := range r.devices {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	return ids
}

// owner is the tenant a job belongs to: the one it reaches, or the provider.
func (r reach) owner() uuid.UUID {
	if len(r.devices) == 1 {
		for id := range r.devices {
			return id
		}
	}
	return scope.Provider
}

// brake is what the settings demand of a job.
type brake struct {
	reasons     []string // why a second person is needed; none when not
	canary      int      // percent that goes first
	stopFailure int      // percent of failures at which it stops
}

// decideBrake holds a job against the provider's settings and those of every tenant it reaches: the
// strictest count. specs has an entry for the provider and for each tenant.
func decideBrake(r reach, kind Kind, specs map[uuid.UUID]tenants.JobSpec) brake {
	var b brake
	if kind.Destructive {
		b.reasons = append(b.reasons, fmt.Sprintf("%s cannot be undone", kind.Title))
	}
	// The provider's limits hold for every job. A tenant's own can only be stricter: who may set those of
	// one tenant must not loosen the brake of all.
	provider := specs[scope.Provider]
	b.canary, b.stopFailure = provider.CanaryPercent, provider.StopFailurePercent
	if len(r.devices) > 1 {
		if r.total > provider.MaxDevices {
			b.reasons = append(b.reasons, fmt.Sprintf("it reaches %d devices, more than %d", r.total, provider.MaxDevices))
		}
		if len(r.devices) > provider.MaxTenants {
			b.reasons = append(b.reasons, fmt.Sprintf("it reaches %d tenants, more than %d", len(r.devices), provider.MaxTenants))
		}
	}
	over := 0
	for _, id := range r.tenants() {
		spec := specs[id]
		if most := min(spec.MaxDevices, provider.MaxDevices); r.devices[id] > most {
			over++
			if over == 1 {
				b.reasons = append(b.reasons, fmt.Sprintf("it reaches %d devices of one tenant, more than %d", r.devices[id], most))
			}
		}
		b.canary = stricterCanary(b.canary, spec.CanaryPercent)
		b.stopFailure = stricterStop(b.stopFailure, spec.StopFailurePercent)
	}
	if over > 1 {
		b.reasons = append(b.reasons, fmt.Sprintf("so it does with %d more tenants", over-1))
	}
	return b
}

// stricterCanary is the smaller share; 0 means that nobody asks for one.
func stricterCanary(a, b int) int { return smallerNonZero(a, b) }

// stricterStop is the lower rate; 0 means that nobody asks for one.
func stricterStop(a, b int) int { return smallerNonZero(a, b) }

func smallerNonZero(a, b int) int {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// splitCanary divides targets into those that go first and the rest. Which go first is spread evenly
// over the fleet and differs from job to job, so that it is not always the same who suffers.
func splitCanary(job uuid.UUID, targets []fleet.Target, percent int) (first, rest []fleet.Target) {
	n := (len(targets)*percent + 99) / 100
	if percent <= 0 || n >= len(targets) {
		return targets, nil
	}
	type placed struct {
		target fleet.Target
		place  [sha256.Size]byte
	}
	all := make([]placed, len(targets))
	for i, t := range targets {
		all[i] = placed{t, sha256.Sum256(append(append(make([]byte, 0, 32), job[:]...), t.DeviceID[:]...))}
	}
	slices.SortFunc(all, func(a, b placed) int { return bytes.Compare(a.place[:], b.place[:]) })
	for i, p := range all {
		if i < n {
			first = append(first, p.target)
		} else {
			rest = append(rest, p.target)
		}
	}
	byID := func(a, b fleet.Target) int { return bytes.Compare(a.DeviceID[:], b.DeviceID[:]) }
	slices.SortFunc(first, byID)
	slices.SortFunc(rest, byID)
	return first, rest
}

// tally counts the tasks of a job by what they mean for it.
type tally struct{ open, good, bad, none int }

func tallyOf(counts map[State]int) tally {
	var t tally
	for state, n := range counts {
		switch {
		case !state.Final():
			t.open += n
		case state.bad():
			t.bad += n
		case state == Succeeded:
			t.good += n
		default: // cancelled, expired and skipped say nothing about the work
			t.none += n
		}
	}
	return t
}

// tooManyFailures tells whether a job has to stop. A few results are not a rate: unless nothing is left
// to come, it waits for minResults of them.
func (t tally) tooManyFailures(stopPercent int) bool {
	results := t.good + t.bad
	if stopPercent == 0 || results == 0 || t.open > 0 && results < minResults {
		return false
	}
	return t.bad*100 >= stopPercent*results
}

const (
	minResults = 5
	// canaryPatience is how long canaries that are offline can hold up the rest, once others have answered.
	canaryPatience = time.Hour
)

// verdict is what the first share says about the rest.
type verdict int

const (
	wait verdict = iota
	proceed
	stop
)

// decideCanary judges the first share: the rest goes when all of it is over, or after an hour when some
// of it is. Canaries none of which could say anything stop the job: nobody would have tried it.
func decideCanary(t tally, stopPercent int, age time.Duration) verdict {
	if t.tooManyFailures(stopPercent) {
		return stop
	}
	results := t.good + t.bad
	switch {
	case t.open == 0 && results == 0:
		return stop
	case t.open == 0, age >= canaryPatience && results > 0:
		return proceed
	}
	return wait
}

// weigh is a job's order of magnitude. Tasks of light jobs go first, so that a fleet-wide job does not
// hold up a technician who works on one machine.
func weigh(devices int) int {
	w := 0
	for n := 10; devices > n && w < 6; n *= 10 {
		w++
	}
	return w
}
