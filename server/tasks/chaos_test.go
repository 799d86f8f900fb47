package tasks_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/server/dbtest"
	"reeve/server/fleet"
	"reeve/server/tasks"
	"reeve/tenants/tenantdb"
)

// endpoint is a device as the protocol wants it: a journal by task id, updates kept until they are
// acknowledged, a fresh copy of whatever is outstanding with each message.
type endpoint struct {
	place   place
	index   int
	journal map[uuid.UUID]int // executions
	outbox  []tasks.Update
	seq     int
}

func (e *endpoint) id() uuid.UUID { return e.place.devices[e.index] }

// receive executes what is new. A second copy of a task is answered by what is in the journal already.
func (e *endpoint) receive(l tasks.Lease) {
	if _, seen := e.journal[l.TaskID]; seen {
		return
	}
	e.journal[l.TaskID]++
	say := func(r tasks.Report, chunks ...tasks.Chunk) {
		e.seq++
		u := with(e.place.report(l.TaskID, e.index, fmt.Sprintf("%d-%d", e.index, e.seq), r), chunks...)
		e.outbox = append(e.outbox, u)
	}
	text := l.TaskID.String()
	say(tasks.ReportRunning, out(0, text[:10]))
	say(tasks.ReportRunning, out(10, text[10:20]))
	say(tasks.ReportSucceeded, out(20, text[20:]))
}

// Messages are lost, repeated, delayed and reordered on their way up, and answers on their way down:
// every task is executed once and reported once, with its whole output, whatever happens.
func TestExactlyOnceUnderLossRepetitionAndReordering(t *testing.T) {
	t.Parallel()
	const devices, jobs, wanted = 40, 8, 10_000
	w := newWorld(t)
	ends := map[uuid.UUID]int{}
	w.s = w.counting(ends)
	p := w.addPlace(devices)
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 7))
	t.Logf("seed %d", seed)
	for range jobs {
		w.run(on(p.devices...))
	}
	endpoints := make([]*endpoint, devices)
	for i := range endpoints {
		endpoints[i] = &endpoint{place: p, index: i, journal: map[uuid.UUID]int{}}
	}
	var delayed []tasks.Update
	messages, done := 0, 0
	for round := 0; messages < wanted || done < devices; round++ {
		if round > 3000 {
			t.Fatalf("stuck: %d of %d devices are done", done, devices)
		}
		messages += w.chaosRound(r, endpoints, &delayed)
		// Time passes, so that leases are lost and answers repeated.
		w.exec("UPDATE tasks SET leased_at = leased_at - interval '20 seconds', lease_until = lease_until - interval '20 seconds' WHERE state IN ('leased', 'running')")
		w.exec("UPDATE tasks SET attempts = 1 WHERE state = 'queued'") // parking has its own test
		if round%3 == 0 {
			_, err := w.s.SweepLeases(dbtest.System(t))
			must(t, err)
		}
		done = 0
		for _, e := range endpoints {
			if len(e.journal) == jobs && len(e.outbox) == 0 {
				done++
			}
		}
	}
	executed := 0
	for _, e := range endpoints {
		for id, n := range e.journal {
			executed += n
			if n != 1 {
				t.Errorf("task %s was executed %d times", id, n)
			}
		}
	}
	if executed != devices*jobs {
		t.Errorf("%d executions of %d tasks", executed, devices*jobs)
	}
	for id, n := range ends {
		if n != 1 {
			t.Errorf("the end of %s was told %d times", id, n)
		}
	}
	if len(ends) != devices*jobs {
		t.Errorf("%d ends of %d tasks", len(ends), devices*jobs)
	}
	page, _, err := w.s.ListTasks(dbtest.Staff(t, everything...), tasks.TaskFilter{WithOutput: true}, "", 1000)
	must(t, err)
	cut := 0
	for _, x := range page {
		if x.State != tasks.Succeeded || x.Late {
			t.Errorf("%s is %s (%s), late=%t", x.ID, x.State, x.Reason, x.Late)
		}
		if x.Output.StdoutTruncated {
			cut++
		} else if x.Output.Stdout != x.ID.String() {
			t.Errorf("%s wrote %q", x.ID, x.Output.Stdout)
		}
	}
	if len(page) != devices*jobs || cut > 0 {
		t.Errorf("%d tasks, %d with lost output", len(page), cut)
	}
	t.Logf("%d messages, %d executions", messages, executed)
}

