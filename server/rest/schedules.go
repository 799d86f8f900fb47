package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	. "reeve/api"
	"reeve/api/fault"
	"reeve/server/schedule"
)

// scheduleHandlers serve schedules, their runs and misses, and blackouts.
type scheduleHandlers struct {
	schedules *schedule.Service
	job       func(context.Context, ID) (Job, error) // the job that a run by hand made
	now       func() time.Time
}

// recode carries a value between two types with the same JSON, which the contract has validated.
func recode[To any](from any) (to To, err error) {
	text, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(text, &to)
	}
	if err != nil {
		err = fmt.Errorf("recoding %T: %w", from, err)
	}
	return to, err
}

// under puts a part's faults below where the part stands in the request.
func under(pointer string, err error) error {
	f, ok := fault.As(err)
	if !ok || f.Kind != fault.Invalid {
		return err
	}
	moved := *f
	moved.Fields = nil
	for _, x := range f.Fields {
		moved.Fields = append(moved.Fields, fault.Field{Pointer: pointer + x.Pointer, Detail: x.Detail})
	}
	return &moved
}

func (h scheduleHandlers) ListSchedules(ctx context.Context, r ListSchedulesRequestObject) (ListSchedulesResponseObject, error) {
	p := r.Params
	page, next, err := h.schedules.List(ctx, schedule.Filter{TenantID: p.TenantID, Enabled: p.Enabled, Prefix: value(p.Q)}, value(p.Cursor), value(p.Limit))
	if err != nil {
		return nil, err
	}
	return ListSchedules200JSONResponse{Items: each(page, func(s schedule.Schedule) Schedule { return scheduleOut(ctx, s) }), NextCursor: optional(next)}, nil
}

func (h scheduleHandlers) CreateSchedule(ctx context.Context, r CreateScheduleRequestObject) (CreateScheduleResponseObject, error) {
	b := r.Body
	d := schedule.Definition{TenantID: b.TenantID, Name: b.Name, Enabled: b.Enabled == nil || *b.Enabled, JitterSeconds: value(b.JitterSeconds), Reason: value(b.Reason)}
	var err error
	if d.What, err = workIn(b.What); err != nil {
		return nil, err
	}
	if d.Targets, err = selectorIn(b.Targets); err != nil {
		return nil, err
	}
	if d.Recurrence, err = recurrenceIn(b.Recurrence); err != nil {
		return nil, err
	}
	if d.ZoneMode, err = zoneModeIn(b.ZoneMode, b.Zone); err != nil {
		return nil, err
	}
	if d.Window, err = windowIn(b.Window); err != nil {
		return nil, err
	}
	if b.CatchUp != nil {
		d.CatchUp = catchUpIn(*b.CatchUp)
	}
	made, err := h.schedules.Create(ctx, d)
	if err != nil {
		return nil, err
	}
	return CreateSchedule201JSONResponse(scheduleOut(ctx, made)), nil
}

