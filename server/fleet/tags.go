package fleet

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// TagChange adds and removes tags.
type TagChange struct {
	Add    []string
	Remove []string
}

const (
	maxTagChange  = 50
	maxDeviceTags = 100
	maxBulk       = 1000
)

// Validate reports every faulty field.
func (c TagChange) Validate() error {
	var f fault.Fields
	checkTags(&f, "/add", c.Add, maxTagChange)
	checkTags(&f, "/remove", c.Remove, maxTagChange)
	f.Check(len(c.Add)+len(c.Remove) > 0, "/add", "name at least one tag to add or remove")
	return f.Err()
}

// Tag changes the tags of one device.
func (s *Service) Tag(ctx context.Context, id uuid.UUID, c TagChange) (Device, error) {
	if _, err := s.TagMany(ctx, []uuid.UUID{id}, c); err != nil {
		return Device{}, err
	}
	return s.Device(ctx, id)
}

// tagged is a device whose tags are about to change.
type tagged struct {
	ID       uuid.UUID
	TenantID uuid.UUID
	Name     string
	State    State
	Tags     Texts
}

// TagMany changes the tags of many devices in one transaction of a fixed number of statements, and
// tells how many devices changed. An id that is not there fails all.
func (s *Service) TagMany(ctx context.Context, list []uuid.UUID, c TagChange) (int, error) {
	if err := c.Validate(); err != nil {
		return 0, err
	}
	if len(list) == 0 || len(list) > maxBulk {
		return 0, fault.InvalidField("/device_ids", fmt.Sprintf("name 1 to %d devices", maxBulk))
	}
	changed := 0
	err := s.db.Tx(ctx, func(tx *gorm.DB) error {
		before, err := lockTaggedTx(tx, sortedIDs(list))
		if err != nil {
			return err
		}
		for _, d := range before {
			if err := need(ctx, permManage, d.TenantID); err != nil {
				return err
			}
			if d.State == Retired {
				return ErrRetired
			}
		}
		after, err := retagTx(tx, before, c)
		if err != nil {
			return err
		}
		entries, events, touched := tagRecords(scope.From(ctx), before, after)
		changed = len(touched)
		if changed == 0 {
			return nil
		}
		if err := AppendTimelineTx(tx, events...); err != nil {
			return err
		}
		if err := s.o.DevicesChanged(tx, touched); err != nil {
			return err
		}
		return audit.WriteTx(tx, entries...)
	})
	return changed, err
}

// lockTaggedTx locks the devices in the order of their ids and reads their tags, once the locks are
// held.
func lockTaggedTx(tx *gorm.DB, list ids) ([]tagged, error) {
	var locked []uuid.UUID
	if err := tx.Raw("select id from devices where id = any(?::uuid[]) order by id for no key update", list).Scan(&locked).Error; err != nil {
		return nil, err
	}
	if len(locked) != len(list) {
		return nil, ErrNotFound
	}
	var found []tagged
	err := tx.Raw(`select d.id, d.tenant_id, d.name, d.state, coalesce((select json_agg(g.tag order by g.tag) from device_tags g
		where g.tenant_id = d.tenant_id and g.device_id = d.id), '[]') as tags
		from devices d where d.id = any(?::uuid[]) order by d.id`, list).Scan(&found).Error
	return found, err
}

// retagTx writes the change and gives the new tags by device.
func retagTx(tx *gorm.DB, before []tagged, c TagChange) (map[uuid.UUID]Texts, error) {
	var tenantIDs, deviceIDs ids
	for _, d := range before {
		tenantIDs, deviceIDs = append(tenantIDs, d.TenantID), append(deviceIDs, d.ID)
	}
	const devices = "unnest(?::uuid[], ?::uuid[]) as u (tenant_id, device_id)"
	if len(c.Remove) > 0 {
		err := tx.Exec("delete from device_tags g using "+devices+` where g.tenant_id = u.tenant_id and g.device_id = u.device_id
			and g.tag = any(?::text[])`, tenantIDs, deviceIDs, texts(c.Remove)).Error
		if err != nil {
			return nil, fmt.Errorf("removing tags: %w", err)
		}
	}
	if len(c.Add) > 0 {
		err := tx.Exec("insert into device_tags (tenant_id, device_id, tag) select u.tenant_id, u.device_id, t.tag from "+devices+`
			cross join unnest(?::text[]) as t (tag) on conflict do nothing`, tenantIDs, deviceIDs, texts(c.Add)).Error
		if err != nil {
			return nil, fmt.Errorf("adding tags: %w", err)
		}
	}
	var rows []tagged
	err := tx.Raw(`select u.device_id as id, coalesce((select json_agg(g.tag order by g.tag) from device_tags g
		where g.tenant_id = u.tenant_id and g.device_id = u.device_id), '[]') as tags from `+devices, tenantIDs, deviceIDs).Scan(&rows).Error
	after := make(map[uuid.UUID]Texts, len(rows))
	for _, r := range rows {
		if len(r.Tags) > maxDeviceTags {
			return nil, fault.Newf(fault.Conflict, "a device has at most %d tags", maxDeviceTags)
		}
		after[r.ID] = r.Tags
	}
	return after, err
}

func tagRecords(who scope.Scope, before []tagged, after map[uuid.UUID]Texts) (entries []audit.Entry, events []Event, touched []uuid.UUID) {
	for _, d := range before {
		now := after[d.ID]
		if fmt.Sprint(d.Tags) == fmt.Sprint(now) && len(d.Tags) == len(now) {
			continue
		}
		touched = append(touched, d.ID)
		entries = append(entries, audit.Entry{TenantID: d.TenantID, Action: "device.tagged", ObjectType: "device", ObjectID: d.ID.String(),
			ObjectName: d.Name, Before: map[string]any{"tags": d.Tags}, After: map[string]any{"tags": now}})
		events = append(events, Event{TenantID: d.TenantID, DeviceID: d.ID, Kind: "device.tagged", Title: "Tags changed",
			Actor: actorName(who), Detail: map[string]any{"before": d.Tags, "after": now}})
	}
	return entries, events, touched
}

// TagCount is a tag in use.
type TagCount struct {
	Name        string
	DeviceCount int
}

// maxTagList bounds the list of tags: beyond it nobody chooses from a list any more.
const maxTagList = 2000

// Tags lists the tags in use and on how many devices, by name.
func (s *Service) Tags(ctx context.Context, tenant *uuid.UUID) ([]TagCount, error) {
	var found []TagCount
	err := s.db.Tx(ctx, func(tx *gorm.DB) error {
		var c condition
		if tenant != nil {
			c.and("g.tenant_id = ?", *tenant)
		}
		c.and("d.state <> 'retired'")
		return c.on(tenantdb.Permitted(tx.Table("device_tags g"), permRead, "g.tenant_id").Select("g.tag as name, count(*) as device_count").
			Joins("join devices d on d.tenant_id = g.tenant_id and d.id = g.device_id")).
			Group("g.tag").Order("g.tag").Limit(maxTagList).Scan(&found).Error
	})
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil, nil
	}
	return found, err
}
