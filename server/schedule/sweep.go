package schedule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants/scope"
)

// Batch is how many schedules one sweep decides at once.
const Batch = 1000

// claimed is a due row with its schedule.
type claimed struct {
	Row row    `gorm:"embedded"`
	Due dueRow `gorm:"embedded"`
}

// pending is a schedule in one of its zones, to be decided.
type pending struct {
	schedule Schedule
	due      due
}

// SweepDue decides every schedule whose time has come: what fires becomes a run, what does not is
// missed. Replicas share the work by skipping each other's locked rows; the runs' unique key stops one
// that was paused in the middle and came back.
func (s *Service) SweepDue(ctx context.Context) (int, error) {
	var n int
	err := s.db.System(ctx, func(tx *gorm.DB) error {
		var rows []claimed
		err := tx.Raw(`select `+rowColumns+`, d.zone, d.wake_at, d.through, d.waiting::text as waiting from schedule_due d
			join schedules s on s.tenant_id = d.tenant_id and s.id = d.schedule_id
			where d.wake_at <= ? order by d.wake_at limit ? for update of d skip locked`, s.clock(tx), Batch).Scan(&rows).Error
		if err != nil || len(rows) == 0 {
			return err
		}
		n = len(rows)
		return s.decideClaimedTx(ctx, tx, rows)
	})
	if err != nil {
		return 0, fmt.Errorf("deciding due schedules: %w", err)
	}
	return n, nil
}

// unreadableFor is how long a schedule that cannot be decided is put off, so that it holds up no other.
const unreadableFor = time.Hour

func (s *Service) decideClaimedTx(ctx context.Context, tx *gorm.DB, rows []claimed) error {
	list := make([]pending, 0, len(rows))
	var unreadable, idle []due
	for _, r := range rows {
		sch, err := r.Row.schedule()
		bare := due{TenantID: r.Row.TenantID, ScheduleID: r.Row.ID, Zone: r.Due.Zone}
		if err == nil && !sch.Enabled { // switched off while a run of it found a new zone
			idle = append(idle, bare)
			continue
		}
		var d due
		if err == nil {
			d, err = r.Due.due(sch)
		}
		if err == nil {
			_, err = sch.Recurrence.rule()
		}
		if err != nil {
			s.log.ErrorContext(ctx, "a schedule cannot be decided", "schedule_id", r.Row.ID, "error", err)
			unreadable = append(unreadable, bare)
			continue
		}
		list = append(list, pending{sch, d})
	}
	if _, err := s.decideTx(tx, list); err != nil {
		return err
	}
	return errors.Join(s.putOff(tx, unreadable), dropDue(tx, idle))
}

func (s *Service) putOff(tx *gorm.DB, rows []due) error {
	later := s.clock(tx).Add(unreadableFor)
	for i := range rows {
		rows[i].WakeAt = &later
	}
	return unnest(tx, rows, `update schedule_due d set wake_at = x.wake_at
		from jsonb_to_recordset(?::jsonb) as x(tenant_id uuid, schedule_id uuid, zone text, wake_at timestamptz)
		where d.tenant_id = x.tenant_id and d.schedule_id = x.schedule_id and d.zone = x.zone`)
}

func dropDue(tx *gorm.DB, rows []due) error {
	return unnest(tx, rows, `delete from schedule_due d using jsonb_to_recordset(?::jsonb) as x(tenant_id uuid, schedule_id uuid, zone text)
		where d.tenant_id = x.tenant_id and d.schedule_id = x.schedule_id and d.zone = x.zone`)
}

