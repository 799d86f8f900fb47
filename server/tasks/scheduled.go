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

// WaitingTx lists the jobs of some schedules that wait for a second person.
func WaitingTx(tx *gorm.DB, schedules []uuid.UUID) (jobs []uuid.UUID, err error) {
	err = tx.Raw("SELECT id FROM jobs WHERE schedule_id = ANY (?) AND state = 'waiting_approval' ORDER BY id", array[uuid.UUID](schedules)).Scan(&jobs).Error
	if err != nil {
		return nil, fmt.Errorf("finding jobs that wait: %w", err)
	}
	return jobs, nil
}

// Renewed is a schedule that is about to run again on a device.
type Renewed struct {
	ScheduleID, DeviceID uuid.UUID
}

// SupersedeTx skips tasks that earlier runs of schedules left waiting on devices that never came for
// them, so that a device which was away does recurring work once when it returns. The
// tasks of the jobs to spare are left alone: somebody has just asked for them by hand.
func (s *Service) SupersedeTx(ctx context.Context, tx *gorm.DB, renewed []Renewed, spare []uuid.UUID) ([]Task, error) {
	if spare == nil {
		spare = []uuid.UUID{}
	}
	schedules, devices := make(array[uuid.UUID], len(renewed)), make(array[uuid.UUID], len(renewed))
	for i, r := range renewed {
		schedules[i], devices[i] = r.ScheduleID, r.DeviceID
	}
	var ended []Task
	err := tx.Raw(`UPDATE tasks t SET state = 'skipped', reason = 'replaced by a newer run of its schedule', finished_at = now()
		FROM unnest(?::uuid[], ?::uuid[]) AS u (schedule_id, device_id), jobs j
		WHERE t.device_id = u.device_id AND t.state = 'queued' AND j.tenant_id = t.job_tenant_id AND j.id = t.job_id
			AND j.schedule_id = u.schedule_id AND j.id <> ALL (?)
		RETURNING t.id, t.tenant_id, t.device_id, t.job_id, t.kind, t.state, t.reason, t.attempts, t.created_at, t.started_at, t.finished_at`,
		schedules, devices, array[uuid.UUID](spare)).Scan(&ended).Error
	if err != nil {
		return nil, fmt.Errorf("superseding tasks: %w", err)
	}
	return ended, s.ended(ctx, tx, ended)
}
