package schedule

import (
	"fmt"
	"time"

	"reeve/api/fault"
	"reeve/tenants/calendar"
)

// Forecast is what a recurrence will do: its next runs, and what its author may not expect.
type Forecast struct {
	Runs  []Run    `json:"runs"`
	Notes []string `json:"notes"`
}

// MaxPreview is the largest number of runs one preview shows.
const MaxPreview = 100

// Preview computes the next count runs after from. Its notes look at least a year ahead, so that a
// gap or fold in half a year is known before anything is saved.
func Preview(r Recurrence, zone calendar.Zone, from time.Time, count int) (Forecast, error) {
	var faults fault.Fields
	rule := r.compile(&faults, "/recurrence")
	faults.Check(count >= 1 && count <= MaxPreview, "/count", "must be from 1 to %d", MaxPreview)
	faults.Check(from.Year() >= 1970 && from.Year() < 2200, "/from", "must lie in the years 1970 to 2199")
	if err := faults.Err(); err != nil {
		return Forecast{}, err
	}
	runs, err := Next(r, zone, from, count)
	if err != nil {
		return Forecast{}, err
	}
	f := Forecast{Runs: runs, Notes: append([]string{}, rule.notes...)}
	switch {
	case len(runs) == 0:
		f.Runs = []Run{}
		f.Notes = append(f.Notes, "It never runs again.")
		return f, nil
	case len(runs) < count:
		f.Notes = append(f.Notes, "It ends after these runs.")
	}
	until := from.AddDate(1, 0, 0)
	if last := runs[len(runs)-1].At; rule.oneOff || last.After(until) {
		until = last
	}
	f.Notes = append(f.Notes, changeNotes(rule, zone, from, until)...)
	return f, nil
}

// changeNotes tells what the next changes of the clocks do to a rule.
func changeNotes(r rule, zone calendar.Zone, from, until time.Time) (notes []string) {
	const enough = 4
	stretch := zone.StretchAt(from)
	for !stretch.Until.IsZero() && !stretch.Until.After(until) && len(notes) < enough {
		change := clockChange{at: stretch.Until, before: wallAt(stretch.Until, stretch)}
		stretch = zone.StretchAt(change.at)
		change.after = wallAt(change.at, stretch)
		if change.before != change.after {
			if note := change.note(r); note != "" {
				notes = append(notes, note)
			}
		}
	}
	return notes
}

// clockChange is a moment at which the clocks are set from before to after.
type clockChange struct {
	at            time.Time
	before, after calendar.Local
}

// note is empty when the rule does not feel the change.
func (c clockChange) note(r rule) string {
	forward := c.before.Before(c.after)
	if r.wall == nil {
		return c.text("It counts real time, so from then on its local times are shifted.")
	}
	first, last := c.before, c.after // the wall times that are left out, or repeated
	if !forward {
		first, last = c.after, c.before
	}
	nominal, ok := r.wall.next(first)
	switch {
	case !ok || !nominal.Before(last):
		return ""
	case forward && r.everyHour:
		return c.text("Times in between do not exist and are left out.")
	case forward:
		return c.text(fmt.Sprintf("%s does not exist; it runs at %s.", nominal, c.after))
	case r.everyHour:
		return c.text("It runs in both passes of the repeated time.")
	}
	return c.text(fmt.Sprintf("%s happens twice; it runs the first time only.", nominal))
}

func (c clockChange) text(consequence string) string {
	direction := "forward"
	if c.after.Before(c.before) {
		direction = "back"
	}
	return fmt.Sprintf("The clocks are set %s from %s to %s. %s", direction, c.before, c.after, consequence)
}
