package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	. "reeve/api"
	"reeve/server/fleet"
	"reeve/server/tasks"
	"reeve/tenants/scope"
)

// jobHandlers serve jobs and their tasks.
type jobHandlers struct{ tasks *tasks.Service }

func (h jobHandlers) CreateJob(ctx context.Context, r CreateJobRequestObject) (CreateJobResponseObject, error) {
	n, err := jobIn(*r.Body)
	if err != nil {
		return nil, err
	}
	made, err := h.tasks.CreateJob(ctx, n)
	if err != nil {
		return nil, err
	}
	job, err := jobOut(ctx, made)
	return CreateJob201JSONResponse(job), err
}

func (h jobHandlers) PreviewJob(ctx context.Context, r PreviewJobRequestObject) (PreviewJobResponseObject, error) {
	n, err := jobIn(*r.Body)
	if err != nil {
		return nil, err
	}
	v, err := h.tasks.PreviewJob(ctx, n)
	if err != nil {
		return nil, err
	}
	return PreviewJob200JSONResponse{DevicesTotal: v.Devices, TenantsTotal: v.Tenants, OnlineTotal: v.Online, NeedsApproval: v.NeedsApproval,
		Reasons: v.Reasons, Sample: each(v.Sample, func(d fleet.Ref) DeviceRef {
			return DeviceRef{ID: d.ID, Name: d.Name, TenantName: d.TenantName, Presence: Presence(d.Presence)}
		})}, nil
}

func jobIn(b JobCreate) (tasks.NewJob, error) {
	targets, err := selectorIn(b.Targets)
	if err != nil {
		return tasks.NewJob{}, err
	}
	payload, err := json.Marshal(b.Payload)
	if err != nil {
		return tasks.NewJob{}, fmt.Errorf("encoding a payload: %w", err)
	}
	return tasks.NewJob{Kind: string(b.Kind), Name: value(b.Name), Targets: targets, Payload: payload,
		ExpiresIn: time.Duration(value(b.ExpiresInSeconds)) * time.Second, NotBefore: value(b.NotBefore), Reason: value(b.Reason),
		OverrideBlackout: value(b.OverrideBlackout)}, nil
}

