package agent

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"reeve/api"
	"reeve/api/wire"
	"reeve/endpoint/runner"
)

const (
	maxWaiting  = 64 // accepted tasks that wait for their turn
	maxParallel = 8
	maxReason   = 2000
)

// worker carries tasks out: one at a time unless their kind may run beside others, each of them
// journalled before it begins.
type worker struct {
	registry runner.Registry
	journal  *journal
	reports  *reports
	clock    *clock
	record   *taskLog
	hooks    hooks
	log      *slog.Logger

	mu      sync.Mutex
	running map[uuid.UUID]*active
	waiting []wire.Payload
	stopped bool
	wg      sync.WaitGroup
}

// hooks are what the worker needs of the agent around it.
type hooks struct {
	allowed func(kind string) error // the device owner's and the policy's word
	event   func(kind, title string, detail map[string]any)
	wake    func(urgent bool) // there is something to tell the server
}

// active is a task being carried out.
type active struct {
	cancel    context.CancelCauseFunc
	exclusive bool
}

// recover reports what an earlier run of the endpoint left: tasks that were running are failed,
// once and truthfully, and final updates that the server does not have go up again.
func (w *worker) recover() error {
	running, unsent := w.journal.unfinished()
	for _, id := range running {
		t, _ := w.journal.find(id)
		reason := "interrupted: the endpoint stopped while this ran; how far it came is not known"
		if n := runner.Leftovers(id.String()); n > 0 {
			reason += fmt.Sprintf("; %d of its processes are still running", n)
		}
		began := t.at
		if err := w.finish(wire.Payload{ID: id, Kind: t.kind}, &began, runner.Failed("%s", reason)); err != nil {
			return err
		}
	}
	for _, id := range unsent {
		t, _ := w.journal.find(id)
		w.reports.end(*t.final)
	}
	return w.reports.clean()
}

// accept takes an envelope from the server. What cannot be verified is refused and reported; what
// was delivered before is answered from the journal.
func (w *worker) accept(ctx context.Context, e wire.Envelope, keys map[string]ed25519.PublicKey, device uuid.UUID) {
	p, err := wire.Open(e, keys, device, w.clock.trusted())
	if err != nil && p.ID == uuid.Nil {
		w.log.WarnContext(ctx, "a task was refused", "error", err)
		w.hooks.event(eventTaskDenied, "A task was refused: "+err.Error(), nil)
		return
	}
	if w.answerAgain(p.ID) {
		return
	}
	switch {
	case errors.Is(err, wire.ErrNotYet):
		w.log.InfoContext(ctx, "a task came before its time", "task_id", p.ID) // the server brings it again
	case err != nil:
		w.settle(ctx, p, runner.Result{State: api.AgentTaskUpdateStateSkipped, Reason: "it had expired by the time this device could start it"})
	default:
		w.enqueue(ctx, p)
	}
}

// answerAgain serves a redelivery. It is false for a task that is new.
func (w *worker) answerAgain(id uuid.UUID) bool {
	t, known := w.journal.find(id)
	switch {
	case !known:
		return false
	case t.final != nil && !w.reports.has(id):
		w.reports.end(*t.final)
	default:
		w.reports.remind(id)
	}
	w.hooks.wake(true)
	return true
}

func (w *worker) enqueue(ctx context.Context, p wire.Payload) {
	w.mu.Lock()
	twice := slices.ContainsFunc(w.waiting, func(o wire.Payload) bool { return o.ID == p.ID })
	full := len(w.waiting) >= maxWaiting
	if !twice && !full && !w.stopped {
		w.waiting = append(w.waiting, p)
	}
	w.mu.Unlock()
	if full {
		w.log.WarnContext(ctx, "too many tasks wait; one was left to the server", "task_id", p.ID)
	}
	w.dispatch(ctx)
}

// dispatch starts what may start now.
func (w *worker) dispatch(ctx context.Context) {
	for {
		p, runCtx, ok := w.pick(ctx)
		if !ok {
			return
		}
		w.start(runCtx, p)
	}
}

// pick takes the next task whose turn it is and marks it as running. The task's life is its own: it
// ends by cancelling, its limit, or the endpoint's stop, not with the call that brought it.
func (w *worker) pick(ctx context.Context) (wire.Payload, context.Context, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped || len(w.running) >= maxParallel {
		return wire.Payload{}, nil, false
	}
	busy := w.busy()
	for i, p := range w.waiting {
		exclusive := !w.registry[p.Kind].Parallel
		if exclusive && busy {
			continue
		}
		w.waiting = slices.Delete(w.waiting, i, i+1)
		runCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
		w.running[p.ID] = &active{exclusive: exclusive, cancel: cancel}
		w.wg.Add(1)
		return p, runCtx, true
	}
	return wire.Payload{}, nil, false
}

func (w *worker) busy() bool {
	for _, a := range w.running {
		if a.exclusive {
			return true
		}
	}
	return false
}

// start journals a task and carries it out in the background. The rules are asked again here,
// because it may have waited.
func (w *worker) start(ctx context.Context, p wire.Payload) {
	refused := w.hooks.allowed(p.Kind)
	switch {
	case !w.clock.trusted().Before(p.ExpiresAt):
		w.release(p.ID)
		w.settle(ctx, p, runner.Result{State: api.AgentTaskUpdateStateSkipped, Reason: "it had expired by the time this device could start it"})
		return
	case refused != nil:
		w.release(p.ID)
		w.settle(ctx, p, runner.Result{State: api.AgentTaskUpdateStateSkipped, Reason: refused.Error()})
		return
	}
	began := w.clock.now()
	fresh, err := w.journal.begin(p, began, w.clock.highest())
	if err != nil || !fresh {
		w.release(p.ID)
		if err != nil { // nothing ran: the server brings it again, to a disk that can be written
			w.log.ErrorContext(ctx, "a task was not started", "task_id", p.ID, "error", err)
		}
		return
	}
	w.reports.begin(p.ID, began)
	w.note("started", p, "")
	w.hooks.wake(false)
	go w.carryOut(ctx, p, began)
}

