package schedule

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/server/fleet"
)

// expansion is a run on its way to the executor.
type expansion struct {
	schedule Schedule
	run      fired
	order    plannedOrder
}

// expandTx makes the occurrences of runs and hands them to the executor. What can be asked for all of
// them at once is: their schedules are of one owner, and no two of them the same one. It returns the
// job of each, zero where no device was left.
func (s *Service) expandTx(tx *gorm.DB, list []expansion) ([]uuid.UUID, error) {
	if err := s.planOrders(tx, list); err != nil {
		return nil, err
	}
	if err := occurTx(tx, list); err != nil {
		return nil, err
	}
	if err := holdUpTx(tx, list); err != nil {
		return nil, err
	}
	var firing []int
	var orders []Order
	for i, x := range list {
		if len(x.order.Devices) > 0 {
			firing, orders = append(firing, i), append(orders, x.order.Order)
		}
	}
	made := make([]uuid.UUID, len(list))
	if len(orders) > 0 {
		if err := s.supersedeTx(tx, orders); err != nil {
			return nil, err
		}
		jobs, err := s.exec.FireTx(tx, orders)
		if err != nil {
			return nil, err
		}
		for i, at := range firing {
			made[at] = jobs[i]
		}
	}
	return made, finishRuns(tx, list, made)
}

