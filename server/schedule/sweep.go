package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/fleet"
	"reeve/tenants/calendar"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// Batch is how many schedules one sweep decides at once.
const Batch = 1000

// claimed is a due row with its schedule.
type claimed struct {
	Row     row `gorm:"embedded"`
	Zone    string
	Through time.Time
	Waiting *string
}

// SweepDue decides every schedule whose time has come: what fires becomes a run, what does not is
// missed. Replicas share the work by skipping each other's locked rows; the runs' unique key stops one
// that was paused in the middle and came back.
func (s *Service) SweepDue(ctx context.Context) (int, error) {
	var n int
	err := s.db.System(ctx, func(tx *gorm.DB) error {
		var rows []claimed
		err := tx.Raw(`select `+rowColumns+`, d.zone, d.through, d.waiting::text as waiting from schedule_due d
			join schedules s on s.tenant_id = d.tenant_id and s.id = d.schedule_id
			where d.wake_at <= now() order by d.wake_at limit ? for update of d skip locked`, Batch).Scan(&rows).Error
		if err != nil || len(rows) == 0 {
			return err
		}
		n = len(rows)
		return s.decideTx(tx, rows)
	})
	if err != nil {
		return 0, fmt.Errorf("deciding due schedules: %w", err)
	}
	return n, nil
}

func (s *Service) decideTx(tx *gorm.DB, rows []claimed) error {
	blackouts, err := allBlackoutsTx(tx, rows)
	if err != nil {
		return err
	}
	now := tenantdb.Now(tx)
	var next []due
	var runs []fired
	var misses []missed
	for _, r := range rows {
		sch, err := r.Row.schedule()
		if err != nil {
			return fmt.Errorf("schedule %s: %w", r.Row.ID, err)
		}
		d := due{TenantID: sch.TenantID, ScheduleID: sch.ID, Zone: r.Zone, Through: r.Through.UTC()}
		if r.Waiting != nil {
			if err := json.Unmarshal([]byte(*r.Waiting), &d.Waiting); err != nil {
				return fmt.Errorf("schedule %s: %w", sch.ID, err)
			}
		}
		before := d.miss()
		decision, err := Decide(sch.situation(d, blackouts.holding(sch.TenantID), now))
		if err != nil {
			return fmt.Errorf("schedule %s: %w", sch.ID, err)
		}
		runs, misses = sch.record(d.Zone, decision, before, now, runs, misses)
		d.remember(decision.Progress, decision.WakeAt)
		next = append(next, d)
	}
	return errors.Join(insertRuns(tx, runs), insertMissed(tx, misses), updateDue(tx, next))
}

// record turns a decision into rows. A run that fires late was missed at its time, and is caught up.
func (sch Schedule) record(zone string, d Decision, before *Miss, now time.Time, runs []fired, misses []missed) ([]fired, []missed) {
	for _, m := range d.Missed {
		misses = append(misses, sch.missed(zone, m, nil))
	}
	f := d.Fire
	if f == nil {
		return runs, misses
	}
	if f.CatchUp {
		m := Miss{Run: f.Run, Reason: MissedServer}
		if before != nil && before.Run.Key() == f.Run.Key() {
			m.Reason = before.Reason
		}
		misses = append(misses, sch.missed(zone, m, &now))
	}
	return append(runs, fired{TenantID: sch.TenantID, ID: uuid.Must(uuid.NewV7()), ScheduleID: sch.ID, Zone: zone, Key: f.Run.Key(),
		Nominal: f.Run.NominalLocal.String(), Fold: f.Run.Fold, At: f.Run.At, FiredAt: now, CatchUp: f.CatchUp, ExpiresAt: present(f.Expires)}), misses
}

func (sch Schedule) missed(zone string, m Miss, caughtUp *time.Time) missed {
	return missed{TenantID: sch.TenantID, ID: uuid.Must(uuid.NewV7()), ScheduleID: sch.ID, Zone: zone, Key: m.Run.Key(),
		Nominal: m.Run.NominalLocal.String(), At: m.Run.At, Reason: m.Reason, CaughtUpAt: caughtUp}
}

// RunBatch is how many runs one sweep expands.
const RunBatch = 100

// maxAttempts is how often a run is tried before it is given up as missed.
const maxAttempts = 5

// SweepRuns turns runs into tasks, each in a transaction of its own that sees no more than the
// schedule's tenant does.
func (s *Service) SweepRuns(ctx context.Context) (int, error) {
	var open []struct{ TenantID, ID, ScheduleID uuid.UUID }
	err := s.db.System(ctx, func(tx *gorm.DB) error {
		return tx.Raw(`select tenant_id, id, schedule_id from schedule_runs where state = 'fired' and next_try_at <= now()
			order by next_try_at limit ?`, RunBatch).Scan(&open).Error
	})
	if err != nil {
		return 0, fmt.Errorf("looking for fired schedules: %w", err)
	}
	for _, run := range open {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		err := s.db.Tx(asSchedule(ctx, run.TenantID, "schedule"), func(tx *gorm.DB) error { return s.expandOneTx(tx, run.ID) })
		if err == nil {
			continue
		}
		if err := s.postpone(ctx, run.TenantID, run.ID, err); err != nil {
			return 0, fmt.Errorf("postponing run %s: %w", run.ID, err)
		}
	}
	return len(open), nil
}

