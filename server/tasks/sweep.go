package tasks

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/tenants/tenantdb"
)

// Every sweep works on a bounded number of rows, claims them without waiting, and may run on several
// replicas at once and as often as it likes.
const (
	Batch    = 1000 // tasks
	JobBatch = 50   // jobs
)

// SweepLeases looks after leases that ran out. A task that its device never began goes back to the
// queue, and is parked when that has happened too often: it may be what stops the device. One that was
// running is left to the device until the task expires.
func (s *Service) SweepLeases(ctx context.Context) (n int, err error) {
	err = s.db.System(ctx, func(tx *gorm.DB) error {
		var devices []uuid.UUID
		err := tx.Raw(`UPDATE tasks t SET state = 'queued', lease_until = NULL, reason = 'the device did not begin it; it is offered again'
			WHERE (t.tenant_id, t.id) IN (SELECT x.tenant_id, x.id FROM tasks x
				WHERE x.state = 'leased' AND x.lease_until < now() AND x.attempts < ? LIMIT ? FOR UPDATE SKIP LOCKED)
			RETURNING t.device_id`, maxAttempts, Batch).Scan(&devices).Error
		if err != nil {
			return fmt.Errorf("taking back leases: %w", err)
		}
		s.ring(tx, devices)
		parked, err := s.giveUpCounted(ctx, tx, ending{`'parked'`,
			`'the device took it ' || x.attempts || ' times and never began; it may be what stops the device'`},
			`x.state = 'leased' AND x.lease_until < now() AND x.attempts >= ?`, maxAttempts)
		n = len(devices) + parked
		return err
	})
	return n, err
}

// SweepExpired ends tasks whose time is over, those whose predecessor did not succeed, and those that
// were being cancelled or run by a device that has not been heard of since.
func (s *Service) SweepExpired(ctx context.Context) (n int, err error) {
	err = s.db.System(ctx, func(tx *gorm.DB) error {
		for _, step := range []struct {
			to        ending
			condition string
		}{
			{ending{`'expired'`, `'the device did not come for it in time'`},
				`x.state = 'queued' AND x.expires_at <= now() AND x.job_id IN (` + overdueJobs + `)`},
			{ending{`'expired'`, `'the device took it and did not begin in time'`},
				`x.state = 'leased' AND x.expires_at <= now() AND x.lease_until < now()`},
			{endOfRunning("the device was not heard of before the task expired"),
				`x.state IN ('running', 'cancelling') AND x.expires_at <= now() AND x.lease_until < now()`},
			{ending{`'skipped'`, `'the task before it did not succeed'`},
				`x.state = 'queued' AND x.after_task_id IS NOT NULL AND exists (SELECT FROM tasks b WHERE b.tenant_id = x.tenant_id
					AND b.id = x.after_task_id AND b.state IN ('failed', 'timed_out', 'cancelled', 'expired', 'skipped', 'parked'))`},
		} {
			done, err := s.giveUpCounted(ctx, tx, step.to, step.condition)
			if err != nil {
				return err
			}
			n += done
		}
		return nil
	})
	return n, err
}

// overdueJobs finds expired tasks by their jobs, so that no index over the expiry of tasks is needed.
const overdueJobs = `SELECT o.id FROM jobs o WHERE o.finished_at IS NULL AND o.state <> 'waiting_approval' AND o.expires_at <= now()`

// SweepJobs moves jobs on: the rest of a job after its canaries, a stop when too much fails, the end
// when no task is left, and the cancelling of tasks that could not be reached at once.
func (s *Service) SweepJobs(ctx context.Context) (n int, err error) {
	err = s.db.System(ctx, func(tx *gorm.DB) error {
		var rows []jobRow
		err := tx.Raw(`UPDATE jobs SET checked_at = clock_timestamp() WHERE (tenant_id, id) IN (
				SELECT tenant_id, id FROM jobs WHERE finished_at IS NULL AND state <> 'waiting_approval' AND checked_at < now() - interval '1 second'
				ORDER BY checked_at LIMIT ? FOR UPDATE SKIP LOCKED)
			RETURNING `+plainColumns(), JobBatch).Scan(&rows).Error
		if err != nil {
			return fmt.Errorf("finding jobs to look after: %w", err)
		}
		if n = len(rows); n == 0 {
			return nil
		}
		jobs := make([]*Job, len(rows))
		for i := range rows {
			j, err := rows[i].job()
			if err != nil {
				return err
			}
			jobs[i] = &j
		}
		if err := countTasks(tx, jobs); err != nil {
			return err
		}
		for i, j := range jobs {
			if err := s.advance(ctx, tx, j, rows[i]); err != nil {
				return fmt.Errorf("moving job %s on: %w", j.ID, err)
			}
		}
		return nil
	})
	return n, err
}

