package schedule

import (
	"math/bits"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"reeve/api/fault"
	"reeve/tenants/calendar"
)

var macros = map[string]string{
	"@hourly":   "0 * * * *",
	"@daily":    "0 0 * * *",
	"@midnight": "0 0 * * *",
	"@weekly":   "0 0 * * 0",
	"@monthly":  "0 0 1 * *",
	"@yearly":   "0 0 1 1 *",
	"@annually": "0 0 1 1 *",
}

// The grammar of one element of a field's comma list. The library reads numbers and names, but it also
// takes "*-5" for "*", and an empty list for a schedule that never fires.
var cronElement = regexp.MustCompile(`^([*?]|([0-9]{1,2}|[A-Za-z]{3})(-([0-9]{1,2}|[A-Za-z]{3}))?)(/[0-9]{1,2})?$`)

var cronFields = [5]string{"minute", "hour", "day of month", "month", "day of week"}

// compileCron reads a cron expression; its faults are told in words of the expression.
func compileCron(expression string, faults *fault.Fields, at string) rule {
	spec, complaint := plainCron(expression)
	if complaint != "" {
		faults.Add(at, "%s", complaint)
		return rule{}
	}
	parsed, err := cron.ParseStandard(spec)
	if err != nil {
		faults.Add(at, "%s", blame(spec, err))
		return rule{}
	}
	times := newCronTimes(parsed.(*cron.SpecSchedule))
	hour := strings.Fields(spec)[1]
	r := rule{wall: times, everyHour: strings.ContainsAny(hour, "*?/")}
	times.judge(&r, faults, at)
	return r
}

// blame names the field that the library complains about, which the library does not.
func blame(spec string, complaint error) string {
	for i, field := range strings.Fields(spec) {
		alone := [5]string{"*", "*", "*", "*", "*"}
		alone[i] = field
		if _, err := cron.ParseStandard(strings.Join(alone[:], " ")); err != nil {
			return cronFields[i] + ": " + err.Error()
		}
	}
	return complaint.Error()
}

// plainCron expands macros and refuses what the library would accept and we do not mean.
func plainCron(expression string) (spec, complaint string) {
	spec = strings.TrimSpace(expression)
	switch {
	case len(spec) > 256:
		return "", "must not be longer than 256 characters"
	case strings.HasPrefix(spec, "CRON_TZ="), strings.HasPrefix(spec, "TZ="):
		return "", "must not name a zone: set the schedule's zone instead"
	case strings.HasPrefix(spec, "@every"):
		return "", `@every is not supported: use {"every": {"n": …, "unit": …, "anchor": …}}, which says from when it counts`
	case strings.HasPrefix(spec, "@"):
		expanded, known := macros[spec]
		if !known {
			return "", "unknown macro: use @hourly, @daily, @midnight, @weekly, @monthly, @yearly or @annually"
		}
		return expanded, ""
	}
	fields := strings.Fields(spec)
	if len(fields) != len(cronFields) {
		return "", "needs five fields (minute, hour, day of month, month, day of week; no seconds), found " + strconv.Itoa(len(fields))
	}
	for i, field := range fields {
		for _, element := range strings.Split(field, ",") {
			if !cronElement.MatchString(element) {
				return "", badElement(element, cronFields[i])
			}
		}
	}
	fields[4] = sevenIsSunday(fields[4])
	return strings.Join(fields, " "), ""
}

func badElement(element, field string) string {
	complaint := strconv.Quote(clip(element)) + " is not a " + field + ": use *, numbers, names, ranges a-b, steps /n and lists"
	switch {
	case strings.ContainsAny(element, "#"):
		return complaint + " (for the n-th weekday of a month there is weekday_of_month)"
	case strings.ContainsAny(element, "LW"):
		return complaint + " (for the end of the month there are last_day_of_month and weekday_of_month with n = -1)"
	}
	return complaint
}

// sevenIsSunday rewrites elements that count Sunday as day 7, as every cron of Unix allows and the
// library does not.
func sevenIsSunday(field string) string {
	elements := strings.Split(field, ",")
	for i, element := range elements {
		span, stepText, stepped := strings.Cut(element, "/")
		low, high, ranged := strings.Cut(span, "-")
		step := 1
		if stepped {
			step, _ = strconv.Atoi(stepText)
		}
		switch first, err := strconv.Atoi(low); {
		case !ranged && low == "7":
			elements[i] = "0"
		case ranged && high == "7" && err == nil && first <= 7 && step > 0:
			var days []string
			for day := first; day <= 7; day += step {
				days = append(days, strconv.Itoa(day%7))
			}
			elements[i] = strings.Join(days, ",")
		}
	}
	return strings.Join(elements, ",")
}

