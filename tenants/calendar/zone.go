// Package calendar turns what clocks on walls show into instants and back: zones with their gaps and
// folds, local dates, and half-open periods.
//
// time.Date must not do this: for a wall time that does not exist, or exists twice, it picks an
// answer of its own (03:30 for the missing 02:30 of Berlin, but the evening before for the missing
// midnight of São Paulo; the first or the second reading of a repeated hour, depending on the zone).
package calendar

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // so that zones load on machines without a zone database
)

// ErrUnknownZone is the cause of every failure to load a zone.
var ErrUnknownZone = errors.New("unknown time zone")

// Zone is a place's history and future of UTC offsets. The zero Zone is UTC.
type Zone struct {
	location *time.Location
}

// UTC is the zone without any change of the clocks.
var UTC = Zone{time.UTC}

// The names of the database, and nothing that a file system would also take for one ("./", "//"):
// zone names come from endpoints, and every loaded one is remembered.
var zoneName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$`)

// loaded remembers zones, because reading one costs more than a hundred uses of it. A zone never
// changes while the process lives, so this is not state, only saved work.
var loaded sync.Map // string → Zone

// LoadZone finds a zone by its name in the IANA database, such as "Europe/Berlin". The database of
// the operating system is preferred, so that its updates count; without one, the embedded one serves.
func LoadZone(name string) (Zone, error) {
	if z, ok := loaded.Load(name); ok {
		return z.(Zone), nil
	}
	if !plausibleZone(name) {
		return Zone{}, unknownZone(name)
	}
	location, err := time.LoadLocation(name)
	if err != nil {
		return Zone{}, unknownZone(name)
	}
	z := Zone{location}
	loaded.Store(name, z)
	return z, nil
}

// plausibleZone refuses what time.LoadLocation would accept although it is no zone of the database:
// the machine's own zone, and the variants of the Unix file tree ("right/…" counts leap seconds).
func plausibleZone(name string) bool {
	switch name {
	case "Local", "localtime", "posixrules", "Factory":
		return false
	}
	return len(name) <= 64 && zoneName.MatchString(name) &&
		!strings.HasPrefix(name, "posix/") && !strings.HasPrefix(name, "right/")
}

func unknownZone(name string) error {
	if len(name) > 64 {
		name = name[:64] + "…"
	}
	return fmt.Errorf("%w %q: use a name of the IANA database, such as Europe/Berlin or UTC", ErrUnknownZone, name)
}

// Name is the zone's name in the IANA database.
func (z Zone) Name() string { return z.Location().String() }

// Location is the zone as package time knows it, for formatting.
func (z Zone) Location() *time.Location {
	if z.location == nil {
		return time.UTC
	}
	return z.location
}

// Stretch is a time during which the offset from UTC stays the same.
type Stretch struct {
	Until  time.Time     // the first instant after it; zero when it never ends
	Offset time.Duration // local time minus UTC
}

// StretchAt is the stretch that t lies in. Neighbouring stretches may have the same offset.
func (z Zone) StretchAt(t time.Time) Stretch {
	t = t.In(z.Location())
	_, offset := t.Zone()
	_, until := t.ZoneBounds()
	if !until.IsZero() && !until.After(t) {
		// Beyond the table of changes, package time thinks in years of 365 days: on December 31 of a
		// leap year it reports an end in the past. Until the year is over, the offset stays.
		until = time.Date(t.UTC().Year()+1, time.January, 1, 0, 0, 0, 0, time.UTC)
	}
	return Stretch{until.UTC(), time.Duration(offset) * time.Second}
}

// Local is what the clocks of the zone show at t, and whether they show it for the second time
// (fold 1) because they were set back in between. Fractions of a second are cut off.
func (z Zone) Local(t time.Time) (l Local, fold int) {
	l = LocalOf(t.In(z.Location()))
	if z.Resolve(l).First.Unix() < t.Unix() {
		fold = 1
	}
	return l, fold
}

// Existence tells how often a local time happens in a zone.
type Existence int

// The three cases.
const (
	Once  Existence = iota
	Gap             // never: the clocks were set forward over it
	Twice           // the clocks were set back over it
)

// Resolution says when a local time happens. First and Last are the same instant unless it happens
// twice; for a time inside a gap both are the jump, the first instant after the gap. Both are in UTC.
type Resolution struct {
	Existence   Existence
	First, Last time.Time
}

// widest is more than any distance between UTC and a local time, or between two local times at
// one instant: when Samoa crossed the date line its clocks jumped by a whole day.
const widest = 48 * time.Hour

// Resolve finds the instants at which the clocks of the zone show l.
func (z Zone) Resolve(l Local) Resolution {
	asUTC := l.AsUTC()
	var found Resolution
	var jump time.Time
	for at := asUTC.Add(-widest); !at.After(asUTC.Add(widest)); {
		stretch := z.StretchAt(at)
		candidate := asUTC.Add(-stretch.Offset)
		if !candidate.Before(at) && (stretch.Until.IsZero() || candidate.Before(stretch.Until)) {
			if found.First.IsZero() {
				found.First = candidate
			} else {
				found.Existence = Twice
			}
			found.Last = candidate
		}
		// The clock has already passed l when this stretch begins, and had not before: this is the jump.
		if jump.IsZero() && candidate.Before(at) {
			jump = at
		}
		if stretch.Until.IsZero() {
			break
		}
		at = stretch.Until
	}
	if found.First.IsZero() {
		return Resolution{Gap, jump, jump}
	}
	return found
}

// Day is the period from the first instant of a date to the first instant of the next.
func (z Zone) Day(d Date) Period { return z.between(d, d.AddDays(1)) }

// Month is the period from the first instant of a month to the first instant of the next.
func (z Zone) Month(year int, month time.Month) Period {
	first := Date{year, month, 1}
	return z.between(first, first.AddMonths(1))
}

func (z Zone) between(from, until Date) Period {
	return Period{z.Resolve(from.At(0)).First, z.Resolve(until.At(0)).First}
}
