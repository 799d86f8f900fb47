package tasks

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/fleet"
	"reeve/tenants"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// GetJob is one job with what its tasks came to so far.
func (s *Service) GetJob(ctx context.Context, id uuid.UUID) (j Job, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		if j, _, err = visibleJob(tx, id, permRead); err != nil {
			return err
		}
		return countTasks(tx, []*Job{&j})
	})
	return j, err
}

// visibleJob reads a job on which the actor holds a permission.
func visibleJob(tx *gorm.DB, id uuid.UUID, permission string) (Job, jobRow, error) {
	row, err := findJob(tx, id, false)
	if err != nil {
		return Job{}, row, err
	}
	j, err := row.job()
	if err != nil {
		return Job{}, row, err
	}
	if !mayJob(tenantdb.ScopeOf(tx), permission, j) {
		return Job{}, row, ErrForbidden
	}
	return j, row, nil
}

// JobFilter narrows a list; nil means any.
type JobFilter struct {
	TenantID   *uuid.UUID // jobs that reach it
	State      *JobState
	ScheduleID *uuid.UUID
	Kind       *string
}

var newestJobs = tenantdb.Sort{Name: "newest", Columns: []tenantdb.Column{{SQL: "j.id", Kind: tenantdb.UUID, Descending: true}}}

// ListJobs is a page of jobs, the newest first.
func (s *Service) ListJobs(ctx context.Context, f JobFilter, cursor string, limit int) (page []Job, next string, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		q := tx.Table("jobs j").Select(jobColumns)
		if ids, all := tenantdb.PermittedTenants(tx, permRead); !all {
			q = q.Where("(j.tenant_id = ANY (?) OR j.tenant_ids <@ ?::uuid[])", without(ids, scope.Provider), ids)
		}
		if f.TenantID != nil {
			q = q.Where("(j.tenant_id = ? OR j.tenant_ids @> ?::uuid[])", *f.TenantID, array[uuid.UUID]{*f.TenantID})
		}
		if f.State != nil {
			q = q.Where("j.state = ?", *f.State)
		}
		if f.ScheduleID != nil {
			q = q.Where("j.schedule_id = ?", *f.ScheduleID)
		}
		if f.Kind != nil {
			q = q.Where("j.kind = ?", *f.Kind)
		}
		if q, err = newestJobs.Page(q, cursor, limit); err != nil {
			return err
		}
		var rows []jobRow
		if err := q.Scan(&rows).Error; err != nil {
			return fmt.Errorf("listing jobs: %w", err)
		}
		rows, next = tenantdb.Next(newestJobs, rows, limit, func(r jobRow) []any { return []any{r.ID} })
		page = make([]Job, len(rows))
		pointers := make([]*Job, len(rows))
		for i, r := range rows {
			if page[i], err = r.job(); err != nil {
				return err
			}
			pointers[i] = &page[i]
		}
		return countTasks(tx, pointers)
	})
	return page, next, err
}

func without(ids array[uuid.UUID], id uuid.UUID) array[uuid.UUID] {
	rest := array[uuid.UUID]{}
	for _, x := range ids {
		if x != id {
			rest = append(rest, x)
		}
	}
	return rest
}

// changeJob runs a verb on a job that the actor may change, locked. A job of the provider that reaches
// only the actor's tenants is written as the server.
func (s *Service) changeJob(ctx context.Context, id uuid.UUID, permission string, verb func(tx *gorm.DB, j *Job, r jobRow) error) (j Job, err error) {
	narrow := false
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		seen, _, err := visibleJob(tx, id, permission)
		if err != nil {
			return err
		}
		if narrow = beyond(tx, seen.TenantID); narrow {
			return nil
		}
		return s.changeLocked(tx, id, &j, verb)
	})
	if err == nil && narrow {
		err = s.db.System(ctx, func(tx *gorm.DB) error { return s.changeLocked(tx, id, &j, verb) })
	}
	if err != nil {
		return Job{}, err
	}
	return j, nil
}

func (s *Service) changeLocked(tx *gorm.DB, id uuid.UUID, j *Job, verb func(tx *gorm.DB, j *Job, r jobRow) error) error {
	row, err := findJob(tx, id, true)
	if err != nil {
		return err
	}
	if *j, err = row.job(); err != nil {
		return err
	}
	return verb(tx, j, row)
}

// CancelJob cancels what has not finished: what no device has at once, the rest when its device says so.
func (s *Service) CancelJob(ctx context.Context, id uuid.UUID) (Job, error) {
	return s.changeJob(ctx, id, permCancel, func(tx *gorm.DB, j *Job, _ jobRow) error {
		before := j.State
		if err := moveJob(tx, j, CancelledJob, "cancelled by "+tenantdb.ScopeOf(tx).Actor.Name); err != nil {
			return err
		}
		if err := dropWaves(tx, *j); err != nil {
			return err
		}
		if err := s.cancelTasks(ctx, tx, j, true); err != nil {
			return err
		}
		if err := countTasks(tx, []*Job{j}); err != nil {
			return err
		}
		if tallyOf(j.Counts).open == 0 {
			now := tenantdb.Now(tx)
			j.FinishedAt = &now
			if err := finishJob(tx, j); err != nil {
				return err
			}
		}
		return audit.WriteTx(tx, j.entries("job.cancelled", map[string]any{"state": before}, map[string]any{"state": j.State}, nil)...)
	})
}

