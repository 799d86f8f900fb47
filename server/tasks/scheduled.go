package tasks

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"gorm.io/gorm"
)

// WeighTx checks work that will be done later, as CreateJob would, and says why it would need a second
// person; nothing when it would not.
func (s *Service) WeighTx(ctx context.Context, tx *gorm.DB, n NewJob) ([]string, error) {
	p, err := s.prepare(ctx, tx, n)
	return p.brake.reasons, err
}

// WaitingTx lists the jobs of a schedule that wait for a second person.
func WaitingTx(tx *gorm.DB, scheduleID uuid.UUID) (jobs []uuid.UUID, err error) {
	err = tx.Raw("SELECT id FROM jobs WHERE schedule_id = ? AND state = 'waiting_approval' ORDER BY id", scheduleID).Scan(&jobs).Error
	if err != nil {
		return nil, fmt.Errorf("finding jobs that wait: %w", err)
	}
	return jobs, nil
}

// SupersedeTx skips tasks that earlier runs of a schedule left waiting on devices that never came for
// them, so that a device which was away does recurring work once when it returns. The
// tasks of the jobs to spare are left alone: somebody has just asked for them by hand.
func (s *Service) SupersedeTx(ctx context.Context, tx *gorm.DB, scheduleID uuid.UUID, devices []uuid.UUID, spare []uuid.UUID) ([]Task, error) {
	if spare == nil {
		spare = []uuid.UUID{}
	}
	var ended []Task
	err := tx.Raw(`UPDATE tasks t SET state = 'skipped', reason = 'replaced by a newer run of its schedule', finished_at = now()
		FROM jobs j WHERE j.tenant_id = t.job_tenant_id AND j.id = t.job_id AND j.schedule_id = ? AND t.device_id = ANY (?)
			AND t.state = 'queued' AND j.id <> ALL (?)
		RETURNING t.id, t.tenant_id, t.device_id, t.job_id, t.kind, t.state, t.reason, t.attempts, t.created_at, t.started_at, t.finished_at`,
		scheduleID, array[uuid.UUID](devices), array[uuid.UUID](spare)).Scan(&ended).Error
	if err != nil {
		return nil, fmt.Errorf("superseding tasks: %w", err)
	}
	return ended, s.ended(ctx, tx, ended)
}
