package tasks

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/wire"
	"reeve/server/fleet"
	"reeve/tenants/tenantdb"
)

// Update is what an endpoint says about a task. Tenant and device come from the key it signed in with,
// everything else is its claim.
type Update struct {
	ID                               string // of the update: a repetition has the same
	TenantID, DeviceID               uuid.UUID
	TaskID                           uuid.UUID
	Report                           Report
	Reason                           string
	At                               time.Time
	StartedAt, FinishedAt            *time.Time
	ExitCode                         *int64
	Output                           []Chunk
	StdoutTruncated, StderrTruncated bool
	Result                           json.RawMessage
}

// Verdict is what became of an update.
type Verdict string

// The verdicts.
const (
	Accepted Verdict = "accepted" // stored now or before: the endpoint may forget it
	Refused  Verdict = "rejected" // makes no sense, now or later: the endpoint drops it
	Deferred Verdict = "deferred" // output before it is missing: the endpoint sends it again, with what is before it
)

// Applied is the answer to an update.
type Applied struct {
	UpdateID string
	Verdict  Verdict
	Detail   string
}

const (
	maxUpdateID    = 64
	maxUpdateText  = 2000
	maxResultDepth = 32
	// maxGaps is how often an update is put off because output before it is missing. After that the
	// missing part is believed lost, and the stream is marked as cut.
	maxGaps = 10
)

// ApplyUpdatesTx stores what endpoints say about their tasks, and answers in the order of the updates. It
// takes any number of endpoints in a handful of statements, and whatever is repeated, late or out of
// order counts once. It needs the system's reach.
func (s *Service) ApplyUpdatesTx(ctx context.Context, tx *gorm.DB, updates []Update) ([]Applied, error) {
	if len(updates) == 0 {
		return nil, nil
	}
	rows, err := lockTasks(tx, updates)
	if err != nil {
		return nil, fmt.Errorf("finding the tasks of updates: %w", err)
	}
	now := tenantdb.Now(tx)
	results := make([]Applied, len(updates))
	var orphans []Update
	for i, u := range updates {
		results[i] = Applied{UpdateID: u.ID, Verdict: Accepted}
		if detail := u.clean(); detail != "" {
			results[i].Verdict, results[i].Detail = Refused, detail
			continue
		}
		row, known := rows[u.TaskID]
		if !known {
			orphans = append(orphans, u)
			continue
		}
		results[i].Verdict, results[i].Detail = row.apply(u, now)
	}
	if err := s.storeUpdates(ctx, tx, rows); err != nil {
		return nil, err
	}
	return results, storeOrphans(tx, orphans)
}

// clean bounds what the endpoint says, and returns what makes the whole update useless.
func (u *Update) clean() string {
	switch {
	case u.ID == "" || len(u.ID) > maxUpdateID || fleet.Line(u.ID, maxUpdateID) != u.ID:
		return "the id of the update is not 1 to 64 plain characters"
	case !u.Report.Known():
		return fmt.Sprintf("%q is no state of a task", string(u.Report))
	case len(u.Result) > wire.MaxResultBytes:
		return fmt.Sprintf("the result is larger than %d bytes", wire.MaxResultBytes)
	}
	for _, c := range u.Output {
		if c.Stream != Stdout && c.Stream != Stderr || c.Offset < 0 || len(c.Data) > wire.MaxOutputBytes {
			return "a piece of output has no stream, no offset or is too large"
		}
	}
	if len(u.Result) > 0 {
		u.Result = json.RawMessage(strings.ToValidUTF8(string(u.Result), "�"))
		if !json.Valid(u.Result) || fleet.CheckDepth(u.Result, maxResultDepth) != nil {
			return "the result is no JSON, or nested too deeply"
		}
	}
	u.Reason = fleet.Text(u.Reason, maxUpdateText)
	u.StartedAt, u.FinishedAt = plausible(u.StartedAt), plausible(u.FinishedAt)
	return ""
}

// plausible drops times that no clock shows: they could not be stored, or not be sent.
func plausible(t *time.Time) *time.Time {
	if t == nil || t.Year() < 1970 || t.Year() > 2200 {
		return nil
	}
	utc := t.UTC().Truncate(time.Microsecond)
	return &utc
}

