package tasks

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"reeve/server/fleet"
	"reeve/tenants"
	"reeve/tenants/scope"
)

func targetsOf(sizes ...int) []fleet.Target {
	var all []fleet.Target
	for _, n := range sizes {
		tenant := uuid.Must(uuid.NewV7())
		for range n {
			all = append(all, fleet.Target{DeviceID: uuid.Must(uuid.NewV7()), TenantID: tenant})
		}
	}
	return all
}

func TestTheBrake(t *testing.T) {
	t.Parallel()
	usual := tenants.JobSpec{MaxDevices: 100, MaxTenants: 1}
	for _, c := range []struct {
		name        string
		sizes       []int
		kind        Kind
		provider    tenants.JobSpec
		first       *tenants.JobSpec // of the first tenant; the provider's when nil
		reasons     int
		canary, bad int
	}{
		{"within the limits", []int{100}, Kind{}, usual, nil, 0, 0, 0},
		{"a device too many", []int{101}, Kind{}, usual, nil, 1, 0, 0},
		{"a tenant too many", []int{1, 1}, Kind{}, usual, nil, 1, 0, 0},
		{"both", []int{90, 90}, Kind{}, usual, nil, 2, 0, 0},
		{"many tenants allowed", []int{40, 40}, Kind{}, tenants.JobSpec{MaxDevices: 100, MaxTenants: 2}, nil, 0, 0, 0},
		{"a tenant of its own mind", []int{6, 40}, Kind{}, tenants.JobSpec{MaxDevices: 100, MaxTenants: 2}, &tenants.JobSpec{MaxDevices: 5}, 1, 0, 0},
		{"a tenant loosens nothing", []int{101}, Kind{}, usual, &tenants.JobSpec{MaxDevices: 100_000, MaxTenants: 100}, 1, 0, 0},
		{"nor does it drop the canary", []int{50}, Kind{}, tenants.JobSpec{MaxDevices: 100, CanaryPercent: 20}, &tenants.JobSpec{MaxDevices: 100}, 0, 20, 0},
		{"destructive", []int{1}, Kind{Destructive: true, Title: "wiping"}, usual, nil, 1, 0, 0},
		{"the smaller canary, the lower rate", []int{5, 5}, Kind{}, tenants.JobSpec{MaxDevices: 100, MaxTenants: 2, CanaryPercent: 20, StopFailurePercent: 30},
			&tenants.JobSpec{MaxDevices: 100, CanaryPercent: 10, StopFailurePercent: 50}, 0, 10, 30},
		{"switched off by one only", []int{5, 5}, Kind{}, tenants.JobSpec{MaxDevices: 100, MaxTenants: 2, CanaryPercent: 20},
			&tenants.JobSpec{MaxDevices: 100, StopFailurePercent: 50}, 0, 20, 50},
	} {
		targets := targetsOf(c.sizes...)
		r := reachOf(targets)
		specs := map[uuid.UUID]tenants.JobSpec{scope.Provider: c.provider}
		for _, id := range r.tenants() {
			specs[id] = c.provider
		}
		if c.first != nil {
			specs[targets[0].TenantID] = *c.first
		}
		b := decideBrake(r, c.kind, specs)
		if len(b.reasons) != c.reasons || b.canary != c.canary || b.stopFailure != c.bad {
			t.Errorf("%s: %+v", c.name, b)
		}
	}
}

func TestTheFirstShare(t *testing.T) {
	t.Parallel()
	targets := targetsOf(200, 50)
	for _, c := range []struct{ percent, first, rest int }{{0, 250, 0}, {1, 3, 247}, {10, 25, 225}, {99, 248, 2}, {100, 250, 0}} {
		first, rest := splitCanary(uuid.Must(uuid.NewV7()), targets, c.percent)
		if len(first) != c.first || len(rest) != c.rest {
			t.Errorf("%d%%: %d and %d", c.percent, len(first), len(rest))
		}
		seen := map[uuid.UUID]bool{}
		for _, x := range append(append([]fleet.Target{}, first...), rest...) {
			seen[x.DeviceID] = true
		}
		if len(seen) != 250 {
			t.Errorf("%d%%: a device is lost or doubled", c.percent)
		}
	}
	if first, rest := splitCanary(uuid.Must(uuid.NewV7()), targets[:1], 10); len(first) != 1 || rest != nil {
		t.Error("one device has nobody to go first for")
	}
}

