package fleet

import (
	"errors"
	"fmt"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants/tenantdb"
)

// Selector is the only way to say "which devices". Exactly one of DeviceIDs, SiteID, Tag, Filter and
// AllTenants is given, or TenantID alone; TenantID also narrows Tag and Filter.
type Selector struct {
	DeviceIDs  []uuid.UUID `json:"device_ids,omitempty"`
	SiteID     *uuid.UUID  `json:"site_id,omitempty"`
	TenantID   *uuid.UUID  `json:"tenant_id,omitempty"`
	Tag        string      `json:"tag,omitempty"`
	Filter     *Filter     `json:"filter,omitempty"`
	AllTenants bool        `json:"all_tenants,omitempty"`
}

// maxSelectedIDs bounds an explicit list.
const maxSelectedIDs = 10_000

// Validate reports every faulty field; pointers begin with "/targets".
func (s Selector) Validate() error {
	var f fault.Fields
	ways := 0
	for _, given := range []bool{s.DeviceIDs != nil, s.SiteID != nil, s.Tag != "", s.Filter != nil, s.AllTenants} {
		if given {
			ways++
		}
	}
	f.Check(ways == 1 || ways == 0 && s.TenantID != nil, "/targets",
		"give exactly one of device_ids, site_id, tag, filter and all_tenants, or tenant_id alone")
	f.Check(s.TenantID == nil || s.DeviceIDs == nil && s.SiteID == nil && !s.AllTenants, "/targets/tenant_id", "narrows only tag and filter")
	f.Check(s.DeviceIDs == nil || len(s.DeviceIDs) >= 1 && len(s.DeviceIDs) <= maxSelectedIDs, "/targets/device_ids", "name 1 to %d devices", maxSelectedIDs)
	if s.Tag != "" {
		checkTags(&f, "/targets/tag", []string{s.Tag}, 1)
	}
	if s.Filter != nil {
		var nested *fault.Error
		if errors.As(s.Filter.Validate("/targets/filter"), &nested) {
			f = append(f, nested.Fields...)
		}
	}
	return f.Err()
}

// ErrTargets says that a device of an explicit list is not there for the actor.
var ErrTargets = fault.New(fault.NotFound, "a device, or the site or tenant, was not found")

// ResolveTx finds the devices that a selector means now, in the order of their ids: active ones and,
// because they may wait for work as well, nothing else. An explicit list, a site and a tenant must
// exist within the transaction's reach; devices among them that are not active are left out.
func (s *Service) ResolveTx(tx *gorm.DB, sel Selector) ([]Target, error) {
	if err := sel.Validate(); err != nil {
		return nil, err
	}
	if err := s.checkReach(tx, sel); err != nil {
		return nil, err
	}
	var c condition
	c.and("d.state = 'active'")
	if sel.TenantID != nil {
		c.and("d.tenant_id = ?", *sel.TenantID)
	}
	switch {
	case sel.DeviceIDs != nil:
		c.and("d.id = any(?::uuid[])", sortedIDs(sel.DeviceIDs))
	case sel.SiteID != nil:
		c.and("d.site_id = ?", *sel.SiteID)
	case sel.Tag != "":
		c.and("exists (select 1 from device_tags x where x.tenant_id = d.tenant_id and x.device_id = d.id and x.tag = ?)", sel.Tag)
	case sel.Filter != nil:
		c.filter(tenantdb.ScopeOf(tx), *sel.Filter, s.clock())
	}
	var found []Target
	err := c.on(tx.Table("devices d").Select("d.id as device_id, d.tenant_id, d.site_id, coalesce(d.zone, '') as device_zone, coalesce(s.zone, '') as site_zone, t.zone as tenant_zone").
		Joins("join tenants t on t.id = d.tenant_id and t.state = 'active'").
		Joins("join sites s on s.tenant_id = d.tenant_id and s.id = d.site_id")).Order("d.id").Scan(&found).Error
	if err != nil {
		return nil, fmt.Errorf("resolving targets: %w", err)
	}
	return found, nil
}

// checkReach makes sure that what is named exists for the actor, so that a mistyped or foreign id is an
// error and not an empty set.
func (s *Service) checkReach(tx *gorm.DB, sel Selector) error {
	var want, got int64 = 1, 1
	var err error
	switch {
	case sel.DeviceIDs != nil:
		list := sortedIDs(sel.DeviceIDs)
		want = int64(len(list))
		err = tx.Raw("select count(*) from devices where id = any(?::uuid[])", list).Scan(&got).Error
	case sel.SiteID != nil:
		err = tx.Raw("select count(*) from sites where id = ?", *sel.SiteID).Scan(&got).Error
	case sel.TenantID != nil:
		// A tenant may read the provider's row as well, which is not its own to aim at.
		if !tenantdb.ScopeOf(tx).Sees(*sel.TenantID) {
			return ErrTargets
		}
		err = tx.Raw("select count(*) from tenants where id = ?", *sel.TenantID).Scan(&got).Error
	}
	if err != nil {
		return err
	}
	if got != want {
		return ErrTargets
	}
	return nil
}