// taskRow is a task while updates are applied to it.
type taskRow struct {
	ID, TenantID, DeviceID, JobID         uuid.UUID
	Kind, JobName                         string
	State                                 State
	Reason                                string
	Attempts                              int
	CreatedAt                             time.Time
	LeaseUntil, StartedAt, FinishedAt     *time.Time
	EndpointStartedAt, EndpointFinishedAt *time.Time
	ExitCode                              *int64
	Late                                  bool
	Result                                *string
	ResultUpdate                          *string
	StdoutBytes, StderrBytes              int64
	StdoutTruncated, StderrTruncated      bool
	Gaps                                  int

	out, err *stream
	dirty    bool
	ended    bool // became final now
	waited   bool // an update was put off now
}

// lockTasks reads the tasks of updates and keeps others from changing them, in the order that everybody
// takes them in.
func lockTasks(tx *gorm.DB, updates []Update) (map[uuid.UUID]*taskRow, error) {
	seen, ids := map[uuid.UUID]bool{}, array[uuid.UUID]{}
	for _, u := range updates {
		if !seen[u.TaskID] {
			seen[u.TaskID] = true
			ids = append(ids, u.TaskID)
		}
	}
	var found []*taskRow
	err := tx.Raw(`SELECT t.id, t.tenant_id, t.device_id, t.job_id, t.kind, j.name AS job_name, t.state, t.reason, t.attempts, t.created_at,
			t.lease_until, t.started_at, t.finished_at, t.endpoint_started_at, t.endpoint_finished_at, t.exit_code, t.late,
			t.result::text AS result, t.result_update, t.stdout_bytes, t.stderr_bytes, t.stdout_truncated, t.stderr_truncated, t.gaps
		FROM tasks t JOIN jobs j ON j.tenant_id = t.job_tenant_id AND j.id = t.job_id
		WHERE t.id = ANY (?) ORDER BY t.id FOR UPDATE OF t`, ids).Scan(&found).Error
	if err != nil {
		return nil, err
	}
	rows := make(map[uuid.UUID]*taskRow, len(found))
	for _, r := range found {
		r.out = &stream{stored: r.StdoutBytes, truncated: r.StdoutTruncated}
		r.err = &stream{stored: r.StderrBytes, truncated: r.StderrTruncated}
		rows[r.ID] = r
	}
	return rows, nil
}

// apply decides what an update does to its task.
func (r *taskRow) apply(u Update, now time.Time) (Verdict, string) {
	if r.DeviceID != u.DeviceID || r.TenantID != u.TenantID {
		return Refused, "this is not a task of this device"
	}
	to, late, err := r.State.after(u.Report)
	if err != nil {
		return Refused, err.Error()
	}
	if r.takeOutput(u) {
		return Deferred, "output before this is missing; send it first"
	}
	switch {
	case late:
		r.addLateResult(u)
	case to != r.State:
		r.move(u, to, now)
	case !to.Final():
		r.extend(now)
	}
	return Accepted, ""
}

// takeOutput appends the output of an update, and tells whether the update has to wait for what is
// missing before it.
func (r *taskRow) takeOutput(u Update) (missing bool) {
	lost := map[*stream]bool{}
	for _, c := range u.Output {
		s := r.out
		if c.Stream == Stderr {
			s = r.err
		}
		before := len(s.added)
		if s.take(c) {
			lost[s] = true
		}
		r.dirty = r.dirty || len(s.added) > before
	}
	if len(lost) > 0 && (r.Gaps < maxGaps || r.waited) {
		if !r.waited { // the same piece twice in one message is one try
			r.Gaps++
			r.waited, r.dirty = true, true
		}
		return true
	}
	for s := range lost {
		s.truncated = true
		r.dirty = true
	}
	r.flag(&r.out.truncated, u.StdoutTruncated)
	r.flag(&r.err.truncated, u.StderrTruncated)
	return false
}

func (r *taskRow) flag(field *bool, claim bool) {
	if claim && !*field {
		*field, r.dirty = true, true
	}
}

// addLateResult keeps the result of a task that was given up. The first counts; the state stays.
func (r *taskRow) addLateResult(u Update) {
	if r.ResultUpdate != nil {
		return // the same again, or a second opinion
	}
	r.Late = true
	r.keepResult(u)
}

func (r *taskRow) move(u Update, to State, now time.Time) {
	r.State, r.dirty = to, true
	if r.StartedAt == nil && to != Skipped {
		r.StartedAt = &now
	}
	if u.StartedAt != nil {
		r.EndpointStartedAt = u.StartedAt
	}
	if !to.Final() {
		r.extend(now)
		return
	}
	r.FinishedAt, r.LeaseUntil, r.ended = &now, nil, true
	r.Reason = u.Reason
	if r.Reason == "" && u.Report == ReportUnsupported {
		r.Reason = "the endpoint does not know this kind of task; update it"
	}
	r.keepResult(u)
}

