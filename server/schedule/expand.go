package schedule

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/server/fleet"
)

// expandTx makes the occurrences of a run and hands them to the executor.
func (s *Service) expandTx(tx *gorm.DB, sch Schedule, run fired) (uuid.UUID, error) {
	reach, err := s.reachTx(tx, sch)
	if err != nil {
		return uuid.Nil, err
	}
	if !sch.ZoneMode.fixed() && run.Zone != "" {
		fresh := slices.DeleteFunc(distinctZones(sch.ZoneMode, reach), func(zone string) bool { return zone == run.Zone })
		if _, err := s.addZonesTx(tx, sch, fresh); err != nil {
			return uuid.Nil, err
		}
	}
	reach = inZone(sch, reach, run.Zone)
	blackouts, err := freezesTx(tx, append(tenantsOf(reach), sch.TenantID))
	if err != nil {
		return uuid.Nil, err
	}
	order := sch.order(run, reach, blackouts, s.clock(tx))
	if order.Devices, err = occurTx(tx, run, order.Devices); err != nil {
		return uuid.Nil, err
	}
	if err := s.holdUpTx(tx, run, order.held); err != nil {
		return uuid.Nil, err
	}
	if len(order.Devices) == 0 {
		return uuid.Nil, finishRun(tx, run, "done", order.emptyBecause(), nil, 0)
	}
	if err := s.supersedeTx(tx, sch, order.Devices); err != nil {
		return uuid.Nil, err
	}
	job, err := s.exec.FireTx(tx, order.Order)
	if err != nil {
		return uuid.Nil, err
	}
	return job, finishRun(tx, run, "done", "", &job, len(order.Devices))
}

func (o plannedOrder) emptyBecause() string {
	if len(o.held) > 0 {
		return "no device may start before the run expires: " + holdWords[o.held[0].reason]
	}
	return "no device was chosen by the targets"
}

var holdWords = map[Reason]string{MissedBlackout: "a blackout holds", MissedWindow: "no window is open for long enough"}

func tenantsOf(reach []fleet.Target) (ids []uuid.UUID) {
	seen := map[uuid.UUID]bool{}
	for _, t := range reach {
		if !seen[t.TenantID] {
			seen[t.TenantID] = true
			ids = append(ids, t.TenantID)
		}
	}
	return ids
}

func inZone(sch Schedule, reach []fleet.Target, zone string) []fleet.Target {
	if zone == "" || sch.ZoneMode.fixed() {
		return reach
	}
	var in []fleet.Target
	for _, t := range reach {
		if sch.ZoneMode.zoneOf(t) == zone {
			in = append(in, t)
		}
	}
	return in
}

// occurTx notes that the run happens on each device, and keeps those on which it has not happened
// before: a device that changed its zone meets the same nominal time twice.
func occurTx(tx *gorm.DB, run fired, reach []fleet.Target) ([]fleet.Target, error) {
	if len(reach) == 0 {
		return nil, nil
	}
	type occurrence struct {
		TenantID   uuid.UUID `json:"tenant_id"`
		ScheduleID uuid.UUID `json:"schedule_id"`
		DeviceID   uuid.UUID `json:"device_id"`
		Key        string    `json:"key"`
		RunID      uuid.UUID `json:"run_id"`
		At         time.Time `json:"at"`
	}
	rows := make([]occurrence, len(reach))
	for i, t := range reach {
		rows[i] = occurrence{t.TenantID, run.ScheduleID, t.DeviceID, run.Key, run.ID, run.At}
	}
	text, err := json.Marshal(rows)
	if err != nil {
		return nil, err
	}
	var fresh []uuid.UUID
	err = tx.Raw(`insert into schedule_occurrences (tenant_id, schedule_id, device_id, key, run_id, at)
		select tenant_id, schedule_id, device_id, key, run_id, at from jsonb_to_recordset(?::jsonb)
		as x(tenant_id uuid, schedule_id uuid, device_id uuid, key text, run_id uuid, at timestamptz)
		on conflict do nothing returning device_id`, string(text)).Scan(&fresh).Error
	if err != nil {
		return nil, err
	}
	is := make(map[uuid.UUID]bool, len(fresh))
	for _, id := range fresh {
		is[id] = true
	}
	return slices.DeleteFunc(slices.Clone(reach), func(t fleet.Target) bool { return !is[t.DeviceID] }), nil
}

