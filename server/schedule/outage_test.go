package schedule_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"reeve/server/schedule"
)

func asap() schedule.CatchUp { return schedule.CatchUp{Policy: schedule.RunASAP} }

func window(start string, length time.Duration) *schedule.MaintenanceWindow {
	return &schedule.MaintenanceWindow{Start: cron(start), DurationSeconds: int64(length / time.Second)}
}

// freeze is a blackout between two times in UTC.
func freeze(from, until string) schedule.Blackout {
	return schedule.Blackout{Zone: "UTC", Reason: "year end", From: from, Until: until}
}

func (h *house) blackout(tenant uuid.UUID, b schedule.Blackout) schedule.StoredBlackout {
	h.t.Helper()
	made, err := h.s.CreateBlackout(h.staff(), tenant, "Freeze", b)
	must(h.t, err)
	return made
}

// What a schedule makes of times at which it could not run: the server was down, a blackout held, no
// window was open. At most one run catches up, and the ledger has every one with its reason.
func TestOutagesWindowsAndBlackouts(t *testing.T) {
	t.Parallel()
	hourly := cron("0 * * * *")
	type scenario struct {
		define          func(d *schedule.Definition)
		provider, local []schedule.Blackout
		sweeps          []string // the server is up at these times only
		runs, ledger    []string
	}
	for name, c := range map[string]scenario{
		"skipped after an outage": {
			define: func(d *schedule.Definition) { d.Recurrence = hourly },
			sweeps: []string{"2025-06-10T18:30:00Z", "2025-06-10T19:00:00Z"},
			runs:   []string{"2025-06-10T19:00"},
			ledger: each(hours(10, 13, 18), " server"),
		},
		"a little late is on time": {
			define: func(d *schedule.Definition) { d.Recurrence = hourly },
			sweeps: []string{"2025-06-10T16:04:00Z"},
			runs:   []string{"2025-06-10T16:00"},
			ledger: each(hours(10, 13, 15), " server"),
		},
		"caught up once after an outage": {
			define: func(d *schedule.Definition) { d.Recurrence, d.CatchUp = hourly, asap() },
			sweeps: []string{"2025-06-10T18:30:00Z", "2025-06-10T18:40:00Z", "2025-06-10T19:00:00Z"},
			runs:   []string{"2025-06-10T18:00 late", "2025-06-10T19:00"},
			ledger: append(each(hours(10, 13, 17), " server"), "2025-06-10T18:00 server caught up"),
		},
		"too old to catch up": {
			define: func(d *schedule.Definition) {
				d.Recurrence, d.CatchUp = hourly, schedule.CatchUp{Policy: schedule.RunASAP, ExpiresAfterSeconds: 600}
			},
			sweeps: []string{"2025-06-10T14:30:00Z"},
			ledger: each(hours(10, 13, 14), " server"),
		},
		"a long outage is counted, and its end listed": {
			define: func(d *schedule.Definition) { d.Recurrence, d.CatchUp = hourly, asap() },
			sweeps: []string{"2025-06-16T12:30:00Z"}, // 144 runs: one catches up, 100 are listed, 43 counted
			runs:   []string{"2025-06-16T12:00 late"},
			ledger: nil, // looked at below
		},
		"caught up in the next window": {
			define: func(d *schedule.Definition) {
				d.Recurrence, d.Window = cron("0 2 * * 3"), window("0 2 * * *", 2*time.Hour) // Wednesdays
				d.CatchUp.Policy = schedule.RunInNextWindow
			},
			sweeps: []string{"2025-06-11T05:00:00Z", "2025-06-11T23:00:00Z", "2025-06-12T02:00:00Z", "2025-06-13T02:00:00Z"},
			runs:   []string{"2025-06-11T02:00 late"},
			ledger: []string{"2025-06-11T02:00 server caught up"},
		},
		"as soon as possible lifts the window of a run that was inside one": {
			define: func(d *schedule.Definition) {
				d.Recurrence, d.Window, d.CatchUp = cron("0 2 * * 3"), window("0 2 * * *", 2*time.Hour), asap()
			},
			sweeps: []string{"2025-06-11T05:00:00Z"},
			runs:   []string{"2025-06-11T02:00 late"},
			ledger: []string{"2025-06-11T02:00 server caught up"},
		},
		"outside its window": {
			define: func(d *schedule.Definition) {
				d.Recurrence, d.Window = cron("0 13 * * *"), window("0 2 * * *", 2*time.Hour)
			},
			sweeps: []string{"2025-06-10T13:00:00Z"},
			ledger: []string{"2025-06-10T13:00 window"},
		},
		"a blackout of the tenant, skipped": {
			define: func(d *schedule.Definition) { d.Recurrence = hourly },
			local:  []schedule.Blackout{freeze("2025-06-10T12:30", "2025-06-10T14:30")},
			sweeps: []string{"2025-06-10T13:00:00Z", "2025-06-10T14:00:00Z", "2025-06-10T15:00:00Z"},
			runs:   []string{"2025-06-10T15:00"},
			ledger: each(hours(10, 13, 14), " blackout"),
		},
		"a blackout of the provider, caught up at its end": {
			define:   func(d *schedule.Definition) { d.Recurrence, d.CatchUp = cron("0 13 * * *"), asap() },
			provider: []schedule.Blackout{freeze("2025-06-10T12:30", "2025-06-10T14:30")},
			sweeps:   []string{"2025-06-10T13:00:00Z", "2025-06-10T14:29:59Z", "2025-06-10T14:30:00Z"},
			runs:     []string{"2025-06-10T13:00 late"},
			ledger:   []string{"2025-06-10T13:00 blackout caught up"},
		},
		"a blackout that comes again every week": {
			define: func(d *schedule.Definition) { d.Recurrence = cron("0 13 * * *") },
			local:  []schedule.Blackout{{Zone: "UTC", Start: &schedule.Recurrence{Cron: "0 12 * * 3"}, DurationSeconds: 7200}},
			sweeps: []string{"2025-06-10T13:00:00Z", "2025-06-11T13:00:00Z", "2025-06-12T13:00:00Z"},
			runs:   []string{"2025-06-10T13:00", "2025-06-12T13:00"},
			ledger: []string{"2025-06-11T13:00 blackout"},
		},
		"one-off work runs late when nobody said otherwise": {
			define: func(d *schedule.Definition) { d.Recurrence = schedule.Recurrence{Once: "2025-06-10T13:00"} },
			sweeps: []string{"2025-06-12T08:00:00Z", "2025-06-12T09:00:00Z"},
			runs:   []string{"2025-06-10T13:00 late"},
			ledger: []string{"2025-06-10T13:00 server caught up"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			p := h.place("UTC")
			d := daily(p.tenant, on(h.device(p, "")))
			c.define(&d)
			for _, b := range c.provider {
				h.blackout(provider, b)
			}
			for _, b := range c.local {
				h.blackout(p.tenant, b)
			}
			made := h.create(d)
			for _, at := range c.sweeps {
				h.at(at).sweep()
			}
			want(t, "runs", h.runs(made.ID), c.runs)
			if len(h.exec.orders()) != len(c.runs) {
				t.Error("runs and orders differ")
			}
			ledger := h.ledger(made.ID)
			if c.ledger == nil && len(ledger) > 0 {
				if n := h.count("select count(*) + sum(earlier) from missed_runs"); n != 144 || len(ledger) != schedule.MaxMisses+1 ||
					ledger[0] != "2025-06-12T08:00 server +43" || ledger[100] != "2025-06-16T12:00 server caught up" {
					t.Errorf("%d missed in %d rows, from %s to %s", n, len(ledger), ledger[0], ledger[len(ledger)-1])
				}
				return
			}
			want(t, "missed", ledger, c.ledger)
		})
	}
}

