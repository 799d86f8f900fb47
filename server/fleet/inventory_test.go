package fleet_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/server/dbtest"
	"reeve/server/fleet"
)

func TestInventoryKeepsItsHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.devices(t, 1, "pc-%d")[0]
	apply := func(name, hash string, data any) {
		t.Helper()
		w.system(t, func(tx *gorm.DB) error {
			return fleet.ApplySectionsTx(tx, []fleet.Section{{TenantID: w.tenant, DeviceID: id, Name: name, Hash: hash, CollectedAt: time.Now(), Data: data}})
		})
	}
	packages := func(list ...map[string]any) map[string]any {
		items := make([]any, len(list))
		for i, p := range list {
			items[i] = p
		}
		return map[string]any{"packages": items}
	}
	bash, ssl := map[string]any{"name": "bash", "version": "5.2", "source": "dpkg"}, map[string]any{"name": "OpenSSL", "version": "3.0", "source": "dpkg"}
	apply("software", "h1", packages(bash, ssl, bash))
	apply("software", "h1", packages()) // the same hash is the same state, whatever comes with it
	apply("software", "h2", packages(bash, map[string]any{"name": "OpenSSL", "version": "3.1", "source": "dpkg", "installed_at": "2026-01-02T03:04:05Z"}))
	apply("hardware", "h1", map[string]any{"manufacturer": "To be filled by O.E.M.", "model": "Default string", "serial": "0", "kind": "laptop"})
	apply("network", "h1", map[string]any{"interfaces": []any{map[string]any{"name": "lo", "addresses": []any{"127.0.0.1/8"}},
		map[string]any{"name": "eth0", "addresses": []any{"192.0.2.7/24", "fe80::1/64", "2001:db8::7"}}}})

	changes, _, err := w.Changes(staff(t), id, nil, "", 0)
	if err != nil || len(changes) != 1 || changes[0].Section != "software" || changes[0].Truncated {
		t.Fatalf("%+v, %v", changes, err)
	}
	list, _, err := w.Software(staff(t), id, nil, "", 0)
	if err != nil || len(list) != 2 || list[0].Name != "bash" || list[1].Version != "3.1" || list[1].InstalledAt == nil {
		t.Errorf("%+v, %v", list, err)
	}
	d, err := w.Device(staff(t), id)
	if err != nil || d.Manufacturer != nil || d.Model != nil || d.Serial != nil || d.Kind != "laptop" || len(d.Addresses) != 2 {
		t.Errorf("%+v, %v", d, err)
	}
	name, kind := "Anna's laptop", "workstation"
	if d, err = w.Update(staff(t), id, fleet.DeviceChange{Version: d.Version, Name: &name, Kind: &kind}); err != nil {
		t.Fatal(err)
	}
	apply("os", "h1", map[string]any{"hostname": "renamed", "name": "Debian"})
	apply("hardware", "h2", map[string]any{"kind": "server"})
	if d, err = w.Device(staff(t), id); err != nil || d.Name != name || d.Hostname != "renamed" || d.Kind != kind {
		t.Errorf("what a person chose stays: %+v, %v", d, err)
	}
	query := "renamed"
	if page, err := w.List(staff(t), fleet.Query{Text: &query}); err != nil || len(page.Items) != 1 {
		t.Errorf("it is found by its new name: %+v, %v", page, err)
	}
}

func TestTimelinePartitionsAreThereInTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 2 {
		if _, err := w.SweepTimelinePartitions(dbtest.System(t)); err != nil {
			t.Fatal(err)
		}
	}
	id := w.devices(t, 1, "pc-%d")[0]
	w.system(t, func(tx *gorm.DB) error {
		return fleet.AppendTimelineTx(tx, fleet.Event{TenantID: w.tenant, DeviceID: id, Kind: "x", Title: "long ago", At: time.Unix(0, 0)},
			fleet.Event{TenantID: w.tenant, DeviceID: id, Kind: "x", Title: "in the future", At: time.Now().AddDate(9, 0, 0)})
	})
	if n := w.count(t, "select count(*) from device_timeline where tableoid = 'device_timeline_default'::regclass"); n != 0 {
		t.Errorf("%d events in the default partition", n)
	}
	if n := w.count(t, "select count(*) from device_timeline"); n != 3 {
		t.Errorf("%d events", n)
	}
	if _, err := w.SweepOldTimeline(dbtest.System(t), 365*24*time.Hour); err != nil {
		t.Fatal(err)
	}
	if n := w.count(t, "select count(*) from device_timeline"); n != 3 {
		t.Errorf("%d events after the sweep", n)
	}
}

func TestSelectors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.devices(t, 4, "pc-%d", "all")
	other, _ := w.newTenant(t, "other")
	if _, err := w.Tag(staff(t), ids[0], fleet.TagChange{Add: []string{"one"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Quarantine(staff(t), ids[3], fleet.Move{Version: 1}); err != nil {
		t.Fatal(err)
	}
	unknown := newID()
	for name, c := range map[string]struct {
		sel  fleet.Selector
		want int // -1: refused
	}{
		"ids": {fleet.Selector{DeviceIDs: ids}, 3}, "ids twice": {fleet.Selector{DeviceIDs: []uuid.UUID{ids[0], ids[0]}}, 1},
		"an unknown id": {fleet.Selector{DeviceIDs: []uuid.UUID{ids[0], unknown}}, -1},
		"site":          {fleet.Selector{SiteID: &w.site}, 3}, "an unknown site": {fleet.Selector{SiteID: &unknown}, -1},
		"tenant": {fleet.Selector{TenantID: &w.tenant}, 3}, "an empty tenant": {fleet.Selector{TenantID: &other}, 0}, "all": {fleet.Selector{AllTenants: true}, 3},
		"tag": {fleet.Selector{Tag: "one"}, 1}, "tag elsewhere": {fleet.Selector{Tag: "one", TenantID: &other}, 0},
		"filter":  {fleet.Selector{Filter: &fleet.Filter{All: []fleet.Term{{Field: "name", Op: "in", Value: []any{"pc-0", "PC-1"}}}}}, 2},
		"nothing": {fleet.Selector{}, -1}, "two ways": {fleet.Selector{Tag: "one", AllTenants: true}, -1}, "no ids": {fleet.Selector{DeviceIDs: []uuid.UUID{}}, -1},
		"tenant and site": {fleet.Selector{TenantID: &w.tenant, SiteID: &w.site}, -1},
		"a bad filter":    {fleet.Selector{Filter: &fleet.Filter{}}, -1},
	} {
		var found []fleet.Target
		err := w.db.Tx(staff(t), func(tx *gorm.DB) (err error) {
			found, err = w.ResolveTx(tx, c.sel)
			return err
		})
		if (err != nil) != (c.want < 0) || c.want >= 0 && len(found) != c.want {
			t.Errorf("%s: %d devices, %v", name, len(found), err)
		}
	}
}
