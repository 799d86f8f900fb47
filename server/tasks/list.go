package tasks

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/tenants/audit"
	"reeve/tenants/tenantdb"
)

// TaskFilter narrows a list; nil means any.
type TaskFilter struct {
	TenantID, JobID, DeviceID *uuid.UUID
	State                     *State
	Kind                      *string
	WithOutput                bool // the end of each stream
}

// taskView is a task as the database gives it to readers.
type taskView struct {
	ID, TenantID, DeviceID, JobID         uuid.UUID
	TenantName, DeviceName, Kind, Reason  string
	State                                 State
	ExitCode                              *int64
	Result                                *string
	Attempts                              int
	Late                                  bool
	AfterTaskID                           *uuid.UUID
	CreatedAt, NotBefore, ExpiresAt       time.Time
	LeasedAt, StartedAt, FinishedAt       *time.Time
	EndpointStartedAt, EndpointFinishedAt *time.Time
	StdoutBytes, StderrBytes              int64
	StdoutTruncated, StderrTruncated      bool
}

func taskViews(tx *gorm.DB) *gorm.DB {
	return tx.Table("tasks t").Select(`t.id, t.tenant_id, o.name AS tenant_name, t.device_id, d.name AS device_name, t.job_id, t.kind, t.state,
			t.reason, t.exit_code, t.result::text AS result, t.attempts, t.late, t.after_task_id, t.created_at, t.not_before, t.expires_at,
			t.leased_at, t.started_at, t.finished_at, t.endpoint_started_at, t.endpoint_finished_at, t.stdout_bytes, t.stderr_bytes,
			t.stdout_truncated, t.stderr_truncated`).
		Joins("JOIN tenants o ON o.id = t.tenant_id").
		Joins("JOIN devices d ON d.tenant_id = t.tenant_id AND d.id = t.device_id")
}

func (v taskView) task() Task {
	t := Task{ID: v.ID, TenantID: v.TenantID, TenantName: v.TenantName, DeviceID: v.DeviceID, DeviceName: v.DeviceName, JobID: v.JobID,
		Kind: v.Kind, State: v.State, Reason: v.Reason, ExitCode: v.ExitCode, Attempts: v.Attempts, Late: v.Late, AfterTaskID: v.AfterTaskID,
		CreatedAt: v.CreatedAt, NotBefore: v.NotBefore, ExpiresAt: v.ExpiresAt, LeasedAt: v.LeasedAt, StartedAt: v.StartedAt,
		FinishedAt: v.FinishedAt, EndpointStartedAt: v.EndpointStartedAt, EndpointFinishedAt: v.EndpointFinishedAt,
		Output: Output{StdoutBytes: v.StdoutBytes, StderrBytes: v.StderrBytes, StdoutTruncated: v.StdoutTruncated, StderrTruncated: v.StderrTruncated}}
	if v.Result != nil {
		t.Result = json.RawMessage(*v.Result)
	}
	return t
}

var newestTasks = tenantdb.Sort{Name: "newest", Columns: []tenantdb.Column{{SQL: "t.id", Kind: tenantdb.UUID, Descending: true}}}

// ListTasks is a page of tasks, the newest first.
func (s *Service) ListTasks(ctx context.Context, f TaskFilter, cursor string, limit int) (page []Task, next string, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		q := tenantdb.Permitted(taskViews(tx), permRead, "t.tenant_id")
		for column, id := range map[string]*uuid.UUID{"t.tenant_id": f.TenantID, "t.job_id": f.JobID, "t.device_id": f.DeviceID} {
			if id != nil {
				q = q.Where(column+" = ?", *id)
			}
		}
		if f.State != nil {
			q = q.Where("t.state = ?", *f.State)
		}
		if f.Kind != nil {
			q = q.Where("t.kind = ?", *f.Kind)
		}
		if q, err = newestTasks.Page(q, cursor, limit); err != nil {
			return err
		}
		var rows []taskView
		if err := q.Scan(&rows).Error; err != nil {
			return fmt.Errorf("listing tasks: %w", err)
		}
		rows, next = tenantdb.Next(newestTasks, rows, limit, func(v taskView) []any { return []any{v.ID} })
		page = make([]Task, len(rows))
		for i, v := range rows {
			page[i] = v.task()
		}
		if !f.WithOutput {
			return nil
		}
		return addTails(tx, page)
	})
	return page, next, err
}

