package agent

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"reeve/api"
	"reeve/api/wire"
)

const (
	// keepIDs is how long an id is kept beyond its task's expiry; after it no clock of ours or the
	// server's can make the envelope valid again.
	keepIDs = 7 * 24 * time.Hour
	// timeStep is how often the trusted time is journalled when nothing else is.
	timeStep = 15 * time.Minute
	// compactAbove is the size from which the journal is rewritten without what it may forget.
	compactAbove = 1 << 20
)

// record is one line of the journal.
type record struct {
	N       int64                `json:"n"`
	What    string               `json:"what"`              // open, begin, end, ack, time
	Journal string               `json:"journal,omitempty"` // open: the journal's id
	Task    uuid.UUID            `json:"task,omitzero"`
	Kind    string               `json:"kind,omitempty"`
	At      time.Time            `json:"at,omitzero"`      // begin: by the device's clock
	Expires time.Time            `json:"expires,omitzero"` // begin
	Server  time.Time            `json:"server,omitzero"`  // the highest server time known
	Update  *api.AgentTaskUpdate `json:"update,omitempty"` // end: the final update, without output
}

// journalled is what is known of a task that began here.
type journalled struct {
	kind    string
	at      time.Time
	expires time.Time
	final   *api.AgentTaskUpdate // nil while it runs
	acked   bool                 // the server has it
}

// journal remembers which tasks began, durably before they do: an id in it is never carried out
// again, whatever crashes and whatever is delivered twice.
type journal struct {
	mu        sync.Mutex
	file      *recordFile
	id        string
	last      int64 // number of the last entry on disk
	server    time.Time
	noted     time.Time // the server time on disk
	tasks     map[uuid.UUID]*journalled
	compacted int64 // size after the last compaction
}

// openJournal reads the journal or begins one.
func openJournal(path string) (j *journal, damaged int, err error) {
	j = &journal{tasks: map[uuid.UUID]*journalled{}}
	j.file, damaged, err = openRecords(path, func(raw json.RawMessage) error {
		var r record
		if err := json.Unmarshal(raw, &r); err != nil {
			return err
		}
		j.replay(r)
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	if j.id == "" {
		j.id = uuid.NewString() // new, or its first record was damaged: the tasks in it stay known
		if err := j.compact(); err != nil {
			return nil, 0, err
		}
	}
	j.noted, j.compacted = j.server, j.file.size
	return j, damaged, nil
}

func (j *journal) replay(r record) {
	j.last = max(j.last, r.N)
	if r.Server.After(j.server) {
		j.server = r.Server
	}
	switch r.What {
	case "open":
		j.id = r.Journal
	case "begin":
		j.tasks[r.Task] = &journalled{kind: r.Kind, at: r.At, expires: r.Expires}
	case "end":
		if t := j.tasks[r.Task]; t != nil {
			t.final = r.Update
		}
	case "ack":
		if t := j.tasks[r.Task]; t != nil {
			t.acked = true
			if t.final != nil { // a redelivery is answered with the facts; the details are with the server
				t.final.Result = nil
			}
		}
	}
}

// state is what each sync reports: a number lower than one reported before tells the server that
// this disk was set back to an older state.
func (j *journal) state() api.AgentJournal {
	j.mu.Lock()
	defer j.mu.Unlock()
	return api.AgentJournal{ID: j.id, LastEntry: j.last}
}

// floor is the highest server time on disk.
func (j *journal) floor() time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.server
}

// begin makes durable that a task starts now. It is false when the id is known, and then the task
// must not run.
func (j *journal) begin(p wire.Payload, at, server time.Time) (fresh bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.tasks[p.ID] != nil {
		return false, nil
	}
	if err := j.write(record{What: "begin", Task: p.ID, Kind: p.Kind, At: at.UTC(), Expires: p.ExpiresAt.UTC(), Server: server.UTC()}); err != nil {
		return false, fmt.Errorf("journalling the start of a task: %w", err)
	}
	return true, nil
}

// end makes a task's final update durable. Its output lies in the spool.
func (j *journal) end(u api.AgentTaskUpdate) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	u.Output = nil
	return j.write(record{What: "end", Task: u.TaskID, Update: &u})
}

// ack notes that the server has a task's final update.
func (j *journal) ack(task uuid.UUID) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if t := j.tasks[task]; t == nil || t.acked {
		return nil
	}
	return j.write(record{What: "ack", Task: task})
}

// noteTime journals the server's time now and then, so that a restart cannot set it back far.
func (j *journal) noteTime(server time.Time) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if server.Before(j.noted.Add(timeStep)) {
		return nil
	}
	return j.write(record{What: "time", Server: server.UTC()})
}

// find gives a copy of what is known of a task.
func (j *journal) find(task uuid.UUID) (journalled, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	t := j.tasks[task]
	if t == nil {
		return journalled{}, false
	}
	return *t, true
}

// unfinished are the tasks that were running when the endpoint last stopped, and unsent those whose
// final update the server has not acknowledged.
func (j *journal) unfinished() (running []uuid.UUID, unsent []uuid.UUID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for id, t := range j.tasks {
		switch {
		case t.final == nil:
			running = append(running, id)
		case !t.acked:
			unsent = append(unsent, id)
		}
	}
	return running, unsent
}

func (j *journal) write(r record) error {
	if j.file.size > compactAbove && j.file.size > 2*j.compacted {
		if err := j.compact(); err != nil {
			return err
		}
	}
	r.N = j.last + 1
	if err := j.file.append(r); err != nil {
		return err
	}
	j.replay(r)
	j.noted = j.server
	return nil
}

// compact rewrites the journal without tasks that can no longer come back. Numbers go on.
func (j *journal) compact() error {
	records := []any{record{N: j.last, What: "open", Journal: j.id, Server: j.server}}
	for id, t := range j.tasks {
		if t.final != nil && t.acked && j.server.After(t.expires.Add(keepIDs)) {
			delete(j.tasks, id)
			continue
		}
		records = append(records, record{What: "begin", Task: id, Kind: t.kind, At: t.at, Expires: t.expires})
		if t.final != nil {
			records = append(records, record{What: "end", Task: id, Update: t.final})
		}
		if t.acked {
			records = append(records, record{What: "ack", Task: id})
		}
	}
	if err := j.file.replace(records); err != nil {
		return fmt.Errorf("compacting the journal: %w", err)
	}
	j.compacted = j.file.size
	return nil
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.file.close()
}