// decideTx decides schedules, writes down what came of it, and returns what is remembered of each.
func (s *Service) decideTx(tx *gorm.DB, list []pending) ([]due, error) {
	if len(list) == 0 {
		return nil, nil
	}
	owners := make([]uuid.UUID, len(list))
	for i, p := range list {
		owners[i] = p.schedule.TenantID
	}
	blackouts, err := freezesTx(tx, owners)
	if err != nil {
		return nil, err
	}
	now := s.clock(tx)
	next := make([]due, 0, len(list))
	var runs []fired
	var misses []missed
	for _, p := range list {
		sch, d := p.schedule, p.due
		decision, err := Decide(sch.situation(d, blackouts.holding(sch.TenantID), now))
		if err != nil {
			return nil, fmt.Errorf("schedule %s: %w", sch.ID, err)
		}
		runs, misses = sch.record(d.Zone, decision, now, runs, misses)
		d.remember(decision.Progress, decision.WakeAt)
		next = append(next, d)
	}
	if err := insertRuns(tx, runs); err != nil {
		return nil, err
	}
	if err := insertMissed(tx, misses); err != nil {
		return nil, err
	}
	return next, updateDue(tx, next)
}

// record turns a decision into rows. A run that fires late was missed at its time, and is caught up.
func (sch Schedule) record(zone string, d Decision, now time.Time, runs []fired, misses []missed) ([]fired, []missed) {
	for i, m := range d.Missed {
		row := sch.missed(zone, m, nil)
		if i == 0 {
			row.Earlier = d.MissedCount - len(d.Missed)
		}
		misses = append(misses, row)
	}
	f := d.Fire
	if f == nil {
		return runs, misses
	}
	if f.CatchUp {
		misses = append(misses, sch.missed(zone, Miss{Run: f.Run, Reason: f.Reason}, &now))
	}
	return append(runs, fired{TenantID: sch.TenantID, ID: uuid.Must(uuid.NewV7()), ScheduleID: sch.ID, Zone: zone, Key: f.Run.Key(),
		Nominal: f.Run.NominalLocal.String(), Fold: f.Run.Fold, At: f.Run.At, FiredAt: now, CatchUp: f.CatchUp, ExpiresAt: present(f.Expires)}), misses
}

func (sch Schedule) missed(zone string, m Miss, caughtUp *time.Time) missed {
	return missed{TenantID: sch.TenantID, ID: uuid.Must(uuid.NewV7()), ScheduleID: sch.ID, Zone: zone, Key: m.Run.Key(),
		Nominal: m.Run.NominalLocal.String(), At: m.Run.At, Reason: m.Reason, CaughtUpAt: caughtUp}
}

const (
	// RunBatch is how many runs one sweep expands.
	RunBatch = 1000
	// atOnce is how many groups of runs one replica works on at the same time. Each holds a connection.
	atOnce = 4
	// Group is how many runs of one owner share a transaction.
	Group = 50
	// maxAttempts is how often a run is tried before it is given up as missed.
	maxAttempts = 5
)

// openRun is a run that is not tasks yet.
type openRun struct {
	ID    uuid.UUID
	Owner owner `gorm:"embedded"`
}

// SweepRuns turns runs into tasks, in transactions that see no more than the schedules' owner does.
// Those of one schedule follow on each other; others go on beside them. It counts the runs that no other
// replica was at.
func (s *Service) SweepRuns(ctx context.Context) (int, error) {
	var open []openRun
	err := s.db.System(ctx, func(tx *gorm.DB) error {
		return tx.Raw(`select r.id, r.tenant_id, r.schedule_id, s.answers from schedule_runs r
			join schedules s on s.tenant_id = r.tenant_id and s.id = r.schedule_id
			where r.state = 'fired' and r.next_try_at <= ? order by r.next_try_at, r.id limit ?`, s.clock(tx), RunBatch).Scan(&open).Error
	})
	if err != nil {
		return 0, fmt.Errorf("looking for fired schedules: %w", err)
	}
	var work errgroup.Group
	var done atomic.Int64
	work.SetLimit(atOnce)
	for _, groups := range grouped(open) {
		work.Go(func() error {
			var failed []error
			for _, group := range groups {
				n, err := s.expandGroup(ctx, group)
				done.Add(int64(n))
				failed = append(failed, err)
			}
			return errors.Join(failed...)
		})
	}
	if err := errors.Join(work.Wait(), ctx.Err()); err != nil {
		return 0, err
	}
	return int(done.Load()), nil
}

// actor is in whose name runs are expanded.
type actor struct{ tenant, answers uuid.UUID }

