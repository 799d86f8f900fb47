package agent

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"reeve/api"
	"reeve/api/wire"
	"reeve/endpoint/runner"
)

const (
	maxUpdates = 100 // in one batch
	maxPieces  = 64  // of output in one update
	// updateOverhead is what an update costs in a batch beside its output.
	updateOverhead = 1 << 10
)

var streams = [2]runner.Stream{runner.Stdout, runner.Stderr}

// report is what the server has yet to learn of one task.
type report struct {
	task    uuid.UUID
	began   time.Time // by the device's clock
	told    bool      // the server knows that it runs
	final   *api.AgentTaskUpdate
	written [2]int64 // bytes of each output in the spool
	acked   [2]int64 // bytes that the server has
}

// sentUpdate is what an update in the outstanding batch will mean once acknowledged.
type sentUpdate struct {
	task  uuid.UUID
	upTo  [2]int64
	final bool
}

// reports holds the updates of tasks until the server has them. They are never dropped; output lies
// in files, so that neither a long absence nor a crash costs memory or loses it.
type reports struct {
	mu   sync.Mutex
	dir  string
	now  func() time.Time
	open map[uuid.UUID]*report
	sent map[string]sentUpdate // by update id, of the outstanding batch
}

func newReports(dir string, now func() time.Time) *reports {
	return &reports{dir: dir, now: now, open: map[uuid.UUID]*report{}, sent: map[string]sentUpdate{}}
}

func (r *reports) file(task uuid.UUID, stream int) string {
	return filepath.Join(r.dir, task.String()+"."+string(streams[stream]))
}

// begin opens the report of a task that starts now.
func (r *reports) begin(task uuid.UUID, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open[task] = &report{task: task, began: at}
}

// output spools a piece of a running task's output.
func (r *reports) output(task uuid.UUID, name runner.Stream, offset int64, data []byte) error {
	stream := slices.Index(streams[:], name)
	f, err := os.OpenFile(r.file(task, stream), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("spooling output: %w", err)
	}
	_, err = f.WriteAt(data, offset)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("spooling output: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if o := r.open[task]; o != nil {
		o.written[stream] = offset + int64(len(data))
	}
	return nil
}

// end adds the final update of a task. For one that is not open (a redelivered task, or one of an
// earlier run of the endpoint) the report is opened with whatever output still lies in the spool.
func (r *reports) end(final api.AgentTaskUpdate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.open[final.TaskID]
	if o == nil {
		o = &report{task: final.TaskID, began: final.At, told: true}
		for stream := range streams {
			if info, err := os.Stat(r.file(final.TaskID, stream)); err == nil {
				o.written[stream] = info.Size()
			}
		}
		r.open[final.TaskID] = o
	}
	o.final = &final
}

// remind has the server told again that a task runs.
func (r *reports) remind(task uuid.UUID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o := r.open[task]; o != nil {
		o.told = false
	}
}

// has says whether a task's report is open.
func (r *reports) has(task uuid.UUID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open[task] != nil
}

// next makes the updates for a batch, within a number of bytes, and forgets what an earlier batch
// meant. A task whose output cannot be read now waits, and holds no other up.
func (r *reports) next(budget int) (updates []api.AgentTaskUpdate, used int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.sent)
	order := slices.SortedFunc(maps.Values(r.open), func(a, b *report) int {
		return cmp.Or(a.began.Compare(b.began), cmp.Compare(a.task.String(), b.task.String()))
	})
	for _, o := range order {
		if len(updates) == maxUpdates || used+updateOverhead > budget && len(updates) > 0 {
			break
		}
		u, cost, uerr := r.update(o, budget-used)
		if uerr != nil {
			err = errors.Join(err, uerr)
			continue
		}
		if u == nil {
			continue
		}
		updates, used = append(updates, *u), used+cost
	}
	return updates, used, err
}

