package app

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	envelope "reeve/api/wire"
	"reeve/server/fleet"
	"reeve/server/schedule"
	"reeve/server/tasks"
	"reeve/tenants"
	"reeve/tenants/scope"
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

// settled tells whether each run does the same. A library script without the number of its version does
// not: whoever may edit it decides later what runs. Nobody can agree to that beforehand, so each run that
// reaches far asks for itself, with the text that it has then.
func settled(w schedule.Work) bool {
	var p struct {
		ScriptID     *uuid.UUID `json:"script_id"`
		ScriptNumber int        `json:"script_number"`
	}
	return json.Unmarshal(w.Payload, &p) == nil && (p.ScriptID == nil || p.ScriptNumber > 0)
}

// CheckTx refuses a payload that could not run, and asks a second person where the schedule reaches
// further than was agreed. What is being asked already is not asked again.
func (e executor) CheckTx(tx *gorm.DB, s schedule.Schedule, reach []fleet.Target, reason string) (*uuid.UUID, error) {
	// Today's targets may be empty; who runs the work later acts for who saves it now.
	if who := tenantdb.ScopeOf(tx); !who.May("jobs.run", s.TenantID) || s.TenantID == scope.Provider && !who.MayEverywhere("jobs.run") {
		return nil, fault.New(fault.Forbidden, "a schedule runs jobs: you may not run them where it does")
	}
	if reach == nil {
		reach = []fleet.Target{} // nothing yet is not "resolve it yourself"
	}
	reasons, err := e.tasks.WeighTx(tx.Statement.Context, tx, e.job(s, reach))
	if err != nil {
		return s.ApprovalID, err
	}
	if len(reasons) == 0 || !settled(s.What) || len(reach) <= s.Approved {
		return s.ApprovalID, nil
	}
	a, err := e.approvals.PendingTx(tx, s.TenantID, schedule.SubjectType, s.ID)
	if err != nil {
		return s.ApprovalID, err
	}
	if a != nil {
		return &a.ID, nil
	}
	asked, err := e.approvals.RequestTx(tx, tenants.ApprovalRequest{TenantID: s.TenantID, Kind: tenants.BlastRadius,
		Summary:     fmt.Sprintf("Schedule %q: each run reaches %d devices", s.Name, len(reach)),
		SubjectType: schedule.SubjectType, SubjectID: s.ID, Reason: reason,
		Detail: map[string]any{"devices": len(reach), "reasons": reasons, "kind": s.What.Kind}})
	if err != nil {
		return nil, err
	}
	return &asked.ID, nil
}

// ForgetTx takes back the question about a schedule that is not any more what was asked about.
func (e executor) ForgetTx(tx *gorm.DB, s schedule.Schedule, why string) error {
	_, err := e.approvals.ObsoleteTx(tx.Statement.Context, tx, schedule.SubjectType, s.ID, why)
	return err
}

// FireTx makes the jobs of runs. What a second person has agreed to is not asked again. Windows and
// blackouts travel with the tasks.
func (e executor) FireTx(tx *gorm.DB, orders []schedule.Order) ([]uuid.UUID, error) {
	list := make([]tasks.NewJob, len(orders))
	for i, o := range orders {
		n := e.job(o.Schedule, o.Devices)
		n.NotBefore, n.Jitter, n.Open, n.OpenIn = o.Start, o.Spread, o.Open, o.OpenIn
		now := tenantdb.Now(tx)
		start := later(o.Start, now)
		n.ExpiresIn = max(min(o.Expires.Sub(start), envelope.MaxTaskLife-start.Sub(now)), time.Minute)
		n.Cleared, n.Reason = settled(o.Schedule.What) && len(o.Devices) <= o.Schedule.Approved, "a run of the schedule"
		list[i] = n
	}
	return e.tasks.CreateJobsTx(tx.Statement.Context, tx, list)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// SupersedeTx skips what earlier runs left waiting, and withdraws those that still wait for a second
// person: a yes to several of them at once would run the same work several times.
func (e executor) SupersedeTx(tx *gorm.DB, again []schedule.Renewal, spare []uuid.UUID) ([]schedule.Superseded, error) {
	ctx := tx.Statement.Context
	var list []schedule.Superseded
	var ids []uuid.UUID
	var renewed []tasks.Renewed
	for _, r := range again {
		ids = append(ids, r.ScheduleID)
		for _, d := range r.Devices {
			renewed = append(renewed, tasks.Renewed{ScheduleID: r.ScheduleID, DeviceID: d.DeviceID})
		}
	}
	waiting, err := tasks.WaitingTx(tx, ids)
	if err != nil {
		return nil, err
	}
	for _, job := range waiting {
		if slices.Contains(spare, job) {
			continue
		}
		ended, err := e.approvals.ObsoleteTx(ctx, tx, tasks.SubjectType, job, "replaced by a newer run of its schedule")
		if err != nil {
			return nil, err
		}
		if ended {
			list = append(list, schedule.Superseded{JobID: job})
		}
	}
	ended, err := e.tasks.SupersedeTx(ctx, tx, renewed, spare)
	for _, t := range ended {
		list = append(list, schedule.Superseded{JobID: t.JobID, DeviceID: t.DeviceID})
	}
	return list, err
}
