package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/server/fleet"
	"reeve/tenants/calendar"
	"reeve/tenants/scope"
)

// zoneOf is the zone a device follows under the mode.
func (m ZoneMode) zoneOf(t fleet.Target) string {
	return m.Resolve(ZoneNames{Device: t.DeviceZone, Site: t.SiteZone, Tenant: t.TenantZone}).Name()
}

// fixed tells whether one zone serves all devices.
func (m ZoneMode) fixed() bool { return m != DeviceZone && m != SiteZone && m != TenantZone }

// reachTx finds the devices that a schedule chooses now. What it names and is not there any more, a
// device that was purged or a site of another tenant, is passed over: the rest must not wait for it.
func (s *Service) reachTx(tx *gorm.DB, sch Schedule) ([]fleet.Target, error) {
	sel := sch.Targets
	reach, err := s.fleet.ResolveTx(tx, sel)
	if errors.Is(err, fleet.ErrTargets) && len(sel.DeviceIDs) > 0 {
		if err := tx.Raw("select id from devices where id = any(?::uuid[])", idList(sel.DeviceIDs)).Scan(&sel.DeviceIDs).Error; err != nil {
			return nil, err
		}
		if len(sel.DeviceIDs) == 0 {
			return nil, nil
		}
		reach, err = s.fleet.ResolveTx(tx, sel)
	}
	if err = ignoreGone(err); err != nil {
		return nil, err
	}
	// Row-level security has seen to it already; this holds whatever the scope.
	return slices.DeleteFunc(reach, func(t fleet.Target) bool {
		return sch.TenantID != uuid.UUID(scope.Provider) && t.TenantID != sch.TenantID
	}), nil
}

// idList is one parameter for a list of ids.
func idList(ids []uuid.UUID) string {
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(id.String())
	}
	return "{" + b.String() + "}"
}

// zonesTx are the zones in which a schedule is due now. Without devices it is the tenant's own, so that
// it stays visible when it would run.
func (s *Service) zonesTx(tx *gorm.DB, sch Schedule) ([]string, error) {
	if sch.ZoneMode.fixed() {
		return []string{sch.ZoneMode.Resolve(ZoneNames{}).Name()}, nil
	}
	reach, err := s.reachTx(tx, sch)
	if err != nil {
		return nil, err
	}
	if zones := distinctZones(sch.ZoneMode, reach); len(zones) > 0 {
		return zones, nil
	}
	var tenant string
	if err := tx.Raw("select zone from tenants where id = ?", sch.TenantID).Scan(&tenant).Error; err != nil {
		return nil, err
	}
	return []string{TenantZone.Resolve(ZoneNames{Tenant: tenant}).Name()}, nil
}

func distinctZones(mode ZoneMode, reach []fleet.Target) (zones []string) {
	for _, t := range reach {
		if z := mode.zoneOf(t); !slices.Contains(zones, z) {
			zones = append(zones, z)
		}
	}
	slices.Sort(zones)
	return zones
}

// replanTx forgets what was due and computes it anew from now on. It tells whether anything will run.
func (s *Service) replanTx(tx *gorm.DB, sch Schedule) (runs bool, err error) {
	if err := tx.Exec("delete from schedule_due where tenant_id = ? and schedule_id = ?", sch.TenantID, sch.ID).Error; err != nil {
		return false, err
	}
	if !sch.Enabled {
		return false, nil
	}
	zones, err := s.zonesTx(tx, sch)
	if err != nil {
		return false, err
	}
	return s.addZonesTx(tx, sch, zones)
}

