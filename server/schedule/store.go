package schedule

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/fleet"
	"reeve/tenants/calendar"
	"reeve/tenants/tenantdb"
)

// row is a schedule as the database has it.
type row struct {
	TenantID, ID       uuid.UUID
	Name               string
	Enabled            bool
	Kind               string
	Payload            string
	TaskExpiresSeconds *int
	Targets            string
	Recurrence         string
	ZoneMode           string
	MaintenanceWindow  *string
	CatchUp            string
	JitterSeconds      int
	ApprovalID         *uuid.UUID
	ApprovedDevices    int
	Answers            *uuid.UUID
	CreatedByName      string
	Version            int64
	CreatedAt          time.Time
	UpdatedAt          time.Time
}

const rowColumns = `s.tenant_id, s.id, s.name, s.enabled, s.kind, s.payload::text as payload, s.task_expires_seconds, s.targets::text as targets,
	s.recurrence::text as recurrence, s.zone_mode, s.maintenance_window::text as maintenance_window, s.catch_up::text as catch_up,
	s.jitter_seconds, s.approval_id, s.approved_devices, s.answers, s.created_by_name, s.version, s.created_at, s.updated_at`

func (r row) schedule() (Schedule, error) {
	s := Schedule{TenantID: r.TenantID, ID: r.ID, Name: r.Name, Enabled: r.Enabled, ZoneMode: ZoneMode(r.ZoneMode), JitterSeconds: r.JitterSeconds,
		What:       Work{Kind: r.Kind, Payload: json.RawMessage(r.Payload), TaskExpiresSeconds: r.TaskExpiresSeconds},
		ApprovalID: r.ApprovalID, Approved: r.ApprovedDevices, CreatedBy: r.CreatedByName, Version: r.Version,
		CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC()}
	if r.Answers != nil {
		s.Answers = *r.Answers
	}
	err := errors.Join(json.Unmarshal([]byte(r.Targets), &s.Targets), json.Unmarshal([]byte(r.Recurrence), &s.Recurrence),
		json.Unmarshal([]byte(r.CatchUp), &s.CatchUp))
	if r.MaintenanceWindow != nil {
		s.Window = &MaintenanceWindow{}
		err = errors.Join(err, json.Unmarshal([]byte(*r.MaintenanceWindow), s.Window))
	}
	return s, err
}

// loadSchedule reads a schedule; without a tenant, of whichever one within reach. lock keeps others
// from changing it, but lets runs of it be noted.
func loadSchedule(tx *gorm.DB, tenant *uuid.UUID, id uuid.UUID, lock bool) (Schedule, error) {
	sql, args := "select "+rowColumns+" from schedules s where s.id = ? and s.deleted_at is null", []any{id}
	if tenant != nil {
		sql, args = sql+" and s.tenant_id = ?", append(args, *tenant)
	}
	if lock {
		sql += " for no key update"
	}
	var rows []row
	if err := tx.Raw(sql, args...).Scan(&rows).Error; err != nil {
		return Schedule{}, err
	}
	if len(rows) == 0 {
		return Schedule{}, ErrNotFound
	}
	return rows[0].schedule()
}

// columns are what a person may change.
func (s Schedule) columns() (map[string]any, error) {
	columns := map[string]any{"name": s.Name, "name_key": strings.ToLower(s.Name), "enabled": s.Enabled, "kind": s.What.Kind,
		"task_expires_seconds": s.What.TaskExpiresSeconds, "zone_mode": string(s.ZoneMode), "jitter_seconds": s.JitterSeconds,
		"approval_id": s.ApprovalID, "approved_devices": s.Approved, "answers": s.Answers, "maintenance_window": nil}
	documents := map[string]any{"payload": s.What.Payload, "targets": s.Targets, "recurrence": s.Recurrence, "catch_up": s.CatchUp}
	if s.Window != nil {
		documents["maintenance_window"] = s.Window
	}
	for name, value := range documents {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		columns[name] = gorm.Expr("?::jsonb", string(text))
	}
	return columns, nil
}

func insertSchedule(tx *gorm.DB, s Schedule) error {
	columns, err := s.columns()
	if err != nil {
		return err
	}
	columns["tenant_id"], columns["id"], columns["created_by_name"] = s.TenantID, s.ID, s.CreatedBy
	columns["created_by"] = s.Answers
	return tx.Table("schedules").Create(columns).Error
}

func updateSchedule(tx *gorm.DB, s Schedule, version int64) error {
	columns, err := s.columns()
	if err != nil {
		return err
	}
	columns["updated_at"] = gorm.Expr("now()")
	return tenantdb.UpdateVersion(tx.Table("schedules").Where("tenant_id = ? and id = ?", s.TenantID, s.ID), version, columns)
}

// due is a schedule in one zone.
type due struct {
	TenantID   uuid.UUID  `json:"tenant_id"`
	ScheduleID uuid.UUID  `json:"schedule_id"`
	Zone       string     `json:"zone"`
	WakeAt     *time.Time `json:"wake_at"`
	Through    time.Time  `json:"through"`
	Waiting    *waiting   `json:"waiting" gorm:"-"`
}

// dueRow is due as the database has it.
type dueRow struct {
	Zone    string
	WakeAt  *time.Time
	Through time.Time
	Waiting *string
}

