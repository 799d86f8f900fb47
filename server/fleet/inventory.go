package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/tenants/tenantdb"
)

// Section is one part of what a device is.
type Section struct {
	TenantID    uuid.UUID
	DeviceID    uuid.UUID
	Name        string
	Hash        string // of the endpoint's making: it names a state, nothing is checked against it
	CollectedAt time.Time
	ReceivedAt  time.Time
	Data        any // as CleanJSON gives it
}

// Change is what changed in a section, and when.
type Change struct {
	ID        uuid.UUID
	Section   string
	At        time.Time
	Changes   []ValueChange
	Truncated bool
}

// MaxSections bounds how many sections a device may have.
const MaxSections = 32

type sectionKey struct {
	device uuid.UUID
	name   string
}

// ApplySectionsTx stores sections of many devices: the newest state, the difference to the one before,
// and what other tables take from them. The caller holds the presence rows of the devices, so that no
// two transactions compare with the same state.
func ApplySectionsTx(tx *gorm.DB, sections []Section) error {
	if len(sections) == 0 {
		return nil
	}
	before, err := storedSectionsTx(tx, sections)
	if err != nil {
		return err
	}
	now := databaseNow(tx)
	latest := map[sectionKey]Section{}
	var changes []changeRow
	room, err := roomTx(tx, sections, before)
	if err != nil {
		return err
	}
	for _, section := range sections {
		key := sectionKey{section.DeviceID, section.Name}
		old, known := before[key]
		if known && old.Hash == section.Hash {
			continue
		}
		if !known {
			if room[section.DeviceID] == 0 {
				continue // an honest endpoint has a dozen; one that invents names fills no disk
			}
			room[section.DeviceID]--
		}
		section.ReceivedAt = now
		if known {
			diff, truncated := Diff(old.Data, section.Data)
			if len(diff) > 0 {
				changes = append(changes, changeRow{section, diff, truncated})
			}
		}
		before[key], latest[key] = section, section
	}
	if len(latest) == 0 {
		return nil
	}
	if err := storeSectionsTx(tx, latest); err != nil {
		return err
	}
	if err := storeChangesTx(tx, changes); err != nil {
		return err
	}
	return projectTx(tx, latest)
}

// roomTx tells how many further sections each device may have that brings one which it did not have yet.
func roomTx(tx *gorm.DB, sections []Section, before map[sectionKey]Section) (map[uuid.UUID]int, error) {
	room := map[uuid.UUID]int{}
	var tenants, devices ids
	for _, s := range sections {
		if _, known := before[sectionKey{s.DeviceID, s.Name}]; known {
			continue
		}
		if _, asked := room[s.DeviceID]; !asked {
			room[s.DeviceID] = MaxSections
			tenants, devices = append(tenants, s.TenantID), append(devices, s.DeviceID)
		}
	}
	if len(devices) == 0 {
		return room, nil
	}
	var rows []struct {
		DeviceID uuid.UUID
		Stored   int
	}
	err := tx.Raw(`select x.device_id, count(*) as stored from inventory_sections x
		join unnest(?::uuid[], ?::uuid[]) as u (tenant_id, device_id) on u.tenant_id = x.tenant_id and u.device_id = x.device_id
		group by x.device_id`, tenants, devices).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("counting inventory: %w", err)
	}
	for _, r := range rows {
		room[r.DeviceID] = max(0, MaxSections-r.Stored)
	}
	return room, nil
}

func storedSectionsTx(tx *gorm.DB, sections []Section) (map[sectionKey]Section, error) {
	var tenants, devices ids
	var names texts
	for _, s := range sections {
		tenants, devices, names = append(tenants, s.TenantID), append(devices, s.DeviceID), append(names, s.Name)
	}
	var rows []sectionRow
	err := tx.Raw(`select x.tenant_id, x.device_id, x.name, x.hash, x.collected_at, x.received_at, x.data from inventory_sections x
		join (select distinct * from unnest(?::uuid[], ?::uuid[], ?::text[]) as u (tenant_id, device_id, name)) u
			on u.tenant_id = x.tenant_id and u.device_id = x.device_id and u.name = x.name`, tenants, devices, names).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading inventory: %w", err)
	}
	found := make(map[sectionKey]Section, len(rows))
	for _, r := range rows {
		s, err := r.section()
		if err != nil {
			return nil, err
		}
		found[sectionKey{s.DeviceID, s.Name}] = s
	}
	return found, nil
}

// sectionRow is a section as it is stored.
type sectionRow struct {
	TenantID    uuid.UUID
	DeviceID    uuid.UUID
	Name        string
	Hash        string
	CollectedAt time.Time
	ReceivedAt  time.Time
	Data        []byte
}

func (r sectionRow) section() (Section, error) {
	data, err := CleanJSON(r.Data)
	if err != nil {
		return Section{}, fmt.Errorf("reading inventory section %s: %w", r.Name, err)
	}
	return Section{TenantID: r.TenantID, DeviceID: r.DeviceID, Name: r.Name, Hash: r.Hash, CollectedAt: r.CollectedAt,
		ReceivedAt: r.ReceivedAt, Data: data}, nil
}

