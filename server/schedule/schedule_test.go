package schedule_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"reeve/api/fault"
	"reeve/server/schedule"
	"reeve/tenants/scope"
)

func TestZoneModesFallBack(t *testing.T) {
	all := schedule.ZoneNames{Device: "Asia/Tokyo", Site: "America/New_York", Tenant: "Europe/Berlin"}
	for _, c := range []struct {
		mode  schedule.ZoneMode
		names schedule.ZoneNames
		want  string
	}{
		{schedule.DeviceZone, all, "Asia/Tokyo"},
		{schedule.DeviceZone, schedule.ZoneNames{Site: "America/New_York", Tenant: "Europe/Berlin"}, "America/New_York"},
		{schedule.DeviceZone, schedule.ZoneNames{Device: "W. Europe Standard Time", Tenant: "Europe/Berlin"}, "Europe/Berlin"},
		{schedule.DeviceZone, schedule.ZoneNames{}, "UTC"},
		{schedule.SiteZone, all, "America/New_York"},
		{schedule.TenantZone, all, "Europe/Berlin"},
		{"Pacific/Apia", all, "Pacific/Apia"},
	} {
		if got := c.mode.Resolve(c.names).Name(); got != c.want {
			t.Errorf("%s among %v: %s, want %s", c.mode, c.names, got, c.want)
		}
	}
	var faults fault.Fields
	for _, mode := range []schedule.ZoneMode{schedule.DeviceZone, "Europe/Berlin", "UTC"} {
		mode.Check(&faults, "/zone")
	}
	if faults.Err() != nil {
		t.Error(faults.Err())
	}
	schedule.ZoneMode("Europe/Berlin ").Check(&faults, "/zone")
	checkFaults(t, faults.Err(), []string{"/zone"}, "device, site, tenant")
}

func TestJitterSpreadsAFleetAndKeepsEveryDevicesPlace(t *testing.T) {
	const devices, spread = 10_000, 10 * time.Minute
	nightly, weekly := uuid.MustParse("0190a000-0000-7000-8000-000000000001"), uuid.MustParse("0190a000-0000-7000-8000-000000000002")
	var perMinute [10]int
	moved := 0
	for i := range devices {
		device := scope.ID{0: 1, 14: byte(i >> 8), 15: byte(i)}
		delay := schedule.Jitter(nightly, device, spread)
		if delay < 0 || delay >= spread || delay%time.Second != 0 || delay != schedule.Jitter(nightly, device, spread) {
			t.Fatalf("device %d: %s", i, delay)
		}
		perMinute[delay/time.Minute]++
		if schedule.Jitter(weekly, device, spread) != delay {
			moved++
		}
	}
	for minute, n := range perMinute {
		if n < 850 || n > 1150 {
			t.Errorf("minute %d: %d of %d devices", minute, n, devices)
		}
	}
	if moved < devices*9/10 {
		t.Errorf("only %d devices have another place in another schedule", moved)
	}
	if got := schedule.Jitter(nightly, scope.ID{1}, spread); got != 7*time.Minute+34*time.Second {
		t.Errorf("a device lost its place, which must stay the same in every release: %s", got)
	}
	for _, none := range []time.Duration{0, -time.Hour, 999 * time.Millisecond, time.Second} {
		if got := schedule.Jitter(nightly, scope.ID{1}, none); got != 0 {
			t.Errorf("a spread of %s: %s", none, got)
		}
	}
}