func (h scheduleHandlers) GetSchedule(ctx context.Context, r GetScheduleRequestObject) (GetScheduleResponseObject, error) {
	found, err := h.schedules.Get(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return GetSchedule200JSONResponse(scheduleOut(ctx, found)), nil
}

func (h scheduleHandlers) UpdateSchedule(ctx context.Context, r UpdateScheduleRequestObject) (UpdateScheduleResponseObject, error) {
	c, err := changeIn(*r.Body)
	if err != nil {
		return nil, err
	}
	changed, err := h.schedules.Update(ctx, r.ID, c)
	if err != nil {
		return nil, err
	}
	return UpdateSchedule200JSONResponse(scheduleOut(ctx, changed)), nil
}

func changeIn(b ScheduleUpdate) (c schedule.Change, err error) {
	if b.Window != nil && value(b.DropWindow) {
		return c, fault.InvalidField("/drop_window", "does not go with window")
	}
	c = schedule.Change{Version: int64(b.Version), Name: b.Name, Enabled: b.Enabled, JitterSeconds: b.JitterSeconds, DropWindow: value(b.DropWindow)}
	if b.What != nil {
		work, err := workIn(*b.What)
		if err != nil {
			return c, err
		}
		c.What = &work
	}
	if b.Targets != nil {
		targets, err := selectorIn(*b.Targets)
		if err != nil {
			return c, err
		}
		c.Targets = &targets
	}
	if b.Recurrence != nil {
		recurrence, err := recurrenceIn(*b.Recurrence)
		if err != nil {
			return c, err
		}
		c.Recurrence = &recurrence
	}
	if b.ZoneMode != nil {
		mode, err := zoneModeIn(*b.ZoneMode, b.Zone)
		if err != nil {
			return c, err
		}
		c.ZoneMode = &mode
	} else if b.Zone != nil {
		return c, fault.InvalidField("/zone_mode", "is required with zone, and must be fixed")
	}
	if c.Window, err = windowIn(b.Window); err != nil {
		return c, err
	}
	if b.CatchUp != nil {
		policy := catchUpIn(*b.CatchUp)
		c.CatchUp = &policy
	}
	return c, nil
}

func (h scheduleHandlers) DeleteSchedule(ctx context.Context, r DeleteScheduleRequestObject) (DeleteScheduleResponseObject, error) {
	if err := h.schedules.Delete(ctx, r.ID); err != nil {
		return nil, err
	}
	return DeleteSchedule204Response{}, nil
}

func (h scheduleHandlers) RunSchedule(ctx context.Context, r RunScheduleRequestObject) (RunScheduleResponseObject, error) {
	id, err := h.schedules.RunNow(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	job, err := h.job(ctx, id)
	if err != nil {
		return nil, err
	}
	return RunSchedule201JSONResponse(job), nil
}

func (h scheduleHandlers) PreviewSchedule(_ context.Context, r PreviewScheduleRequestObject) (PreviewScheduleResponseObject, error) {
	b := r.Body
	recurrence, err := recurrenceIn(b.Recurrence)
	if err != nil {
		return nil, err
	}
	window, err := windowIn(b.Window)
	if err != nil {
		return nil, err
	}
	from, count := h.now(), 10
	if b.From != nil {
		from = *b.From
	}
	if b.Count != nil {
		count = *b.Count
	}
	forecast, inside, err := h.schedules.Forecast(recurrence, b.Zone, window, from, count)
	if err != nil {
		return nil, err
	}
	runs := each(forecast.Runs, func(run schedule.Run) PreviewRun {
		return PreviewRun{NominalLocal: run.NominalLocal.String(), At: run.At, Fold: run.Fold}
	})
	for i := range inside {
		runs[i].InWindow = &inside[i]
	}
	return PreviewSchedule200JSONResponse{Runs: runs, Notes: forecast.Notes}, nil
}

func (h scheduleHandlers) ListScheduleRuns(ctx context.Context, r ListScheduleRunsRequestObject) (ListScheduleRunsResponseObject, error) {
	page, next, err := h.schedules.Runs(ctx, r.ID, value(r.Params.Cursor), value(r.Params.Limit))
	if err != nil {
		return nil, err
	}
	return ListScheduleRuns200JSONResponse{NextCursor: optional(next), Items: each(page, func(run schedule.PastRun) ScheduleRun {
		return ScheduleRun{ID: run.ID, NominalLocal: run.NominalLocal, Zone: run.Zone, Fold: run.Fold, At: run.At.UTC(), FiredAt: run.FiredAt.UTC(),
			CatchUp: run.CatchUp, State: ScheduleRunState(run.State), Reason: run.Reason, JobID: run.JobID, Devices: run.Devices}
	})}, nil
}

func (h scheduleHandlers) ListMissedRuns(ctx context.Context, r ListMissedRunsRequestObject) (ListMissedRunsResponseObject, error) {
	p := r.Params
	page, next, err := h.schedules.Missed(ctx, schedule.MissedFilter{TenantID: p.TenantID, ScheduleID: p.ScheduleID, DeviceID: p.DeviceID}, value(p.Cursor), value(p.Limit))
	if err != nil {
		return nil, err
	}
	return ListMissedRuns200JSONResponse{NextCursor: optional(next), Items: each(page, func(m schedule.MissedRun) MissedRun {
		return MissedRun{ID: m.ID, ScheduleID: m.ScheduleID, DeviceID: m.DeviceID, DeviceName: m.DeviceName, NominalLocal: m.NominalLocal, Zone: m.Zone,
			At: m.At.UTC(), Reason: MissedRunReason(m.Reason), NotedAt: m.NotedAt.UTC(), CaughtUpAt: utc(m.CaughtUpAt), EarlierCount: optional(m.Earlier)}
	})}, nil
}

func (h scheduleHandlers) ListBlackouts(ctx context.Context, r ListBlackoutsRequestObject) (ListBlackoutsResponseObject, error) {
	page, next, err := h.schedules.Blackouts(ctx, r.Params.TenantID, value(r.Params.Cursor), value(r.Params.Limit))
	if err != nil {
		return nil, err
	}
	return ListBlackouts200JSONResponse{Items: each(page, blackoutOut), NextCursor: optional(next)}, nil
}

func (h scheduleHandlers) CreateBlackout(ctx context.Context, r CreateBlackoutRequestObject) (CreateBlackoutResponseObject, error) {
	b := r.Body
	freeze := schedule.Blackout{Zone: schedule.ZoneMode(b.Zone), Reason: value(b.Reason), From: value(b.StartsLocal), Until: value(b.EndsLocal),
		DurationSeconds: int64(value(b.DurationSeconds))}
	if b.Recurrence != nil {
		recurrence, err := recurrenceIn(*b.Recurrence)
		if err != nil {
			return nil, err
		}
		freeze.Start = &recurrence
	}
	made, err := h.schedules.CreateBlackout(ctx, b.TenantID, b.Name, freeze)
	if err != nil {
		return nil, err
	}
	return CreateBlackout201JSONResponse(blackoutOut(made)), nil
}

func (h scheduleHandlers) DeleteBlackout(ctx context.Context, r DeleteBlackoutRequestObject) (DeleteBlackoutResponseObject, error) {
	if err := h.schedules.DeleteBlackout(ctx, r.ID); err != nil {
		return nil, err
	}
	return DeleteBlackout204Response{}, nil
}

func scheduleOut(ctx context.Context, s schedule.Schedule) Schedule {
	out := Schedule{ID: s.ID, TenantID: s.TenantID, Name: s.Name, Enabled: s.Enabled, JitterSeconds: s.JitterSeconds, CreatedBy: s.CreatedBy,
		Version: int(s.Version), CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt, NextRunAt: s.NextRunAt, LastRunAt: s.LastRunAt,
		LastJobID: s.LastJobID, MissedCount: int(s.Missed),
		CatchUp: CatchUp{Policy: CatchUpPolicy(s.CatchUp.Policy), ExpiresAfterSeconds: optional(int(s.CatchUp.ExpiresAfterSeconds))},
		What:    ScheduledWork{Kind: TaskKind(s.What.Kind), TaskExpiresInSeconds: s.What.TaskExpiresSeconds}}
	// What is stored was encoded from these very shapes.
	out.What.Payload, _ = recode[map[string]any](s.What.Payload)
	out.What.Payload = payloadFor(ctx, out.What.Payload, []uuid.UUID{s.TenantID})
	out.Targets, _ = recode[Targets](s.Targets)
	out.Recurrence, _ = recode[Recurrence](s.Recurrence)
	out.ZoneMode = ZoneMode(s.ZoneMode)
	switch s.ZoneMode {
	case schedule.DeviceZone, schedule.SiteZone, schedule.TenantZone:
	default:
		out.ZoneMode, out.Zone = "fixed", optional(string(s.ZoneMode))
	}
	if s.Window != nil {
		recurrence, _ := recode[Recurrence](s.Window.Start)
		out.Window = &Window{Recurrence: recurrence, DurationSeconds: int(s.Window.DurationSeconds), AllowOverrun: &s.Window.AllowOverrun}
	}
	return out
}

func blackoutOut(b schedule.StoredBlackout) Blackout {
	out := Blackout{ID: b.ID, TenantID: b.TenantID, Name: b.Name, Reason: b.Blackout.Reason, Zone: string(b.Blackout.Zone), Active: b.Active,
		Version: int(b.Version), CreatedAt: b.CreatedAt, StartsLocal: optional(b.Blackout.From), EndsLocal: optional(b.Blackout.Until),
		DurationSeconds: optional(int(b.Blackout.DurationSeconds))}
	if b.Blackout.Start != nil {
		recurrence, _ := recode[Recurrence](b.Blackout.Start)
		out.Recurrence = &recurrence
	}
	return out
}

func workIn(w ScheduledWork) (schedule.Work, error) {
	payload, err := json.Marshal(w.Payload)
	return schedule.Work{Kind: string(w.Kind), Payload: payload, TaskExpiresSeconds: w.TaskExpiresInSeconds}, err
}

func recurrenceIn(r Recurrence) (schedule.Recurrence, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return schedule.Recurrence{}, err
	}
	parsed, err := schedule.ParseRecurrence(text)
	return parsed, under("/recurrence", err)
}

func windowIn(w *Window) (*schedule.MaintenanceWindow, error) {
	if w == nil {
		return nil, nil
	}
	start, err := recurrenceIn(w.Recurrence)
	if err != nil {
		return nil, under("/window", err)
	}
	return &schedule.MaintenanceWindow{Start: start, DurationSeconds: int64(w.DurationSeconds), AllowOverrun: value(w.AllowOverrun)}, nil
}

func catchUpIn(c CatchUp) schedule.CatchUp {
	return schedule.CatchUp{Policy: schedule.Policy(c.Policy), ExpiresAfterSeconds: int64(value(c.ExpiresAfterSeconds))}
}

func zoneModeIn(mode ZoneMode, zone *string) (schedule.ZoneMode, error) {
	if mode != "fixed" {
		if zone != nil {
			return "", fault.InvalidField("/zone", "goes with zone_mode fixed only")
		}
		return schedule.ZoneMode(mode), nil
	}
	if zone == nil {
		return "", fault.InvalidField("/zone", "is required with zone_mode fixed: the name of a time zone, e.g. Europe/Berlin")
	}
	switch mode := schedule.ZoneMode(*zone); mode {
	case schedule.DeviceZone, schedule.SiteZone, schedule.TenantZone:
		return "", fault.InvalidField("/zone", "must be the name of a time zone, e.g. Europe/Berlin; "+*zone+" is a zone_mode")
	default:
		return mode, nil
	}
}