// counting is a queue that counts the ends of tasks that were committed.
func (w *world) counting(ends map[uuid.UUID]int) *tasks.Service {
	return w.withOutcome(func(_ context.Context, tx *gorm.DB, ended []tasks.Task) error {
		tenantdb.AfterCommit(tx, func() {
			for _, t := range ended {
				ends[t.ID]++
			}
		})
		return nil
	})
}

// chaosRound lets some endpoints speak in one transaction, as the gateway does, and counts messages.
func (w *world) chaosRound(r *rand.Rand, endpoints []*endpoint, delayed *[]tasks.Update) (messages int) {
	w.t.Helper()
	var batch []tasks.Update
	var asking []tasks.Asking
	var speakers []*endpoint
	for _, e := range endpoints {
		if r.IntN(3) == 0 {
			continue // silent now
		}
		speakers = append(speakers, e)
		asking = append(asking, tasks.Asking{DeviceID: e.id(), Ready: true, Running: unfinished(e)})
		for _, u := range e.outbox {
			switch r.IntN(8) {
			case 0: // lost on the way
			case 1: // twice
				batch = append(batch, u, u)
			case 2: // arrives later, perhaps after what follows it
				*delayed = append(*delayed, u)
			default:
				batch = append(batch, u)
			}
		}
	}
	if len(*delayed) > 30 {
		r.Shuffle(len(*delayed), func(i, j int) { (*delayed)[i], (*delayed)[j] = (*delayed)[j], (*delayed)[i] })
		batch = append(batch, (*delayed)[:20]...)
		*delayed = slices.Delete(*delayed, 0, 20)
	}
	if r.IntN(4) == 0 {
		r.Shuffle(len(batch), func(i, j int) { batch[i], batch[j] = batch[j], batch[i] })
	}
	var applied []tasks.Applied
	var work map[uuid.UUID]tasks.Work
	w.system(func(tx *gorm.DB) (err error) {
		if applied, err = w.s.ApplyUpdatesTx(tx.Statement.Context, tx, batch); err != nil {
			return err
		}
		work, err = w.s.WorkTx(tx.Statement.Context, tx, asking)
		return err
	})
	// The answers; some are lost.
	heard := map[uuid.UUID]bool{}
	for _, e := range speakers {
		if r.IntN(5) > 0 {
			heard[e.id()] = true
		}
	}
	for i, a := range applied {
		if a.Verdict == tasks.Refused {
			w.t.Fatalf("%s of %s was refused: %s", batch[i].Report, batch[i].TaskID, a.Detail)
		}
		if a.Verdict == tasks.Accepted && heard[batch[i].DeviceID] {
			for _, e := range speakers {
				if e.id() == batch[i].DeviceID {
					e.outbox = slices.DeleteFunc(e.outbox, func(u tasks.Update) bool { return u.ID == a.UpdateID })
				}
			}
		}
	}
	for _, e := range speakers {
		if heard[e.id()] {
			for _, l := range work[e.id()].Leases {
				e.receive(l)
			}
		}
	}
	return len(batch) + len(asking)
}

// unfinished are the tasks of which something still waits to be acknowledged.
func unfinished(e *endpoint) []uuid.UUID {
	var ids []uuid.UUID
	for _, u := range e.outbox {
		if !slices.Contains(ids, u.TaskID) {
			ids = append(ids, u.TaskID)
		}
	}
	return ids
}

// statements counts what goes to the database through GORM.
type statements struct {
	slog.Handler
	n atomic.Int64
}