// entries are one audit entry for each tenant that a job reaches, and one for its owner.
func (j Job) entries(action string, before, after, detail map[string]any) []audit.Entry {
	owners := append([]uuid.UUID{}, j.TenantIDs...)
	if len(owners) != 1 {
		owners = append(without(owners, scope.Provider), scope.Provider)
	}
	entries := make([]audit.Entry, len(owners))
	for i, tenant := range owners {
		entries[i] = audit.Entry{TenantID: tenant, Action: action, ObjectType: "job", ObjectID: j.ID.String(), ObjectName: j.Name,
			Before: before, After: after, Detail: detail}
	}
	return entries
}

// RetryFailed runs a job again, as it was, on the devices where it failed, timed out, expired or was parked.
func (s *Service) RetryFailed(ctx context.Context, id uuid.UUID) (job Job, err error) {
	var p plan
	narrow := false
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		if p, err = s.planRetry(ctx, tx, id); err != nil {
			return err
		}
		if narrow = beyond(tx, p.job.TenantID); narrow {
			return nil
		}
		job, err = s.start(ctx, tx, p)
		return err
	})
	if err == nil && narrow {
		err = s.db.System(ctx, func(tx *gorm.DB) error {
			job, err = s.start(ctx, tx, p)
			return err
		})
	}
	return job, err
}

func (s *Service) planRetry(ctx context.Context, tx *gorm.DB, id uuid.UUID) (plan, error) {
	old, row, err := visibleJob(tx, id, permRun)
	if err != nil {
		return plan{}, err
	}
	if old.State == WaitingApproval || old.State == Canary {
		return plan{}, ErrRetryTooSoon
	}
	var targets []fleet.Target
	err = tx.Raw(`SELECT d.id AS device_id, d.tenant_id, d.site_id FROM tasks t
			JOIN devices d ON d.tenant_id = t.tenant_id AND d.id = t.device_id AND d.state = 'active'
		WHERE t.job_id = ? AND t.state IN ('failed', 'timed_out', 'expired', 'parked') ORDER BY d.id`, id).Scan(&targets).Error
	if err != nil {
		return plan{}, fmt.Errorf("finding what failed: %w", err)
	}
	if len(targets) == 0 {
		return plan{}, ErrNothingToTry
	}
	w, err := row.work()
	if err != nil {
		return plan{}, err
	}
	kind, known := s.kinds[old.Kind]
	if !known {
		return plan{}, fault.Newf(fault.Conflict, "this server does not know the kind %s any more", old.Kind)
	}
	n := NewJob{Kind: old.Kind, Name: cut("Again: "+old.Name, maxName), Devices: targets, ExpiresIn: old.ExpiresAt.Sub(old.NotBefore),
		Targets: fleet.Selector{DeviceIDs: deviceIDs(targets)}, Origin: Retry, retryOf: &old.ID}
	p, err := s.planWork(ctx, tx, n, kind, w)
	if err == nil && len(p.blackout) > 0 {
		err = fault.Newf(fault.Conflict, "%s", p.blackout[0])
	}
	return p, err
}

// Decided carries out what became of the approval of a job, in the transaction of the decision.
func (s *Service) Decided(ctx context.Context, tx *gorm.DB, a tenants.Approval) error {
	row, err := findJob(tx, a.SubjectID, true)
	if err != nil {
		return err
	}
	j, err := row.job()
	if err != nil {
		return err
	}
	if j.State != WaitingApproval {
		if a.State == tenants.Approved {
			return ErrJobOver
		}
		return nil // cancelled while it waited: there is nothing left to refuse
	}
	if a.State == tenants.Approved {
		return s.approved(ctx, tx, &j, row)
	}
	reason := map[tenants.ApprovalState]string{tenants.Rejected: "rejected", tenants.Withdrawn: "withdrawn by who asked for it",
		tenants.Expired: "nobody decided in time"}[a.State]
	if a.DecidedByName != nil && a.State == tenants.Rejected {
		reason += " by " + *a.DecidedByName
	}
	if a.DecisionReason != nil {
		reason += ": " + *a.DecisionReason
	}
	to := Rejected
	if a.State == tenants.Withdrawn {
		to = CancelledJob
	}
	if err := moveJob(tx, &j, to, reason); err != nil {
		return err
	}
	if err := dropWaves(tx, j); err != nil {
		return err
	}
	return finishJob(tx, &j)
}

// approved starts a job that waited. Its life counts from now.
func (s *Service) approved(ctx context.Context, tx *gorm.DB, j *Job, row jobRow) error {
	w, err := row.work()
	if err != nil {
		return err
	}
	now := tenantdb.Now(tx)
	j.NotBefore = later(j.NotBefore, now)
	j.ExpiresAt = j.NotBefore.Add(secondsOf(row.ExpiresSeconds))
	err = tx.Exec("UPDATE jobs SET not_before = ?, expires_at = ? WHERE tenant_id = ? AND id = ?", j.NotBefore, j.ExpiresAt, j.TenantID, j.ID).Error
	if err != nil {
		return err
	}
	targets, err := takeWave(tx, *j, firstWave)
	if err != nil {
		return err
	}
	canary, err := hasWave(tx, *j, restWave)
	if err != nil {
		return err
	}
	to := RunningJob
	if canary {
		to = Canary
	}
	if err := moveJob(tx, j, to, ""); err != nil {
		return err
	}
	return s.release(ctx, tx, j, w, targets)
}