func (r *taskRow) keepResult(u Update) {
	r.dirty = true
	id := u.ID
	r.ResultUpdate, r.ExitCode = &id, u.ExitCode
	r.EndpointFinishedAt = u.FinishedAt
	if r.EndpointStartedAt == nil {
		r.EndpointStartedAt = u.StartedAt
	}
	if len(u.Result) > 0 {
		result := string(u.Result)
		r.Result = &result
	}
}

// extend believes that the task goes on. A lease that is long enough is left alone.
func (r *taskRow) extend(now time.Time) {
	if r.LeaseUntil != nil && r.LeaseUntil.After(now.Add(runningFor/2)) {
		return
	}
	until := now.Add(runningFor)
	r.LeaseUntil, r.dirty = &until, true
}

// storeUpdates writes what has changed: the tasks in one statement, their output in another.
func (s *Service) storeUpdates(ctx context.Context, tx *gorm.DB, rows map[uuid.UUID]*taskRow) error {
	var changed []*taskRow
	for _, r := range rows {
		if r.dirty {
			changed = append(changed, r)
		}
	}
	if len(changed) == 0 {
		return nil
	}
	if err := storeRows(tx, changed); err != nil {
		return fmt.Errorf("storing updates: %w", err)
	}
	if err := storeOutput(tx, changed); err != nil {
		return fmt.Errorf("storing output: %w", err)
	}
	var ended []Task
	for _, r := range changed {
		if r.ended {
			ended = append(ended, r.task())
		}
	}
	return s.ended(ctx, tx, ended)
}

func (r *taskRow) task() Task {
	t := Task{ID: r.ID, TenantID: r.TenantID, DeviceID: r.DeviceID, JobID: r.JobID, Kind: r.Kind, State: r.State, Reason: r.Reason,
		ExitCode: r.ExitCode, Attempts: r.Attempts, Late: r.Late, CreatedAt: r.CreatedAt, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt,
		EndpointStartedAt: r.EndpointStartedAt, EndpointFinishedAt: r.EndpointFinishedAt}
	if r.Result != nil {
		t.Result = json.RawMessage(*r.Result)
	}
	return t
}

func storeRows(tx *gorm.DB, rows []*taskRow) error {
	var (
		tenantIDs, ids                                  array[uuid.UUID]
		states, reasons                                 array[string]
		lease, started, finished, epStarted, epFinished array[*time.Time]
		exits                                           array[*int64]
		late, outCut, errCut                            array[bool]
		results, resultUpdates                          array[*string]
		outBytes, errBytes                              array[int64]
		gaps                                            array[int32]
	)
	for _, r := range rows {
		tenantIDs, ids = append(tenantIDs, r.TenantID), append(ids, r.ID)
		states, reasons = append(states, string(r.State)), append(reasons, r.Reason)
		lease, started, finished = append(lease, r.LeaseUntil), append(started, r.StartedAt), append(finished, r.FinishedAt)
		epStarted, epFinished = append(epStarted, r.EndpointStartedAt), append(epFinished, r.EndpointFinishedAt)
		exits, late = append(exits, r.ExitCode), append(late, r.Late)
		results, resultUpdates = append(results, r.Result), append(resultUpdates, r.ResultUpdate)
		outBytes, errBytes = append(outBytes, r.out.stored+int64(len(r.out.added))), append(errBytes, r.err.stored+int64(len(r.err.added)))
		outCut, errCut, gaps = append(outCut, r.out.truncated), append(errCut, r.err.truncated), append(gaps, int32(r.Gaps))
	}
	return tx.Exec(`UPDATE tasks t SET state = u.state, reason = u.reason, lease_until = u.lease_until, started_at = u.started_at,
			finished_at = u.finished_at, endpoint_started_at = u.endpoint_started_at, endpoint_finished_at = u.endpoint_finished_at,
			exit_code = u.exit_code, late = u.late, result = u.result::json, result_update = u.result_update,
			stdout_bytes = u.stdout_bytes, stderr_bytes = u.stderr_bytes, stdout_truncated = u.stdout_truncated,
			stderr_truncated = u.stderr_truncated, gaps = u.gaps
		FROM unnest(?::uuid[], ?::uuid[], ?::text[], ?::text[], ?::timestamptz[], ?::timestamptz[], ?::timestamptz[], ?::timestamptz[],
			?::timestamptz[], ?::bigint[], ?::boolean[], ?::text[], ?::text[], ?::bigint[], ?::bigint[], ?::boolean[], ?::boolean[], ?::integer[])
			AS u (tenant_id, id, state, reason, lease_until, started_at, finished_at, endpoint_started_at, endpoint_finished_at, exit_code,
				late, result, result_update, stdout_bytes, stderr_bytes, stdout_truncated, stderr_truncated, gaps)
		WHERE t.tenant_id = u.tenant_id AND t.id = u.id`,
		tenantIDs, ids, states, reasons, lease, started, finished, epStarted, epFinished, exits, late, results, resultUpdates,
		outBytes, errBytes, outCut, errCut, gaps).Error
}

