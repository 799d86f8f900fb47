package schedule_test

import (
	"archive/zip"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"reeve/server/schedule"
	"reeve/tenants/calendar"
)

// The oracle finds runs by reading a clock instead of computing: it shares no code with the package,
// knows of local times only what time.Time.In shows, and compares every run, nominal time and fold.
//
// Covered: every zone of the database that comes with Go (names whose clocks showed the same through
// both decades are checked once), two times ten years, every recurrence of the list below. For 36
// hours on both sides of every change of the clocks the oracle reads the clock minute by minute.
// Elsewhere, where hourly readings found no change, it reads the clock at the start of each quiet time
// and looks at every minute of every matching day.
func TestRunsAgreeWithAnIndependentOracle(t *testing.T) {
	cases := oracleCases(t)
	for _, decade := range []int{2008, 2018} {
		from := time.Date(decade, time.January, 1, 0, 0, 0, 0, time.UTC)
		until := from.AddDate(10, 0, 0)
		var checked, changes, runs int
		names := zoneNames(t)
		histories := map[string]bool{}
		for _, name := range names {
			zone := loadZone(t, name)
			w := watch(zone.Location(), from.Unix(), until.Unix())
			if history := fmt.Sprint(w.offset(from.Unix()), w.changes, w.offsets()); histories[history] {
				continue
			} else {
				histories[history] = true
			}
			checked, changes = checked+1, changes+len(w.changes)
			for _, c := range cases {
				runs += compare(t, zone, c, w.runs(c), from)
				if t.Failed() {
					t.FailNow()
				}
			}
		}
		t.Logf("%d to %d: %d zones, %d with clocks of their own, %d changes of the clocks, %d recurrences, %d runs equal",
			decade, decade+10, len(names), checked, changes, len(cases), runs)
	}
}

// compare asks for runs in pieces, each after the last run of the one before.
func compare(t *testing.T, zone calendar.Zone, c oracleCase, want []oracleRun, from time.Time) int {
	t.Helper()
	const piece = 1000
	after := from.Add(-time.Second)
	for done := 0; done < len(want); {
		got, err := schedule.Next(c.recurrence, zone, after, min(piece, len(want)-done))
		if err != nil || len(got) == 0 {
			t.Fatalf("%s in %s after %s: %v %v, want %s", c.name, zone.Name(), after, got, err, want[done])
		}
		for _, run := range got {
			w := want[done]
			if run.At.Unix() != w.at || run.NominalLocal.AsUTC().Unix() != w.nominal*60 || run.Fold != w.fold {
				t.Fatalf("%s in %s, run %d: %s, want %s", c.name, zone.Name(), done, describe(run), w)
			}
			done++
		}
		after = got[len(got)-1].At
	}
	return len(want)
}

// oracleCase is a recurrence and, in other words, when it runs.
type oracleCase struct {
	name       string
	recurrence schedule.Recurrence

	day       func(year int, month time.Month, day int) bool // which dates
	minutes   []int                                          // which minutes of the day, ascending
	goesOn    bool                                           // whether the pattern goes on through gaps and folds
	everyMins int64                                          // or: real minutes, from anchor
	anchor    string
}

type oracleRun struct {
	at      int64 // Unix seconds
	nominal int64 // minutes on the wall since 1970-01-01T00:00 there
	fold    int
}

func (r oracleRun) String() string {
	return fmt.Sprintf("%s/%d = %s", time.Unix(r.nominal*60, 0).UTC().Format("2006-01-02T15:04"), r.fold,
		time.Unix(r.at, 0).UTC().Format(time.RFC3339))
}

