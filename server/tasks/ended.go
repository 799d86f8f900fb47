package tasks

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/server/fleet"
)

// ended tells everybody who waits for the end of tasks: the timelines of their devices, and whoever
// registered for their kind. It asks the database once, however many tasks ended.
func (s *Service) ended(ctx context.Context, tx *gorm.DB, tasks []Task) error {
	if len(tasks) == 0 {
		return nil
	}
	names, err := jobNames(tx, tasks)
	if err != nil {
		return fmt.Errorf("naming jobs: %w", err)
	}
	byKind, events := map[string][]Task{}, make([]fleet.Event, len(tasks))
	for i, t := range tasks {
		byKind[t.Kind] = append(byKind[t.Kind], t)
		events[i] = t.event(names[t.JobID])
	}
	for kind, list := range byKind {
		if outcome := s.o.Outcome[kind]; outcome != nil {
			if err := outcome(ctx, tx, list); err != nil {
				return fmt.Errorf("telling the end of %s tasks: %w", kind, err)
			}
		}
	}
	return fleet.AppendTimelineTx(tx, events...)
}

func jobNames(tx *gorm.DB, tasks []Task) (map[uuid.UUID]string, error) {
	seen, ids := map[uuid.UUID]bool{}, array[uuid.UUID]{}
	for _, t := range tasks {
		if !seen[t.JobID] {
			seen[t.JobID] = true
			ids = append(ids, t.JobID)
		}
	}
	var rows []struct {
		ID   uuid.UUID
		Name string
	}
	if err := tx.Raw("SELECT id, name FROM jobs WHERE id = ANY (?)", ids).Scan(&rows).Error; err != nil {
		return nil, err
	}
	names := make(map[uuid.UUID]string, len(rows))
	for _, r := range rows {
		names[r.ID] = r.Name
	}
	return names, nil
}

var endings = map[State]string{Succeeded: "succeeded", Failed: "failed", TimedOut: "timed out", Cancelled: "was cancelled",
	Expired: "expired before the device came for it", Skipped: "was skipped", Parked: "was parked"}

// event is the end of a task in the timeline of its device.
func (t Task) event(job string) fleet.Event {
	title := job + " " + endings[t.State]
	detail := map[string]any{"task_id": t.ID, "job_id": t.JobID, "state": t.State, "kind": t.Kind}
	if t.ExitCode != nil {
		detail["exit_code"] = *t.ExitCode
		if t.State == Failed {
			title += fmt.Sprintf(" (exit code %d)", *t.ExitCode)
		}
	}
	if t.Reason != "" {
		detail["reason"] = cut(t.Reason, 500)
	}
	return fleet.Event{TenantID: t.TenantID, DeviceID: t.DeviceID, Kind: "task." + string(t.State), Title: title, Detail: detail}
}