func (r openRun) actor() actor {
	a := actor{tenant: r.Owner.TenantID}
	if r.Owner.Answers != nil {
		a.answers = *r.Owner.Answers
	}
	return a
}

// lane is where runs of an owner wait for each other: always the same one for a schedule.
type lane struct {
	owner  uuid.UUID
	number byte
}

func (r openRun) lane() lane {
	return lane{r.Owner.TenantID, r.Owner.ScheduleID[15] % atOnce}
}

// grouped divides runs into lanes, in their order. Within a group all are in one person's name, and no
// schedule is there twice: a second run of it replaces what the first left waiting.
func grouped(open []openRun) map[lane][][]openRun {
	all := map[lane][][]openRun{}
	for _, run := range open {
		groups := all[run.lane()]
		if n := len(groups); n > 0 && len(groups[n-1]) < Group && groups[n-1][0].actor() == run.actor() &&
			!slices.ContainsFunc(groups[n-1], func(other openRun) bool { return other.Owner.ScheduleID == run.Owner.ScheduleID }) {
			groups[n-1] = append(groups[n-1], run)
			continue
		}
		all[run.lane()] = append(groups, []openRun{run})
	}
	return all
}

// expandGroup expands runs together or, when that fails, one by one: the one that cannot start holds up
// no other.
func (s *Service) expandGroup(ctx context.Context, group []openRun) (n int, err error) {
	if ctx.Err() != nil {
		return 0, nil // another replica, or the next start, goes on
	}
	err = s.db.Tx(asSchedule(ctx, group[0].Owner), func(tx *gorm.DB) error {
		n, err = s.expandOpenTx(tx, group)
		return err
	})
	if err == nil || ctx.Err() != nil {
		return n, nil
	}
	if len(group) > 1 {
		var failed []error
		n = 0
		for i := range group {
			one, err := s.expandGroup(ctx, group[i:i+1])
			n, failed = n+one, append(failed, err)
		}
		return n, errors.Join(failed...)
	}
	run := group[0]
	s.log.WarnContext(ctx, "a run of a schedule could not start", "schedule_id", run.Owner.ScheduleID, "run_id", run.ID, "error", err)
	if err := s.postpone(ctx, run, err); err != nil {
		return 1, fmt.Errorf("postponing run %s: %w", run.ID, err)
	}
	return 1, nil
}

// openedRun is an open run with its schedule.
type openedRun struct {
	Run     fired `gorm:"embedded;embeddedPrefix:run_"`
	Row     row   `gorm:"embedded"`
	Deleted bool
}

// expandOpenTx expands those of the runs that no other replica holds; it holds their schedules as well,
// so that two runs of one never meet. The transaction need not wait for the disk: what a crash takes
// back is a run that is still open, and nobody was told of it; a commit that others wait for makes all
// before it durable.
func (s *Service) expandOpenTx(tx *gorm.DB, group []openRun) (int, error) {
	ids := make([]uuid.UUID, len(group))
	for i, run := range group {
		ids[i] = run.ID
	}
	var runs []openedRun
	err := tx.Raw(`select set_config('synchronous_commit', 'off', true), r.tenant_id as run_tenant_id, r.id as run_id, r.schedule_id as run_schedule_id,
			r.zone as run_zone, r.key as run_key, r.nominal as run_nominal, r.fold as run_fold, r.at as run_at, r.fired_at as run_fired_at,
			r.catch_up as run_catch_up, r.expires_at as run_expires_at, r.attempts as run_attempts, s.deleted_at is not null as deleted, `+rowColumns+`
		from schedule_runs r join schedules s on s.tenant_id = r.tenant_id and s.id = r.schedule_id
		where r.tenant_id = ? and r.id = any(?::uuid[]) and r.state = 'fired' for no key update of r, s skip locked`,
		group[0].Owner.TenantID, idList(ids)).Scan(&runs).Error
	if err != nil {
		return 0, err
	}
	var list []expansion
	for _, r := range runs {
		if r.Deleted {
			if err := giveUp(tx, r.Run, "the schedule was deleted"); err != nil {
				return 0, err
			}
			continue
		}
		sch, err := r.Row.schedule()
		if err != nil {
			return 0, err
		}
		list = append(list, expansion{schedule: sch, run: r.Run})
	}
	if len(list) == 0 {
		return len(runs), nil
	}
	_, err = s.expandTx(tx, list)
	return len(runs), err
}

