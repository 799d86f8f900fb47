package fleet

import (
	"fmt"

	"github.com/google/uuid"
	"gorm.io/gorm"
)

// Ref is a device in one line.
type Ref struct {
	ID         uuid.UUID
	Name       string
	TenantName string
	Presence   Presence
}

// GlanceTx tells how many of the devices are there now, and names the first of them.
func (s *Service) GlanceTx(tx *gorm.DB, devices []uuid.UUID, sample int) (online int, refs []Ref, err error) {
	presence, args := s.clock().presence()
	list := sortedIDs(devices)
	err = s.devices(tx, "").Select("count(*) filter (where ("+presence+") = 'online')", args...).
		Where("d.id = any(?::uuid[])", list).Scan(&online).Error
	if err != nil {
		return 0, nil, fmt.Errorf("counting devices that are there: %w", err)
	}
	if len(list) > sample {
		list = list[:sample]
	}
	err = s.devices(tx, "").Select("d.id, d.name, t.name as tenant_name, ("+presence+") as presence", args...).
		Joins("join tenants t on t.id = d.tenant_id").Where("d.id = any(?::uuid[])", list).Order("d.id").Scan(&refs).Error
	if err != nil {
		return 0, nil, fmt.Errorf("naming devices: %w", err)
	}
	return online, refs, nil
}