func (s *Service) expandOneTx(tx *gorm.DB, id uuid.UUID) error {
	var runs []fired
	err := tx.Raw(`select tenant_id, id, schedule_id, zone, key, nominal, fold, at, fired_at, catch_up, expires_at, attempts
		from schedule_runs where id = ? and state = 'fired' for update skip locked`, id).Scan(&runs).Error
	if err != nil || len(runs) == 0 {
		return err // another replica has it
	}
	sch, err := loadSchedule(tx, runs[0].ScheduleID, false)
	if errors.Is(err, ErrNotFound) {
		return finishRun(tx, runs[0], "failed", "the schedule was deleted", nil, 0)
	}
	if err != nil {
		return err
	}
	_, err = s.expandTx(tx, sch, runs[0])
	return err
}

// postpone counts a failed attempt; after the last one the run is missed, and says why.
func (s *Service) postpone(ctx context.Context, tenant, id uuid.UUID, cause error) error {
	reason := "an internal error; the server's log has the details"
	if f, ok := fault.As(cause); ok && f.Kind != fault.Internal {
		reason = f.Error()
	}
	return s.db.System(ctx, func(tx *gorm.DB) error {
		var rows []fired
		err := tx.Raw(`update schedule_runs set attempts = attempts + 1, reason = ?, next_try_at = now() + interval '15 seconds' * power(2, attempts),
			state = case when attempts + 1 >= ? then 'failed' else state end
			where tenant_id = ? and id = ? and state = 'fired'
			returning tenant_id, id, schedule_id, zone, key, nominal, at, attempts`, reason, maxAttempts, tenant, id).Scan(&rows).Error
		if err != nil || len(rows) == 0 || rows[0].Attempts < maxAttempts {
			return err
		}
		r := rows[0]
		return insertMissed(tx, []missed{{TenantID: tenant, ID: uuid.Must(uuid.NewV7()), ScheduleID: r.ScheduleID, Zone: r.Zone, Key: r.Key,
			Nominal: r.Nominal, At: r.At, Reason: MissedQueue}})
	})
}

// expandTx makes the occurrences of a run and hands them to the executor.
func (s *Service) expandTx(tx *gorm.DB, sch Schedule, run fired) (uuid.UUID, error) {
	reach, err := s.fleet.ResolveTx(tx, sch.Targets)
	if err = ignoreGone(err); err != nil {
		return uuid.Nil, err
	}
	if err := s.addZonesTx(tx, sch, distinctZonesUnlessFixed(sch.ZoneMode, reach)); err != nil {
		return uuid.Nil, err
	}
	reach = inZone(sch, reach, run.Zone)
	reach, err = occurTx(tx, run, reach)
	if err != nil {
		return uuid.Nil, err
	}
	if len(reach) == 0 {
		return uuid.Nil, finishRun(tx, run, "done", "no device was chosen by the targets", nil, 0)
	}
	if err := s.supersedeTx(tx, sch, reach); err != nil {
		return uuid.Nil, err
	}
	blackouts, err := blackoutsTx(tx, sch.TenantID)
	if err != nil {
		return uuid.Nil, err
	}
	job, err := s.exec.FireTx(tx, sch.order(run, reach, blackouts, tenantdb.Now(tx)))
	if err != nil {
		return uuid.Nil, err
	}
	return job, finishRun(tx, run, "done", "", &job, len(reach))
}

func distinctZonesUnlessFixed(mode ZoneMode, reach []fleet.Target) []string {
	if mode.fixed() {
		return nil
	}
	return distinctZones(mode, reach)
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
	kept := reach[:0:0]
	for _, t := range reach {
		if is[t.DeviceID] {
			kept = append(kept, t)
		}
	}
	return kept, nil
}

// supersedeTx skips what earlier runs left waiting for devices that were away, and notes it as missed.
func (s *Service) supersedeTx(tx *gorm.DB, sch Schedule, reach []fleet.Target) error {
	ids := make([]uuid.UUID, len(reach))
	for i, t := range reach {
		ids[i] = t.DeviceID
	}
	old, err := s.exec.SupersedeTx(tx, sch.ID, ids)
	if err != nil {
		return err
	}
	return MissTx(tx, MissedOffline, old)
}