func storeSectionsTx(tx *gorm.DB, latest map[sectionKey]Section) error {
	var tenants, devices ids
	var names, hashes, data texts
	var collected times
	for _, s := range latest {
		text, err := json.Marshal(s.Data)
		if err != nil {
			return fmt.Errorf("writing inventory section %s: %w", s.Name, err)
		}
		at := s.CollectedAt
		tenants, devices, names, hashes = append(tenants, s.TenantID), append(devices, s.DeviceID), append(names, s.Name), append(hashes, s.Hash)
		data, collected = append(data, string(text)), append(collected, &at)
	}
	err := tx.Exec(`insert into inventory_sections (tenant_id, device_id, name, hash, collected_at, received_at, data)
		select tenant_id, device_id, name, hash, collected_at, now(), data::jsonb
		from unnest(?::uuid[], ?::uuid[], ?::text[], ?::text[], ?::timestamptz[], ?::text[]) as u (tenant_id, device_id, name, hash, collected_at, data)
		on conflict (tenant_id, device_id, name) do update set hash = excluded.hash, collected_at = excluded.collected_at,
			received_at = excluded.received_at, data = excluded.data`, tenants, devices, names, hashes, collected, data).Error
	if err != nil {
		return fmt.Errorf("storing inventory: %w", err)
	}
	return nil
}

type changeRow struct {
	section   Section
	changes   []ValueChange
	truncated bool
}

func storeChangesTx(tx *gorm.DB, changes []changeRow) error {
	if len(changes) == 0 {
		return nil
	}
	var tenants, devices, changeIDs ids
	var names, documents texts
	var cut flags
	events := make([]Event, len(changes))
	for i, c := range changes {
		text, err := json.Marshal(c.changes)
		if err != nil {
			return fmt.Errorf("writing inventory changes: %w", err)
		}
		id := newID()
		tenants, devices, changeIDs = append(tenants, c.section.TenantID), append(devices, c.section.DeviceID), append(changeIDs, id)
		names, documents, cut = append(names, c.section.Name), append(documents, string(text)), append(cut, c.truncated)
		events[i] = Event{TenantID: c.section.TenantID, DeviceID: c.section.DeviceID, Kind: "inventory.changed",
			Title:  "Inventory changed: " + c.section.Name,
			Detail: map[string]any{"section": c.section.Name, "change_id": id, "changes": len(c.changes), "truncated": c.truncated}}
	}
	err := tx.Exec(`insert into inventory_changes (tenant_id, id, device_id, section, at, changes, truncated)
		select tenant_id, id, device_id, section, now(), changes::jsonb, truncated
		from unnest(?::uuid[], ?::uuid[], ?::uuid[], ?::text[], ?::text[], ?::bool[]) as u (tenant_id, id, device_id, section, changes, truncated)`,
		tenants, changeIDs, devices, names, documents, cut).Error
	if err != nil {
		return fmt.Errorf("storing inventory changes: %w", err)
	}
	return AppendTimelineTx(tx, events...)
}

// WantedSectionsTx tells for each device which of the sections it says to have (name to hash) the
// server does not have in that state.
func WantedSectionsTx(tx *gorm.DB, tenants []uuid.UUID, devices []uuid.UUID, has []map[string]string) ([][]string, error) {
	var rows []sectionRow
	err := tx.Raw(`select x.device_id, x.name, x.hash from inventory_sections x
		join unnest(?::uuid[], ?::uuid[]) as u (tenant_id, device_id) on u.tenant_id = x.tenant_id and u.device_id = x.device_id`,
		ids(tenants), ids(devices)).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("comparing inventory: %w", err)
	}
	stored := make(map[sectionKey]string, len(rows))
	for _, r := range rows {
		stored[sectionKey{r.DeviceID, r.Name}] = r.Hash
	}
	wanted := make([][]string, len(devices))
	for i, device := range devices {
		for name, hash := range has[i] {
			if stored[sectionKey{device, name}] != hash {
				wanted[i] = append(wanted[i], name)
			}
		}
	}
	return wanted, nil
}

// Inventory reads all sections of a device.
func (s *Service) Inventory(ctx context.Context, device uuid.UUID) ([]Section, error) {
	var found []Section
	err := s.ofDevice(ctx, device, func(tx *gorm.DB, d Device) error {
		var rows []sectionRow
		err := tx.Table("inventory_sections").Where("tenant_id = ? and device_id = ?", d.TenantID, d.ID).Order("name").Find(&rows).Error
		if err != nil {
			return err
		}
		for _, r := range rows {
			section, err := r.section()
			if err != nil {
				return err
			}
			found = append(found, section)
		}
		return nil
	})
	return found, err
}

// Changes lists what changed in a device's inventory, the newest first.
func (s *Service) Changes(ctx context.Context, device uuid.UUID, section *string, cursor string, limit int) ([]Change, string, error) {
	var rows []struct {
		ID        uuid.UUID
		Section   string
		At        time.Time
		Changes   []byte
		Truncated bool
	}
	err := s.ofDevice(ctx, device, func(tx *gorm.DB, d Device) error {
		q := tx.Table("inventory_changes").Select("id, section, at, changes, truncated").Where("tenant_id = ? and device_id = ?", d.TenantID, d.ID)
		if section != nil {
			q = q.Where("section = ?", *section)
		}
		q, err := timelineSort.Page(q, cursor, limit)
		if err != nil {
			return err
		}
		return q.Scan(&rows).Error
	})
	if err != nil {
		return nil, "", err
	}
	found := make([]Change, len(rows))
	for i, r := range rows {
		found[i] = Change{ID: r.ID, Section: r.Section, At: r.At, Truncated: r.Truncated}
		if err := json.Unmarshal(r.Changes, &found[i].Changes); err != nil {
			return nil, "", fmt.Errorf("reading inventory changes: %w", err)
		}
	}
	found, next := tenantdb.Next(timelineSort, found, limit, func(c Change) []any { return []any{c.At, c.ID} })
	return found, next, nil
}
