package schedule

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/server/fleet"
	"reeve/tenants/calendar"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// zoneOf is the zone a device follows under the mode.
func (m ZoneMode) zoneOf(t fleet.Target) string {
	return m.Resolve(ZoneNames{Device: t.DeviceZone, Site: t.SiteZone, Tenant: t.TenantZone}).Name()
}

// fixed tells whether one zone serves all devices.
func (m ZoneMode) fixed() bool { return m != DeviceZone && m != SiteZone && m != TenantZone }

// zonesTx are the zones in which a schedule is due now. Without devices it is the tenant's own, so that
// it stays visible when it would run.
func (s *Service) zonesTx(tx *gorm.DB, sch Schedule) ([]string, error) {
	if sch.ZoneMode.fixed() {
		return []string{sch.ZoneMode.Resolve(ZoneNames{}).Name()}, nil
	}
	reach, err := s.fleet.ResolveTx(tx, sch.Targets)
	if err != nil {
		return nil, err
	}
	zones := distinctZones(sch.ZoneMode, reach)
	if len(zones) > 0 {
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

// replanTx forgets what was due and computes it anew from now on.
func (s *Service) replanTx(tx *gorm.DB, sch Schedule) error {
	if err := tx.Exec("delete from schedule_due where tenant_id = ? and schedule_id = ?", sch.TenantID, sch.ID).Error; err != nil {
		return err
	}
	if !sch.Enabled {
		return nil
	}
	zones, err := s.zonesTx(tx, sch)
	if err != nil {
		return err
	}
	return s.addZonesTx(tx, sch, zones)
}

// addZonesTx adds due rows for zones that have none yet.
func (s *Service) addZonesTx(tx *gorm.DB, sch Schedule, zones []string) error {
	now := tenantdb.Now(tx)
	rows := make([]due, 0, len(zones))
	for _, name := range zones {
		d := due{TenantID: sch.TenantID, ScheduleID: sch.ID, Zone: name, Through: now}
		decision, err := Decide(sch.situation(d, nil, now))
		if err != nil {
			return err
		}
		d.WakeAt = present(decision.WakeAt)
		rows = append(rows, d)
	}
	return insertDue(tx, rows)
}

// situation is what Decide needs to know of a schedule in one zone.
func (sch Schedule) situation(d due, blackouts []Blackout, now time.Time) Situation {
	zone, err := calendar.LoadZone(d.Zone)
	if err != nil {
		zone = calendar.UTC // a zone that a later zone database dropped
	}
	s := Situation{Recurrence: sch.Recurrence, Zone: zone, CatchUp: sch.CatchUp, Openings: sch.openings(d.Zone, blackouts),
		Need: sch.expectedRun(), Progress: Progress{Through: d.Through, Waiting: d.miss()}, Now: now}
	if sch.Window != nil {
		s.Overrun = sch.Window.AllowOverrun
	}
	return s
}

// openings are the times in which the schedule's work may start in a zone.
func (sch Schedule) openings(zone string, blackouts []Blackout) Openings {
	var windows []Window
	if sch.Window != nil {
		windows = []Window{{Zone: ZoneMode(zone), Start: sch.Window.Start, DurationSeconds: sch.Window.DurationSeconds}}
	}
	o, err := NewOpenings(windows, blackouts, ZoneNames{Device: zone, Site: zone, Tenant: zone})
	if err != nil {
		return Openings{} // what was valid when it was saved
	}
	return o
}

// expectedRun is how long the work says that it may take; zero when it does not say.
func (sch Schedule) expectedRun() time.Duration {
	var p struct {
		TimeoutSeconds int `json:"timeout_seconds"`
	}
	if json.Unmarshal(sch.What.Payload, &p) != nil {
		return 0
	}
	return time.Duration(max(0, p.TimeoutSeconds)) * time.Second
}

// ZoneBatch is how many schedules one sweep looks at.
const ZoneBatch = 50

// SweepZones looks whether devices of a schedule have come into a zone that has no due row yet.
func (s *Service) SweepZones(ctx context.Context) (int, error) {
	const every = "10 minutes"
	var ids []struct{ TenantID, ID uuid.UUID }
	err := s.db.System(ctx, func(tx *gorm.DB) error {
		return tx.Raw(`update schedules set zones_checked_at = now() where (tenant_id, id) in (
			select tenant_id, id from schedules where enabled and deleted_at is null and zones_checked_at < now() - ?::interval
			and zone_mode in ('device', 'site', 'tenant') order by zones_checked_at limit ? for update skip locked)
			returning tenant_id, id`, every, ZoneBatch).Scan(&ids).Error
	})
	if err != nil {
		return 0, fmt.Errorf("choosing schedules to look at: %w", err)
	}
	for _, id := range ids {
		err := s.db.Tx(asSchedule(ctx, id.TenantID, "schedule zones"), func(tx *gorm.DB) error {
			sch, err := loadSchedule(tx, id.ID, true)
			if err != nil || !sch.Enabled {
				return err
			}
			zones, err := s.zonesTx(tx, sch)
			if err != nil {
				return ignoreGone(err)
			}
			return s.addZonesTx(tx, sch, zones)
		})
		if err != nil {
			return 0, fmt.Errorf("zones of schedule %s: %w", id.ID, ignoreGone(err))
		}
	}
	return len(ids), nil
}

// asSchedule is the scope in which a schedule's work is made: its tenant, or everything for the
// provider's, and never more.
func asSchedule(ctx context.Context, tenant uuid.UUID, name string) context.Context {
	s := scope.Scope{Reach: scope.Tenant, Tenants: []scope.ID{tenant},
		Actor:  scope.Actor{Kind: scope.Server, TenantID: scope.Provider, Name: name},
		Grants: []scope.Grant{{TenantID: tenant, Permissions: executing}}}
	if tenant == uuid.UUID(scope.Provider) {
		s.Reach, s.Tenants = scope.Staff, nil
		s.Grants = []scope.Grant{{AllTenants: true, Permissions: executing}}
	}
	return scope.With(ctx, s)
}

// executing is what a schedule's own actor may do; who saved the schedule was checked then.
var executing = []string{"jobs.run", "devices.read", "scripts.read", permRead}

// Device zones come from the device, which may report anything; present maps zero to null.
func present(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
