package tasks_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/server/dbtest"
	"reeve/server/tasks"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// Replicas serve the same devices at the same time, while somebody cancels and the sweeps run: no task
// is handed out by two of them, no device has two at once, no end is told twice, and nobody waits for
// anybody in a circle.
func TestReplicasDoNotGetIntoEachOthersWay(t *testing.T) {
	t.Parallel()
	const devices, jobs, replicas = 30, 6, 4
	w := newWorld(t)
	var mu sync.Mutex
	ends, handed := map[uuid.UUID]int{}, map[uuid.UUID]int{}
	w.s = w.withOutcome(func(_ context.Context, tx *gorm.DB, ended []tasks.Task) error {
		tenantdb.AfterCommit(tx, func() {
			mu.Lock()
			defer mu.Unlock()
			for _, t := range ended {
				ends[t.ID]++
			}
		})
		return nil
	})
	p := w.addPlace(devices)
	var made []tasks.Job
	for range jobs {
		made = append(made, w.run(on(p.devices...)))
	}
	system := scope.AsSystem(context.Background(), "replica")
	var open sync.Map // device → task that it is at
	var group sync.WaitGroup
	for replica := range replicas {
		group.Go(func() {
			r := rand.New(rand.NewPCG(uint64(replica), 3))
			for range 60 {
				var asking []tasks.Asking
				var updates []tasks.Update
				for _, i := range r.Perm(devices)[:8] {
					d := p.devices[i]
					if id, ok := open.LoadAndDelete(d); ok {
						u := exit(with(p.report(id.(uuid.UUID), i, fmt.Sprintf("%d", r.Int()), tasks.ReportSucceeded), out(0, "ok")), 0)
						updates = append(updates, u, u)
					}
					asking = append(asking, tasks.Asking{DeviceID: d, Ready: true})
				}
				var work map[uuid.UUID]tasks.Work
				err := w.db.System(system, func(tx *gorm.DB) (err error) {
					if _, err = w.s.ApplyUpdatesTx(system, tx, updates); err != nil {
						return err
					}
					work, err = w.s.WorkTx(system, tx, asking)
					return err
				})
				if err != nil {
					t.Errorf("replica %d: %v", replica, err)
					return
				}
				for d, given := range work {
					for _, l := range given.Leases {
						mu.Lock()
						handed[l.TaskID]++
						mu.Unlock()
						open.Store(d, l.TaskID)
					}
				}
			}
		})
	}
	group.Go(func() {
		staff := dbtest.Staff(t, everything...)
		for range 20 {
			for _, sweep := range []func(context.Context) (int, error){w.s.SweepJobs, w.s.SweepLeases, w.s.SweepExpired} {
				if _, err := sweep(system); err != nil {
					t.Errorf("sweep: %v", err)
				}
			}
		}
		if _, err := w.s.CancelJob(staff, made[jobs-1].ID); err != nil {
			t.Errorf("cancel: %v", err)
		}
	})
	group.Wait()
	for id, n := range handed {
		if n > 1 {
			t.Errorf("task %s was handed out %d times", id, n)
		}
	}
	for id, n := range ends {
		if n > 1 {
			t.Errorf("the end of %s was told %d times", id, n)
		}
	}
	var twice int
	w.system(func(tx *gorm.DB) error {
		return tx.Raw(`SELECT count(*) FROM (SELECT device_id FROM tasks WHERE state IN ('leased', 'running', 'cancelling')
			GROUP BY device_id HAVING count(*) > 1) x`).Scan(&twice).Error
	})
	if twice > 0 {
		t.Errorf("%d devices have several tasks at once", twice)
	}
	t.Logf("%d handed out, %d ended", len(handed), len(ends))
}
