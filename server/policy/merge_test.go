package policy

import (
	"encoding/json"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"reeve/api/fault"
	"reeve/tenants/scope"
)

func spec(interval string) Spec { return Spec{"sync_interval_seconds": json.RawMessage(interval)} }

func ptr[T any](v T) *T { return &v }

func TestNearestWinsFieldByField(t *testing.T) {
	t.Parallel()
	at := place{ID: uuid.New(), TenantID: uuid.New(), SiteID: uuid.New(), Tags: []string{"prod", "web"}}
	all := []Policy{
		{ID: uuid.New(), TenantID: scope.Provider, Kind: Endpoint, Scope: Provider, Spec: Spec{"sync_interval_seconds": json.RawMessage("100"), "scripts_allowed": json.RawMessage("false")}},
		{ID: uuid.New(), TenantID: at.TenantID, Kind: Endpoint, Scope: Tenant, Spec: spec("200")},
		{ID: uuid.New(), TenantID: at.TenantID, Kind: Endpoint, Scope: Site, SiteID: &at.SiteID, Spec: spec("300")},
		{ID: uuid.New(), TenantID: at.TenantID, Kind: Endpoint, Scope: Tag, Tag: ptr("prod"), Priority: 5, Spec: spec("400")},
		{ID: uuid.New(), TenantID: at.TenantID, Kind: Endpoint, Scope: Tag, Tag: ptr("web"), Priority: 5, Spec: spec("500")},
		{ID: uuid.New(), TenantID: scope.Provider, Kind: Endpoint, Scope: Tag, Tag: ptr("prod"), Priority: 5, Spec: spec("450")},
		{ID: uuid.New(), TenantID: at.TenantID, Kind: Endpoint, Scope: Device, DeviceID: &at.ID, Spec: spec("600")},
	}
	foreign := []Policy{
		{ID: uuid.New(), TenantID: uuid.New(), Kind: Endpoint, Scope: Tenant, Spec: spec("999")},
		{ID: uuid.New(), TenantID: at.TenantID, Kind: Endpoint, Scope: Tag, Tag: ptr("other"), Spec: spec("999")},
		{ID: uuid.New(), TenantID: at.TenantID, Kind: Endpoint, Scope: Device, DeviceID: ptr(uuid.New()), Spec: spec("999")},
	}
	steps := []struct {
		upTo  int
		want  string
		scope Scope
	}{{0, "60", Default}, {1, "100", Provider}, {2, "200", Tenant}, {3, "300", Site}, {4, "400", Tag}, {5, "400", Tag}, {6, "400", Tag}, {7, "600", Device}}
	for _, step := range steps {
		held := at.holding(Endpoint, append(append([]Policy{}, all[:step.upTo]...), foreign...))
		got, origins := merge(Endpoint, held)
		if string(got["sync_interval_seconds"]) != step.want || origins["sync_interval_seconds"].Scope != step.scope {
			t.Errorf("with %d policies: %s from %s, want %s from %s", step.upTo, got["sync_interval_seconds"], origins["sync_interval_seconds"].Scope, step.want, step.scope)
		}
		if step.upTo >= 1 && (string(got["scripts_allowed"]) != "false" || origins["scripts_allowed"].Scope != Provider) {
			t.Errorf("a field that only the provider sets must stay the provider's: %s", got["scripts_allowed"])
		}
	}
}

func TestMergeDoesNotDependOnOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tenant := uuid.New()
		var list []Policy
		for range rapid.IntRange(1, 8).Draw(t, "n") {
			p := Policy{ID: uuid.New(), TenantID: tenant, Kind: Endpoint, Scope: rapid.SampledFrom([]Scope{Provider, Tenant, Site, Tag, Device}).Draw(t, "scope"),
				Priority: rapid.IntRange(0, 2).Draw(t, "priority"), Spec: spec(rapid.SampledFrom([]string{"10", "20", "30"}).Draw(t, "interval"))}
			if p.Scope == Tag {
				p.Tag = ptr(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "tag"))
			}
			list = append(list, p)
		}
		want, _ := merge(Endpoint, list)
		got, _ := merge(Endpoint, rapid.Permutation(list).Draw(t, "shuffled"))
		if hashOf(Endpoint, want) != hashOf(Endpoint, got) {
			t.Fatalf("%s and %s", want, got)
		}
	})
}

func TestSpecsAreReadStrictly(t *testing.T) {
	t.Parallel()
	for text, pointer := range map[string]string{
		`{"sync_interval_seconds": 5}`: "/spec/sync_interval_seconds", `{"sync_interval_seconds": "60"}`: "/spec/sync_interval_seconds",
		`{"sync_interval_seconds": 60.5}`: "/spec/sync_interval_seconds", `{"sync_interval_seconds": null}`: "/spec/sync_interval_seconds",
		`{"sync_interval_seconds": 1e400}`: "/spec/sync_interval_seconds", `{"scripts_allowed": 1}`: "/spec/scripts_allowed",
		`{"unknown": 1}`: "/spec/unknown", `{"a/b": 1}`: "/spec/a~1b", `{}`: "/spec", `[]`: "/spec", `null`: "/spec", ``: "/spec", `{"scripts_allowed": true`: "/spec",
		`{"scripts_allowed": true, "scripts_allowed": false}`: "/spec",
	} {
		var f fault.Fields
		checkSpec(&f, Endpoint, json.RawMessage(text))
		if len(f) == 0 || f[0].Pointer != pointer {
			t.Errorf("%s: %+v, want %s", text, f, pointer)
		}
	}
	var f fault.Fields
	checkSpec(&f, Endpoint, json.RawMessage(`{"sync_interval_seconds": 30, "scripts_allowed": false, "inventory_interval_seconds": 600}`))
	if f.Err() != nil {
		t.Error(f.Err())
	}
}