// MissTx notes that tasks of schedules never started on their devices.
func MissTx(tx *gorm.DB, reason Reason, list []Superseded) error {
	type pair struct {
		ID       uuid.UUID `json:"id"`
		JobID    uuid.UUID `json:"job_id"`
		DeviceID uuid.UUID `json:"device_id"`
		Reason   Reason    `json:"reason"`
	}
	pairs := make([]pair, len(list))
	for i, m := range list {
		pairs[i] = pair{uuid.Must(uuid.NewV7()), m.JobID, m.DeviceID, reason}
	}
	return unnest(tx, pairs, `insert into missed_runs (tenant_id, id, schedule_id, device_id, zone, key, nominal, at, reason)
		select d.tenant_id, x.id, r.schedule_id, x.device_id, r.zone, r.key, r.nominal, r.at, x.reason
		from jsonb_to_recordset(?::jsonb) as x(id uuid, job_id uuid, device_id uuid, reason text)
		join schedule_runs r on r.job_id = x.job_id join devices d on d.id = x.device_id on conflict do nothing`)
}

func finishRun(tx *gorm.DB, run fired, state, reason string, job *uuid.UUID, devices int) error {
	return tx.Exec("update schedule_runs set state = ?, reason = ?, job_id = ?, devices = ? where tenant_id = ? and id = ?",
		state, reason, job, devices, run.TenantID, run.ID).Error
}

// How long tasks stay good when nobody said: work that is skipped when late has a little time for the
// devices that are there, everything else a week.
const (
	promptly = 15 * time.Minute
	aWeek    = 7 * 24 * time.Hour
	// maxOpenings bounds the windows that a task carries.
	maxOpenings = 60
)

// order decides when each device may start, and until when.
func (sch Schedule) order(run fired, reach []fleet.Target, blackouts []Blackout, now time.Time) Order {
	start := now
	if run.At.After(now) {
		start = run.At
	}
	spread := time.Duration(sch.JitterSeconds) * time.Second
	o := Order{Schedule: sch, Devices: reach, Start: start, Spread: spread}
	o.Expires = start.Add(aWeek)
	if sch.What.TaskExpiresSeconds != nil {
		o.Expires = start.Add(spread + time.Duration(*sch.What.TaskExpiresSeconds)*time.Second)
	}
	if run.ExpiresAt != nil && run.ExpiresAt.Before(o.Expires) {
		o.Expires = *run.ExpiresAt
	}
	openings := sch.openings(run.Zone, blackouts)
	switch {
	case run.Zone == "" || sch.CatchUp.Policy == RunASAP:
		free := sch
		free.Window = nil
		openings = free.openings(run.Zone, blackouts)
	case sch.CatchUp.Policy != RunInNextWindow:
		prompt := start.Add(spread + promptly)
		if until, open := openings.OpenAt(start); open && sch.Window != nil {
			prompt = until
		}
		if prompt.Before(o.Expires) {
			o.Expires = prompt
		}
	}
	if least := start.Add(spread + time.Minute); o.Expires.Before(least) {
		o.Expires = least
	}
	if len(blackouts) > 0 || sch.Window != nil {
		o.Open = openings.until(start, o.Expires)
	}
	return o
}

// until lists the openings between two instants.
func (o Openings) until(from, to time.Time) (list []calendar.Period) {
	for len(list) < maxOpenings {
		open, ok := o.NextOpening(from, 0)
		if !ok || !open.Start.Before(to) {
			return list
		}
		if n := len(list); n > 0 && !list[n-1].End.Before(open.Start) {
			list[n-1].End = open.End
		} else {
			list = append(list, open)
		}
		from = open.End
	}
	return list
}

// SweepOld forgets runs, occurrences and misses that nobody asks for any more.
func (s *Service) SweepOld(ctx context.Context) (int, error) {
	const batch = 10_000
	total := 0
	err := s.db.System(ctx, func(tx *gorm.DB) error {
		old := oldest(tenantdb.Now(tx))
		for _, sql := range []string{
			"delete from schedule_occurrences where ctid in (select ctid from schedule_occurrences where run_id < ? limit ?)",
			"delete from schedule_runs where ctid in (select ctid from schedule_runs where id < ? and state <> 'fired' limit ?)",
			"delete from missed_runs where ctid in (select ctid from missed_runs where id < ? limit ?)",
		} {
			done := tx.Exec(sql, old, batch)
			if done.Error != nil {
				return done.Error
			}
			total += int(done.RowsAffected)
		}
		return nil
	})
	return total, err
}

// oldest is the first id that a row of 400 days ago could have: ids begin with their time.
func oldest(now time.Time) uuid.UUID {
	var id uuid.UUID
	ms := now.AddDate(0, 0, -400).UnixMilli()
	for i := range 6 {
		id[5-i] = byte(ms >> (8 * i))
	}
	return id
}

// Overdue counts schedules that should have been decided a while ago, for readiness and metrics.
func (s *Service) Overdue(ctx context.Context) (n int64, err error) {
	ctx = scope.AsSystem(ctx, "schedule")
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		return tx.Raw("select count(*) from schedule_due where wake_at < now() - interval '1 minute'").Scan(&n).Error
	})
	return n, err
}
