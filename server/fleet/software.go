package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/tenants/tenantdb"
)

// Software is a program installed on a device.
type Software struct {
	NameKey     string
	Ordinal     int
	Name        string
	Version     string
	Publisher   *string
	Source      string
	InstalledAt *time.Time
}

// maxSoftware bounds the programs kept of a device.
const maxSoftware = 10_000

// softwareOf reads the programs out of the inventory section "software".
func softwareOf(data any) []Software {
	var found []Software
	for _, item := range objects(data, "packages", "items", "software") {
		name := Line(text(item, "name"), 255)
		if name == "" || len(found) >= maxSoftware {
			continue
		}
		s := Software{NameKey: strings.ToLower(name), Name: name, Version: Line(text(item, "version"), 120),
			Publisher: Known(text(item, "publisher", "vendor"), 200), Source: Line(text(item, "source"), 40)}
		if at, err := time.Parse(time.RFC3339, text(item, "installed_at")); err == nil && at.Year() > 1970 && at.Year() < 9999 {
			s.InstalledAt = &at
		}
		found = append(found, s)
	}
	slices.SortStableFunc(found, func(a, b Software) int {
		return strings.Compare(a.NameKey+"\x00"+a.Version+"\x00"+a.Source, b.NameKey+"\x00"+b.Version+"\x00"+b.Source)
	})
	for i := range found {
		if i > 0 && found[i].NameKey == found[i-1].NameKey {
			found[i].Ordinal = found[i-1].Ordinal + 1
		}
	}
	return found
}

// replaceSoftwareTx makes the software of devices what their newest section says, touching only rows
// that differ.
func replaceSoftwareTx(tx *gorm.DB, sections []Section) error {
	var ownerTenants, owners, tenants, devices ids
	var keys, names, versions, publishers, sources texts
	var ordinals numbers
	var installed times
	for _, section := range sections {
		ownerTenants, owners = append(ownerTenants, section.TenantID), append(owners, section.DeviceID)
		for _, s := range softwareOf(section.Data) {
			tenants, devices = append(tenants, section.TenantID), append(devices, section.DeviceID)
			keys, ordinals, names = append(keys, s.NameKey), append(ordinals, int64(s.Ordinal)), append(names, s.Name)
			versions, publishers, sources = append(versions, s.Version), append(publishers, deref(s.Publisher)), append(sources, s.Source)
			installed = append(installed, s.InstalledAt)
		}
	}
	err := tx.Exec(`with wanted as (select tenant_id, device_id, name_key, ordinal, name, version, nullif(publisher, '') as publisher, source, installed_at
			from unnest(?::uuid[], ?::uuid[], ?::text[], ?::int[], ?::text[], ?::text[], ?::text[], ?::text[], ?::timestamptz[])
				as u (tenant_id, device_id, name_key, ordinal, name, version, publisher, source, installed_at)),
		gone as (delete from device_software x using unnest(?::uuid[], ?::uuid[]) as o (tenant_id, device_id)
			where x.tenant_id = o.tenant_id and x.device_id = o.device_id and not exists (select 1 from wanted w
				where w.tenant_id = x.tenant_id and w.device_id = x.device_id and w.name_key = x.name_key and w.ordinal = x.ordinal))
		insert into device_software as s (tenant_id, device_id, name_key, ordinal, name, version, publisher, source, installed_at)
		select * from wanted
		on conflict (tenant_id, device_id, name_key, ordinal) do update set name = excluded.name, version = excluded.version,
			publisher = excluded.publisher, source = excluded.source, installed_at = excluded.installed_at
		where (s.name, s.version, s.publisher, s.source, s.installed_at) is distinct from
			(excluded.name, excluded.version, excluded.publisher, excluded.source, excluded.installed_at)`,
		tenants, devices, keys, ordinals, names, versions, publishers, sources, installed, ownerTenants, owners).Error
	if err != nil {
		return fmt.Errorf("storing software: %w", err)
	}
	return nil
}

var softwareSort = tenantdb.Sort{Name: "name", Columns: []tenantdb.Column{
	{SQL: "name_key", Kind: tenantdb.Text}, {SQL: "ordinal", Kind: tenantdb.Int32}}}

// Software lists the programs of a device by name; q is a part of the name.
func (s *Service) Software(ctx context.Context, device uuid.UUID, q *string, cursor string, limit int) ([]Software, string, error) {
	var found []Software
	err := s.ofDevice(ctx, device, func(tx *gorm.DB, d Device) error {
		query := tx.Table("device_software").Select("name_key, ordinal, name, version, publisher, source, installed_at").
			Where("tenant_id = ? and device_id = ?", d.TenantID, d.ID)
		if q != nil {
			query = query.Where("strpos(name_key, ?) > 0", strings.ToLower(Line(*q, 100)))
		}
		query, err := softwareSort.Page(query, cursor, limit)
		if err != nil {
			return err
		}
		return query.Scan(&found).Error
	})
	if err != nil {
		return nil, "", err
	}
	found, next := tenantdb.Next(softwareSort, found, limit, func(s Software) []any { return []any{s.NameKey, s.Ordinal} })
	return found, next, nil
}