// A blackout that is taken back early must not hold anything any longer.
func TestTakingABlackoutBackWakesWhatItHeld(t *testing.T) {
	t.Parallel()
	for name, whose := range map[string]func(place) uuid.UUID{"the tenant's": func(p place) uuid.UUID { return p.tenant },
		"the provider's": func(place) uuid.UUID { return provider }} {
		h := newHouse(t)
		p := h.place("UTC")
		b := h.blackout(whose(p), freeze("2025-06-10T12:30", "2025-06-20T14:30"))
		d := daily(p.tenant, on(h.device(p, "")))
		d.Recurrence, d.CatchUp = schedule.Recurrence{Once: "2025-06-10T13:00"}, asap()
		made := h.create(d)
		h.at("2025-06-10T13:00:00Z").sweep()
		h.at("2025-06-10T15:00:00Z")
		must(t, h.s.DeleteBlackout(h.staff(), b.ID))
		h.exec1("update schedule_due set wake_at = ? where wake_at between now() - interval '1 minute' and now()", h.time())
		h.sweep()
		want(t, name, h.runs(made.ID), []string{"2025-06-10T13:00 late"})
	}
}

// The tenants' own blackouts hold for their devices also when the provider's schedule reaches them.
func TestTheProvidersRunsKeepTheBlackoutsOfTenants(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	free, evening, week := h.place("UTC"), h.place("UTC"), h.place("UTC")
	devices := []uuid.UUID{h.device(free, ""), h.device(evening, ""), h.device(week, "")}
	h.blackout(evening.tenant, freeze("2025-06-11T08:00", "2025-06-11T18:00"))
	h.blackout(week.tenant, freeze("2025-06-11T08:00", "2025-06-30T18:00"))
	d := daily(provider, on(devices...))
	d.CatchUp = asap()
	made := h.create(d)
	h.at("2025-06-11T09:00:00Z").sweep()
	orders := h.exec.orders()
	if len(orders) != 1 {
		t.Fatalf("%d orders", len(orders))
	}
	o := orders[0]
	if ids := deviceIDs(o); len(ids) != 2 || ids[0] != devices[0] || ids[1] != devices[1] {
		t.Errorf("it is ordered for %v of %v", ids, devices)
	}
	if open := o.OpenIn[evening.tenant]; o.Open != nil || len(o.OpenIn) != 1 || len(open) != 1 || !open[0].Start.Equal(instant(t, "2025-06-11T18:00:00Z")) {
		t.Errorf("open at %v, and in some tenants at %v", o.Open, o.OpenIn)
	}
	want(t, "missed", h.ledger(made.ID), []string{"2025-06-11T09:00 blackout device"})
	if n := h.count("select count(*) from missed_runs where tenant_id = ? and device_id = ?", week.tenant, devices[2]); n != 1 {
		t.Error("the tenant whose device it was does not see it")
	}
}

