package app

import (
	"context"
	"time"

	"gorm.io/gorm"

	"reeve/server/auth"
	"reeve/server/fleet"
	"reeve/server/policy"
	"reeve/server/schedule"
	"reeve/server/tasks"
	"reeve/tenants/tenantdb"
)

// How long the relations that grow are kept. The audit log is never pruned.
const (
	keepTimeline = 400 * 24 * time.Hour
	keepTasks    = 400 * 24 * time.Hour
	keepAnswers  = 48 * time.Hour // of repeatable requests
)

const answersBatch = 5000

// sweeps is the timetable: every piece of recurring work of the server itself.
func sweeps(w *services, ear *fleet.Ear) []sweep {
	return []sweep{
		{name: "listening", every: fleet.ListeningEvery, run: ear.Sweep},
		{name: "schedules due", every: time.Second, run: w.Schedules.SweepDue, batch: schedule.Batch},
		{name: "schedules fired", every: time.Second, run: w.Schedules.SweepRuns, batch: schedule.RunBatch},
		{name: "schedule zones", every: time.Minute, run: w.Schedules.SweepZones, batch: schedule.ZoneBatch},
		{name: "schedules old", every: time.Hour, run: w.Schedules.SweepOld, batch: schedule.OldBatch},
		{name: "task leases", every: 5 * time.Second, run: w.Tasks.SweepLeases, batch: tasks.Batch},
		{name: "tasks expired", every: 10 * time.Second, run: w.Tasks.SweepExpired, batch: tasks.Batch},
		{name: "jobs", every: 2 * time.Second, run: w.Tasks.SweepJobs, batch: tasks.JobBatch},
		{name: "tasks old", every: time.Hour, run: func(ctx context.Context) (int, error) { return w.Tasks.SweepOld(ctx, keepTasks) }, batch: tasks.JobBatch},
		{name: "policies", every: 2 * time.Second, run: w.Policies.SweepRecompute, batch: policy.Batch},
		{name: "timeline partitions", every: time.Hour, run: w.Fleet.SweepTimelinePartitions},
		{name: "timeline old", every: 6 * time.Hour, run: func(ctx context.Context) (int, error) { return w.Fleet.SweepOldTimeline(ctx, keepTimeline) }, batch: fleet.TimelineBatch},
		{name: "approvals expired", every: time.Minute, run: w.Approvals.SweepExpired},
		{name: "audit checkpoints", every: time.Minute, run: w.checkpointer.Sweep},
		{name: "sign-ins", every: time.Hour, run: func(ctx context.Context) (int, error) {
			n, err := w.Auth.Sweep(ctx)
			return int(n), err
		}, batch: auth.Batch},
		{name: "stored answers", every: time.Hour, run: w.forgetAnswers, batch: answersBatch},
		{name: "server keys", every: time.Minute, run: func(ctx context.Context) (int, error) { return 0, w.reloadKeys(ctx) }},
	}
}

// forgetAnswers drops what repeated requests would be answered with, once nobody repeats them any more.
func (w *services) forgetAnswers(ctx context.Context) (n int, err error) {
	err = w.DB.System(ctx, func(tx *gorm.DB) error {
		forgotten, err := tenantdb.ForgetKeys(tx, tenantdb.Now(tx).Add(-keepAnswers), answersBatch)
		n = int(forgotten)
		return err
	})
	return n, err
}
