package gateway

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/dbtest"
	"reeve/server/fleet"
	"reeve/server/policy"
)

// TestChangesOfPeopleAndSyncsGoTogether has people tag, move and set policies while endpoints report
// changed inventories. Nothing may get stuck or fail, and in the end every device must hold exactly
// what computing it anew gives.
func TestChangesOfPeopleAndSyncsGoTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	policies := policy.New(w.db)
	ctx := dbtest.Staff(t, "devices.read", "devices.manage", "devices.approve", "devices.enrol", "policies.read", "policies.manage")
	second := newID()
	w.exec(t, "insert into sites (tenant_id, id, name) values (?, ?, 'Second')", w.tenant, second)
	const n, rounds = 12, 15
	token := w.token(t, n)
	var endpoints []*endpoint
	var ids []uuid.UUID
	for range n {
		e := w.enrol(t, token)
		endpoints, ids = append(endpoints, e), append(ids, e.id)
	}
	var tags []policy.Policy
	for i := range 3 {
		tag := fmt.Sprint("tag", i)
		p, err := policies.Create(ctx, policy.NewPolicy{TenantID: w.tenant, Kind: policy.Endpoint, Name: tag, Scope: policy.Tag, Tag: &tag, Priority: i,
			Spec: json.RawMessage(`{"sync_interval_seconds": 60}`)})
		must(t, err)
		tags = append(tags, p)
	}
	tolerate := func(what string, err error) {
		if err != nil && fault.KindOf(err) != fault.Conflict { // a lost race for a version is for its loser to repeat
			t.Errorf("%s: %v", what, err)
		}
	}
	var all sync.WaitGroup
	for i, e := range endpoints {
		all.Go(func() {
			d, err := w.devices.find(t.Context(), e.id)
			tolerate("finding", err)
			for r := range rounds {
				body, _ := json.Marshal(e.message(map[string]any{"sections": []any{map[string]any{"name": "os", "hash": fmt.Sprintf("%064x", i*1000+r),
					"collected_at": time.Now().UTC(), "data": map[string]any{"name": fmt.Sprint("OS ", r), "hostname": fmt.Sprint("pc-", i, "-", r)}}},
					"zone": []string{"Europe/Berlin", "Asia/Tokyo"}[r%2]}))
				_, err := w.Sync(t.Context(), d, "192.0.2.1", body)
				tolerate("syncing", err)
			}
		})
	}
	for worker := range 3 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 1))
			for range rounds {
				some := []uuid.UUID{ids[random.IntN(n)], ids[random.IntN(n)], ids[random.IntN(n)]}
				change := fleet.TagChange{Add: []string{fmt.Sprint("tag", random.IntN(3))}}
				if random.IntN(2) == 0 {
					change = fleet.TagChange{Remove: change.Add}
				}
				_, err := w.fleet.TagMany(ctx, some, change)
				tolerate("tagging", err)
				d, err := w.fleet.Device(ctx, some[0])
				tolerate("reading", err)
				site := []uuid.UUID{w.site, second}[random.IntN(2)]
				_, err = w.fleet.Update(ctx, d.ID, fleet.DeviceChange{Version: d.Version, SiteID: &site})
				tolerate("moving", err)
			}
		})
	}
	all.Go(func() {
		for r := range rounds {
			p, err := policies.Policy(ctx, tags[r%3].ID)
			tolerate("reading a policy", err)
			_, err = policies.Update(ctx, p.ID, policy.Change{Version: p.Version, Spec: json.RawMessage(fmt.Sprintf(`{"sync_interval_seconds": %d}`, 30+r))})
			tolerate("changing a policy", err)
		}
	})
	all.Wait()
	stored := func() (hashes []string) {
		w.query(t, &hashes, "select hash || origins::text from device_policies order by device_id")
		return hashes
	}
	before := stored()
	must(t, w.db.System(dbtest.System(t), func(tx *gorm.DB) error { return policies.RecomputeTx(tx, ids) }))
	if after := stored(); fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("what held was not what holds:\n%v\n%v", before, after)
	}
}
