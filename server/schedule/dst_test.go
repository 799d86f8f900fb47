package schedule_test

import (
	"testing"
	"time"

	"reeve/server/dbtest"
	"reeve/server/schedule"
)

func TestRunsHappenAtTheRightInstantsAcrossChangesOfTheClocks(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.place("UTC")
	device := h.device(p, "")
	for name, c := range map[string]struct {
		zone, cron, from, until string
		want                    []string
	}{
		"Berlin, an hour that does not exist": {"Europe/Berlin", "30 2 * * *", "2025-03-29T12:00:00Z", "2025-03-31T12:00:00Z",
			[]string{"2025-03-30T01:00:00Z", "2025-03-31T00:30:00Z"}},
		"Berlin, an hour that comes twice": {"Europe/Berlin", "30 2 * * *", "2025-10-25T12:00:00Z", "2025-10-27T12:00:00Z",
			[]string{"2025-10-26T00:30:00Z", "2025-10-27T01:30:00Z"}},
		"Berlin, every hour goes on": {"Europe/Berlin", "30 1-3/1 * * *", "2025-10-25T12:00:00Z", "2025-10-26T12:00:00Z",
			[]string{"2025-10-25T23:30:00Z", "2025-10-26T00:30:00Z", "2025-10-26T01:30:00Z", "2025-10-26T02:30:00Z"}},
		"New York, forward": {"America/New_York", "30 2 * * *", "2025-03-08T12:00:00Z", "2025-03-10T12:00:00Z",
			[]string{"2025-03-09T07:00:00Z", "2025-03-10T06:30:00Z"}},
		"New York, back": {"America/New_York", "30 1 * * *", "2025-11-01T12:00:00Z", "2025-11-03T12:00:00Z",
			[]string{"2025-11-02T05:30:00Z", "2025-11-03T06:30:00Z"}},
		"Lord Howe, half an hour": {"Australia/Lord_Howe", "15 2 * * *", "2025-10-04T00:00:00Z", "2025-10-05T23:00:00Z",
			[]string{"2025-10-04T15:30:00Z", "2025-10-05T15:15:00Z"}},
		"São Paulo, midnight does not exist": {"America/Sao_Paulo", "0 0 * * *", "2018-11-03T12:00:00Z", "2018-11-05T12:00:00Z",
			[]string{"2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"}},
	} {
		h.at(c.from)
		d := daily(p.tenant, on(device))
		d.Recurrence, d.ZoneMode = cron(c.cron), schedule.ZoneMode(c.zone)
		made := h.create(d)
		h.follow(made, instant(t, c.until))
		var at []string
		for _, o := range h.exec.orders() {
			at = append(at, o.Start.UTC().Format(time.RFC3339))
		}
		want(t, name, at, c.want)
		want(t, name+", missed", h.ledger(made.ID), nil)
		must(t, h.s.Delete(h.staff(), made.ID))
	}
}

// follow moves the clock from one time that the schedule is due to the next, as the timetable would
// meet them, two seconds late.
func (h *house) follow(s schedule.Schedule, until time.Time) {
	h.t.Helper()
	for range 50 {
		got, err := h.s.Get(h.staff(), s.ID)
		must(h.t, err)
		if got.NextRunAt == nil || got.NextRunAt.After(until) {
			return
		}
		h.set(*got.NextRunAt)
		h.sweep()
	}
	h.t.Fatal("it does not end")
}

func TestEveryDeviceRunsOnItsOwnClock(t *testing.T) {
	t.Parallel()
	for mode, wantZones := range map[schedule.ZoneMode][]string{
		"device":     {"America/New_York", "Asia/Tokyo", "Europe/Berlin"},
		"site":       {"Asia/Tokyo", "Europe/Berlin"},
		"tenant":     {"Europe/Berlin"},
		"Asia/Kabul": {"Asia/Kabul"},
	} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			p := h.place("Europe/Berlin")
			q := place{tenant: p.tenant, site: dbUUID(), token: p.token}
			h.exec1("insert into sites (tenant_id, id, name, zone) values (?, ?, 'Tokyo', 'Asia/Tokyo')", p.tenant, q.site)
			devices := []any{h.device(p, "America/New_York"), h.device(p, "Not/AZone"), h.device(q, "")}
			d := daily(p.tenant, tenantWide(p.tenant))
			d.ZoneMode = mode
			made := h.create(d)
			want(t, "zones", h.texts("select zone from schedule_due where schedule_id = ? order by zone", made.ID), wantZones)
			h.follow(made, instant(t, "2025-06-11T23:00:00Z"))
			seen := map[any]int{}
			for _, o := range h.exec.orders() {
				for _, target := range o.Devices {
					seen[target.DeviceID]++
				}
			}
			for _, device := range devices {
				// From noon in UTC to an hour before the next midnight there is one nine o'clock in all
				// zones but New York, where it is nine an hour later, and once more the day after.
				if n := seen[device]; n != 1 && !(n == 2 && device == devices[0] && mode == "device") {
					t.Errorf("device %v ran %d times", device, n)
				}
			}
			if n := h.count("select count(*) from schedule_runs where reason <> ''"); n != 0 {
				t.Errorf("%d runs met nobody", n)
			}
		})
	}
}