func storeOutput(tx *gorm.DB, rows []*taskRow) error {
	var (
		tenantIDs, ids array[uuid.UUID]
		streams        array[string]
		numbers        array[int32]
		data           array[[]byte]
	)
	for _, r := range rows {
		for name, s := range map[string]*stream{Stdout: r.out, Stderr: r.err} {
			for _, b := range s.blocks() {
				tenantIDs, ids, streams = append(tenantIDs, r.TenantID), append(ids, r.ID), append(streams, name)
				numbers, data = append(numbers, int32(b.number)), append(data, b.data)
			}
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return tx.Exec(`INSERT INTO task_outputs AS o (tenant_id, task_id, stream, block, data)
		SELECT * FROM unnest(?::uuid[], ?::uuid[], ?::text[], ?::integer[], ?::bytea[])
		ON CONFLICT (tenant_id, task_id, stream, block) DO UPDATE SET data = o.data || excluded.data`,
		tenantIDs, ids, streams, numbers, data).Error
}

const (
	maxOrphans      = 200      // kept of one device
	maxOrphanOutput = 64 << 10 // kept of each stream
)

// storeOrphans keeps results of tasks that this database does not know, as after restoring an older
// state of it: somebody may want to know what ran. Of one device only so many are kept.
func storeOrphans(tx *gorm.DB, updates []Update) error {
	if len(updates) == 0 {
		return nil
	}
	var (
		tenantIDs, devices, tasks array[uuid.UUID]
		ids, states, reasons      array[string]
		exits                     array[*int64]
		outs, errs                array[[]byte]
		results                   array[*string]
		at                        array[time.Time]
	)
	for _, u := range updates {
		tenantIDs, devices, tasks = append(tenantIDs, u.TenantID), append(devices, u.DeviceID), append(tasks, u.TaskID)
		ids, states, reasons = append(ids, u.ID), append(states, string(u.Report)), append(reasons, u.Reason)
		exits, outs, errs = append(exits, u.ExitCode), append(outs, u.excerpt(Stdout)), append(errs, u.excerpt(Stderr))
		var result *string
		if len(u.Result) > 0 {
			s := string(u.Result)
			result = &s
		}
		claimed := tenantdb.Now(tx)
		if t := plausible(&u.At); t != nil {
			claimed = *t
		}
		results, at = append(results, result), append(at, claimed)
	}
	err := tx.Exec(`INSERT INTO orphan_results (tenant_id, device_id, task_id, update_id, state, reason, exit_code, stdout, stderr, result, at)
		SELECT u.tenant_id, u.device_id, u.task_id, u.update_id, u.state, u.reason, u.exit_code, u.stdout, u.stderr, u.result::json, u.at
		FROM unnest(?::uuid[], ?::uuid[], ?::uuid[], ?::text[], ?::text[], ?::text[], ?::bigint[], ?::bytea[], ?::bytea[], ?::text[], ?::timestamptz[])
			AS u (tenant_id, device_id, task_id, update_id, state, reason, exit_code, stdout, stderr, result, at)
		WHERE (SELECT count(*) FROM orphan_results o WHERE o.tenant_id = u.tenant_id AND o.device_id = u.device_id) < ?
		ON CONFLICT DO NOTHING`,
		tenantIDs, devices, tasks, ids, states, reasons, exits, outs, errs, results, at, maxOrphans).Error
	if err != nil {
		return fmt.Errorf("storing results of unknown tasks: %w", err)
	}
	return nil
}

// excerpt is what an update brings of one stream, up to what is kept of an orphan.
func (u Update) excerpt(name string) []byte {
	b := []byte{}
	for _, c := range u.Output {
		if c.Stream == name {
			b = append(b, c.Data[:min(len(c.Data), maxOrphanOutput-len(b))]...)
		}
	}
	return b
}