// update makes the next update of one report: the final one once all output fits beside it.
func (r *reports) update(o *report, budget int) (*api.AgentTaskUpdate, int, error) {
	pieces, upTo, cost, err := r.pieces(o, budget-updateOverhead)
	if err != nil {
		return nil, 0, err
	}
	whole := upTo == o.written
	var u api.AgentTaskUpdate
	switch {
	case o.final != nil && whole:
		u = *o.final
	case len(pieces) > 0 || !o.told && o.final == nil:
		began := o.began.UTC()
		u = api.AgentTaskUpdate{ID: uuid.NewString(), TaskID: o.task, State: api.AgentTaskUpdateStateRunning, At: r.now().UTC(), StartedAt: &began}
	default:
		return nil, 0, nil
	}
	if len(pieces) > 0 {
		u.Output = &pieces
	}
	r.sent[u.ID] = sentUpdate{task: o.task, upTo: upTo, final: o.final != nil && whole}
	return &u, cost + updateOverhead, nil
}

// pieces reads the output that the server does not have yet.
func (r *reports) pieces(o *report, budget int) (pieces []api.AgentOutput, upTo [2]int64, cost int, err error) {
	upTo = o.acked
	for stream := range streams {
		for upTo[stream] < o.written[stream] && len(pieces) < maxPieces {
			n := min(o.written[stream]-upTo[stream], wire.MaxOutputChunk)
			if room := int64(budget-cost) * 3 / 4; room < n { // base64
				if room < 1024 && len(pieces) > 0 {
					break
				}
				n = min(n, max(room, 1024))
			}
			data, err := readPiece(r.file(o.task, stream), upTo[stream], n)
			if err != nil {
				return nil, upTo, 0, err
			}
			if int64(len(data)) < n {
				o.written[stream] = upTo[stream] + int64(len(data)) // the spool was cut; say what there is
				if len(data) == 0 {
					break
				}
			}
			pieces = append(pieces, api.AgentOutput{Stream: api.AgentOutputStream(streams[stream]), Offset: upTo[stream], Data: data})
			upTo[stream] += int64(len(data))
			cost += len(data)*4/3 + 80
		}
	}
	return pieces, upTo, cost, nil
}

func readPiece(path string, offset, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading spooled output: %w", err)
	}
	defer f.Close()
	data := make([]byte, n)
	got, err := f.ReadAt(data, offset)
	if got == 0 && err != nil && !errors.Is(err, os.ErrClosed) {
		return nil, nil // at or behind the end
	}
	return data[:got], nil
}

// settle takes the server's word for an update: it has it, or refuses it for good. done is the task
// whose report is complete with it.
func (r *reports) settle(update string) (done uuid.UUID, complete bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sent[update]
	if !ok {
		return uuid.Nil, false
	}
	delete(r.sent, update)
	o := r.open[s.task]
	if o == nil {
		return uuid.Nil, false
	}
	o.told, o.acked = true, s.upTo
	if !s.final {
		return uuid.Nil, false
	}
	delete(r.open, s.task)
	for stream := range streams {
		_ = os.Remove(r.file(s.task, stream)) // cleared at the next start otherwise
	}
	return s.task, true
}

// bare strips the outstanding updates of all that could make the server refuse the whole batch.
func (r *reports) bare() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sent {
		o := r.open[s.task]
		if o == nil {
			continue
		}
		o.acked = s.upTo
		if o.final != nil {
			o.final.Result, o.final.Reason = nil, optional("the server refused the details of this task's result")
		}
	}
}

// pending says whether there is anything to tell.
func (r *reports) pending() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.open {
		if o.final != nil || !o.told || o.acked != o.written {
			return true
		}
	}
	return false
}

// clean removes spooled output that belongs to no open report.
func (r *reports) clean() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	files, err := os.ReadDir(r.dir)
	if err != nil {
		return fmt.Errorf("cleaning the spool: %w", err)
	}
	for _, f := range files {
		name, _, _ := strings.Cut(f.Name(), ".")
		if id, err := uuid.Parse(name); err == nil && r.open[id] != nil {
			continue
		}
		if err := os.Remove(filepath.Join(r.dir, f.Name())); err != nil {
			return fmt.Errorf("cleaning the spool: %w", err)
		}
	}
	return nil
}
