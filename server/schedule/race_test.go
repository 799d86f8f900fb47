package schedule_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/dbtest"
	"reeve/server/schedule"
)

// plenty adds n schedules of a tenant, all of them due now, on one device.
func (h *house) plenty(p place, device uuid.UUID, n int) {
	h.t.Helper()
	made := h.create(daily(p.tenant, on(device)))
	h.exec1(`insert into schedules (tenant_id, id, name, name_key, enabled, kind, payload, targets, recurrence, zone_mode, catch_up, created_by_name)
		select s.tenant_id, gen_random_uuid(), s.name, s.name_key, true, s.kind, s.payload, s.targets, s.recurrence, s.zone_mode, s.catch_up, ''
		from schedules s, generate_series(2, ?) where s.id = ?`, n, made.ID)
	h.exec1(`insert into schedule_due (tenant_id, schedule_id, zone, wake_at, through)
		select tenant_id, id, 'UTC', ?, ? from schedules where id <> ?`, instant(h.t, "2025-06-11T09:00:00Z"), h.time(), made.ID)
}

// drain sweeps until nothing is left that nobody else holds.
func drain(t *testing.T, sweep func(context.Context) (int, error)) {
	t.Helper()
	for {
		n, err := sweep(dbtest.System(t))
		if err != nil {
			t.Error(err)
			return
		}
		if n == 0 {
			return
		}
	}
}

// pause makes a sweep of s stop in the middle of its transaction, with its rows claimed: SweepDue
// reads the clock when it claims and again when it decides. It tells when it stands there.
func (h *house) pause(s *schedule.Service) (standing <-chan uuid.UUID, release func()) {
	arrived, gate := make(chan uuid.UUID, 1), make(chan struct{})
	var once sync.Once
	var calls int
	var mu sync.Mutex
	s.SetClock(func(tx *gorm.DB) time.Time {
		mu.Lock()
		calls++
		middle := calls == 2
		mu.Unlock()
		if middle {
			var pid int
			_ = tx.Raw("select pg_backend_pid()").Scan(&pid).Error
			arrived <- uuid.UUID{12: byte(pid >> 24), 13: byte(pid >> 16), 14: byte(pid >> 8), 15: byte(pid)}
			<-gate
		}
		return h.time()
	})
	return arrived, func() { once.Do(func() { close(gate) }) }
}

func TestReplicasDecideEverySchedulesOnceWhileOneIsPaused(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"comes back", "has lost its connection"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			p := h.place("UTC")
			const n = 2500
			h.plenty(p, h.device(p, ""), n)
			h.at("2025-06-11T09:00:00Z")

			paused := h.replica(dbtest.Open(t, h.url), h.exec)
			standing, release := h.pause(paused)
			defer release()
			outcome := make(chan error, 1)
			go func() {
				_, err := paused.SweepDue(dbtest.System(t))
				outcome <- err
			}()
			pid := <-standing

			// Far beyond any lease: the others do all the rest.
			second := h.replica(dbtest.Open(t, h.url), h.exec)
			var both sync.WaitGroup
			both.Go(func() { drain(t, h.s.SweepDue) })
			both.Go(func() { drain(t, second.SweepDue) })
			both.Wait()
			if got := h.count("select count(*) from schedule_runs"); got != n-schedule.Batch {
				t.Errorf("%d runs while %d are held", got, schedule.Batch)
			}
			if end == "comes back" {
				release()
				if err := <-outcome; err != nil {
					t.Errorf("the paused replica: %v", err)
				}
			} else {
				h.kill(int(pid[12])<<24 | int(pid[13])<<16 | int(pid[14])<<8 | int(pid[15]))
				release()
				if err := <-outcome; err == nil {
					t.Error("a transaction without its connection is said to have succeeded")
				}
				drain(t, h.s.SweepDue)
			}
			if got := h.count("select count(distinct schedule_id) from schedule_runs"); got != n || h.count("select count(*) from schedule_runs") != n {
				t.Errorf("%d of %d schedules fired", got, n)
			}
			if got := h.count("select count(*) from schedule_due where wake_at <> ?", instant(t, "2025-06-12T09:00:00Z")); got != 0 {
				t.Errorf("%d are not planned for the next day", got)
			}
			if list := h.texts("select reason from missed_runs"); len(list) != 0 {
				t.Errorf("missed: %v", list)
			}
		})
	}
}

