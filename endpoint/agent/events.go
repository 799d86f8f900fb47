package agent

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"reeve/api"
	"reeve/api/wire"
)

const (
	maxEvents  = 500 // kept while the server is out of reach
	eventBatch = 200 // sent at once
)

// Kinds of the events an endpoint reports.
const (
	eventStarted    = "agent.started"
	eventTaskDenied = "agent.task_refused"
	eventSkew       = "agent.clock_skew"
	eventDamage     = "agent.data_damaged"
	eventKeys       = "agent.task_keys"
)

// events is the bounded spool of what happened while nobody listened. When it is full the oldest
// go, and how many went is told with the next one.
type events struct {
	mu      sync.Mutex
	file    *recordFile
	now     func() time.Time
	list    []api.AgentEvent
	last    int64 // number of the newest event ever
	dropped int64 // not yet told
}

// spooled is one line of the spool: an event, or how far the numbers had come.
type spooled struct {
	Last    int64           `json:"last,omitempty"`
	Dropped int64           `json:"dropped,omitempty"`
	Event   *api.AgentEvent `json:"event,omitempty"`
}

func openEvents(path string, now func() time.Time) (*events, error) {
	e := &events{now: now}
	file, _, err := openRecords(path, func(raw json.RawMessage) error {
		var s spooled
		if err := json.Unmarshal(raw, &s); err != nil {
			return err
		}
		e.last, e.dropped = max(e.last, s.Last), max(e.dropped, s.Dropped)
		if s.Event != nil {
			e.last = max(e.last, s.Event.Number)
			e.list = append(e.list, *s.Event)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	e.file = file
	e.trim()
	return e, nil
}

// add spools an event.
func (e *events) add(kind, title string, detail map[string]any) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if raw, err := json.Marshal(detail); err != nil || len(raw) > wire.MaxEventDetailBytes {
		detail = map[string]any{"left_out": "the detail is too large"}
	}
	ev := api.AgentEvent{Number: e.last + 1, At: e.now().UTC(), Kind: kind, Title: wire.Clip(title, 300)}
	if len(detail) > 0 {
		ev.Detail = &detail
	}
	if err := e.file.append(spooled{Event: &ev}); err != nil {
		return fmt.Errorf("spooling an event: %w", err)
	}
	e.last++
	e.list = append(e.list, ev)
	if e.trim() || e.file.size > 4<<20 {
		return e.rewrite()
	}
	return nil
}

// trim drops the oldest beyond the bound; a tenth at once, so that a full spool is not rewritten
// with every event.
func (e *events) trim() bool {
	if len(e.list) <= maxEvents {
		return false
	}
	n := len(e.list) - maxEvents + maxEvents/10
	e.list, e.dropped = e.list[n:], e.dropped+int64(n)
	return true
}

func (e *events) rewrite() error {
	records := []any{spooled{Last: e.last, Dropped: e.dropped}}
	for i := range e.list {
		records = append(records, spooled{Event: &e.list[i]})
	}
	return e.file.replace(records)
}

// next gives the oldest events for a batch, within a number of bytes. The first one says how many
// were dropped before it.
func (e *events) next(budget int) (batch []api.AgentEvent, used int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, ev := range e.list[:min(len(e.list), eventBatch)] {
		if i == 0 && e.dropped > 0 {
			detail := map[string]any{"dropped_before": e.dropped}
			if ev.Detail != nil {
				for k, v := range *ev.Detail {
					detail[k] = v
				}
			}
			ev.Detail = &detail
		}
		raw, err := json.Marshal(ev)
		if err != nil || used+len(raw) > budget && i > 0 {
			break
		}
		batch, used = append(batch, ev), used+len(raw)
	}
	return batch, used
}

// acked forgets the events up to a number; dropped is how many the server was told of.
func (e *events) acked(through int64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for n < len(e.list) && e.list[n].Number <= through {
		n++
	}
	if n == 0 {
		return nil
	}
	e.list, e.dropped = e.list[n:], 0
	return e.rewrite()
}

func (e *events) waiting() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.list)
}

func (e *events) close() error { return e.file.close() }