func oracleCases(t *testing.T) []oracleCase {
	t.Helper()
	cases := []oracleCase{
		{recurrence: parse(t, `{"weekday_of_month": {"n": 2, "weekday": "tue", "time": "02:00"}}`), minutes: []int{120},
			day: func(y int, m time.Month, d int) bool { return weekday(y, m, d) == time.Tuesday && d > 7 && d <= 14 }},
		{recurrence: parse(t, `{"weekday_of_month": {"n": -1, "weekday": "sun", "time": "02:30"}}`), minutes: []int{150},
			day: func(y int, m time.Month, d int) bool {
				return weekday(y, m, d) == time.Sunday && d+7 > monthLength(y, m)
			}},
		{recurrence: parse(t, `{"weekday_of_month": {"n": 5, "weekday": "fri", "time": "00:00"}}`), minutes: []int{0},
			day: func(y int, m time.Month, d int) bool { return weekday(y, m, d) == time.Friday && d > 28 }},
		{recurrence: parse(t, `{"last_day_of_month": {"time": "00:15"}}`), minutes: []int{15},
			day: func(y int, m time.Month, d int) bool { return d == monthLength(y, m) }},
		{recurrence: parse(t, `{"patch_tuesday": {"plus_days": 12, "time": "01:45"}}`), minutes: []int{105},
			day: func(y int, m time.Month, d int) bool {
				return d-12 > 7 && d-12 <= 14 && weekday(y, m, d-12) == time.Tuesday
			}},
		{recurrence: parse(t, `{"every": {"n": 3, "unit": "days", "anchor": "2007-12-31T02:30"}}`), minutes: []int{150},
			day: func(y int, m time.Month, d int) bool { return daysSince(2007, 12, 31, y, m, d)%3 == 0 }},
		{recurrence: parse(t, `{"every": {"n": 1, "unit": "weeks", "anchor": "2007-03-25T00:30"}}`), minutes: []int{30},
			day: func(y int, m time.Month, d int) bool { return daysSince(2007, 3, 25, y, m, d)%7 == 0 }},
		{recurrence: parse(t, `{"every": {"n": 1, "unit": "months", "anchor": "2007-01-31T02:15"}}`), minutes: []int{135},
			day: func(y int, m time.Month, d int) bool { return d == monthLength(y, m) }},
		{recurrence: parse(t, `{"every": {"n": 7, "unit": "months", "anchor": "2006-08-30T03:00"}}`), minutes: []int{180},
			day: func(y int, m time.Month, d int) bool {
				return ((y-2006)*12+int(m)-8)%7 == 0 && d == min(30, monthLength(y, m))
			}},
		{recurrence: parse(t, `{"every": {"n": 36, "unit": "hours", "anchor": "2007-12-30T02:30"}}`), everyMins: 36 * 60, anchor: "2007-12-30T02:30"},
		{recurrence: parse(t, `{"every": {"n": 500, "unit": "minutes", "anchor": "2007-12-30T23:50"}}`), everyMins: 500, anchor: "2007-12-30T23:50"},
	}
	for _, expression := range []string{
		"0 0 * * *", "30 2 * * *", "15 2 * * *", "59 23 * * 0", "0 2 8-14 * 2", "0 3 31 * *", "45 1 1,15,29 3,4,10,11 0,6",
		"0,30 1,2,3 * * *", "0-59/29 0-3 * 1-12/2 *", "0 0 29 2 *",
		"10-59/25 */3 * * *", "30 1/2 * * 0-1", "0 * 25-31 3,10,11 *",
	} {
		cases = append(cases, cronCase(t, expression))
	}
	for i, c := range cases {
		cases[i].name = fmt.Sprintf("%+v", c.recurrence)
		if c.recurrence.Cron != "" {
			cases[i].name = c.recurrence.Cron
		}
	}
	return cases
}

