package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/server/fleet"
	"reeve/tenants/scope"
)

// The lock of this package orders changes of policies against changes of what they depend on. Whoever
// changes policies takes it alone; whoever changes the site or the tags of a device takes it shared,
// after the device's row. Each then reads what the other has committed, so that nobody computes from a
// state that is about to go.
func lockAloneTx(tx *gorm.DB) error {
	return tx.Exec("select pg_advisory_xact_lock(hashtext('reeve_policy'), 0)").Error
}

func lockSharedTx(tx *gorm.DB) error {
	return tx.Exec("select pg_advisory_xact_lock_shared(hashtext('reeve_policy'), 0)").Error
}

// RecomputeTx brings up to date what holds for devices that are new or whose site or tags changed. The
// caller holds their rows. The number of statements does not depend on the number of devices.
func (s *Service) RecomputeTx(tx *gorm.DB, devices []uuid.UUID) error {
	if err := lockSharedTx(tx); err != nil {
		return err
	}
	return recomputeTx(tx, devices)
}

// place is what policies look at of a device.
type place struct {
	ID       uuid.UUID
	TenantID uuid.UUID
	SiteID   uuid.UUID
	Tags     fleet.Texts
}

func recomputeTx(tx *gorm.DB, devices []uuid.UUID) error {
	if len(devices) == 0 {
		return nil
	}
	var places []place
	err := tx.Raw(`select d.id, d.tenant_id, d.site_id, coalesce((select json_agg(g.tag) from device_tags g
		where g.tenant_id = d.tenant_id and g.device_id = d.id), '[]') as tags from devices d where d.id = any(?::uuid[])`,
		uuids(devices)).Scan(&places).Error
	if err != nil {
		return fmt.Errorf("reading devices: %w", err)
	}
	policies, err := relevantTx(tx, places)
	if err != nil {
		return err
	}
	effective := compute(places, policies)
	changed, err := storeTx(tx, effective)
	if err != nil {
		return err
	}
	return fleet.SetConfigTx(tx, configsOf(effective, changed))
}

// relevantTx reads every policy that may hold for one of the places.
func relevantTx(tx *gorm.DB, places []place) ([]Policy, error) {
	tenants, devices := []uuid.UUID{scope.Provider}, make([]uuid.UUID, len(places))
	for i, p := range places {
		devices[i] = p.ID
		tenants = append(tenants, p.TenantID)
	}
	slices.SortFunc(tenants, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	var rows []policyRow
	err := tx.Raw(`select * from policies where tenant_id = any(?::uuid[]) and (device_id is null or device_id = any(?::uuid[]))`,
		uuids(slices.Compact(tenants)), uuids(devices)).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading policies: %w", err)
	}
	return policiesOf(rows)
}

// compute merges the policies of each place. Devices of one site with the same tags share the result.
func compute(places []place, policies []Policy) []Effective {
	byTenant := map[uuid.UUID][]Policy{}
	special := map[uuid.UUID]bool{}
	for _, p := range policies {
		byTenant[p.TenantID] = append(byTenant[p.TenantID], p)
		if p.DeviceID != nil {
			special[*p.DeviceID] = true
		}
	}
	known := map[string]Effective{}
	effective := make([]Effective, 0, len(places)*len(kinds))
	for _, at := range places {
		slices.Sort(at.Tags)
		for _, kind := range Kinds() {
			key := string(kind) + "\x00" + string(at.SiteID[:]) + strings.Join(at.Tags, "\x00")
			if special[at.ID] {
				key += "\x00\x00" + string(at.ID[:])
			}
			e, done := known[key]
			if !done {
				e.Kind = kind
				e.Spec, e.Origins = merge(kind, at.holding(kind, byTenant[scope.Provider], byTenant[at.TenantID]))
				e.Hash = hashOf(kind, e.Spec)
				known[key] = e
			}
			e.TenantID, e.DeviceID = at.TenantID, at.ID
			effective = append(effective, e)
		}
	}
	return effective
}

// holding picks the policies that hold at a place.
func (at place) holding(kind Kind, lists ...[]Policy) []Policy {
	var found []Policy
	for _, list := range lists {
		for _, p := range list {
			if p.Kind == kind && p.holdsAt(at) && !slices.ContainsFunc(found, func(q Policy) bool { return q.ID == p.ID }) {
				found = append(found, p)
			}
		}
	}
	return found
}

func (p Policy) holdsAt(at place) bool {
	switch p.Scope {
	case Provider:
		return true
	case Tenant:
		return p.TenantID == at.TenantID
	case Site:
		return p.SiteID != nil && *p.SiteID == at.SiteID
	case Tag:
		return p.Tag != nil && slices.Contains(at.Tags, *p.Tag)
	case Device:
		return p.DeviceID != nil && *p.DeviceID == at.ID
	}
	return false
}

