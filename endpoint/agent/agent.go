// Package agent is the endpoint's life: it joins a server, keeps in sync with it, and carries out
// the signed tasks it is given, each of them at most once.
package agent

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"reeve/api"
	"reeve/api/wire"
	"reeve/endpoint/runner"
)

const (
	// pushEvery is how often output of a running task goes up at most, and urgentEvery how soon the
	// end of a task follows another sync.
	pushEvery   = time.Second
	urgentEvery = 50 * time.Millisecond

	firstBackoff   = time.Second
	longestBackoff = 5 * time.Minute

	defaultInterval  = 60 * time.Second
	defaultInventory = 4 * time.Hour

	stopTasks = 10 * time.Second // for running tasks to end
	stopSync  = 5 * time.Second  // for the goodbye to reach the server
)

// Options is what running needs.
type Options struct {
	Dir     Dir
	Version string
	Log     *slog.Logger
	Now     func() time.Time // the device's clock
	Live    map[string]LiveHandler

	// Tests take the network, the kinds of tasks and the inventory into their own hands.
	transport http.RoundTripper
	registry  runner.Registry
	collector *runner.Collector
}

// store is what the agent keeps on disk.
type store struct {
	journal   *journal
	events    *events
	reports   *reports
	inventory *inventory
	record    *taskLog
}

// Agent is one running endpoint. All that has no lock of its own belongs to the goroutine of Run.
type Agent struct {
	remote
	dir       Dir
	version   string
	log       *slog.Logger
	clock     *clock
	store     store
	worker    *worker
	collector *runner.Collector
	facts     runner.Facts
	status    *statusWriter
	signals   signals

	mu     sync.Mutex
	config config
}

// remote is how the server is reached and what it last said.
type remote struct {
	dev    device
	state  api.DeviceState
	way    *observed
	https  *httpsLink
	socket *socket
	aim    int  // bytes a batch should stay below
	skewed bool // the device's clock is known to be wrong
}