// planOrders decides for each run on which devices it may start, and when.
func (s *Service) planOrders(tx *gorm.DB, list []expansion) error {
	reaches, err := s.reachesTx(tx, list)
	if err != nil {
		return err
	}
	var owners []uuid.UUID
	for i, x := range list {
		reach := reaches[i]
		if !x.schedule.ZoneMode.fixed() && x.run.Zone != "" {
			fresh := slices.DeleteFunc(distinctZones(x.schedule.ZoneMode, reach), func(zone string) bool { return zone == x.run.Zone })
			if _, err := s.addZonesTx(tx, x.schedule, fresh); err != nil {
				return err
			}
		}
		reaches[i] = inZone(x.schedule, reach, x.run.Zone)
		owners = append(append(owners, x.schedule.TenantID), tenantsOf(reaches[i])...)
	}
	slices.SortFunc(owners, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	blackouts, err := freezesTx(tx, slices.Compact(owners))
	if err != nil {
		return err
	}
	for i, x := range list {
		list[i].order = x.schedule.order(x.run, reaches[i], blackouts, s.clock(tx))
	}
	return nil
}

// mostListed bounds the devices that are looked up together.
const mostListed = 5000

// reachesTx finds the devices of each run. Lists of devices are looked up together, and whatever else
// several schedules choose by in the same words is resolved once.
func (s *Service) reachesTx(tx *gorm.DB, list []expansion) ([][]fleet.Target, error) {
	reaches := make([][]fleet.Target, len(list))
	together := Schedule{TenantID: list[0].schedule.TenantID}
	var joined []int
	known := map[string][]fleet.Target{}
	for i, x := range list {
		if ids := x.schedule.Targets.DeviceIDs; len(ids) > 0 && len(together.Targets.DeviceIDs)+len(ids) <= mostListed {
			joined, together.Targets.DeviceIDs = append(joined, i), append(together.Targets.DeviceIDs, ids...)
			continue
		}
		key, err := json.Marshal(x.schedule.Targets)
		if err != nil {
			return nil, err
		}
		reach, ok := known[string(key)]
		if !ok {
			if reach, err = s.reachTx(tx, x.schedule); err != nil {
				return nil, err
			}
			known[string(key)] = reach
		}
		reaches[i] = reach
	}
	if len(joined) == 0 {
		return reaches, nil
	}
	found, err := s.reachTx(tx, together)
	if err != nil {
		return nil, err
	}
	for _, i := range joined {
		wanted := make(map[uuid.UUID]bool, len(list[i].schedule.Targets.DeviceIDs))
		for _, id := range list[i].schedule.Targets.DeviceIDs {
			wanted[id] = true
		}
		reaches[i] = slices.DeleteFunc(slices.Clone(found), func(t fleet.Target) bool { return !wanted[t.DeviceID] })
	}
	return reaches, nil
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

// occurTx notes that each run happens on its devices, and keeps those on which it has not happened
// before: a device that changed its zone meets the same nominal time twice.
func occurTx(tx *gorm.DB, list []expansion) error {
	type occurrence struct {
		TenantID   uuid.UUID `json:"tenant_id"`
		ScheduleID uuid.UUID `json:"schedule_id"`
		DeviceID   uuid.UUID `json:"device_id"`
		Key        string    `json:"key"`
		RunID      uuid.UUID `json:"run_id"`
		At         time.Time `json:"at"`
	}
	var rows []occurrence
	for _, x := range list {
		for _, t := range x.order.Devices {
			rows = append(rows, occurrence{t.TenantID, x.run.ScheduleID, t.DeviceID, x.run.Key, x.run.ID, x.run.At})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	text, err := json.Marshal(rows)
	if err != nil {
		return err
	}
	var fresh []struct{ RunID, DeviceID uuid.UUID }
	err = tx.Raw(`insert into schedule_occurrences (tenant_id, schedule_id, device_id, key, run_id, at)
		select tenant_id, schedule_id, device_id, key, run_id, at from jsonb_to_recordset(?::jsonb)
		as x(tenant_id uuid, schedule_id uuid, device_id uuid, key text, run_id uuid, at timestamptz)
		on conflict do nothing returning run_id, device_id`, string(text)).Scan(&fresh).Error
	if err != nil {
		return err
	}
	is := make(map[[2]uuid.UUID]bool, len(fresh))
	for _, f := range fresh {
		is[[2]uuid.UUID{f.RunID, f.DeviceID}] = true
	}
	for i, x := range list {
		list[i].order.Devices = slices.DeleteFunc(slices.Clone(x.order.Devices), func(t fleet.Target) bool { return !is[[2]uuid.UUID{x.run.ID, t.DeviceID}] })
	}
	return nil
}

// holdUpTx notes the devices that nothing lets start before their run expires.
func holdUpTx(tx *gorm.DB, list []expansion) error {
	var rows []missed
	for _, x := range list {
		for _, h := range x.order.held {
			row := x.run.missed(h.reason)
			row.TenantID, row.DeviceID = h.target.TenantID, &h.target.DeviceID
			rows = append(rows, row)
		}
	}
	return insertMissed(tx, rows)
}

// supersedeTx skips what earlier runs left waiting for devices that were away, or for a second person,
// and notes it as missed. What somebody has just started by hand is left alone.
func (s *Service) supersedeTx(tx *gorm.DB, orders []Order) error {
	again, ids := make([]Renewal, len(orders)), make([]uuid.UUID, len(orders))
	for i, o := range orders {
		again[i], ids[i] = Renewal{o.Schedule.ID, o.Devices}, o.Schedule.ID
	}
	var spare []uuid.UUID
	err := tx.Raw("select job_id from schedule_runs where tenant_id = ? and schedule_id = any(?::uuid[]) and zone = '' and job_id is not null and fired_at > ?",
		orders[0].Schedule.TenantID, idList(ids), s.clock(tx).Add(-Grace)).Scan(&spare).Error
	if err != nil {
		return err
	}
	old, err := s.exec.SupersedeTx(tx, again, spare)
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

// finishRuns writes down what became of runs.
func finishRuns(tx *gorm.DB, list []expansion, jobs []uuid.UUID) error {
	type end struct {
		TenantID uuid.UUID  `json:"tenant_id"`
		ID       uuid.UUID  `json:"id"`
		Reason   string     `json:"reason"`
		JobID    *uuid.UUID `json:"job_id"`
		Devices  int        `json:"devices"`
	}
	ends := make([]end, len(list))
	for i, x := range list {
		ends[i] = end{TenantID: x.run.TenantID, ID: x.run.ID, Devices: len(x.order.Devices)}
		if jobs[i] == uuid.Nil {
			ends[i].Reason = x.order.emptyBecause()
		} else {
			ends[i].JobID = &jobs[i]
		}
	}
	return unnest(tx, ends, `update schedule_runs r set state = 'done', reason = x.reason, job_id = x.job_id, devices = x.devices
		from jsonb_to_recordset(?::jsonb) as x(tenant_id uuid, id uuid, reason text, job_id uuid, devices integer)
		where r.tenant_id = x.tenant_id and r.id = x.id`)
}
