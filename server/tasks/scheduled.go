package tasks

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/server/schedule"
)

// WeighTx checks work that will be done later, as CreateJob would, and says why it would need a second
// person; nothing when it would not.
func (s *Service) WeighTx(ctx context.Context, tx *gorm.DB, n NewJob) ([]string, error) {
	p, err := s.prepare(ctx, tx, n)
	return p.brake.reasons, err
}

// SupersedeTx skips tasks that earlier runs of a schedule left waiting on devices that never came for
// them, so that a device which was away does each recurring work once when it returns. Work whose time
// has only just come is left alone: another run of the same schedule may have been fired by hand.
func (s *Service) SupersedeTx(ctx context.Context, tx *gorm.DB, scheduleID uuid.UUID, devices []uuid.UUID) ([]Task, error) {
	var ended []Task
	err := tx.Raw(`UPDATE tasks t SET state = 'skipped', reason = 'replaced by a newer run of its schedule', finished_at = now()
		FROM jobs j WHERE j.tenant_id = t.job_tenant_id AND j.id = t.job_id AND j.schedule_id = ? AND t.device_id = ANY (?)
			AND t.state = 'queued' AND t.not_before < now() - ? * interval '1 second'
		RETURNING t.id, t.tenant_id, t.device_id, t.job_id, t.kind, t.state, t.reason, t.attempts, t.created_at, t.started_at, t.finished_at`,
		scheduleID, array[uuid.UUID](devices), schedule.Grace.Seconds()).Scan(&ended).Error
	if err != nil {
		return nil, fmt.Errorf("superseding tasks: %w", err)
	}
	return ended, s.ended(ctx, tx, ended)
}