func TestADeviceThatMovesMeetsANominalTimeOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.place("UTC")
	device := h.device(p, "Europe/Berlin")
	d := daily(p.tenant, on(device))
	d.ZoneMode = schedule.DeviceZone
	made := h.create(d)
	h.at("2025-06-11T07:00:00Z").sweep() // nine in Berlin
	if len(h.exec.orders()) != 1 {
		t.Fatal("nothing ran in Berlin")
	}
	h.exec1("update devices set zone = 'America/New_York' where id = ?", device)
	h.at("2025-06-11T07:10:00Z").rezone()
	want(t, "zones", h.texts("select zone from schedule_due order by zone"), []string{"America/New_York"})
	h.at("2025-06-11T13:00:00Z").sweep() // nine in New York, of the same day
	if orders := h.exec.orders(); len(orders) != 0 {
		t.Errorf("it met the same nine o'clock twice: %+v", orders)
	}
	want(t, "why", h.texts("select reason from schedule_runs where zone = 'America/New_York'"), []string{"no device was chosen by the targets"})
	h.at("2025-06-12T13:00:00Z").sweep()
	if len(h.exec.orders()) != 1 {
		t.Error("the day after it did not run")
	}
	want(t, "missed", h.ledger(made.ID), nil)
}

// rezone looks at the zones of all schedules.
func (h *house) rezone() {
	h.t.Helper()
	h.exec1("update schedules set zones_checked_at = '2000-01-01'")
	n, err := h.s.SweepZones(dbtest.System(h.t))
	must(h.t, err)
	if n == 0 {
		h.t.Error("no schedule was looked at")
	}
}

func TestZonesComeAndGoWithTheirDevices(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.place("Europe/Berlin")
	d := daily(p.tenant, tenantWide(p.tenant))
	d.ZoneMode = schedule.DeviceZone
	made := h.create(d)
	zones := func() []string {
		return h.texts("select zone from schedule_due where schedule_id = ? order by zone", made.ID)
	}
	want(t, "without devices it follows the tenant", zones(), []string{"Europe/Berlin"})
	h.at("2025-06-11T07:00:00Z").sweep()
	want(t, "a run without devices", h.texts("select state || ': ' || reason from schedule_runs"), []string{"done: no device was chosen by the targets"})

	tokyo := h.device(p, "Asia/Tokyo")
	h.rezone()
	want(t, "a device came", zones(), []string{"Asia/Tokyo"})
	h.device(p, "Europe/Berlin")
	h.at("2025-06-12T00:00:00Z").sweep()
	want(t, "another came, seen when Tokyo ran", zones(), []string{"Asia/Tokyo", "Europe/Berlin"})
	if n := len(h.exec.orders()); n != 1 {
		t.Errorf("%d orders", n)
	}
	h.exec1("update devices set state = 'retired', retired_at = now() where id = ?", tokyo)
	h.rezone()
	want(t, "the last one of Tokyo went", zones(), []string{"Europe/Berlin"})

	// A schedule that is deleted while it is looked at is no error, and keeps nothing from the others.
	must(t, h.s.Delete(h.staff(), made.ID))
	other := h.create(d)
	h.exec1("update schedules set deleted_at = null, enabled = true, zones_checked_at = '2000-01-01' where id = ?", made.ID)
	h.exec1("update schedules set targets = '{\"site_id\": \"00000000-0000-0000-0000-000000000009\"}' where id = ?", made.ID)
	h.rezone()
	want(t, "of the other", h.texts("select zone from schedule_due where schedule_id = ?", other.ID), []string{"Europe/Berlin"})
}

// A run by hand of a schedule that is switched off must not wake it.
func TestARunByHandLeavesAScheduleSwitchedOff(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.place("UTC")
	device := h.device(p, "Asia/Tokyo")
	d := daily(p.tenant, tenantWide(p.tenant))
	d.ZoneMode, d.Enabled = schedule.DeviceZone, false
	made := h.create(d)
	_, err := h.s.RunNow(h.staff(), made.ID)
	must(t, err)
	if orders := h.exec.orders(); len(orders) != 1 || orders[0].Devices[0].DeviceID != device {
		t.Errorf("%d orders", len(orders))
	}
	if n := h.count("select count(*) from schedule_due"); n != 0 {
		t.Errorf("it is due in %d zones", n)
	}
}
