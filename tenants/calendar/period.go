package calendar

import "time"

// Period is the time from Start up to but not including End. It is empty unless Start is before End.
type Period struct {
	Start, End time.Time
}

// IsEmpty tells whether no instant lies in the period.
func (p Period) IsEmpty() bool { return !p.Start.Before(p.End) }

// Contains tells whether t lies in the period.
func (p Period) Contains(t time.Time) bool { return !t.Before(p.Start) && t.Before(p.End) }

// Overlaps tells whether an instant lies in both periods.
func (p Period) Overlaps(other Period) bool { return !p.Intersect(other).IsEmpty() }

// Intersect is the period that lies in both; it is empty when they only touch.
func (p Period) Intersect(other Period) Period {
	if other.Start.After(p.Start) {
		p.Start = other.Start
	}
	if other.End.Before(p.End) {
		p.End = other.End
	}
	return p
}

// Duration is the period's length in real time; an empty period has none.
func (p Period) Duration() time.Duration {
	if p.IsEmpty() {
		return 0
	}
	return p.End.Sub(p.Start)
}