// cronCase reads numbers, lists, ranges and steps.
func cronCase(t *testing.T, expression string) oracleCase {
	t.Helper()
	f := strings.Fields(expression)
	minutes, hours := cronValues(t, f[0], 0, 59), cronValues(t, f[1], 0, 23)
	days, months, weekdays := cronValues(t, f[2], 1, 31), cronValues(t, f[3], 1, 12), cronValues(t, f[4], 0, 6)
	c := oracleCase{recurrence: schedule.Recurrence{Cron: expression}, goesOn: strings.ContainsAny(f[1], "*/")}
	for _, h := range hours {
		for _, m := range minutes {
			c.minutes = append(c.minutes, h*60+m)
		}
	}
	c.day = func(y int, m time.Month, d int) bool {
		byDay, byWeekday := slices.Contains(days, d), slices.Contains(weekdays, int(weekday(y, m, d)))
		if f[2] != "*" && f[4] != "*" {
			return slices.Contains(months, int(m)) && (byDay || byWeekday)
		}
		return slices.Contains(months, int(m)) && byDay && byWeekday
	}
	return c
}

func cronValues(t *testing.T, field string, low, high int) (values []int) {
	t.Helper()
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for v := low; v <= high; v++ {
		for _, element := range strings.Split(field, ",") {
			span, step, stepped := strings.Cut(element, "/")
			a, b := low, high
			if from, to, ranged := strings.Cut(span, "-"); ranged {
				a, b = number(from), number(to)
			} else if span != "*" {
				a = number(span)
				if !stepped {
					b = a
				}
			}
			if v >= a && v <= b && (!stepped || (v-a)%number(step) == 0) {
				values = append(values, v)
				break
			}
		}
	}
	return values
}

func weekday(y int, m time.Month, d int) time.Weekday {
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Weekday()
}

func monthLength(y int, m time.Month) int { return time.Date(y, m+1, 0, 0, 0, 0, 0, time.UTC).Day() }

func daysSince(y0 int, m0 time.Month, d0 int, y int, m time.Month, d int) int {
	return int(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Sub(time.Date(y0, m0, d0, 0, 0, 0, 0, time.UTC)) / (24 * time.Hour))
}

// watched is a clock that was read every hour from one instant to another.
type watched struct {
	location    *time.Location
	from, until int64
	changes     []int64 // when its offset changed, to the second
	readings    map[int64][]reading
}

func watch(location *time.Location, from, until int64) watched {
	w := watched{location, from, until, nil, map[int64][]reading{}}
	const step = 60 * 60
	for at := from - 48*step; at < until; at += step {
		if before := w.offset(at); w.offset(at+step) != before {
			low, high := at, at+step
			for high-low > 1 {
				if middle := (low + high) / 2; w.offset(middle) == before {
					low = middle
				} else {
					high = middle
				}
			}
			w.changes = append(w.changes, high)
		}
	}
	return w
}

func (w watched) offset(at int64) int64 {
	_, offset := time.Unix(at, 0).In(w.location).Zone()
	return int64(offset)
}

func (w watched) offsets() (all []int64) {
	for _, at := range w.changes {
		all = append(all, w.offset(at))
	}
	return all
}

// runs finds all runs of a case, from the first instant up to the last.
func (w watched) runs(c oracleCase) (runs []oracleRun) {
	if c.everyMins > 0 {
		return w.steps(c)
	}
	const reach = 36 * 60 * 60
	at := w.from
	for i := 0; i < len(w.changes); {
		begin, end := max(w.changes[i]-reach, at), w.changes[i]+reach
		for i++; i < len(w.changes) && w.changes[i]-reach <= end; i++ {
			end = w.changes[i] + reach
		}
		begin, end = begin-begin%60, min(end-end%60, w.until)
		if end <= at {
			continue // a change before the first instant
		}
		runs = w.quiet(c, runs, at, begin)
		runs = w.minuteByMinute(c, runs, begin, end)
		at = end
	}
	return w.quiet(c, runs, at, w.until)
}