// holdUpTx notes the devices that nothing lets start before the run expires.
func (s *Service) holdUpTx(tx *gorm.DB, run fired, held []heldDevice) error {
	rows := make([]missed, len(held))
	for i, h := range held {
		rows[i] = run.missed(h.reason)
		rows[i].TenantID, rows[i].DeviceID = h.target.TenantID, &h.target.DeviceID
	}
	return insertMissed(tx, rows)
}

// supersedeTx skips what earlier runs left waiting for devices that were away, or for a second person,
// and notes it as missed. What somebody has just started by hand is left alone.
func (s *Service) supersedeTx(tx *gorm.DB, sch Schedule, reach []fleet.Target) error {
	ids := make([]uuid.UUID, len(reach))
	for i, t := range reach {
		ids[i] = t.DeviceID
	}
	var spare []uuid.UUID
	err := tx.Raw("select job_id from schedule_runs where tenant_id = ? and schedule_id = ? and zone = '' and job_id is not null and fired_at > ?",
		sch.TenantID, sch.ID, s.clock(tx).Add(-Grace)).Scan(&spare).Error
	if err != nil {
		return err
	}
	old, err := s.exec.SupersedeTx(tx, sch.ID, ids, spare)
	if err != nil {
		return err
	}
	var away, unapproved []Superseded
	for _, o := range old {
		if o.DeviceID == uuid.Nil {
			unapproved = append(unapproved, o)
		} else {
			away = append(away, o)
		}
	}
	if err := missJobsTx(tx, MissedQueue, unapproved); err != nil {
		return err
	}
	return MissTx(tx, MissedOffline, away)
}

// MissTx notes that tasks of schedules never started on their devices. A run of a tenant counts for
// its own devices only, and one of the provider for all.
func MissTx(tx *gorm.DB, reason Reason, list []Superseded) error {
	return unnest(tx, pairs(reason, list), `insert into missed_runs (tenant_id, id, schedule_id, device_id, zone, key, nominal, at, reason)
		select d.tenant_id, x.id, r.schedule_id, x.device_id, r.zone, r.key, r.nominal, r.at, x.reason
		from jsonb_to_recordset(?::jsonb) as x(id uuid, job_id uuid, device_id uuid, reason text)
		join devices d on d.id = x.device_id
		join schedule_runs r on r.job_id = x.job_id and r.tenant_id in (d.tenant_id, reeve_provider()) on conflict do nothing`)
}

// missJobsTx notes that whole runs never started.
func missJobsTx(tx *gorm.DB, reason Reason, list []Superseded) error {
	return unnest(tx, pairs(reason, list), `insert into missed_runs (tenant_id, id, schedule_id, zone, key, nominal, at, reason)
		select r.tenant_id, x.id, r.schedule_id, r.zone, r.key, r.nominal, r.at, x.reason
		from jsonb_to_recordset(?::jsonb) as x(id uuid, job_id uuid, reason text)
		join schedule_runs r on r.job_id = x.job_id on conflict do nothing`)
}

// missPair is a task that did not start.
type missPair struct {
	ID       uuid.UUID `json:"id"`
	JobID    uuid.UUID `json:"job_id"`
	DeviceID uuid.UUID `json:"device_id"`
	Reason   Reason    `json:"reason"`
}

func pairs(reason Reason, list []Superseded) []missPair {
	made := make([]missPair, len(list))
	for i, m := range list {
		made[i] = missPair{uuid.Must(uuid.NewV7()), m.JobID, m.DeviceID, reason}
	}
	return made
}

func finishRun(tx *gorm.DB, run fired, state, reason string, job *uuid.UUID, devices int) error {
	return tx.Exec("update schedule_runs set state = ?, reason = ?, job_id = ?, devices = ? where tenant_id = ? and id = ?",
		state, reason, job, devices, run.TenantID, run.ID).Error
}