// retimeTx brings what is due up to a change of the schedule. What was due before is decided by what
// the schedule was; a run that still waited for its time is missed when the times change.
func (s *Service) retimeTx(tx *gorm.DB, before, after Schedule) error {
	var rows []dueRow
	err := tx.Raw("select zone, wake_at, through, waiting::text as waiting from schedule_due where tenant_id = ? and schedule_id = ? for update",
		before.TenantID, before.ID).Scan(&rows).Error
	if err != nil {
		return err
	}
	now := s.clock(tx)
	var decided []pending
	var waiting []missed
	for _, r := range rows {
		d, err := r.due(before)
		if err != nil {
			return err
		}
		if r.WakeAt != nil && !r.WakeAt.After(now) {
			decided = append(decided, pending{before, d})
		} else if m := d.miss(); m != nil {
			waiting = append(waiting, before.missed(r.Zone, *m, nil))
		}
	}
	still, err := s.decideTx(tx, decided)
	if err != nil {
		return err
	}
	if before.sameTimes(after) {
		return s.addMissingZones(tx, after)
	}
	for _, d := range still {
		if m := d.miss(); m != nil {
			waiting = append(waiting, before.missed(d.Zone, *m, nil))
		}
	}
	if err := insertMissed(tx, waiting); err != nil {
		return err
	}
	runs, err := s.replanTx(tx, after)
	if err == nil && after.Enabled && !runs && !same(before.Recurrence, after.Recurrence) {
		return errNeverRuns
	}
	return err
}

// sameTimes tells whether a change leaves what is planned as it is.
func (sch Schedule) sameTimes(after Schedule) bool {
	return sch.Enabled == after.Enabled && sch.ZoneMode == after.ZoneMode && same(sch.Recurrence, after.Recurrence) &&
		same(sch.Window, after.Window) && same(sch.CatchUp, after.CatchUp)
}

func (s *Service) addMissingZones(tx *gorm.DB, sch Schedule) error {
	if !sch.Enabled {
		return nil
	}
	zones, err := s.zonesTx(tx, sch)
	if err == nil {
		_, err = s.addZonesTx(tx, sch, zones)
	}
	return err
}

// addZonesTx adds due rows for zones that have none yet, and tells whether the schedule runs in any.
func (s *Service) addZonesTx(tx *gorm.DB, sch Schedule, zones []string) (runs bool, err error) {
	if !sch.Enabled || len(zones) == 0 {
		return false, nil
	}
	now := s.clock(tx)
	rows := make([]due, 0, len(zones))
	for _, name := range zones {
		d := due{TenantID: sch.TenantID, ScheduleID: sch.ID, Zone: name, Through: now}
		decision, err := Decide(sch.situation(d, nil, now))
		if err != nil {
			return false, err
		}
		d.WakeAt = present(decision.WakeAt)
		runs = runs || d.WakeAt != nil
		rows = append(rows, d)
	}
	return runs, insertDue(tx, rows)
}

// situation is what Decide needs to know of a schedule in one zone.
func (sch Schedule) situation(d due, blackouts []Blackout, now time.Time) Situation {
	zone, err := calendar.LoadZone(d.Zone)
	if err != nil {
		zone = calendar.UTC // a zone that a later zone database dropped
	}
	s := Situation{Recurrence: sch.Recurrence, Zone: zone, CatchUp: sch.CatchUp, Openings: sch.openings(d.Zone, blackouts),
		Need: sch.What.expectedRun(), Progress: Progress{Through: d.Through, Waiting: d.miss()}, Now: now}
	if sch.Window != nil {
		s.Overrun = sch.Window.AllowOverrun
	}
	return s
}

// openings are the times in which the schedule's work may start in a zone. What does not compile any
// more, although it did when it was saved, holds the work up rather than letting it go at any time.
func (sch Schedule) openings(zone string, blackouts []Blackout) Openings {
	var windows []Window
	if sch.Window != nil {
		windows = []Window{{Zone: ZoneMode(zone), Start: sch.Window.Start, DurationSeconds: sch.Window.DurationSeconds}}
	}
	o, err := NewOpenings(windows, blackouts, ZoneNames{Device: zone, Site: zone, Tenant: zone})
	if err != nil {
		return closed
	}
	return o
}

