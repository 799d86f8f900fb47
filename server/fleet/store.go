package fleet

import (
	"slices"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants/tenantdb"
)

// deviceColumns reads a Device from devices d, tenants t, sites s and device_presence p.
const deviceColumns = `d.id, d.tenant_id, t.name as tenant_name, d.site_id, s.name as site_name, d.name, d.hostname,
	d.state, d.state_reason, p.last_seen as last_seen_at, d.os_family, d.os_name, d.os_version, d.arch, d.kind,
	d.manufacturer, d.model, d.serial, to_json(d.addresses) as addresses, d.zone,
	to_json(d.logged_in_users) as logged_in_users, d.agent_version, p.skew_ms, d.boot_at, d.simulated, d.notes,
	d.version, d.enrolled_at, d.retired_at,
	coalesce((select json_agg(g.tag order by g.tag) from device_tags g
		where g.tenant_id = d.tenant_id and g.device_id = d.id), '[]') as tags, `

const deviceJoins = `join tenants t on t.id = d.tenant_id
	join sites s on s.tenant_id = d.tenant_id and s.id = d.site_id
	join device_presence p on p.tenant_id = d.tenant_id and p.device_id = d.id`

// selectDevices reads the devices that source, a query for rows of devices, yields: everything about
// them in this one statement.
func selectDevices(source *gorm.DB, k clock) *gorm.DB {
	presence, args := k.presence()
	fresh := source.Session(&gorm.Session{NewDB: true})
	return fresh.Table("(?) d", source).Select(deviceColumns+presence+" as presence", args...).Joins(deviceJoins)
}

// deviceTx reads one device.
func (s *Service) deviceTx(tx *gorm.DB, id uuid.UUID) (Device, error) {
	var d Device
	err := selectDevices(tx.Table("devices").Where("id = ?", id), s.clock()).Take(&d).Error
	if fault.KindOf(err) == fault.NotFound {
		return d, ErrNotFound
	}
	return d, err
}

// lockTx takes the device's row until the end of the transaction and reads it. Whoever changes what a
// device's policies depend on holds this lock, so that two changes do not compute from old rows.
func (s *Service) lockTx(tx *gorm.DB, id uuid.UUID) (Device, error) {
	var found []uuid.UUID
	if err := tx.Raw("select id from devices where id = ? for no key update", id).Scan(&found).Error; err != nil {
		return Device{}, err
	}
	if len(found) == 0 {
		return Device{}, ErrNotFound
	}
	return s.deviceTx(tx, id)
}

// updateTx changes columns of a device that the caller has locked and raises its version.
func updateTx(tx *gorm.DB, d Device, version int64, changes map[string]any) error {
	if d.Version != version {
		return ErrStale
	}
	return tenantdb.UpdateVersion(tx.Table("devices").Where("tenant_id = ? and id = ?", d.TenantID, d.ID), version, changes)
}

// sortedIDs makes the order in which rows are locked the same for everybody.
func sortedIDs(list []uuid.UUID) ids {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(list)
}

// lockDevicesTx takes the rows of devices in the order that everybody takes them in.
func lockDevicesTx(tx *gorm.DB, devices []uuid.UUID) error {
	return tx.Exec("select 1 from devices where id = any(?::uuid[]) order by id for no key update", sortedIDs(devices)).Error
}