// GetTask is one task with its whole output.
func (s *Service) GetTask(ctx context.Context, id uuid.UUID) (t Task, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		if t, err = visibleTask(tx, id, permRead); err != nil {
			return err
		}
		return addOutput(tx, &t)
	})
	return t, err
}

func visibleTask(tx *gorm.DB, id uuid.UUID, permission string) (Task, error) {
	var rows []taskView
	if err := taskViews(tx).Where("t.id = ?", id).Scan(&rows).Error; err != nil {
		return Task{}, err
	}
	if len(rows) == 0 {
		return Task{}, ErrTaskNotFound
	}
	t := rows[0].task()
	if !tenantdb.ScopeOf(tx).May(permission, t.TenantID) {
		return Task{}, ErrForbidden
	}
	return t, nil
}

// addOutput reads the whole output of a task.
func addOutput(tx *gorm.DB, t *Task) error {
	streams, err := readOutput(tx, []*Task{t}, 0, 0)
	if err != nil {
		return err
	}
	over := t.State.Final()
	t.Output.Stdout, _ = text(streams[streamKey{t.ID, Stdout}], over)
	t.Output.Stderr, _ = text(streams[streamKey{t.ID, Stderr}], over)
	return nil
}

// addTails reads the end of each stream of each task, in one statement.
func addTails(tx *gorm.DB, page []Task) error {
	pointers := make([]*Task, len(page))
	for i := range page {
		pointers[i] = &page[i]
	}
	const lastBlocks = tailSize/blockSize + 1
	streams, err := readOutput(tx, pointers, -lastBlocks, -lastBlocks)
	if err != nil {
		return err
	}
	for i := range page {
		t := &page[i]
		t.Output.Stdout, _ = text(tail(streams[streamKey{t.ID, Stdout}], tailSize), true)
		t.Output.Stderr, _ = text(tail(streams[streamKey{t.ID, Stderr}], tailSize), true)
	}
	return nil
}

type streamKey struct {
	task   uuid.UUID
	stream string
}

// readOutput reads streams of tasks from a block on; a negative number counts from the end.
func readOutput(tx *gorm.DB, tasks []*Task, outFrom, errFrom int) (map[streamKey][]byte, error) {
	tenantIDs, ids, outs, errs := array[uuid.UUID]{}, array[uuid.UUID]{}, array[int32]{}, array[int32]{}
	for _, t := range tasks {
		if t.Output.StdoutBytes == 0 && t.Output.StderrBytes == 0 {
			continue
		}
		tenantIDs, ids = append(tenantIDs, t.TenantID), append(ids, t.ID)
		outs, errs = append(outs, firstBlock(outFrom, t.Output.StdoutBytes)), append(errs, firstBlock(errFrom, t.Output.StderrBytes))
	}
	streams := map[streamKey][]byte{}
	if len(ids) == 0 {
		return streams, nil
	}
	var rows []struct {
		TaskID uuid.UUID
		Stream string
		Data   []byte
	}
	err := tx.Raw(`SELECT o.task_id, o.stream, o.data FROM unnest(?::uuid[], ?::uuid[], ?::integer[], ?::integer[]) AS u (tenant_id, id, first_out, first_err)
			JOIN task_outputs o ON o.tenant_id = u.tenant_id AND o.task_id = u.id
				AND o.block >= CASE o.stream WHEN 'stdout' THEN u.first_out ELSE u.first_err END
		ORDER BY o.task_id, o.stream, o.block`, tenantIDs, ids, outs, errs).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading output: %w", err)
	}
	for _, r := range rows {
		key := streamKey{r.TaskID, r.Stream}
		streams[key] = append(streams[key], r.Data...)
	}
	return streams, nil
}