func TestCanariesAndStops(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		t    tally
		stop int
		age  time.Duration
		want verdict
	}{
		{"still at it", tally{open: 3, good: 2}, 20, time.Minute, wait},
		{"all well", tally{good: 3}, 20, time.Minute, proceed},
		{"some failed, no rate set", tally{good: 1, bad: 2}, 0, time.Minute, proceed},
		{"too many failed", tally{good: 3, bad: 1}, 25, time.Minute, stop},
		{"one offline after an hour", tally{open: 1, good: 2}, 20, 2 * time.Hour, proceed},
		{"all offline after an hour", tally{open: 3}, 20, 2 * time.Hour, wait},
		{"all expired", tally{none: 3}, 20, time.Minute, stop},
		{"a first failure among many to come is no rate", tally{open: 90, bad: 1}, 20, time.Minute, wait},
		{"five of five is", tally{open: 90, bad: 5}, 20, time.Minute, stop},
	} {
		if got := decideCanary(c.t, c.stop, c.age); got != c.want {
			t.Errorf("%s: %d", c.name, got)
		}
	}
}

func TestWeights(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]int{1: 0, 10: 0, 11: 1, 100: 1, 1000: 2, 10_000: 3, 10_001: 4} {
		if got := weigh(n); got != want {
			t.Errorf("%d devices weigh %d", n, got)
		}
	}
}

func TestPayloadFaultsNameTheirField(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ kind, payload, pointer string }{
		{"script.run", `{}`, "/payload/script"},
		{"script.run", `{"interpreter": "perl", "script": "x"}`, "/payload/interpreter"},
		{"script.run", `{"interpreter": "bash", "script": "x", "shell": 1}`, "/payload/shell"},
		{"script.run", `{"interpreter": "bash", "script": 5}`, "/payload/script"},
		{"script.run", `{"interpreter": "bash", "script": "x", "Script": "y"}`, "/payload"},
		{"script.run", `{"interpreter": "bash", "script": "x\u0000"}`, "/payload/script"},
		{"script.run", `{"interpreter": "bash", "script": "x", "timeout_seconds": 90000}`, "/payload/timeout_seconds"},
		{"script.run", `{"interpreter": "bash", "script": "x", "timeout_seconds": -1}`, "/payload/timeout_seconds"},
		{"script.run", `{"interpreter": "bash", "script": "x", "parameters": {"1a": "x"}}`, "/payload/parameters/1a"},
		{"script.run", `{"interpreter": "bash", "script": "x", "parameters": {"a": 1}}`, "/payload/parameters"},
		{"script.run", `{"interpreter": "bash", "script": "x", "parameters": {"a": "1", "A": "2"}}`, "/payload/parameters/"},
		{"script.run", `{"interpreter": "bash", "script": "x", "arguments": ["a", "b\u0000"]}`, "/payload/arguments/1"},
		{"script.run", `{"interpreter": "bash", "script": "x", "run_as": "root"}`, "/payload/run_as"},
		{"script.run", `{"interpreter": "bash", "script": "x", "script_number": 2}`, "/payload/script_number"},
		{"script.run", `[]`, "/payload"},
		{"script.run", `null`, "/payload"},
		{"inventory.collect", `{"sections": ["software", "software"]}`, "/payload/sections/1"},
		{"inventory.collect", `{"sections": ["../etc"]}`, "/payload/sections/0"},
		{"inventory.collect", `{"section": []}`, "/payload/section"},
	} {
		var err error
		if c.kind == "script.run" {
			_, err = prepareScript(nil, []byte(c.payload))
		} else {
			_, err = prepareInventory(nil, []byte(c.payload))
		}
		if err == nil || !strings.Contains(err.Error(), "["+c.pointer) {
			t.Errorf("%s: %v, want a fault of %s", c.payload, err, c.pointer)
		}
	}
	w, err := prepareScript(nil, []byte(`{"interpreter": "bash", "script": "echo <&>", "parameters": {"a": "1"}, "arguments": ["x"]}`))
	if err != nil || w.runSeconds != 3600 || w.runAs != "system" {
		t.Errorf("%+v %v", w, err)
	}
}