// closed never opens.
var closed = Openings{windows: []span{{rule: rule{wall: once{}, oneOff: true}, zone: calendar.UTC}}}

// expectedRun is how long the work says that it may take; zero when it does not say.
func (w Work) expectedRun() time.Duration {
	var p struct {
		TimeoutSeconds int `json:"timeout_seconds"`
	}
	if json.Unmarshal(w.Payload, &p) != nil {
		return 0
	}
	return time.Duration(max(0, p.TimeoutSeconds)) * time.Second
}

// ZoneBatch is how many schedules one sweep looks at.
const ZoneBatch = 50

// SweepZones looks whether devices of a schedule have come into a zone that has no due row yet, and
// drops the rows of zones that the last one has left.
func (s *Service) SweepZones(ctx context.Context) (int, error) {
	const every = 10 * time.Minute
	var list []owner
	err := s.db.System(ctx, func(tx *gorm.DB) error {
		now := s.clock(tx)
		return tx.Raw(`update schedules set zones_checked_at = ? where (tenant_id, id) in (
			select tenant_id, id from schedules where enabled and deleted_at is null and zones_checked_at < ?
			and zone_mode in ('device', 'site', 'tenant') order by zones_checked_at limit ? for no key update skip locked)
			returning tenant_id, id as schedule_id, answers`, now, now.Add(-every), ZoneBatch).Scan(&list).Error
	})
	if err != nil {
		return 0, fmt.Errorf("choosing schedules to look at: %w", err)
	}
	for _, o := range list {
		err := s.db.Tx(asSchedule(ctx, o), func(tx *gorm.DB) error { return s.rezoneTx(tx, o) })
		if err = ignoreGone(err); err != nil { // the others do not wait for it; its turn comes again
			s.log.ErrorContext(ctx, "looking at the zones of a schedule failed", "schedule_id", o.ScheduleID, "error", err)
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	return len(list), nil
}

func (s *Service) rezoneTx(tx *gorm.DB, o owner) error {
	sch, err := loadSchedule(tx, &o.TenantID, o.ScheduleID, true)
	if err != nil || !sch.Enabled {
		return err
	}
	zones, err := s.zonesTx(tx, sch)
	if err != nil {
		return err
	}
	if _, err := s.addZonesTx(tx, sch, zones); err != nil {
		return err
	}
	text, err := json.Marshal(zones)
	if err != nil {
		return err
	}
	// What is due or waits there is decided first.
	return tx.Exec(`delete from schedule_due where tenant_id = ? and schedule_id = ? and waiting is null and wake_at > ?
		and not zone = any (select jsonb_array_elements_text(?::jsonb))`, sch.TenantID, sch.ID, s.clock(tx), string(text)).Error
}

// owner is a schedule, whose it is, and who answers for it.
type owner struct {
	TenantID, ScheduleID uuid.UUID
	Answers              *uuid.UUID
}

// asSchedule is the scope in which a schedule's work is made: its tenant, or everything for the
// provider's, and never more. It acts for who answers for the schedule, so that this person is not the
// second one who agrees.
func asSchedule(ctx context.Context, o owner) context.Context {
	s := scope.Scope{Reach: scope.Tenant, Tenants: []scope.ID{o.TenantID},
		Actor:  scope.Actor{Kind: scope.Server, TenantID: scope.Provider, Name: "schedule"},
		Grants: []scope.Grant{{TenantID: o.TenantID, Permissions: executing}}}
	if o.Answers != nil {
		s.Actor.ID = *o.Answers
	}
	if o.TenantID == uuid.UUID(scope.Provider) {
		s.Reach, s.Tenants = scope.Staff, nil
		s.Grants = []scope.Grant{{AllTenants: true, Permissions: executing}}
	}
	return scope.With(ctx, s)
}

// executing is what a schedule's own actor may do; who saved the schedule was checked then.
var executing = []string{"jobs.run", "devices.read", "scripts.read", permRead}

// present makes the zero time null.
func present(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