func firstBlock(from int, stored int64) int32 {
	if from >= 0 {
		return int32(from)
	}
	last := int((stored - 1) / blockSize)
	return int32(max(0, last+1+from))
}

// LiveOutput is output from some byte on.
type LiveOutput struct {
	State                  State
	Stdout, Stderr         string
	StdoutNext, StderrNext int64 // where to go on
}

// maxLive is how much of each stream one answer carries.
const maxLive = 256 << 10

// OutputFrom is a task's output from some byte of each stream on, for reading along.
func (s *Service) OutputFrom(ctx context.Context, id uuid.UUID, outFrom, errFrom int64) (live LiveOutput, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		t, err := visibleTask(tx, id, permRead)
		if err != nil {
			return err
		}
		outFrom, errFrom = min(outFrom, t.Output.StdoutBytes), min(errFrom, t.Output.StderrBytes)
		streams, err := readOutput(tx, []*Task{&t}, int(outFrom/blockSize), int(errFrom/blockSize))
		if err != nil {
			return err
		}
		live.State = t.State
		live.Stdout, live.StdoutNext = piece(streams[streamKey{id, Stdout}], outFrom, t.State.Final())
		live.Stderr, live.StderrNext = piece(streams[streamKey{id, Stderr}], errFrom, t.State.Final())
		return nil
	})
	return live, err
}

// piece cuts what lies before from off blocks that begin at or before it, and bounds the rest.
func piece(blocks []byte, from int64, over bool) (string, int64) {
	skip := min(int(from%blockSize), len(blocks))
	b := blocks[skip:]
	if len(b) > maxLive {
		b, over = b[:maxLive], false
	}
	s, used := text(b, over)
	return s, from + int64(used)
}

// CancelTask cancels one task: at once while no device has it, otherwise when its device says so.
func (s *Service) CancelTask(ctx context.Context, id uuid.UUID) (t Task, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		before, err := visibleTask(tx, id, permCancel)
		if err != nil {
			return err
		}
		who := tenantdb.ScopeOf(tx).Actor.Name
		var state []State
		err = tx.Raw(`UPDATE tasks SET reason = ?, state = CASE state WHEN 'queued' THEN 'cancelled' ELSE 'cancelling' END,
				finished_at = CASE state WHEN 'queued' THEN now() END, lease_until = CASE state WHEN 'queued' THEN NULL ELSE coalesce(lease_until, now()) END
			WHERE tenant_id = ? AND id = ? AND state IN ('queued', 'leased', 'running') RETURNING state`,
			cut("cancelled by "+who, maxUpdateText), before.TenantID, id).Scan(&state).Error
		if err != nil {
			return fmt.Errorf("cancelling a task: %w", err)
		}
		if len(state) == 0 {
			return ErrTaskOver
		}
		if t, err = visibleTask(tx, id, permCancel); err != nil {
			return err
		}
		if err := addOutput(tx, &t); err != nil {
			return err
		}
		if t.State.Final() {
			err = s.ended(ctx, tx, []Task{t})
		} else {
			s.ring(tx, []uuid.UUID{t.DeviceID})
		}
		if err != nil {
			return err
		}
		return audit.WriteTx(tx, audit.Entry{TenantID: t.TenantID, Action: "task.cancelled", ObjectType: "task", ObjectID: t.ID.String(),
			ObjectName: t.DeviceName, Before: map[string]any{"state": before.State}, After: map[string]any{"state": t.State},
			Detail: map[string]any{"job_id": t.JobID}})
	})
	return t, err
}

func secondsOf(n int) time.Duration { return time.Duration(n) * time.Second }