// minuteByMinute reads the clock at every minute. What it never shows is noticed when it jumps.
func (w watched) minuteByMinute(c oracleCase, runs []oracleRun, from, until int64) []oracleRun {
	begin := from - 26*60*60
	var latest int64 // the latest minute shown
	for i, now := range w.read(begin, until) {
		at := begin + int64(i)*60
		var run *oracleRun
		if !c.goesOn && latest != 0 {
			for missing := latest + 1; missing < now.minute && run == nil; missing++ {
				if c.matches(missing) {
					run = &oracleRun{at, missing, 0}
				}
			}
		}
		if run == nil && c.matches(now.minute) && (c.goesOn || now.fold == 0) {
			run = &oracleRun{at, now.minute, now.fold}
		}
		if run != nil && at >= from {
			runs = append(runs, *run)
		}
		latest = max(latest, now.minute)
	}
	return runs
}

// reading is what the clock shows at one minute, and whether it has shown that before.
type reading struct {
	minute int64
	fold   int
}

// read reads the clock at every minute, once for all cases.
func (w watched) read(from, until int64) []reading {
	if done, ok := w.readings[from]; ok {
		return done
	}
	var readings []reading
	shown := map[int64]bool{}
	for at := from; at < until; at += 60 {
		now := reading{minute: w.minuteShown(at)}
		if shown[now.minute] {
			now.fold = 1
		}
		shown[now.minute] = true
		readings = append(readings, now)
	}
	w.readings[from] = readings
	return readings
}

// minuteShown is the clock's reading, as a number that grows by one for each minute on a wall.
func (w watched) minuteShown(at int64) int64 {
	y, m, d := time.Unix(at, 0).In(w.location).Date()
	hour, minute, _ := time.Unix(at, 0).In(w.location).Clock()
	return time.Date(y, m, d, hour, minute, 0, 0, time.UTC).Unix() / 60
}

func (c oracleCase) matches(minute int64) bool {
	if !slices.Contains(c.minutes, int(minute%(24*60))) {
		return false
	}
	return c.day(time.Unix(minute*60, 0).UTC().Date())
}

// quiet looks at every matching day between two instants with no change of the clocks in between.
func (w watched) quiet(c oracleCase, runs []oracleRun, from, until int64) []oracleRun {
	if from >= until {
		return runs
	}
	distance := w.minuteShown(from)*60 - from
	y, m, d := time.Unix(from, 0).In(w.location).Date()
	for day := time.Date(y, m, d, 0, 0, 0, 0, time.UTC); day.Unix()-distance < until; day = day.AddDate(0, 0, 1) {
		if !c.day(day.Date()) {
			continue
		}
		for _, minute := range c.minutes {
			nominal := day.Unix() + int64(minute)*60
			if at := nominal - distance; at >= from && at < until {
				runs = append(runs, oracleRun{at, nominal / 60, 0})
			}
		}
	}
	return runs
}

// steps counts minutes from the first instant at which the clock shows the anchor.
func (w watched) steps(c oracleCase) (runs []oracleRun) {
	anchor, _ := time.Parse("2006-01-02T15:04", c.anchor)
	at := anchor.Unix() - 26*60*60
	for w.minuteShown(at) < anchor.Unix()/60 { // also stops at the jump, when the anchor is never shown
		at += 60
	}
	for ; at < w.until; at += c.everyMins * 60 {
		if at < w.from {
			continue
		}
		run := oracleRun{at: at, nominal: w.minuteShown(at)}
		for back := int64(60); back <= 26*60*60 && w.near(at); back += 60 {
			if w.minuteShown(at-back) == run.nominal {
				run.fold = 1
			}
		}
		runs = append(runs, run)
	}
	return runs
}

// near tells whether the clock changed in the day before.
func (w watched) near(at int64) bool {
	return slices.ContainsFunc(w.changes, func(change int64) bool { return change <= at && at-change < 26*60*60 })
}

// zoneNames lists the zone database that comes with the Go tool chain, which is the embedded one.
func zoneNames(t *testing.T) (names []string) {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	archive, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(root)), "lib", "time", "zoneinfo.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	for _, f := range archive.File {
		if !strings.HasSuffix(f.Name, "/") && f.Name != "Factory" {
			names = append(names, f.Name)
		}
	}
	if len(names) < 500 {
		t.Fatalf("only %d zones", len(names))
	}
	return names
}