func (r dueRow) due(sch Schedule) (due, error) {
	d := due{TenantID: sch.TenantID, ScheduleID: sch.ID, Zone: r.Zone, Through: r.Through.UTC()}
	if r.Waiting != nil {
		if err := json.Unmarshal([]byte(*r.Waiting), &d.Waiting); err != nil {
			return d, fmt.Errorf("schedule %s: %w", sch.ID, err)
		}
	}
	return d, nil
}

// waiting is the run that waits for its window, as it is stored.
type waiting struct {
	Nominal  calendar.Local `json:"nominal"`
	Fold     int            `json:"fold"`
	At       time.Time      `json:"at"`
	RealTime bool           `json:"real_time,omitempty"`
	Reason   Reason         `json:"reason"`
}

func (d due) miss() *Miss {
	if d.Waiting == nil {
		return nil
	}
	w := d.Waiting
	return &Miss{Run: Run{NominalLocal: w.Nominal, Fold: w.Fold, At: w.At, RealTime: w.RealTime}, Reason: w.Reason}
}

func (d *due) remember(p Progress, wake time.Time) {
	d.Through, d.WakeAt, d.Waiting = p.Through, present(wake), nil
	if m := p.Waiting; m != nil {
		d.Waiting = &waiting{Nominal: m.Run.NominalLocal, Fold: m.Run.Fold, At: m.Run.At, RealTime: m.Run.RealTime, Reason: m.Reason}
	}
}

func insertDue(tx *gorm.DB, rows []due) error {
	return unnest(tx, rows, `insert into schedule_due (tenant_id, schedule_id, zone, wake_at, through)
		select tenant_id, schedule_id, zone, wake_at, through from jsonb_to_recordset(?::jsonb)
		as x(tenant_id uuid, schedule_id uuid, zone text, wake_at timestamptz, through timestamptz) on conflict do nothing`)
}

func updateDue(tx *gorm.DB, rows []due) error {
	return unnest(tx, rows, `update schedule_due d set wake_at = x.wake_at, through = x.through, waiting = nullif(x.waiting, 'null'::jsonb)
		from jsonb_to_recordset(?::jsonb) as x(tenant_id uuid, schedule_id uuid, zone text, wake_at timestamptz, through timestamptz, waiting jsonb)
		where d.tenant_id = x.tenant_id and d.schedule_id = x.schedule_id and d.zone = x.zone`)
}

// fired is a run that fires.
type fired struct {
	TenantID   uuid.UUID  `json:"tenant_id"`
	ID         uuid.UUID  `json:"id"`
	ScheduleID uuid.UUID  `json:"schedule_id"`
	Zone       string     `json:"zone"` // empty: every zone, for a run by hand
	Key        string     `json:"key"`
	Nominal    string     `json:"nominal"`
	Fold       int        `json:"fold"`
	At         time.Time  `json:"at"`
	FiredAt    time.Time  `json:"fired_at"`
	CatchUp    bool       `json:"catch_up"`
	ExpiresAt  *time.Time `json:"expires_at"`
	Attempts   int        `json:"-"`
}

func insertRuns(tx *gorm.DB, rows []fired) error {
	return unnest(tx, rows, `insert into schedule_runs (tenant_id, id, schedule_id, zone, key, nominal, fold, at, fired_at, next_try_at, catch_up, expires_at)
		select tenant_id, id, schedule_id, zone, key, nominal, fold, at, fired_at, fired_at, catch_up, expires_at from jsonb_to_recordset(?::jsonb)
		as x(tenant_id uuid, id uuid, schedule_id uuid, zone text, key text, nominal text, fold smallint, at timestamptz, fired_at timestamptz,
		catch_up boolean, expires_at timestamptz) on conflict do nothing`)
}

// missed is a row of the ledger.
type missed struct {
	TenantID   uuid.UUID  `json:"tenant_id"`
	ID         uuid.UUID  `json:"id"`
	ScheduleID uuid.UUID  `json:"schedule_id"`
	DeviceID   *uuid.UUID `json:"device_id"`
	Zone       string     `json:"zone"`
	Key        string     `json:"key"`
	Nominal    string     `json:"nominal"`
	At         time.Time  `json:"at"`
	Reason     Reason     `json:"reason"`
	CaughtUpAt *time.Time `json:"caught_up_at"`
	Earlier    int        `json:"earlier"` // misses before it that are only counted
}

func insertMissed(tx *gorm.DB, rows []missed) error {
	return unnest(tx, rows, `insert into missed_runs (tenant_id, id, schedule_id, device_id, zone, key, nominal, at, reason, caught_up_at, earlier)
		select tenant_id, id, schedule_id, device_id, zone, key, nominal, at, reason, caught_up_at, earlier from jsonb_to_recordset(?::jsonb)
		as x(tenant_id uuid, id uuid, schedule_id uuid, device_id uuid, zone text, key text, nominal text, at timestamptz, reason text, caught_up_at timestamptz, earlier bigint)
		on conflict do nothing`)
}

// unnest runs one statement over many rows, which travel as a single JSON parameter.
func unnest[T any](tx *gorm.DB, rows []T, sql string) error {
	if len(rows) == 0 {
		return nil
	}
	text, err := json.Marshal(rows)
	if err != nil {
		return err
	}
	return tx.Exec(sql, string(text)).Error
}

// ignoreGone makes nothing of what was deleted, or no longer reaches a device, in the meantime.
func ignoreGone(err error) error {
	if errors.Is(err, ErrNotFound) || errors.Is(err, fleet.ErrTargets) || fault.KindOf(err) == fault.NotFound {
		return nil
	}
	return err
}