// signals wake the sync loop. Each holds one signal; more mean the same.
type signals struct {
	ring   chan struct{} // the server wants us now
	urgent chan struct{} // a task ended
	change chan struct{} // there is output or another change to tell
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run serves until ctx ends, then says goodbye. The data folder must hold an enrolment.
func Run(ctx context.Context, o Options) error {
	dev, err := o.Dir.load()
	if err != nil {
		return err
	}
	if err := o.Dir.Make(); err != nil {
		return err
	}
	lock, err := takeLock(ctx, o.Dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	a, err := newAgent(o, dev)
	if err != nil {
		return err
	}
	defer a.close()
	return a.run(ctx)
}

func newAgent(o Options, dev device) (*Agent, error) {
	a := &Agent{
		remote: remote{dev: dev, aim: wire.SyncAimBytes},
		dir:    o.Dir, version: o.Version, log: o.Log, config: dev.Config,
		collector: o.collector, facts: runner.HostFacts(),
		signals: signals{ring: make(chan struct{}, 1), urgent: make(chan struct{}, 1), change: make(chan struct{}, 1)},
	}
	if a.collector == nil {
		a.collector = runner.NewCollector()
	}
	key, err := loadOrMakeKey(o.Dir.keyFile())
	if err != nil {
		return nil, err
	}
	damaged, err := a.openStore(o.Now)
	if err != nil {
		return nil, errors.Join(err, a.close())
	}
	a.clock = newClock(o.Now, a.store.journal.floor())
	a.status = &statusWriter{path: o.Dir.statusFile()}
	if err := a.connectTo(o.transport, key, o.Live); err != nil {
		return nil, errors.Join(err, a.close())
	}
	if err := a.makeWorker(o.registry); err != nil {
		return nil, errors.Join(err, a.close())
	}
	a.event(eventStarted, "The endpoint started", map[string]any{"version": o.Version})
	if damaged > 0 {
		a.event(eventDamage, "Entries of the task journal were damaged and are lost", map[string]any{"entries": damaged})
	}
	return a, nil
}

func (a *Agent) openStore(now func() time.Time) (damaged int, err error) {
	if a.store.journal, damaged, err = openJournal(a.dir.journalFile()); err != nil {
		return 0, err
	}
	if a.store.events, err = openEvents(a.dir.eventsFile(), now); err != nil {
		return 0, err
	}
	if a.store.record, err = openTaskLog(a.dir.taskLogFile()); err != nil {
		return 0, err
	}
	if a.store.inventory, err = openInventory(a.dir.inventoryDir(), now); err != nil {
		return 0, err
	}
	a.store.reports = newReports(a.dir.spoolDir(), now)
	return damaged, nil
}

// connectTo prepares both ways to the server.
func (a *Agent) connectTo(transport http.RoundTripper, key ed25519.PrivateKey, live map[string]LiveHandler) (err error) {
	if _, err := serverURL(a.dev.Server, a.dev.InsecureHTTP); err != nil {
		return err
	}
	if transport == nil {
		if transport, err = newTransport(a.dev.CA); err != nil {
			return err
		}
	}
	a.way = &observed{RoundTripper: transport}
	token := func() (string, error) { return DeviceToken(a.dev.ID, key, a.clock.serverNow()) }
	if a.https, err = newHTTPSLink(a.dev.Server, a.way, token); err != nil {
		return err
	}
	a.socket = &socket{
		url: socketURL(a.dev.Server), transport: a.way, token: token, live: live, log: a.log,
		onProblem: func(p *problemError) { a.adoptTime(p) },
		ring:      func() { signal(a.signals.ring) },
	}
	return nil
}

// makeWorker prepares the tasks, and first of all reports those that an earlier run left unfinished.
func (a *Agent) makeWorker(registry runner.Registry) error {
	if registry == nil {
		scripts, err := runner.Scripts(a.dir.scriptsDir())
		if err != nil {
			return err
		}
		registry = runner.Registry{wire.KindScript: scripts, wire.KindInventory: runner.Inventory(a.collector, a.keep)}
	}
	a.worker = a.newWorker(registry)
	return a.worker.recover()
}

func (a *Agent) newWorker(registry runner.Registry) *worker {
	return &worker{
		registry: registry, journal: a.store.journal, reports: a.store.reports, clock: a.clock, record: a.store.record,
		log: a.log, running: map[uuid.UUID]*active{},
		hooks: hooks{allowed: a.allowed, event: a.event, wake: func(urgent bool) {
			if urgent {
				signal(a.signals.urgent)
				return
			}
			signal(a.signals.change)
		}},
	}
}

func (a *Agent) close() error {
	var errs []error
	if a.store.journal != nil {
		errs = append(errs, a.store.journal.close())
	}
	if a.store.events != nil {
		errs = append(errs, a.store.events.close())
	}
	return errors.Join(errs...)
}

// run is the life between start and goodbye.
func (a *Agent) run(ctx context.Context) error {
	a.log.InfoContext(ctx, "the endpoint runs", "server", a.dev.Server, "device_id", a.dev.ID, "version", a.version)
	// The socket outlives ctx, so that the goodbye can take it.
	linkCtx, cut := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { a.socket.run(linkCtx) })
	wg.Go(func() { a.collect(ctx) })
	a.loop(ctx)
	a.goodbye(context.WithoutCancel(ctx))
	cut()
	wg.Wait()
	a.tellStatus(nil, true)
	return nil
}

// loop syncs when it is time, when the server rings, and when there is something to tell.
func (a *Agent) loop(ctx context.Context) {
	failures := 0
	due := a.clock.now()
	for {
		if !a.await(ctx, due, failures) {
			return
		}
		again, err := a.syncOnce(ctx, "")
		if ctx.Err() != nil {
			return
		}
		a.tellStatus(err, false)
		switch {
		case err != nil:
			failures++
			wait := a.backoff(err, failures)
			a.log.WarnContext(ctx, "the sync failed", "error", err, "retry_in", wait)
			due = a.clock.now().Add(wait)
		case again:
			failures, due = 0, a.clock.now().Add(urgentEvery) // a server that always wants more gets no tight loop
		default:
			failures, due = 0, a.clock.now().Add(jitterTenth(a.interval()))
		}
	}
}

// await waits for the next sync. While the server cannot be reached only time and its bell count.
func (a *Agent) await(ctx context.Context, due time.Time, failures int) bool {
	last := a.clock.now()
	timer := time.NewTimer(due.Sub(last))
	defer timer.Stop()
	sooner := func(at time.Time) {
		if failures == 0 && at.Before(due) {
			due = at
			timer.Reset(max(due.Sub(a.clock.now()), 0))
		}
	}
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-a.signals.ring:
			return true
		case <-a.signals.urgent:
			sooner(last.Add(urgentEvery))
		case <-a.signals.change:
			sooner(last.Add(pushEvery))
		}
	}
}

