//go:build !faults

package app

// trials is how often each fault is made: a few times in every test run, more with -tags faults.
func trials(few, _ int) int { return few }
