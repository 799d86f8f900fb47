package fleet

import (
	"context"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/tenants/tenantdb"
)

// Counts are how many devices there are, by what people look for first.
type Counts struct {
	Total    int            // not retired
	Presence map[string]int // of active devices
	State    map[string]int // of all but retired
	OS       map[string]int // families, of all but retired
}

// Count counts devices of one tenant, or of all that the actor may read, in one statement.
func (s *Service) Count(ctx context.Context, tenant *uuid.UUID) (Counts, error) {
	c := &condition{}
	c.and("d.state <> 'retired'")
	if tenant != nil {
		c.and("d.tenant_id = ?", *tenant)
	}
	presence, args := s.clock().presence()
	var rows []struct {
		Presence, State, OsFamily string
		N                         int
	}
	err := s.db.Tx(ctx, func(tx *gorm.DB) error {
		inner := c.on(tenantdb.Permitted(s.devices(tx, ""), permRead, "d.tenant_id").Select("d.state, d.os_family, "+presence+" as presence", args...))
		return tx.Table("(?) x", inner).Select("x.presence, x.state, x.os_family, count(*) as n").
			Group("x.presence, x.state, x.os_family").Scan(&rows).Error
	})
	counts := Counts{Presence: map[string]int{}, State: map[string]int{}, OS: map[string]int{}}
	for _, r := range rows {
		counts.Total += r.N
		counts.State[r.State] += r.N
		counts.OS[r.OsFamily] += r.N
		if r.State == string(Active) {
			counts.Presence[r.Presence] += r.N
		}
	}
	return counts, err
}
