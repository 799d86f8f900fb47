package calendar

import (
	"fmt"
	"time"
)

const (
	secondsPerMinute = 60
	secondsPerDay    = 24 * 60 * 60
)

// TimeOfDay is a reading of the clock on the wall: minutes since midnight, 0 to 1439.
type TimeOfDay int

// ParseTimeOfDay reads "02:30", the 24-hour clock from 00:00 to 23:59.
func ParseTimeOfDay(s string) (TimeOfDay, error) {
	t, err := time.Parse("15:04", s)
	if err != nil || len(s) != len("15:04") {
		return 0, fmt.Errorf("%q is not a time of day from 00:00 to 23:59", s)
	}
	return TimeOfDay(t.Hour()*60 + t.Minute()), nil
}

// Hour is 0 to 23.
func (t TimeOfDay) Hour() int { return int(t) / 60 }

// Minute is 0 to 59.
func (t TimeOfDay) Minute() int { return int(t) % 60 }

// String writes "02:30".
func (t TimeOfDay) String() string { return fmt.Sprintf("%02d:%02d", t.Hour(), t.Minute()) }

// Local is what calendar and clock on a wall show, to the second, in no particular zone. In a given
// zone it may exist once, twice or never: see Zone.Resolve. Locals compare with ==.
type Local struct {
	seconds int64 // since 1970-01-01T00:00 on that same wall
}

const (
	localLayout        = "2006-01-02T15:04"
	localLayoutSeconds = "2006-01-02T15:04:05"
)

// ParseLocal reads "2025-01-31T09:00", with or without seconds.
func ParseLocal(s string) (Local, error) {
	layout := localLayout
	if len(s) > len(localLayout) {
		layout = localLayoutSeconds
	}
	t, err := time.Parse(layout, s)
	if err != nil || len(s) != len(layout) {
		return Local{}, fmt.Errorf("%q is not a local date and time such as 2025-01-31T09:00 (no offset, no Z)", s)
	}
	return LocalOf(t), nil
}

// LocalOf is what t shows in its own location, fractions of a second cut off.
func LocalOf(t time.Time) Local {
	_, offset := t.Zone()
	return Local{t.Unix() + int64(offset)}
}

// Date is the day.
func (l Local) Date() Date { return DateOfDays(l.days()) }

// TimeOfDay is the clock's reading, seconds cut off.
func (l Local) TimeOfDay() TimeOfDay {
	return TimeOfDay((l.seconds - int64(l.days())*secondsPerDay) / secondsPerMinute)
}

func (l Local) days() int { return floorDiv(int(l.seconds), secondsPerDay) }

// Add moves the hands of the clock; across a change of the clocks this is not the time that passes.
func (l Local) Add(d time.Duration) Local { return Local{l.seconds + int64(d/time.Second)} }

// Sub is the distance on the wall.
func (l Local) Sub(other Local) time.Duration {
	return time.Duration(l.seconds-other.seconds) * time.Second
}

// Before tells whether l comes first on the wall.
func (l Local) Before(other Local) bool { return l.seconds < other.seconds }

// AsUTC is the instant at which a clock in UTC shows l: the form in which a database column
// without a zone keeps it. LocalOf is the way back.
func (l Local) AsUTC() time.Time { return time.Unix(l.seconds, 0).UTC() }

// String writes "2025-01-31T09:00", with seconds only when there are any.
func (l Local) String() string {
	if l.seconds%secondsPerMinute != 0 {
		return l.AsUTC().Format(localLayoutSeconds)
	}
	return l.AsUTC().Format(localLayout)
}

// MarshalText writes "2025-01-31T09:00".
func (l Local) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads "2025-01-31T09:00".
func (l *Local) UnmarshalText(text []byte) (err error) {
	*l, err = ParseLocal(string(text))
	return err
}
