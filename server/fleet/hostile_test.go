package fleet_test

import (
	"fmt"
	"testing"
	"time"

	"gorm.io/gorm"

	"reeve/server/fleet"
)

// An endpoint that invents names of sections must not fill the disk, and keeps the room of no other.
func TestADeviceHasOnlySoManySections(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	devices := w.devices(t, 2, "pc-%d")
	section := func(device int, name, hash string) fleet.Section {
		return fleet.Section{TenantID: w.tenant, DeviceID: devices[device], Name: name, Hash: hash, CollectedAt: time.Now(), Data: map[string]any{"x": 1}}
	}
	for round := range 3 {
		var list []fleet.Section
		for i := range fleet.MaxSections - 2 {
			list = append(list, section(0, fmt.Sprintf("invented_%d_%d", round, i), "h"))
		}
		list = append(list, section(1, "software", fmt.Sprint(round)), section(0, "invented_0_0", fmt.Sprint(round)))
		w.system(t, func(tx *gorm.DB) error { return fleet.ApplySectionsTx(tx, list) })
	}
	for i, want := range []int{fleet.MaxSections, 1} {
		found, err := w.Inventory(staff(t), devices[i])
		if err != nil || len(found) != want {
			t.Errorf("device %d has %d sections, want %d (%v)", i, len(found), want, err)
		}
		for _, s := range found {
			if (s.Name == "software" || s.Name == "invented_0_0") && s.Hash != "2" {
				t.Errorf("%s is not brought up to date: %s", s.Name, s.Hash)
			}
		}
	}
}
