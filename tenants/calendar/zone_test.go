package calendar_test

import (
	"archive/zip"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"reeve/tenants/calendar"
)

func TestResolve(t *testing.T) {
	for _, c := range []struct {
		name, zone, local string
		existence         calendar.Existence
		first, last       string
	}{
		{"an ordinary time", "Europe/Berlin", "2025-06-10T02:30", calendar.Once, "2025-06-10T00:30:00Z", ""},
		{"a missing hour", "Europe/Berlin", "2025-03-30T02:30", calendar.Gap, "2025-03-30T01:00:00Z", ""},
		{"the last second before a gap", "Europe/Berlin", "2025-03-30T01:59:59", calendar.Once, "2025-03-30T00:59:59Z", ""},
		{"the first second of a gap", "Europe/Berlin", "2025-03-30T02:00", calendar.Gap, "2025-03-30T01:00:00Z", ""},
		{"the first second after a gap", "Europe/Berlin", "2025-03-30T03:00", calendar.Once, "2025-03-30T01:00:00Z", ""},
		{"a repeated hour", "Europe/Berlin", "2025-10-26T02:30", calendar.Twice, "2025-10-26T00:30:00Z", "2025-10-26T01:30:00Z"},
		{"the first second of a fold", "Europe/Berlin", "2025-10-26T02:00", calendar.Twice, "2025-10-26T00:00:00Z", "2025-10-26T01:00:00Z"},
		{"the first second after a fold", "Europe/Berlin", "2025-10-26T03:00", calendar.Once, "2025-10-26T02:00:00Z", ""},
		{"New York forward", "America/New_York", "2025-03-09T02:30", calendar.Gap, "2025-03-09T07:00:00Z", ""},
		{"New York back", "America/New_York", "2025-11-02T01:30", calendar.Twice, "2025-11-02T05:30:00Z", "2025-11-02T06:30:00Z"},
		{"a missing midnight", "America/Sao_Paulo", "2018-11-04T00:00", calendar.Gap, "2018-11-04T03:00:00Z", ""},
		{"a missing midnight on a Friday", "Africa/Cairo", "2025-04-25T00:00", calendar.Gap, "2025-04-24T22:00:00Z", ""},
		{"half an hour", "Australia/Lord_Howe", "2025-10-05T02:15", calendar.Gap, "2025-10-04T15:30:00Z", ""},
		{"half an hour back", "Australia/Lord_Howe", "2025-04-06T01:45", calendar.Twice, "2025-04-05T14:45:00Z", "2025-04-05T15:15:00Z"},
		{"two hours", "Antarctica/Troll", "2025-03-30T02:30", calendar.Gap, "2025-03-30T01:00:00Z", ""},
		{"a day that Samoa never had", "Pacific/Apia", "2011-12-30T12:00", calendar.Gap, "2011-12-30T10:00:00Z", ""},
		{"summer time that counts as standard", "Europe/Dublin", "2025-03-30T01:30", calendar.Gap, "2025-03-30T01:00:00Z", ""},
		{"winter time for Ramadan", "Africa/Casablanca", "2025-02-23T02:30", calendar.Twice, "2025-02-23T01:30:00Z", "2025-02-23T02:30:00Z"},
		{"an offset with seconds", "Africa/Monrovia", "1960-01-01T00:00", calendar.Once, "1960-01-01T00:44:30Z", ""},
		{"beyond the table of changes", "Europe/Berlin", "2199-03-31T02:30", calendar.Gap, "2199-03-31T01:00:00Z", ""},
		{"the last day of a leap year", "America/New_York", "2028-12-31T12:00", calendar.Once, "2028-12-31T17:00:00Z", ""},
		{"UTC", "UTC", "2025-03-30T02:30", calendar.Once, "2025-03-30T02:30:00Z", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := zone(t, c.zone).Resolve(local(t, c.local))
			if c.last == "" {
				c.last = c.first
			}
			first, last := got.First.UTC().Format(time.RFC3339), got.Last.UTC().Format(time.RFC3339)
			if got.Existence != c.existence || first != c.first || last != c.last {
				t.Errorf("%s in %s: %d %s %s, want %d %s %s", c.local, c.zone, got.Existence, first, last, c.existence, c.first, c.last)
			}
		})
	}
}

// Every change of every zone's clocks from 1900 to 2050: around each of them, the clock is read every
// ten minutes, and every reading is looked for under all offsets that were in use.
func TestResolveAroundEveryChangeOfEveryZone(t *testing.T) {
	from := time.Date(1900, time.January, 1, 0, 0, 0, 0, time.UTC).Unix()
	until := time.Date(2050, time.January, 1, 0, 0, 0, 0, time.UTC).Unix()
	names := zoneNames(t)
	histories := map[string]bool{} // many names are links to the same history
	var changes int
	for _, name := range names {
		z := zone(t, name)
		history := fmt.Sprint(offset(z.Location(), from))
		found := changesOf(z.Location(), from, until)
		for _, at := range found {
			history += fmt.Sprint(" ", at, offset(z.Location(), at))
		}
		if histories[history] {
			continue
		}
		histories[history] = true
		for _, at := range found {
			changes++
			checkAround(t, z, at)
		}
	}
	t.Logf("%d zones, %d different histories, %d changes of the clocks", len(names), len(histories), changes)
}