// kill ends a connection as a broken network would. The logins of tests may end their own backends.
func (h *house) kill(pid int) {
	h.t.Helper()
	must(h.t, h.db.System(dbtest.System(h.t), func(tx *gorm.DB) error {
		if err := tx.Exec("reset role").Error; err != nil {
			return err
		}
		return tx.Exec("select pg_terminate_backend(?)", pid).Error
	}))
}

func TestReplicasExpandEveryRunOnceWhileOneIsPaused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.place("UTC")
	const n = 1000
	h.plenty(p, h.device(p, ""), n)
	h.at("2025-06-11T09:00:00Z")
	drain(t, h.s.SweepDue)

	// One of a replica's workers stops in the middle of a run, before its job is made.
	slow := &recorder{}
	paused := h.replica(dbtest.Open(t, h.url), slow)
	standing, gate := make(chan struct{}), make(chan struct{})
	var first sync.Once
	slow.whenFired(func(schedule.Order) error {
		first.Do(func() { close(standing); <-gate })
		return nil
	})
	outcome := make(chan error, 1)
	go func() {
		_, err := paused.SweepRuns(dbtest.System(t))
		outcome <- err
	}()
	<-standing
	second := h.replica(dbtest.Open(t, h.url), h.exec)
	open := func() int { return h.count("select count(*) from schedule_runs where state = 'fired'") }
	for open() > schedule.Group {
		var both sync.WaitGroup
		both.Go(func() { _, err := h.s.SweepRuns(dbtest.System(t)); report(t, err) })
		both.Go(func() { _, err := second.SweepRuns(dbtest.System(t)); report(t, err) })
		both.Wait()
	}
	close(gate)
	must(t, <-outcome)
	drain(t, h.s.SweepRuns)
	fired := map[uuid.UUID]int{}
	orders := append(h.exec.orders(), slow.orders()...)
	for _, o := range orders {
		fired[o.Schedule.ID]++
	}
	if len(fired) != n || len(orders) != n {
		t.Errorf("%d orders for %d of %d schedules", len(orders), len(fired), n)
	}
	if got := h.count("select count(*) from schedule_occurrences"); got != n {
		t.Errorf("%d occurrences", got)
	}
}

func report(t *testing.T, err error) {
	if err != nil {
		t.Error(err)
	}
}

func TestACrashBetweenDecidingAndStartingLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.place("UTC")
	device := h.device(p, "")
	made := h.create(daily(p.tenant, on(device)))
	h.at("2025-06-11T09:00:01Z")
	drain(t, h.s.SweepDue)
	if len(h.exec.orders()) != 0 {
		t.Fatal("deciding starts nothing by itself")
	}
	// The server dies here; another one starts twenty minutes later.
	h.at("2025-06-11T09:20:00Z")
	h.s = h.replica(dbtest.Open(t, h.url), h.exec)
	h.sweep()
	orders := h.exec.orders()
	if len(orders) != 1 || orders[0].Schedule.ID != made.ID || orders[0].Devices[0].DeviceID != device {
		t.Fatalf("orders %+v", orders)
	}
	h.sweep()
	if len(h.exec.orders()) != 0 {
		t.Error("it ran again")
	}
	want(t, "runs", h.runs(made.ID), []string{"2025-06-11T09:00"})
	want(t, "missed", h.ledger(made.ID), nil)
}

