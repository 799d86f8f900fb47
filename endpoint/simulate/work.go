package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"reeve/api"
	"reeve/api/wire"
)

// journal remembers every task of a device, as the real one does on disk.
type journal struct {
	mu      sync.Mutex
	id      string
	last    int64
	entries map[uuid.UUID]*entry
}

// entry is a task that began. final is nil while it runs.
type entry struct {
	began  time.Time
	final  *api.AgentTaskUpdate
	acked  bool
	cancel context.CancelFunc
}

// pending is what the server has not acknowledged, and what runs.
func (j *journal) pending() (updates []api.AgentTaskUpdate, running []uuid.UUID, last int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for task, e := range j.entries {
		switch {
		case e.final == nil:
			running = append(running, task)
		case !e.acked && len(updates) < 50:
			updates = append(updates, *e.final)
		}
	}
	return updates, running, j.last
}

// settle forgets the updates that the server has, or refuses for good.
func (j *journal) settle(ack api.AgentAck) {
	known := map[string]bool{}
	for _, id := range ack.TaskUpdates {
		known[id] = true
	}
	for _, r := range ack.Rejected {
		known[r.ID] = true
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.entries {
		if e.final != nil && known[e.final.ID] {
			e.acked = true
		}
	}
}

// begin journals a task; false when it is there already, and then its result goes up once more.
func (j *journal) begin(task uuid.UUID, cancel context.CancelFunc) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if e := j.entries[task]; e != nil {
		e.acked = false
		return false
	}
	j.last++
	j.entries[task] = &entry{began: time.Now().UTC(), cancel: cancel}
	return true
}

func (j *journal) end(task uuid.UUID, state api.AgentTaskUpdateState, code int, output string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e, now := j.entries[task], time.Now().UTC()
	if e == nil || e.final != nil {
		return
	}
	e.final = &api.AgentTaskUpdate{ID: uuid.NewString(), TaskID: task, State: state, At: now, StartedAt: &e.began, FinishedAt: &now}
	if state != api.AgentTaskUpdateStateCancelled {
		e.final.ExitCode = &code
	}
	if output != "" {
		e.final.Output = &[]api.AgentOutput{{Stream: "stdout", Data: []byte(output)}}
	}
}

func (j *journal) stop(tasks []uuid.UUID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, id := range tasks {
		if e := j.entries[id]; e != nil {
			e.cancel()
		}
	}
}

// sync tells what there is and takes what comes back.
func (d *device) sync(ctx context.Context, c carrier, goodbye string) (again bool, err error) {
	updates, running, last := d.work.pending()
	ready, batch := goodbye == "", uuid.NewString()
	request := api.SyncRequest{Protocol: wire.Protocol, BatchID: batch, SentAt: time.Now().UTC(), AgentVersion: "simulated",
		Journal: api.AgentJournal{ID: d.work.id, LastEntry: last}, Ready: &ready}
	if len(updates) > 0 {
		request.TaskUpdates = &updates
	}
	if len(running) > 0 {
		request.RunningTaskIds = &running
	}
	if goodbye != "" {
		request.Goodbye = &goodbye
	}
	body, err := json.Marshal(request)
	if err != nil {
		return false, err
	}
	began := time.Now()
	raw, err := c.carry(ctx, body)
	if err != nil {
		return false, err
	}
	d.fleet.figures.synced(time.Since(began))
	if d.sent = append(d.sent, body); len(d.sent) > 6 {
		d.sent = d.sent[1:]
	}
	var reply api.SyncReply
	if err := json.Unmarshal(raw, &reply); err != nil || reply.BatchID != batch {
		return false, errors.New("the answer is not one to this batch")
	}
	d.take(reply)
	d.interval = time.Duration(reply.IntervalSeconds) * time.Second
	return reply.More != nil && *reply.More, d.repeat(ctx, c)
}

// repeat sends older batches once more, in any order and after newer ones: the network may deliver so.
// An endpoint has one batch outstanding, on two carriers at most, so two can be late at once.
func (d *device) repeat(ctx context.Context, c carrier) error {
	for n := 0; n < 2 && d.random.Float64() < d.fleet.o.chaos; n++ {
		raw, err := c.carry(ctx, d.sent[d.random.IntN(len(d.sent))])
		if err != nil {
			return err
		}
		d.fleet.figures.count(&d.fleet.figures.repeated)
		var reply api.SyncReply
		if err := json.Unmarshal(raw, &reply); err == nil {
			d.take(reply) // its tasks are real ones, and the journal knows those it had
		}
	}
	return nil
}

func (d *device) take(reply api.SyncReply) {
	d.work.settle(reply.Ack)
	d.work.stop(reply.CancelTaskIds)
	for _, t := range reply.Tasks {
		envelope := wire.Envelope{Payload: t.PayloadB64}
		for _, s := range t.Signatures {
			envelope.Signatures = append(envelope.Signatures, wire.Signature{KID: s.Kid, Sig: s.Sig})
		}
		task, err := wire.Open(envelope, d.keys, d.id, time.Now())
		if err != nil {
			d.fleet.figures.count(&d.fleet.figures.refused)
			d.fleet.log.Warn("a task was refused", "error", err)
			continue
		}
		if d.fleet.o.trace {
			d.fleet.say(map[string]any{"event": "verified", "task": task.ID, "device": d.id, "at": time.Now().UnixNano()})
		}
		d.fleet.figures.count(&d.fleet.figures.verified)
		d.begin(task)
	}
}

func (d *device) begin(task wire.Payload) {
	ctx, cancel := context.WithCancel(d.fleet.running)
	if !d.work.begin(task.ID, cancel) {
		cancel()
		d.fleet.figures.count(&d.fleet.figures.redelivered)
		d.wake()
		return
	}
	d.fleet.figures.execute(task.ID.String())
	p := play{pause: time.Duration(d.random.Int64N(int64(d.fleet.o.workTime) + 1))}
	if task.Kind == wire.KindScript {
		var script wire.Script
		if err := wire.DecodeStrict(task.Body, &script); err == nil {
			p.read(script.Script)
		}
	}
	// A timer for each task that takes time: thousands of them are cheap.
	d.fleet.lives.Go(func() {
		defer cancel()
		if sleep(ctx, p.pause) {
			state := api.AgentTaskUpdateStateSucceeded
			if p.code != 0 {
				state = api.AgentTaskUpdateStateFailed
			}
			d.work.end(task.ID, state, p.code, p.output+fmt.Sprintf("simulated on %s\n", d.id))
		} else {
			d.work.end(task.ID, api.AgentTaskUpdateStateCancelled, 0, "")
		}
		d.wake()
	})
}

// play is a script as it is acted out: "echo", "sleep" and "exit" at the beginning of a line are
// understood, everything else takes a moment and succeeds.
type play struct {
	pause  time.Duration
	output string
	code   int
}

func (p *play) read(script string) {
	for s := bufio.NewScanner(strings.NewReader(script)); s.Scan(); {
		word, rest, _ := strings.Cut(strings.TrimSpace(s.Text()), " ")
		switch word {
		case "echo":
			p.output += rest + "\n"
		case "sleep":
			if seconds, err := strconv.ParseFloat(rest, 64); err == nil && seconds >= 0 && seconds < 86400 {
				p.pause += time.Duration(seconds * float64(time.Second))
			}
		case "exit":
			p.code, _ = strconv.Atoi(rest) // nothing is 0
			return
		}
	}
}
