package app

import (
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/server/fleet"
	"reeve/server/schedule"
	"reeve/server/tasks"
	"reeve/tenants"
	"reeve/tenants/tenantdb"
)

// executor lets schedules, which stand below the task queue, order work from it.
type executor struct {
	tasks     *tasks.Service
	approvals *tenants.Approvals
}

var _ schedule.Executor = executor{}

func (e executor) job(s schedule.Schedule, devices []fleet.Target) tasks.NewJob {
	id := s.ID
	return tasks.NewJob{Kind: s.What.Kind, Name: s.Name, Targets: s.Targets, Devices: devices, Payload: s.What.Payload,
		Origin: tasks.Scheduled, ScheduleID: &id}
}

// CheckTx refuses a payload that could not run, and asks a second person where the schedule reaches
// further than was agreed.
func (e executor) CheckTx(tx *gorm.DB, s schedule.Schedule, reach []fleet.Target, reason string) (*uuid.UUID, error) {
	if reach == nil {
		reach = []fleet.Target{} // nothing yet is not "resolve it yourself"
	}
	reasons, err := e.tasks.WeighTx(tx.Statement.Context, tx, e.job(s, reach))
	if err != nil {
		return s.ApprovalID, err
	}
	if len(reasons) == 0 || len(reach) <= s.Approved {
		return s.ApprovalID, nil
	}
	a, err := e.approvals.RequestTx(tx, tenants.ApprovalRequest{TenantID: s.TenantID, Kind: tenants.BlastRadius,
		Summary:     fmt.Sprintf("Schedule %q: each run reaches %d devices", s.Name, len(reach)),
		SubjectType: schedule.SubjectType, SubjectID: s.ID, Reason: reason,
		Detail: map[string]any{"devices": len(reach), "reasons": reasons, "kind": s.What.Kind}})
	if err != nil {
		return nil, err
	}
	return &a.ID, nil
}

// FireTx makes the job of a run. What a second person has agreed to is not asked again.
func (e executor) FireTx(tx *gorm.DB, o schedule.Order) (uuid.UUID, error) {
	n := e.job(o.Schedule, o.Devices)
	n.NotBefore, n.Jitter, n.Open = o.Start, o.Spread, o.Open
	n.ExpiresIn = max(o.Expires.Sub(later(o.Start, tenantdb.Now(tx))), time.Minute)
	n.Cleared = len(o.Devices) <= o.Schedule.Approved
	// Windows and blackouts travel with the tasks, which start only where they are open.
	n.OverrideBlackout, n.Reason = true, "windows and blackouts are kept by the schedule"
	job, err := e.tasks.CreateJobTx(tx.Statement.Context, tx, n)
	return job.ID, err
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// SupersedeTx skips what earlier runs left waiting.
func (e executor) SupersedeTx(tx *gorm.DB, id uuid.UUID, devices []uuid.UUID) ([]schedule.Superseded, error) {
	ended, err := e.tasks.SupersedeTx(tx.Statement.Context, tx, id, devices)
	list := make([]schedule.Superseded, len(ended))
	for i, t := range ended {
		list[i] = schedule.Superseded{JobID: t.JobID, DeviceID: t.DeviceID}
	}
	return list, err
}