func TestWhatCannotStartIsTriedAgainAndThenMissedAloneOfAll(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.place("UTC")
	d := daily(p.tenant, on(h.device(p, "")))
	sick := h.create(d)
	well := h.create(d)
	h.exec.whenFired(func(o schedule.Order) error {
		if o.Schedule.ID == sick.ID {
			return fault.Wrap(fault.Conflict, "the script was archived", errors.New("dsn=secret"))
		}
		return nil
	})
	start := instant(t, "2025-06-11T09:00:00Z")
	h.set(start)
	h.sweep()
	if orders := h.exec.orders(); len(orders) != 1 || orders[0].Schedule.ID != well.ID {
		t.Errorf("%d orders", len(orders))
	}
	var tries []int
	for minute := 0; minute < 30; minute++ {
		before := h.count("select attempts from schedule_runs where schedule_id = ?", sick.ID)
		h.set(start.Add(time.Duration(minute) * 15 * time.Second))
		h.sweep()
		if h.count("select attempts from schedule_runs where schedule_id = ?", sick.ID) > before {
			tries = append(tries, minute*15)
		}
	}
	if len(tries) != 4 || tries[0] != 15 || tries[1] != 45 || tries[2] != 105 || tries[3] != 225 {
		t.Errorf("tried again after %v seconds", tries)
	}
	want(t, "runs", h.runs(sick.ID), []string{"2025-06-11T09:00 failed"})
	want(t, "missed", h.ledger(sick.ID), []string{"2025-06-11T09:00 queue"})
	want(t, "why", h.texts("select reason from schedule_runs where schedule_id = ?", sick.ID), []string{"the script was archived"})
	if h.count("select count(*) from schedule_occurrences where schedule_id = ?", sick.ID) != 0 {
		t.Error("an attempt that failed left something behind")
	}
	h.at("2025-06-12T09:00:00Z")
	h.exec.whenFired(nil)
	h.sweep()
	want(t, "runs the day after", h.runs(sick.ID), []string{"2025-06-11T09:00 failed", "2025-06-12T09:00"})
}

func TestOneScheduleThatCannotBeReadHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.place("UTC")
	d := daily(p.tenant, on(h.device(p, "")))
	var broken []schedule.Schedule
	for _, column := range []string{"recurrence", "targets"} {
		s := h.create(d)
		h.exec1(`update schedules set `+column+` = '{"cron": "every now and then", "device_ids": 7}' where id = ?`, s.ID)
		broken = append(broken, s)
	}
	well := h.create(d)
	h.at("2025-06-11T09:00:00Z").sweep()
	if orders := h.exec.orders(); len(orders) != 1 || orders[0].Schedule.ID != well.ID {
		t.Errorf("%d orders", len(orders))
	}
	for _, s := range broken {
		if got := h.count("select count(*) from schedule_due where schedule_id = ? and wake_at = ?", s.ID, instant(t, "2025-06-11T10:00:00Z")); got != 1 {
			t.Error("it is not put off")
		}
	}
}

// A person who changes a schedule and a sweep that decides it meet on the same rows.
func TestChangingASchedulesWhileItIsDecidedNeitherDeadlocksNorDoubles(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.place("UTC")
	d := daily(p.tenant, on(h.device(p, "")))
	var list []schedule.Schedule
	for range 40 {
		list = append(list, h.create(d))
	}
	h.at("2025-06-11T09:00:00Z")
	var all sync.WaitGroup
	all.Go(func() {
		for range 20 {
			_, err := h.s.SweepDue(dbtest.System(t))
			report(t, err)
		}
	})
	for _, s := range list {
		all.Go(func() {
			name := "Renamed"
			_, err := h.s.Update(h.staff(), s.ID, schedule.Change{Version: s.Version, Name: &name, JitterSeconds: new(int)})
			report(t, err)
		})
	}
	all.Wait()
	h.sweep()
	if n := h.count("select count(*) from schedule_runs"); n != len(list) || len(h.exec.orders()) != len(list) {
		t.Errorf("%d runs of %d schedules", n, len(list))
	}
}

// Two runs of one schedule that are both open start one after the other, so that the second sees what
// the first left waiting.
func TestTwoRunsOfOneScheduleStartInTheirOrder(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.place("UTC")
	d := daily(p.tenant, on(h.device(p, "")))
	var list []schedule.Schedule
	for range 30 {
		list = append(list, h.create(d))
	}
	for _, at := range []string{"2025-06-11T09:00:00Z", "2025-06-12T09:00:00Z", "2025-06-13T09:00:00Z"} {
		h.at(at)
		drain(t, h.s.SweepDue) // nothing starts runs meanwhile
	}
	n, err := h.s.SweepRuns(dbtest.System(t))
	must(t, err)
	if n != 3*len(list) {
		t.Errorf("%d of %d runs", n, 3*len(list))
	}
	keys := h.texts("select schedule_id || ' ' || nominal from schedule_runs r where job_id is not null order by schedule_id, job_id")
	if len(keys) != 3*len(list) || !slices.IsSorted(keys) {
		t.Errorf("jobs were made out of order: %v", keys)
	}
}
