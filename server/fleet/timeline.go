package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// Event is something that happened to a device.
type Event struct {
	ID       uuid.UUID // made when empty
	TenantID uuid.UUID
	DeviceID uuid.UUID
	At       time.Time      // the transaction's time when empty
	Kind     string         // "device.enrolled", "task.finished"
	Title    string         // what a person reads
	Actor    *string        // the person or key that did it
	Detail   map[string]any `gorm:"-"`
}

const (
	maxKind   = 60
	maxTitle  = 300
	maxDetail = 8 * 1024
	// pastOfTimeline is how far back an event may say it happened: its partition is there.
	pastOfTimeline = 14 * 24 * time.Hour
)

// AppendTimelineTx writes events into the timelines of their devices, in one statement.
func AppendTimelineTx(tx *gorm.DB, events ...Event) error {
	if len(events) == 0 {
		return nil
	}
	now := databaseNow(tx)
	var (
		tenantIDs, deviceIDs, eventIDs ids
		at                             times
		kinds, titles, details         texts
		actors                         texts
	)
	for _, e := range events {
		if e.ID == uuid.Nil {
			e.ID = newID()
		}
		if e.At.IsZero() || e.At.After(now) {
			e.At = now
		} else if oldest := now.Add(-pastOfTimeline); e.At.Before(oldest) {
			e.At = oldest
		}
		detail, err := json.Marshal(e.Detail)
		if err != nil || e.Detail == nil || len(detail) > maxDetail {
			detail = []byte("{}")
		}
		tenantIDs, deviceIDs, eventIDs = append(tenantIDs, e.TenantID), append(deviceIDs, e.DeviceID), append(eventIDs, e.ID)
		at = append(at, &e.At)
		kinds, titles = append(kinds, Line(e.Kind, maxKind)), append(titles, Line(e.Title, maxTitle))
		details = append(details, string(detail))
		actor := ""
		if e.Actor != nil {
			actor = Line(*e.Actor, 200)
		}
		actors = append(actors, actor)
	}
	err := tx.Exec(`insert into device_timeline (tenant_id, device_id, id, at, kind, title, actor, detail)
		select tenant_id, device_id, id, at, kind, title, nullif(actor, ''), detail::jsonb
		from unnest(?::uuid[], ?::uuid[], ?::uuid[], ?::timestamptz[], ?::text[], ?::text[], ?::text[], ?::text[])
			as u (tenant_id, device_id, id, at, kind, title, actor, detail)
		on conflict do nothing`,
		tenantIDs, deviceIDs, eventIDs, at, kinds, titles, actors, details).Error
	if err != nil {
		return fmt.Errorf("appending to the timeline: %w", err)
	}
	return nil
}

// actorName is who acts, for the timeline; nil for the server itself.
func actorName(s scope.Scope) *string {
	if s.Actor.Kind == scope.Server || s.Actor.Name == "" {
		return nil
	}
	return &s.Actor.Name
}

var timelineSort = tenantdb.Sort{Name: "newest", Columns: []tenantdb.Column{
	{SQL: "at", Kind: tenantdb.Instant, Descending: true}, {SQL: "id", Kind: tenantdb.UUID, Descending: true}}}

// Timeline lists what happened to a device, the newest first.
func (s *Service) Timeline(ctx context.Context, device uuid.UUID, kind *string, cursor string, limit int) ([]Event, string, error) {
	type row struct {
		Event
		DetailText []byte
	}
	var rows []row
	err := s.ofDevice(ctx, device, func(tx *gorm.DB, d Device) error {
		q := tx.Table("device_timeline").Select("id, tenant_id, device_id, at, kind, title, actor, detail as detail_text").
			Where("tenant_id = ? and device_id = ?", d.TenantID, d.ID)
		if kind != nil {
			q = q.Where("kind = ?", *kind)
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
	events := make([]Event, len(rows))
	for i, r := range rows {
		events[i] = r.Event
		if err := json.Unmarshal(r.DetailText, &events[i].Detail); err != nil {
			return nil, "", fmt.Errorf("reading an event: %w", err)
		}
	}
	events, next := tenantdb.Next(timelineSort, events, limit, func(e Event) []any { return []any{e.At, e.ID} })
	return events, next, nil
}

// ofDevice runs fn in a transaction with a device that the actor may read.
func (s *Service) ofDevice(ctx context.Context, id uuid.UUID, fn func(tx *gorm.DB, d Device) error) error {
	return s.db.Tx(ctx, func(tx *gorm.DB) error {
		d, err := s.deviceTx(tx, id)
		if err != nil {
			return err
		}
		if err := need(ctx, permRead, d.TenantID); err != nil {
			return err
		}
		return fn(tx, d)
	})
}

// monthsAhead is how many partitions of the timeline are made before they are needed.
const monthsAhead = 3

// SweepTimelinePartitions makes the partitions of the months to come, and the one of last month, which
// late events may still need.
func (s *Service) SweepTimelinePartitions(ctx context.Context) (int, error) {
	err := s.db.System(ctx, func(tx *gorm.DB) error {
		now := databaseNow(tx)
		first := time.Date(now.Year(), now.Month()-1, 1, 0, 0, 0, 0, time.UTC)
		for i := range monthsAhead + 2 {
			from, to := first.AddDate(0, i, 0), first.AddDate(0, i+1, 0)
			if err := tx.Exec("select reeve_partition('device_timeline', ?, ?)", from, to).Error; err != nil {
				return err
			}
		}
		return nil
	})
	return 0, err
}

// TimelineBatch is how many changes of the inventory SweepOldTimeline deletes at once.
const TimelineBatch = 5000

// SweepOldTimeline drops the months of the timeline, and the changes of the inventory, that ended
// before keep; keep is the retention an operator set.
func (s *Service) SweepOldTimeline(ctx context.Context, keep time.Duration) (int, error) {
	var dropped int64
	err := s.db.System(ctx, func(tx *gorm.DB) error {
		before := databaseNow(tx).Add(-keep)
		if err := tx.Exec("select reeve_drop_partitions('device_timeline', ?)", before).Error; err != nil {
			return err
		}
		done := tx.Exec(`delete from inventory_changes where (tenant_id, id) in
			(select tenant_id, id from inventory_changes where at < ? order by at limit ? for update skip locked)`, before, TimelineBatch)
		dropped = done.RowsAffected
		return done.Error
	})
	return int(dropped), err
}