func giveUp(tx *gorm.DB, run fired, reason string) error {
	return tx.Exec("update schedule_runs set state = 'failed', reason = ? where tenant_id = ? and id = ?", reason, run.TenantID, run.ID).Error
}

// postpone counts a failed attempt; after the last one the run is missed, and says why.
func (s *Service) postpone(ctx context.Context, run openRun, cause error) error {
	reason := inWords(cause)
	return s.db.System(ctx, func(tx *gorm.DB) error {
		var rows []fired
		err := tx.Raw(`update schedule_runs set attempts = attempts + 1, reason = ?, next_try_at = ?::timestamptz + interval '15 seconds' * power(2, attempts),
			state = case when attempts + 1 >= ? then 'failed' else state end
			where tenant_id = ? and id = ? and state = 'fired'
			returning tenant_id, id, schedule_id, zone, key, nominal, at, attempts`, reason, s.clock(tx), maxAttempts, run.Owner.TenantID, run.ID).Scan(&rows).Error
		if err != nil || len(rows) == 0 || rows[0].Attempts < maxAttempts {
			return err
		}
		return insertMissed(tx, []missed{rows[0].missed(MissedQueue)})
	})
}

// inWords is what a person may read of an error. Its cause is for the log only.
func inWords(err error) string {
	f, ok := fault.As(err)
	if !ok || f.Kind == fault.Internal {
		return "an internal error; the server's log has the details"
	}
	bare := *f
	bare.Cause = nil
	return bare.Error()
}

func (f fired) missed(reason Reason) missed {
	return missed{TenantID: f.TenantID, ID: uuid.Must(uuid.NewV7()), ScheduleID: f.ScheduleID, Zone: f.Zone, Key: f.Key,
		Nominal: f.Nominal, At: f.At, Reason: reason}
}

// OldBatch is how many rows of each kind one sweep forgets.
const OldBatch = 10_000

// keepDays is how long runs and misses stay readable.
const keepDays = 400

// SweepOld forgets runs, occurrences and misses that nobody asks for any more, and schedules that were
// deleted as long ago.
func (s *Service) SweepOld(ctx context.Context) (int, error) {
	total := 0
	err := s.db.System(ctx, func(tx *gorm.DB) error {
		before := s.clock(tx).AddDate(0, 0, -keepDays)
		for _, forget := range []struct {
			sql string
			arg any
		}{
			{"delete from schedule_occurrences where ctid = any (array (select ctid from schedule_occurrences where run_id < ? limit ? for update skip locked))", oldest(before)},
			{"delete from schedule_runs where ctid = any (array (select ctid from schedule_runs where id < ? and state <> 'fired' limit ? for update skip locked))", oldest(before)},
			{"delete from missed_runs where ctid = any (array (select ctid from missed_runs where id < ? limit ? for update skip locked))", oldest(before)},
			{"delete from schedules where ctid = any (array (select ctid from schedules where deleted_at < ? limit ? for update skip locked))", before},
		} {
			done := tx.Exec(forget.sql, forget.arg, OldBatch)
			if done.Error != nil {
				return done.Error
			}
			total += int(done.RowsAffected)
		}
		return nil
	})
	return total, err
}

// oldest is the first id that a row of that time could have: ids begin with their time.
func oldest(at time.Time) uuid.UUID {
	var id uuid.UUID
	ms := at.UnixMilli()
	for i := range 6 {
		id[5-i] = byte(ms >> (8 * i))
	}
	return id
}

// Overdue counts schedules that should have been decided a while ago, for readiness and metrics.
func (s *Service) Overdue(ctx context.Context) (n int64, err error) {
	ctx = scope.AsSystem(ctx, "schedule")
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		return tx.Raw("select count(*) from schedule_due where wake_at < ?", s.clock(tx).Add(-time.Minute)).Scan(&n).Error
	})
	return n, err
}