func (h jobHandlers) ListJobs(ctx context.Context, r ListJobsRequestObject) (ListJobsResponseObject, error) {
	p := r.Params
	page, next, err := h.tasks.ListJobs(ctx, tasks.JobFilter{TenantID: p.TenantID, State: (*tasks.JobState)(p.State), ScheduleID: p.ScheduleID,
		Kind: text(p.Kind)}, value(p.Cursor), value(p.Limit))
	if err != nil {
		return nil, err
	}
	list := ListJobs200JSONResponse{Items: make([]Job, len(page)), NextCursor: optional(next)}
	for i, j := range page {
		if list.Items[i], err = jobOut(ctx, j); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (h jobHandlers) GetJob(ctx context.Context, r GetJobRequestObject) (GetJobResponseObject, error) {
	found, err := h.tasks.GetJob(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	job, err := jobOut(ctx, found)
	return GetJob200JSONResponse(job), err
}

func (h jobHandlers) CancelJob(ctx context.Context, r CancelJobRequestObject) (CancelJobResponseObject, error) {
	cancelled, err := h.tasks.CancelJob(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	job, err := jobOut(ctx, cancelled)
	return CancelJob200JSONResponse(job), err
}

func (h jobHandlers) RetryJob(ctx context.Context, r RetryJobRequestObject) (RetryJobResponseObject, error) {
	made, err := h.tasks.RetryFailed(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	job, err := jobOut(ctx, made)
	return RetryJob201JSONResponse(job), err
}

func jobOut(ctx context.Context, j tasks.Job) (Job, error) {
	targets, err := recode[Targets](j.Targets)
	if err != nil {
		return Job{}, err
	}
	out := Job{ID: j.ID, TenantID: j.TenantID, Name: j.Name, Kind: TaskKind(j.Kind), State: JobState(j.State), StateReason: j.StateReason,
		Targets: targets, Origin: JobOrigin(j.Origin), ScheduleID: j.ScheduleID, RetryOf: j.RetryOf, ApprovalID: j.ApprovalID,
		TasksTotal: j.TasksTotal, Counts: map[string]int{}, CreatedBy: j.CreatedBy, CreatedAt: j.CreatedAt.UTC(), NotBefore: j.NotBefore.UTC(),
		ExpiresAt: j.ExpiresAt.UTC(), FinishedAt: utc(j.FinishedAt)}
	for state, n := range j.Counts {
		out.Counts[string(state)] = n
	}
	if err := json.Unmarshal(j.Payload, &out.Payload); err != nil {
		return Job{}, fmt.Errorf("reading a job's payload: %w", err)
	}
	out.Payload = payloadFor(ctx, out.Payload, append(j.TenantIDs, j.TenantID))
	return out, nil
}

// payloadFor leaves of the work what its reader may see. A customer reads what is done on their devices,
// and how it went; the provider's scripts, with what is written into them, are for those who read scripts
// or run them in one of the tenants.
func payloadFor(ctx context.Context, payload map[string]any, tenants []uuid.UUID) map[string]any {
	who := scope.From(ctx)
	for _, id := range tenants {
		if who.May("scripts.read", id) || who.May("jobs.run", id) {
			return payload
		}
	}
	maps.DeleteFunc(payload, func(name string, _ any) bool { return slices.Contains(scriptText, name) })
	return payload
}

var scriptText = []string{"script", "parameters", "arguments"}

func (h jobHandlers) ListTasks(ctx context.Context, r ListTasksRequestObject) (ListTasksResponseObject, error) {
	p := r.Params
	page, next, err := h.tasks.ListTasks(ctx, tasks.TaskFilter{TenantID: p.TenantID, JobID: p.JobID, DeviceID: p.DeviceID,
		State: (*tasks.State)(p.State), Kind: text(p.Kind), WithOutput: p.IncludeOutput == nil || *p.IncludeOutput}, value(p.Cursor), value(p.Limit))
	if err != nil {
		return nil, err
	}
	return ListTasks200JSONResponse{Items: each(page, taskOut), NextCursor: optional(next)}, nil
}

func (h jobHandlers) GetTask(ctx context.Context, r GetTaskRequestObject) (GetTaskResponseObject, error) {
	found, err := h.tasks.GetTask(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return GetTask200JSONResponse(taskOut(found)), nil
}

func (h jobHandlers) CancelTask(ctx context.Context, r CancelTaskRequestObject) (CancelTaskResponseObject, error) {
	cancelled, err := h.tasks.CancelTask(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return CancelTask200JSONResponse(taskOut(cancelled)), nil
}

func (h jobHandlers) GetTaskOutput(ctx context.Context, r GetTaskOutputRequestObject) (GetTaskOutputResponseObject, error) {
	live, err := h.tasks.OutputFrom(ctx, r.ID, value(r.Params.StdoutFrom), value(r.Params.StderrFrom))
	if err != nil {
		return nil, err
	}
	return GetTaskOutput200JSONResponse{State: TaskState(live.State), Stdout: live.Stdout, Stderr: live.Stderr,
		StdoutNext: live.StdoutNext, StderrNext: live.StderrNext}, nil
}

func taskOut(t tasks.Task) Task {
	out := Task{ID: t.ID, TenantID: t.TenantID, TenantName: t.TenantName, DeviceID: t.DeviceID, DeviceName: t.DeviceName, JobID: t.JobID,
		Kind: TaskKind(t.Kind), State: TaskState(t.State), Reason: t.Reason, Stdout: t.Output.Stdout, Stderr: t.Output.Stderr,
		StdoutBytes: t.Output.StdoutBytes, StderrBytes: t.Output.StderrBytes, StdoutTruncated: t.Output.StdoutTruncated,
		StderrTruncated: t.Output.StderrTruncated, Attempts: t.Attempts, Late: t.Late, AfterTaskID: t.AfterTaskID, CreatedAt: t.CreatedAt.UTC(),
		NotBefore: t.NotBefore.UTC(), ExpiresAt: t.ExpiresAt.UTC(), LeasedAt: utc(t.LeasedAt), StartedAt: utc(t.StartedAt),
		FinishedAt: utc(t.FinishedAt), EndpointStartedAt: utc(t.EndpointStartedAt), EndpointFinishedAt: utc(t.EndpointFinishedAt)}
	if t.ExitCode != nil {
		code := int(*t.ExitCode)
		out.ExitCode = &code
	}
	if len(t.Result) > 0 {
		// As the endpoint wrote it: a number beyond what Go holds must not fail here.
		out.Result = t.Result
	}
	return out
}