// advance moves one job on by what its tasks came to.
func (s *Service) advance(ctx context.Context, tx *gorm.DB, j *Job, r jobRow) error {
	t := tallyOf(j.Counts)
	switch j.State {
	case Canary:
		return s.advanceCanary(ctx, tx, j, r, t)
	case RunningJob:
		if t.tooManyFailures(r.StopFailurePercent) && t.open > 0 {
			return s.stopJob(ctx, tx, j, "too many failures: "+t.String())
		}
		if t.open > 0 {
			return nil
		}
		if err := moveJob(tx, j, Finished, t.String()); err != nil {
			return err
		}
	case CancelledJob, Stopped:
		if t.open > 0 {
			return s.cancelTasks(ctx, tx, j, j.State == CancelledJob)
		}
	case WaitingApproval:
		return nil
	case Rejected, Finished:
	}
	return finishJob(tx, j)
}

func (s *Service) advanceCanary(ctx context.Context, tx *gorm.DB, j *Job, r jobRow, t tally) error {
	age := time.Duration(0)
	if r.ReleasedAt != nil {
		age = tenantdb.Now(tx).Sub(later(*r.ReleasedAt, j.NotBefore))
	}
	switch decideCanary(t, r.StopFailurePercent, age) {
	case proceed:
		return s.releaseRest(ctx, tx, j)
	case stop:
		return s.stopJob(ctx, tx, j, "the first devices did not get through: "+t.String())
	case wait:
	}
	return nil
}

func (t tally) String() string {
	return fmt.Sprintf("%d succeeded, %d failed", t.good, t.bad)
}

func finishJob(tx *gorm.DB, j *Job) error {
	return tx.Exec("UPDATE jobs SET finished_at = now() WHERE tenant_id = ? AND id = ? AND finished_at IS NULL", j.TenantID, j.ID).Error
}

// releaseRest makes the tasks of the devices that waited for the first ones.
func (s *Service) releaseRest(ctx context.Context, tx *gorm.DB, j *Job) error {
	row, err := findJob(tx, j.ID, false)
	if err != nil {
		return err
	}
	w, err := row.work()
	if err != nil {
		return err
	}
	targets, err := takeWave(tx, *j, restWave)
	if err != nil {
		return err
	}
	if err := moveJob(tx, j, RunningJob, ""); err != nil || len(targets) == 0 {
		return err
	}
	if !tenantdb.Now(tx).Before(j.ExpiresAt) {
		return nil // too late for the rest: a task must expire after it was made
	}
	return s.release(ctx, tx, j, w, targets)
}

// stopJob ends a job that fails too often: what has not begun is cancelled.
func (s *Service) stopJob(ctx context.Context, tx *gorm.DB, j *Job, reason string) error {
	if err := moveJob(tx, j, Stopped, reason); err != nil {
		return err
	}
	if err := dropWaves(tx, *j); err != nil {
		return err
	}
	return s.cancelTasks(ctx, tx, j, false)
}

// cancelTasks cancels what of a job has not begun and, when the job was cancelled, asks devices to stop
// what has. It waits for nobody: what somebody else works on is left to the next run.
func (s *Service) cancelTasks(ctx context.Context, tx *gorm.DB, j *Job, running bool) error {
	reason := "the job was stopped"
	if running {
		reason = "the job was cancelled"
	}
	err := s.giveUp(ctx, tx, ending{`'cancelled'`, `'` + reason + `'`}, `x.job_id = ? AND x.state = 'queued'`, j.ID)
	if err != nil || !running {
		return err
	}
	var devices []uuid.UUID
	err = tx.Raw(`UPDATE tasks t SET state = 'cancelling', reason = 'the job was cancelled', lease_until = coalesce(t.lease_until, now())
		WHERE (t.tenant_id, t.id) IN (SELECT x.tenant_id, x.id FROM tasks x WHERE x.job_id = ? AND x.state IN ('leased', 'running')
			LIMIT ? FOR UPDATE SKIP LOCKED)
		RETURNING t.device_id`, j.ID, Batch).Scan(&devices).Error
	if err != nil {
		return fmt.Errorf("cancelling tasks: %w", err)
	}
	s.ring(tx, devices)
	return nil
}

// SweepOld deletes jobs that ended before keep, with their tasks and output, and orphans as old. The
// audit log keeps that they were.
func (s *Service) SweepOld(ctx context.Context, keep time.Duration) (n int, err error) {
	err = s.db.System(ctx, func(tx *gorm.DB) error {
		before := tenantdb.Now(tx).Add(-keep)
		for _, sql := range []string{
			`DELETE FROM jobs WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM jobs WHERE finished_at < ? ORDER BY finished_at LIMIT ? FOR UPDATE SKIP LOCKED)`,
			`DELETE FROM orphan_results WHERE ctid = ANY (ARRAY (SELECT ctid FROM orphan_results WHERE received_at < ? LIMIT ? FOR UPDATE SKIP LOCKED))`,
		} {
			done := tx.Exec(sql, before, JobBatch)
			if done.Error != nil {
				return fmt.Errorf("deleting old jobs: %w", done.Error)
			}
			n += int(done.RowsAffected)
		}
		return nil
	})
	return n, err
}
