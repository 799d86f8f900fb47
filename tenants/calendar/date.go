package calendar

import (
	"fmt"
	"time"
)

// Date is a day of the calendar, in no particular zone.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

const dateLayout = "2006-01-02"

// ParseDate reads "2025-01-31".
func ParseDate(s string) (Date, error) {
	t, err := time.Parse(dateLayout, s)
	if err != nil {
		return Date{}, fmt.Errorf("%q is not a date such as 2025-01-31", s)
	}
	return LocalOf(t).Date(), nil
}

// String writes "2025-01-31".
func (d Date) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.Year, int(d.Month), d.Day) }

// MarshalText writes "2025-01-31".
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads "2025-01-31".
func (d *Date) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDate(string(text))
	return err
}

// Days counts the days since 1970-01-01. It counts 400-year eras of 146,097 days each, with the year
// beginning in March so that the leap day comes last.
func (d Date) Days() int {
	year, month := d.Year, int(d.Month)
	if month <= 2 {
		year--
		month += 12
	}
	era := floorDiv(year, 400)
	ofEra := year - era*400
	ofYear := (153*(month-3)+2)/5 + d.Day - 1
	return era*146097 + ofEra*365 + ofEra/4 - ofEra/100 + ofYear - 719468
}

// DateOfDays is the date a number of days after 1970-01-01.
func DateOfDays(days int) Date {
	days += 719468
	era := floorDiv(days, 146097)
	day := days - era*146097
	year := (day - day/1460 + day/36524 - day/146096) / 365
	day -= 365*year + year/4 - year/100
	month := (5*day + 2) / 153
	d := Date{Year: year + era*400, Month: time.Month(month + 3), Day: day - (153*month+2)/5 + 1}
	if d.Month > 12 {
		d.Month -= 12
		d.Year++
	}
	return d
}

// AddDays is the date n days later (earlier when n is negative).
func (d Date) AddDays(n int) Date { return DateOfDays(d.Days() + n) }

// AddMonths is the same day n months later, or the last day of that month when it is shorter:
// one month after January 31 is February 28.
func (d Date) AddMonths(n int) Date {
	index := d.Year*12 + int(d.Month) - 1 + n
	year := floorDiv(index, 12)
	month := time.Month(index-year*12) + 1
	return Date{year, month, min(d.Day, DaysIn(year, month))}
}

// Weekday is the day of the week.
func (d Date) Weekday() time.Weekday {
	const thursday = 4 // 1970-01-01
	n := d.Days() + thursday
	return time.Weekday(n - floorDiv(n, 7)*7)
}

// Compare is negative when d is before other, zero when they are the same day, positive after.
func (d Date) Compare(other Date) int { return d.Days() - other.Days() }

// At is a time of this day.
func (d Date) At(t TimeOfDay) Local {
	return Local{int64(d.Days())*secondsPerDay + int64(t)*secondsPerMinute}
}

// DaysIn is the number of days in a month.
func DaysIn(year int, month time.Month) int {
	switch month {
	case time.February:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case time.April, time.June, time.September, time.November:
		return 30
	}
	return 31
}

// LastOfMonth is the last day of a month.
func LastOfMonth(year int, month time.Month) Date {
	return Date{year, month, DaysIn(year, month)}
}

// NthWeekday is the n-th (1 to 5) such weekday of a month, or its last when n is -1. It is false when
// the month has no fifth one.
func NthWeekday(year int, month time.Month, n int, weekday time.Weekday) (Date, bool) {
	if n == -1 {
		last := LastOfMonth(year, month)
		back := (int(last.Weekday()) - int(weekday) + 7) % 7
		return Date{year, month, last.Day - back}, true
	}
	first := Date{year, month, 1}
	day := 1 + (int(weekday)-int(first.Weekday())+7)%7 + (n-1)*7
	return Date{year, month, day}, n >= 1 && day <= DaysIn(year, month)
}

// PatchTuesday is the second Tuesday of a month, on which Microsoft releases its updates.
func PatchTuesday(year int, month time.Month) Date {
	d, _ := NthWeekday(year, month, 2, time.Tuesday)
	return d
}

func floorDiv(a, b int) int {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