// cronTimes are the times of a cron expression as sets of bits: bit n stands for the value n.
type cronTimes struct {
	minutes, hours, days, months, weekdays uint64
	anyDay, anyWeekday                     bool // the field excludes nothing
}

func newCronTimes(s *cron.SpecSchedule) cronTimes {
	const star = 1 << 63 // the library's mark for a field that is not restricted
	return cronTimes{
		minutes: s.Minute &^ star, hours: s.Hour &^ star, days: s.Dom &^ star, months: s.Month &^ star,
		weekdays: s.Dow &^ star, anyDay: s.Dom&star != 0, anyWeekday: s.Dow&star != 0,
	}
}

func (c cronTimes) next(l calendar.Local) (calendar.Local, bool) {
	l = l.Add(time.Minute - time.Second) // with seconds cut off below, this rounds up to the minute
	date := l.Date()
	clock, today := c.clockFrom(l.TimeOfDay())
	earliest := date.Day
	if !today {
		earliest++
		clock, _ = c.clockFrom(0)
	}
	year, month := date.Year, date.Month
	// A leap day may be eight years away (2096 to 2104), which is the longest any expression can wait.
	for range 12*8 + 2 {
		if days := c.daysIn(year, month) &^ (1<<earliest - 1); days != 0 {
			day := bits.TrailingZeros64(days)
			if day != date.Day || month != date.Month || year != date.Year {
				clock, _ = c.clockFrom(0)
			}
			return calendar.Date{Year: year, Month: month, Day: day}.At(clock), true
		}
		earliest = 1
		if month++; month > time.December {
			year, month = year+1, time.January
		}
	}
	return calendar.Local{}, false
}

// clockFrom is the first time of day at or after t; false when the day has no more.
func (c cronTimes) clockFrom(t calendar.TimeOfDay) (calendar.TimeOfDay, bool) {
	hour := t.Hour()
	if c.hours>>hour&1 != 0 {
		if minutes := c.minutes >> t.Minute() << t.Minute(); minutes != 0 {
			return calendar.TimeOfDay(hour*60 + bits.TrailingZeros64(minutes)), true
		}
	}
	later := c.hours >> (hour + 1) << (hour + 1)
	return calendar.TimeOfDay(bits.TrailingZeros64(later)*60 + bits.TrailingZeros64(c.minutes)), later != 0
}

// daysIn is the set of matching days of a month.
func (c cronTimes) daysIn(year int, month time.Month) uint64 {
	if c.months>>month&1 == 0 {
		return 0
	}
	// Turn the week so that bit 0 is the weekday of the 1st, repeat it five times, and move it to bit 1.
	first := calendar.Date{Year: year, Month: month, Day: 1}.Weekday()
	week := (c.weekdays>>first | c.weekdays<<(7-first)) & 0x7f
	byWeekday := week * (1 | 1<<7 | 1<<14 | 1<<21 | 1<<28) << 1
	inMonth := uint64(1)<<(calendar.DaysIn(year, month)+1) - 2
	if c.anyDay || c.anyWeekday {
		return c.days & byWeekday & inMonth
	}
	return (c.days | byWeekday) & inMonth
}

// judge refuses an expression that can never fire, and notes what its author may not expect.
func (c cronTimes) judge(r *rule, faults *fault.Fields, at string) {
	if !c.anyDay && !c.anyWeekday {
		r.note("Day of month and day of week are both restricted: it runs on days that match either. " +
			"For the n-th weekday of a month use weekday_of_month.")
		return
	}
	var without []string
	fires, onlyLeap := false, false
	for month := time.January; month <= time.December; month++ {
		if c.months>>month&1 == 0 {
			continue
		}
		const leap, common = 2024, 2023
		inCommon := c.days<<(63-calendar.DaysIn(common, month)) != 0
		inLeap := c.days<<(63-calendar.DaysIn(leap, month)) != 0
		fires = fires || inLeap
		onlyLeap = onlyLeap || inLeap && !inCommon
		if !inLeap {
			without = append(without, month.String())
		}
	}
	day := bits.TrailingZeros64(c.days)
	switch {
	case !fires:
		faults.Add(at, "never fires: there is no day %d in %s", day, strings.Join(without, ", "))
	case len(without) > 0:
		r.note("It does not run in %s: there is no day %d. For the end of every month use last_day_of_month.",
			strings.Join(without, ", "), day)
	}
	if fires && onlyLeap {
		r.note("In February it runs in leap years only.")
	}
}