func (w *worker) carryOut(ctx context.Context, p wire.Payload, began time.Time) {
	lost := map[runner.Stream]bool{}
	result := w.registry.Run(ctx, p, func(s runner.Stream, offset int64, data []byte) {
		if lost[s] {
			return
		}
		if err := w.reports.output(p.ID, s, offset, data); err != nil {
			lost[s] = true // a full disk costs output, never the task
			w.log.ErrorContext(ctx, "output of a task is lost", "task_id", p.ID, "error", err)
		}
		w.hooks.wake(false)
	})
	result.StdoutTruncated = result.StdoutTruncated || lost[runner.Stdout]
	result.StderrTruncated = result.StderrTruncated || lost[runner.Stderr]
	if err := w.finish(p, &began, result); err != nil {
		w.log.ErrorContext(ctx, "the end of a task could not be journalled", "task_id", p.ID, "error", err)
	}
	w.release(p.ID)
	w.hooks.wake(true)
	w.dispatch(context.WithoutCancel(ctx))
}

func (w *worker) release(id uuid.UUID) {
	w.mu.Lock()
	if a := w.running[id]; a != nil {
		a.cancel(nil)
	}
	delete(w.running, id)
	w.mu.Unlock()
	w.wg.Done()
}

// settle ends a task that never ran, and remembers it so that it never will.
func (w *worker) settle(ctx context.Context, p wire.Payload, result runner.Result) {
	if _, err := w.journal.begin(p, w.clock.now(), w.clock.highest()); err != nil {
		w.log.ErrorContext(ctx, "a task could not be journalled", "task_id", p.ID, "error", err)
		return
	}
	if err := w.finish(p, nil, result); err != nil {
		w.log.ErrorContext(ctx, "the end of a task could not be journalled", "task_id", p.ID, "error", err)
	}
	w.hooks.wake(true)
}

// finish makes the final update: journalled, then told. began is nil for a task that never ran. The
// report is opened even when the journal cannot be written, for the server should know.
func (w *worker) finish(p wire.Payload, began *time.Time, result runner.Result) error {
	now := w.clock.now().UTC()
	u := api.AgentTaskUpdate{ID: uuid.NewString(), TaskID: p.ID, State: result.State, At: now, ExitCode: result.ExitCode, Reason: optional(wire.Clip(result.Reason, maxReason))}
	if began != nil {
		at := began.UTC()
		u.StartedAt, u.FinishedAt = &at, &now
	}
	if result.StdoutTruncated {
		u.StdoutTruncated = &result.StdoutTruncated
	}
	if result.StderrTruncated {
		u.StderrTruncated = &result.StderrTruncated
	}
	if result.Value != nil {
		if raw, err := json.Marshal(result.Value); err == nil && len(raw) <= wire.MaxResultBytes {
			u.Result = json.RawMessage(raw)
		}
	}
	err := w.journal.end(u)
	w.reports.end(u)
	event := "ended"
	if began == nil {
		event = "refused"
	}
	w.note(event, p, string(result.State)+": "+result.Reason)
	return err
}

func (w *worker) note(event string, p wire.Payload, detail string) {
	e := logEntry{At: w.clock.now().UTC(), Event: event, Task: p.ID, Kind: p.Kind, RunAs: p.RunAs, Detail: detail}
	if len(p.Body) > 0 {
		sum := sha256.Sum256(p.Body)
		e.Body = hex.EncodeToString(sum[:])
	}
	if err := w.record.add(e); err != nil {
		w.log.Error("the task log could not be written", "error", err)
	}
}

// cancel ends tasks at the server's wish. One that never arrived here is settled as cancelled, so
// that the server need not wait for it and a late delivery finds it done.
func (w *worker) cancel(ctx context.Context, ids []uuid.UUID) {
	for _, id := range ids {
		w.mu.Lock()
		a := w.running[id]
		if a != nil {
			a.cancel(runner.ErrCancelled)
		}
		i := slices.IndexFunc(w.waiting, func(p wire.Payload) bool { return p.ID == id })
		p := wire.Payload{ID: id, ExpiresAt: w.clock.trusted().Add(wire.MaxTaskLife)}
		if i >= 0 {
			p = w.waiting[i]
			w.waiting = slices.Delete(w.waiting, i, i+1)
		}
		w.mu.Unlock()
		if a != nil || i < 0 && w.answerAgain(id) {
			continue
		}
		w.settle(ctx, p, runner.Result{State: api.AgentTaskUpdateStateCancelled, Reason: "it was cancelled before it started"})
	}
}

// state is what the server is told: what runs, and whether more is wanted.
func (w *worker) state() (running []uuid.UUID, ready bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.running {
		running = append(running, id)
	}
	slices.SortFunc(running, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	return running, !w.stopped && len(w.waiting) == 0 && !w.busy()
}

// stop ends all tasks and waits for their end, as long as ctx lasts.
func (w *worker) stop(ctx context.Context) {
	w.mu.Lock()
	w.stopped = true
	w.waiting = nil
	for _, a := range w.running {
		a.cancel(runner.ErrStopping)
	}
	w.mu.Unlock()
	done := make(chan struct{})
	go func() {
		w.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		w.log.WarnContext(ctx, "tasks are still running; they are reported as interrupted at the next start")
	}
}
