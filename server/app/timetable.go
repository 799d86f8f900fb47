package app

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/robfig/cron/v3"

	"reeve/tenants/scope"
)

// sweep is a row of the timetable: idempotent work, limited in size, safe on several replicas at
// once because it claims what it works on in the database.
type sweep struct {
	name  string
	every time.Duration
	// run does one batch and tells how many rows it worked on; a full batch is followed by another.
	run   func(ctx context.Context) (int, error)
	batch int
}

// timetable ticks the sweeps. It holds no state of its own: what is due stands in the database.
type timetable struct {
	cron   *cron.Cron
	log    *slog.Logger
	cancel context.CancelFunc
	ran    func(name string, took time.Duration, rows int, err error)
}

func startTimetable(ctx context.Context, sweeps []sweep, log *slog.Logger, ran func(string, time.Duration, int, error)) (*timetable, error) {
	ctx, cancel := context.WithCancel(ctx)
	t := &timetable{cron: cron.New(), log: log, cancel: cancel, ran: ran}
	for _, s := range sweeps {
		var busy sync.Mutex
		_, err := t.cron.AddFunc("@every "+s.every.String(), func() {
			if !busy.TryLock() {
				return // the run before is still at it
			}
			defer busy.Unlock()
			t.drain(ctx, s)
		})
		if err != nil {
			cancel()
			return nil, fmt.Errorf("timetable %s: %w", s.name, err)
		}
	}
	t.cron.Start()
	return t, nil
}

// drain runs a sweep until a batch comes back short, so that a backlog is worked off at once.
func (t *timetable) drain(ctx context.Context, s sweep) {
	ctx = scope.AsSystem(ctx, s.name)
	for ctx.Err() == nil {
		start := time.Now()
		n, err := s.run(ctx)
		t.ran(s.name, time.Since(start), n, err)
		if err != nil {
			if ctx.Err() == nil {
				t.log.ErrorContext(ctx, "sweep failed", "sweep", s.name, "error", err)
			}
			return
		}
		if s.batch == 0 || n < s.batch {
			return
		}
	}
}

// stop waits for running sweeps; each ends at its next statement because its context is cancelled.
func (t *timetable) stop(ctx context.Context) error {
	running := t.cron.Stop()
	t.cancel()
	select {
	case <-running.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