func checkAround(t *testing.T, z calendar.Zone, change int64) {
	t.Helper()
	const step, reach = 10 * 60, 26 * 60 * 60
	offsets := map[int64]bool{}
	for at := change - 2*reach; at <= change+2*reach; at += step {
		offsets[offset(z.Location(), at)] = true
	}
	for at := change - reach; at <= change+reach; at += step {
		l := wall(z.Location(), at)
		var shown []int64 // the instants at which the clock shows l
		for o := range offsets {
			if candidate := l.AsUTC().Unix() - o; offset(z.Location(), candidate) == o {
				shown = append(shown, candidate)
			}
		}
		slices.Sort(shown)
		if got, fold := z.Local(time.Unix(at, 0)); got != l || len(shown) > 2 || shown[fold] != at {
			t.Fatalf("%s at %d: clock %s fold %d, want %s among %v", z.Name(), at, got, fold, l, shown)
		}
		got := z.Resolve(l)
		if got.First.Unix() != shown[0] || got.Last.Unix() != shown[len(shown)-1] ||
			(got.Existence == calendar.Twice) != (len(shown) == 2) || got.Existence == calendar.Gap {
			t.Fatalf("%s shows %s at %v, resolved as %v", z.Name(), l, shown, got)
		}
	}
	before, after := wall(z.Location(), change-1).Add(time.Second), wall(z.Location(), change)
	for l := before; l.Before(after); l = l.Add(step * time.Second) {
		if got := z.Resolve(l); got.Existence != calendar.Gap || got.First.Unix() != change || got.Last.Unix() != change {
			t.Fatalf("%s never shows %s because of the jump at %d, resolved as %v", z.Name(), l, change, got)
		}
	}
}

// A walk over stretches must come to its end: package time reports ends in the past for some instants.
func TestStretchesAlwaysLeadForward(t *testing.T) {
	for _, name := range zoneNames(t) {
		z := zone(t, name)
		at := time.Date(1900, time.January, 1, 0, 0, 0, 0, time.UTC)
		for at.Year() < 2200 {
			stretch := z.StretchAt(at)
			if stretch.Until.IsZero() {
				break
			}
			if !stretch.Until.After(at) {
				t.Fatalf("%s: the stretch at %s ends at %s", name, at, stretch.Until)
			}
			if last := offset(z.Location(), stretch.Until.Unix()-1); time.Duration(last)*time.Second != stretch.Offset {
				t.Fatalf("%s: the offset changes between %s and %s", name, at, stretch.Until)
			}
			at = stretch.Until
		}
	}
}

func TestDaysAndMonthsAreAsLongAsTheyAre(t *testing.T) {
	for _, c := range []struct {
		zone, day string
		length    time.Duration
	}{
		{"Europe/Berlin", "2025-06-10", 24 * time.Hour},
		{"Europe/Berlin", "2025-03-30", 23 * time.Hour},
		{"Europe/Berlin", "2025-10-26", 25 * time.Hour},
		{"America/Sao_Paulo", "2018-11-04", 23 * time.Hour},
		{"Australia/Lord_Howe", "2025-04-06", 24*time.Hour + 30*time.Minute},
		{"Pacific/Apia", "2011-12-30", 0},
	} {
		if got := zone(t, c.zone).Day(date(t, c.day)).Duration(); got != c.length {
			t.Errorf("%s in %s lasts %s, want %s", c.day, c.zone, got, c.length)
		}
	}
	march := zone(t, "Europe/Berlin").Month(2025, time.March)
	if want := 31*24*time.Hour - time.Hour; march.Duration() != want {
		t.Errorf("March 2025 in Berlin lasts %s, want %s", march.Duration(), want)
	}
}

func TestUnknownZonesAreRefused(t *testing.T) {
	for _, name := range []string{"", "Local", "Mars/Olympus", "europe/ berlin", "../etc/passwd", "/etc/localtime", "Europe//Berlin",
		"Europe/./Berlin", "posix/Europe/Berlin", "right/Europe/Berlin", "localtime", "Factory", "Europe", "zone.tab", "Europe/Berlin\x00",
		strings.Repeat("A", 10_000)} {
		z, err := calendar.LoadZone(name)
		if !errors.Is(err, calendar.ErrUnknownZone) {
			t.Errorf("%q loads as %s: %v", name, z.Name(), err)
		} else if len(err.Error()) > 200 {
			t.Errorf("%.20q…: a message of %d bytes", name, len(err.Error()))
		}
	}
	if z := (calendar.Zone{}); z.Name() != "UTC" {
		t.Errorf("the zero zone is %s", z.Name())
	}
}

// wall reads the clock without the code under test.
func wall(location *time.Location, at int64) calendar.Local {
	return calendar.LocalOf(time.Unix(at+offset(location, at), 0).UTC())
}

func offset(location *time.Location, at int64) int64 {
	_, o := time.Unix(at, 0).In(location).Zone()
	return int64(o)
}

// changesOf finds the changes of offset by reading the clock every six hours and halving.
func changesOf(location *time.Location, from, until int64) (changes []int64) {
	const step = 6 * 60 * 60
	last := offset(location, from)
	for at := from + step; at < until; at += step {
		if now := offset(location, at); now != last {
			low, high := at-step, at
			for high-low > 1 {
				if middle := (low + high) / 2; offset(location, middle) == last {
					low = middle
				} else {
					high = middle
				}
			}
			changes, last = append(changes, high), now
		}
	}
	return changes
}

func zone(t *testing.T, name string) calendar.Zone {
	t.Helper()
	z, err := calendar.LoadZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
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