func (a *Agent) interval() time.Duration {
	if a.dev.Interval <= 0 {
		return defaultInterval
	}
	return time.Duration(a.dev.Interval) * time.Second
}

// backoff spreads the returns of a fleet after an outage, and heeds what the server asks for.
func (a *Agent) backoff(err error, failures int) time.Duration {
	wait := min(firstBackoff<<min(failures-1, 16), longestBackoff)
	var p *problemError
	if errors.As(err, &p) {
		wait = max(wait, p.retryAfter())
		if p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden {
			wait = max(wait, a.interval()) // not a matter of a moment
		}
	}
	return jitter(wait)
}

// goodbye ends the tasks, tells how they ended, and that the silence to come is meant.
func (a *Agent) goodbye(ctx context.Context) {
	tasksCtx, cancel := context.WithTimeout(ctx, stopTasks)
	a.worker.stop(tasksCtx)
	cancel()
	syncCtx, cancel := context.WithTimeout(ctx, stopSync)
	defer cancel()
	for {
		_, err := a.syncOnce(syncCtx, "the endpoint was stopped")
		if err != nil {
			a.log.InfoContext(ctx, "the goodbye did not reach the server", "error", err)
			return
		}
		if !a.store.reports.pending() {
			return
		}
	}
}

// collect takes the inventory at the start and then as often as the policy says.
func (a *Agent) collect(ctx context.Context) {
	for {
		sections, failed := a.collector.Collect(ctx, nil)
		for name, err := range failed {
			a.log.WarnContext(ctx, "a section of the inventory could not be read", "section", name, "error", err)
		}
		if err := a.keep(sections); err != nil {
			a.log.ErrorContext(ctx, "the inventory could not be kept", "error", err)
		}
		if !sleep(ctx, jitterTenth(a.inventoryInterval())) {
			return
		}
	}
}

func (a *Agent) keep(sections []runner.Section) error {
	changed, err := a.store.inventory.store(sections)
	if changed {
		signal(a.signals.change)
	}
	return err
}

// setConfig replaces what the policy says.
func (a *Agent) setConfig(c config) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.config, a.dev.Config = c, c
}

func (a *Agent) inventoryInterval() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.config.InventoryInterval; s != nil && *s > 0 {
		return time.Duration(*s) * time.Second
	}
	return defaultInventory
}

// allowed is the word of the device's owner, then that of the policy.
func (a *Agent) allowed(kind string) error {
	if err := a.dir.check(kind); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.config.ScriptsAllowed; kind == wire.KindScript && s != nil && !*s {
		return errors.New("this device's policy allows no scripts")
	}
	return nil
}

func (a *Agent) event(kind, title string, detail map[string]any) {
	if err := a.store.events.add(kind, title, detail); err != nil {
		a.log.Error("an event is lost", "kind", kind, "error", err)
	}
}

// takeLock gives an endpoint that is just stopping, or a status command that is just looking, a
// moment to let go.
func takeLock(ctx context.Context, dir Dir) (interface{ Close() error }, error) {
	for range 10 {
		lock, err := lockFile(dir.lockFile())
		if !errors.Is(err, errRunning) {
			return lock, err
		}
		if !sleep(ctx, 300*time.Millisecond) {
			break
		}
	}
	return nil, fmt.Errorf("%w: %s", errRunning, dir)
}

// jitterTenth keeps a fleet's syncs from falling into step.
func jitterTenth(d time.Duration) time.Duration { return d*9/10 + jitter(d)/10 }