// When nothing is open until the run expires, nothing may start: "no ranges" means any time.
func TestARunThatIsHeldUntilItExpiresDoesNotStart(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.place("UTC")
	made := h.create(daily(p.tenant, on(h.device(p, ""))))
	h.at("2025-06-11T09:00:00Z")
	drain(t, h.s.SweepDue)
	h.blackout(p.tenant, freeze("2025-06-11T08:00", "2025-06-11T18:00")) // between deciding and starting
	h.sweep()
	if n := len(h.exec.orders()); n != 0 {
		t.Error("it started in a blackout")
	}
	want(t, "runs", h.runs(made.ID), []string{"2025-06-11T09:00"})
	want(t, "missed", h.ledger(made.ID), []string{"2025-06-11T09:00 blackout device"})
	want(t, "why", h.texts("select reason from schedule_runs"), []string{"no device may start before the run expires: a blackout holds"})
	if _, err := h.s.RunNow(h.staff(), made.ID); err == nil {
		t.Error("by hand it would start in a blackout")
	}
}

func TestUntilWhenAndWhereTasksMayStart(t *testing.T) {
	t.Parallel()
	hour := 3600
	timed := schedule.Work{Kind: "script.run", Payload: []byte(`{"timeout_seconds": 1800}`)}
	for name, c := range map[string]struct {
		define  func(d *schedule.Definition)
		byHand  bool
		start   string
		expires string
		open    []string // from/until
	}{
		"skip, without a window": {func(*schedule.Definition) {}, false, "2025-06-11T09:00:00Z", "2025-06-11T09:15:00Z", nil},
		"skip, with jitter":      {func(d *schedule.Definition) { d.JitterSeconds = 600 }, false, "2025-06-11T09:00:00Z", "2025-06-11T09:25:00Z", nil},
		"skip, to the end of the window": {func(d *schedule.Definition) { d.Window = window("0 9 * * *", 2*time.Hour) }, false,
			"2025-06-11T09:00:00Z", "2025-06-11T11:00:00Z", []string{"2025-06-11T09:00:00Z/2025-06-11T11:00:00Z"}},
		"the work must fit": {func(d *schedule.Definition) { d.What, d.Window = timed, window("0 9 * * *", 2*time.Hour) }, false,
			"2025-06-11T09:00:00Z", "2025-06-11T11:00:00Z", []string{"2025-06-11T09:00:00Z/2025-06-11T10:30:01Z"}},
		"the work may overrun": {func(d *schedule.Definition) {
			d.What, d.Window = timed, window("0 9 * * *", 2*time.Hour)
			d.Window.AllowOverrun = true
		}, false, "2025-06-11T09:00:00Z", "2025-06-11T11:00:00Z", []string{"2025-06-11T09:00:00Z/2025-06-11T11:00:00Z"}},
		"as soon as possible: a week, also outside": {func(d *schedule.Definition) { d.CatchUp, d.Window = asap(), window("0 9 * * *", 2*time.Hour) },
			false, "2025-06-11T09:00:00Z", "2025-06-18T09:00:00Z", []string{"2025-06-11T09:00:00Z/2025-07-12T09:00:00Z"}},
		"as soon as possible, while it is worth it": {func(d *schedule.Definition) {
			d.CatchUp = schedule.CatchUp{Policy: schedule.RunASAP, ExpiresAfterSeconds: 7200}
		}, false, "2025-06-11T09:00:00Z", "2025-06-11T11:00:00Z", nil},
		"in the next windows": {func(d *schedule.Definition) {
			d.CatchUp.Policy, d.Window = schedule.RunInNextWindow, window("0 9 * * 3", 2*time.Hour) // Wednesdays
			d.What.TaskExpiresSeconds = new(int)
			*d.What.TaskExpiresSeconds = 8 * 24 * hour
		}, false, "2025-06-11T09:00:00Z", "2025-06-19T09:00:00Z",
			[]string{"2025-06-11T09:00:00Z/2025-06-11T11:00:00Z", "2025-06-18T09:00:00Z/2025-06-18T11:00:00Z"}},
		"a shorter life, by the author": {func(d *schedule.Definition) {
			d.CatchUp, d.What.TaskExpiresSeconds = asap(), &hour
		}, false, "2025-06-11T09:00:00Z", "2025-06-11T10:00:00Z", nil},
		"by hand there is no window": {func(d *schedule.Definition) { d.Window = window("0 2 * * *", 2*time.Hour) }, true,
			"2025-06-11T09:00:00Z", "2025-06-18T09:00:00Z", []string{"2025-06-11T09:00:00Z/2025-07-12T09:00:00Z"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			p := h.place("UTC")
			d := daily(p.tenant, on(h.device(p, "")))
			c.define(&d)
			made := h.create(d)
			h.at("2025-06-11T09:00:00Z")
			if c.byHand {
				_, err := h.s.RunNow(h.staff(), made.ID)
				must(t, err)
			} else {
				h.sweep()
			}
			orders := h.exec.orders()
			if len(orders) != 1 {
				t.Fatalf("%d orders", len(orders))
			}
			o := orders[0]
			var open []string
			for _, period := range o.Open {
				open = append(open, period.Start.UTC().Format(time.RFC3339)+"/"+period.End.UTC().Format(time.RFC3339))
			}
			if !o.Start.Equal(instant(t, c.start)) || !o.Expires.Equal(instant(t, c.expires)) || o.Spread != time.Duration(made.JitterSeconds)*time.Second {
				t.Errorf("from %s, spread over %s, to %s", o.Start, o.Spread, o.Expires)
			}
			want(t, "open", open, c.open)
		})
	}
}