// storeTx writes what holds where it differs from before, and tells for which devices the hash changed
// or is new.
func storeTx(tx *gorm.DB, effective []Effective) (map[uuid.UUID]bool, error) {
	var tenants, devices uuids
	var kindNames, specs, origins, hashes fleet.Texts
	for _, e := range effective {
		spec, err := json.Marshal(e.Spec)
		if err != nil {
			return nil, fmt.Errorf("writing a policy: %w", err)
		}
		origin, err := json.Marshal(e.Origins)
		if err != nil {
			return nil, fmt.Errorf("writing a policy: %w", err)
		}
		tenants, devices, kindNames = append(tenants, e.TenantID), append(devices, e.DeviceID), append(kindNames, string(e.Kind))
		specs, origins, hashes = append(specs, string(spec)), append(origins, string(origin)), append(hashes, e.Hash)
	}
	var changed []uuid.UUID
	err := tx.Raw(`insert into device_policies as p (tenant_id, device_id, kind, spec, origins, hash)
		select tenant_id, device_id, kind, spec::jsonb, origins::jsonb, hash
		from unnest(?::uuid[], ?::uuid[], ?::text[], ?::text[], ?::text[], ?::text[]) as u (tenant_id, device_id, kind, spec, origins, hash)
		order by device_id, kind
		on conflict (tenant_id, device_id, kind) do update set spec = excluded.spec, origins = excluded.origins, hash = excluded.hash, computed_at = now()
		where p.hash <> excluded.hash or p.origins <> excluded.origins
		returning device_id`, tenants, devices, kindNames, specs, origins, hashes).Scan(&changed).Error
	if err != nil {
		return nil, fmt.Errorf("storing what holds: %w", err)
	}
	set := make(map[uuid.UUID]bool, len(changed))
	for _, id := range changed {
		set[id] = true
	}
	return set, nil
}

func configsOf(effective []Effective, changed map[uuid.UUID]bool) []fleet.Config {
	var configs []fleet.Config
	for _, e := range effective {
		if e.Kind != Endpoint || !changed[e.DeviceID] {
			continue
		}
		spec, err := EndpointSpecOf(e.Spec)
		if err != nil || spec.SyncIntervalSeconds <= 0 {
			spec.SyncIntervalSeconds = fleet.DefaultInterval // unreachable: every value was checked when it was saved
		}
		configs = append(configs, fleet.Config{TenantID: e.TenantID, DeviceID: e.DeviceID, Version: e.Hash, Interval: spec.SyncIntervalSeconds})
	}
	return configs
}

// EffectiveTx reads what holds for devices, by device.
func EffectiveTx(tx *gorm.DB, tenants, devices []uuid.UUID, kind Kind) (map[uuid.UUID]Effective, error) {
	var rows []effectiveRow
	err := tx.Raw(`select p.* from device_policies p join unnest(?::uuid[], ?::uuid[]) as u (tenant_id, device_id)
		on u.tenant_id = p.tenant_id and u.device_id = p.device_id where p.kind = ?`, uuids(tenants), uuids(devices), string(kind)).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading what holds: %w", err)
	}
	found := make(map[uuid.UUID]Effective, len(rows))
	for _, r := range rows {
		e, err := r.effective()
		if err != nil {
			return nil, err
		}
		found[e.DeviceID] = e
	}
	return found, nil
}

// effectiveRow is an Effective as it is stored.
type effectiveRow struct {
	TenantID uuid.UUID
	DeviceID uuid.UUID
	Kind     Kind
	Spec     []byte
	Origins  []byte
	Hash     string
}

func (r effectiveRow) effective() (Effective, error) {
	e := Effective{TenantID: r.TenantID, DeviceID: r.DeviceID, Kind: r.Kind, Hash: r.Hash}
	if err := json.Unmarshal(r.Spec, &e.Spec); err != nil {
		return e, fmt.Errorf("reading what holds: %w", err)
	}
	if err := json.Unmarshal(r.Origins, &e.Origins); err != nil {
		return e, fmt.Errorf("reading what holds: %w", err)
	}
	return e, nil
}

// Effective reads what holds for a device, with the names of where it comes from. The permission to
// read the device's policies is checked over its tenant.
func (s *Service) Effective(ctx context.Context, device uuid.UUID) ([]Effective, error) {
	var found []Effective
	err := s.db.Tx(ctx, func(tx *gorm.DB) error {
		var rows []effectiveRow
		err := tx.Raw(`select p.* from device_policies p join devices d on d.tenant_id = p.tenant_id and d.id = p.device_id
			where d.id = ? order by p.kind`, device).Scan(&rows).Error
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return fleet.ErrNotFound
		}
		if err := need(ctx, permRead, rows[0].TenantID); err != nil {
			return err
		}
		for _, r := range rows {
			e, err := r.effective()
			if err != nil {
				return err
			}
			found = append(found, e)
		}
		return nameOriginsTx(tx, found)
	})
	return found, err
}

// nameOriginsTx fills in the names of policies.
func nameOriginsTx(tx *gorm.DB, list []Effective) error {
	var wanted uuids
	for _, e := range list {
		for _, o := range e.Origins {
			if o.PolicyID != nil {
				wanted = append(wanted, *o.PolicyID)
			}
		}
	}
	var rows []struct {
		ID   uuid.UUID
		Name string
	}
	if err := tx.Raw("select id, name from policies where id = any(?::uuid[])", wanted).Scan(&rows).Error; err != nil {
		return err
	}
	names := map[uuid.UUID]string{}
	for _, r := range rows {
		names[r.ID] = r.Name
	}
	for _, e := range list {
		for field, o := range e.Origins {
			o.Name = "Standard"
			if o.PolicyID != nil {
				o.Name = names[*o.PolicyID]
			}
			e.Origins[field] = o
		}
	}
	return nil
}