func (s *statements) Enabled(context.Context, slog.Level) bool { return true }
func (s *statements) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "slow query" {
		s.n.Add(1)
	}
	return nil
}

func TestAJobOverTenThousandDevicesCostsAsManyStatementsAsOneOverTen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	counter := &statements{Handler: slog.DiscardHandler}
	w.db = w.reopen(slog.New(counter))
	w.s = w.withOutcome(nil)
	w.unlimited()
	small, big := w.addPlace(10), w.addPlace(10_000)
	cost := func(sel fleet.Selector) (int64, time.Duration) {
		before, start := counter.n.Load(), time.Now()
		j, err := w.s.CreateJob(dbtest.Staff(t, everything...), newJob(sel))
		must(t, err)
		if j.Counts[tasks.Queued] != j.TasksTotal {
			t.Errorf("%+v", j.Counts)
		}
		return counter.n.Load() - before, time.Since(start)
	}
	few, _ := cost(fleet.Selector{TenantID: &small.tenant})
	many, took := cost(fleet.Selector{TenantID: &big.tenant})
	if few != many || few == 0 {
		t.Errorf("10 devices cost %d statements, 10,000 cost %d", few, many)
	}
	t.Logf("10,000 tasks signed and stored in %s with %d statements", took, many)

	// A technician's job on one of these machines is not held up by it.
	one := w.run(on(big.devices[5000]))
	before := counter.n.Load()
	leases := w.lease(big.devices[4990:5010]...)
	if n := counter.n.Load() - before; n != 2 {
		t.Errorf("leasing for 20 devices cost %d statements", n)
	}
	if l := leases[big.devices[5000]]; len(l) != 1 || l[0].TaskID != w.tasksOf(one.ID)[0].ID {
		t.Error("the one-device job waits behind the one of 10,000")
	}
	if len(leases) != 20 {
		t.Errorf("%d devices got work", len(leases))
	}
	for _, l := range leases {
		w.open(l[0])
	}
	// Not for ever: what has waited long goes before what is new.
	other := big.devices[100]
	w.run(on(other))
	w.exec("UPDATE tasks SET created_at = created_at - interval '20 minutes' WHERE device_id = ? AND weight > 0", other)
	if l := w.lease(other)[other]; len(l) != 1 || l[0].TaskID == w.newestTask(other) {
		t.Error("the job of 10,000 starves on a busy device")
	}

	// Updates of many devices cost as many statements as those of one.
	updates := func(devices []uuid.UUID) (all []tasks.Update) {
		for d, l := range w.lease(devices...) {
			all = append(all, exit(with(tasks.Update{ID: "u", TenantID: big.tenant, DeviceID: d, TaskID: l[0].TaskID, Report: tasks.ReportSucceeded}, out(0, "ok")), 0))
		}
		return all
	}
	single, many500 := updates(big.devices[200:201]), updates(big.devices[1000:1500])
	count := func(list []tasks.Update) int64 {
		before := counter.n.Load()
		w.accept(list...)
		return counter.n.Load() - before
	}
	if a, b := count(single), count(many500); a != b || len(many500) != 500 {
		t.Errorf("one update costs %d statements, 500 cost %d", a, b)
	}
	// And a fleet that has nothing to do costs one.
	idle := make([]tasks.Asking, 0, 500)
	for _, d := range small.devices {
		w.exec("UPDATE tasks SET state = 'cancelled', finished_at = now() WHERE device_id = ?", d)
		idle = append(idle, tasks.Asking{DeviceID: d, Ready: true})
	}
	before = counter.n.Load()
	w.work(idle...)
	if n := counter.n.Load() - before; n != 1 {
		t.Errorf("idle devices cost %d statements", n)
	}
}

func (w *world) newestTask(device uuid.UUID) (id uuid.UUID) {
	w.t.Helper()
	page, _, err := w.s.ListTasks(dbtest.Staff(w.t, everything...), tasks.TaskFilter{DeviceID: &device}, "", 1)
	must(w.t, err)
	return page[0].ID
}
