package tasks

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/server/fleet"
	"reeve/tenants/calendar"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// array is a list as one parameter.
type array[T any] = tenantdb.Array[T]

func insertJob(tx *gorm.DB, j Job, p plan) error {
	targets, err := json.Marshal(j.Targets)
	if err != nil {
		return fmt.Errorf("encoding targets: %w", err)
	}
	tenantRanges, err := tenantRanges(p.request.OpenIn)
	if err != nil {
		return err
	}
	who := tenantdb.ScopeOf(tx)
	var by *uuid.UUID
	if id := uuid.UUID(who.Actor.ID); id != uuid.Nil {
		by = &id
	}
	err = tx.Exec(`INSERT INTO jobs (tenant_id, id, name, kind, state, state_reason, targets, payload, body, run_as, platforms, origin,
			schedule_id, retry_of, tenant_ids, tasks_total, weight, stop_failure_percent, run_seconds, expires_seconds, created_by,
			created_by_name, not_before, expires_at, jitter_seconds, open_ranges, tenant_ranges)
		VALUES (?, ?, ?, ?, ?, ?, ?::jsonb, ?::jsonb, ?, ?, ?::text[], ?, ?, ?, ?::uuid[], ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?::tstzmultirange, ?::jsonb)`,
		j.TenantID, j.ID, j.Name, j.Kind, j.State, j.StateReason, string(targets), string(p.work.shown), []byte(p.work.body), p.work.runAs,
		platforms(p.work), j.Origin, j.ScheduleID, j.RetryOf, array[uuid.UUID](j.TenantIDs), j.TasksTotal, weigh(j.TasksTotal),
		p.brake.stopFailure, p.work.runSeconds, int(p.request.life()/time.Second), by, j.CreatedBy, j.NotBefore, j.ExpiresAt,
		int(p.work.jitter/time.Second), openRanges(p.request.Open), tenantRanges).Error
	if err != nil {
		return fmt.Errorf("storing a job: %w", err)
	}
	return nil
}

// openRanges writes periods as PostgreSQL does; nil is any time.
func openRanges(periods []calendar.Period) *string {
	if len(periods) == 0 {
		return nil
	}
	ranges := make([]string, len(periods))
	for i, p := range periods {
		ranges[i] = "[" + p.Start.UTC().Format(time.RFC3339Nano) + "," + p.End.UTC().Format(time.RFC3339Nano) + ")"
	}
	text := "{" + strings.Join(ranges, ",") + "}"
	return &text
}

// tenantRanges is a document of the ranges that hold for some tenants; nil when there are none.
func tenantRanges(periods map[uuid.UUID][]calendar.Period) (*string, error) {
	ranges := map[uuid.UUID]string{}
	for tenant, list := range periods {
		if text := openRanges(list); text != nil {
			ranges[tenant] = *text
		}
	}
	if len(ranges) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(ranges)
	if err != nil {
		return nil, fmt.Errorf("encoding the ranges of tenants: %w", err)
	}
	document := string(text)
	return &document, nil
}

// The waves of a job whose tasks are not made at once.
const (
	firstWave = 0
	restWave  = 1
)

func insertWaves(tx *gorm.DB, j Job, waves map[int][]fleet.Target) error {
	for wave, targets := range waves { // two at most
		tenantIDs := make(array[uuid.UUID], len(targets))
		for i, t := range targets {
			tenantIDs[i] = t.TenantID
		}
		err := tx.Exec(`INSERT INTO job_waves (tenant_id, job_id, wave, device_ids, device_tenant_ids) VALUES (?, ?, ?, ?::uuid[], ?::uuid[])`,
			j.TenantID, j.ID, wave, array[uuid.UUID](deviceIDs(targets)), tenantIDs).Error
		if err != nil {
			return fmt.Errorf("storing the devices that wait: %w", err)
		}
	}
	return nil
}

// takeWave removes a wave and returns its targets.
func takeWave(tx *gorm.DB, j Job, wave int) ([]fleet.Target, error) {
	var targets []fleet.Target
	err := tx.Raw(`WITH taken AS (DELETE FROM job_waves WHERE tenant_id = ? AND job_id = ? AND wave = ? RETURNING device_ids, device_tenant_ids)
		SELECT u.device_id, u.tenant_id FROM taken, unnest(taken.device_ids, taken.device_tenant_ids) AS u (device_id, tenant_id)`,
		j.TenantID, j.ID, wave).Scan(&targets).Error
	return targets, err
}

func hasWave(tx *gorm.DB, j Job, wave int) (found bool, err error) {
	err = tx.Raw(`SELECT exists (SELECT FROM job_waves WHERE tenant_id = ? AND job_id = ? AND wave = ?)`, j.TenantID, j.ID, wave).Scan(&found).Error
	return found, err
}

func dropWaves(tx *gorm.DB, j Job) error {
	return tx.Exec("DELETE FROM job_waves WHERE tenant_id = ? AND job_id = ?", j.TenantID, j.ID).Error
}

// jobRow is a job as the database gives it.
type jobRow struct {
	ID, TenantID         uuid.UUID
	Name, Kind           string
	State                JobState
	StateReason          string
	Targets, Payload     []byte
	Origin               Origin
	ScheduleID, RetryOf  *uuid.UUID
	ApprovalID           *uuid.UUID
	TenantIDs            []byte
	TasksTotal           int
	CreatedByName        string
	CreatedAt, NotBefore time.Time
	ExpiresAt            time.Time
	FinishedAt           *time.Time

	// Only where asked for.
	Body               []byte
	RunAs              string
	Platforms          []byte
	RunSeconds         int
	JitterSeconds      int
	ExpiresSeconds     int
	StopFailurePercent int
	ReleasedAt         *time.Time
}

const jobColumns = `j.id, j.tenant_id, j.name, j.kind, j.state, j.state_reason, j.targets, j.payload, j.origin, j.schedule_id, j.retry_of,
	j.approval_id, to_json(j.tenant_ids) AS tenant_ids, j.tasks_total, j.created_by_name, j.created_at, j.not_before, j.expires_at, j.finished_at`

const workColumns = jobColumns + `, j.body, j.run_as, to_json(j.platforms) AS platforms, j.run_seconds, j.jitter_seconds, j.expires_seconds, j.stop_failure_percent, j.released_at`

// plainColumns are workColumns without the name of the table, for RETURNING.
func plainColumns() string { return strings.ReplaceAll(workColumns, "j.", "") }

func (r jobRow) job() (Job, error) {
	j := Job{ID: r.ID, TenantID: r.TenantID, Name: r.Name, Kind: r.Kind, State: r.State, StateReason: r.StateReason, Payload: r.Payload,
		Origin: r.Origin, ScheduleID: r.ScheduleID, RetryOf: r.RetryOf, ApprovalID: r.ApprovalID, TasksTotal: r.TasksTotal,
		Counts: map[State]int{}, CreatedBy: r.CreatedByName, CreatedAt: r.CreatedAt, NotBefore: r.NotBefore, ExpiresAt: r.ExpiresAt, FinishedAt: r.FinishedAt}
	if err := json.Unmarshal(r.Targets, &j.Targets); err != nil {
		return j, fmt.Errorf("reading a job's targets: %w", err)
	}
	if err := json.Unmarshal(r.TenantIDs, &j.TenantIDs); err != nil {
		return j, fmt.Errorf("reading a job's tenants: %w", err)
	}
	return j, nil
}

func (r jobRow) work() (work, error) {
	w := work{body: r.Body, shown: r.Payload, runAs: r.RunAs, title: r.Name, runSeconds: r.RunSeconds, jitter: secondsOf(r.JitterSeconds)}
	if err := json.Unmarshal(r.Platforms, &w.platforms); err != nil {
		return w, fmt.Errorf("reading a job's platforms: %w", err)
	}
	return w, nil
}

// findJob reads one job; lock keeps others from changing it.
func findJob(tx *gorm.DB, id uuid.UUID, lock bool) (jobRow, error) {
	sql := "SELECT " + workColumns + " FROM jobs j WHERE j.id = ?"
	if lock {
		sql += " FOR UPDATE"
	}
	var rows []jobRow
	if err := tx.Raw(sql, id).Scan(&rows).Error; err != nil {
		return jobRow{}, err
	}
	if len(rows) == 0 {
		return jobRow{}, ErrJobNotFound
	}
	return rows[0], nil
}

// moveJob stores a job's new state.
func moveJob(tx *gorm.DB, j *Job, to JobState, reason string) error {
	if !j.State.CanMove(to) {
		return ErrJobOver
	}
	j.State, j.StateReason = to, reason
	return tx.Exec("UPDATE jobs SET state = ?, state_reason = ?, checked_at = now() WHERE tenant_id = ? AND id = ?",
		to, reason, j.TenantID, j.ID).Error
}

// mayJob tells whether the actor holds a permission over all that a job touches.
func mayJob(who scope.Scope, permission string, j Job) bool {
	if who.May(permission, j.TenantID) && (j.TenantID != scope.Provider || who.MayEverywhere(permission)) {
		return true
	}
	for _, id := range j.TenantIDs {
		if !who.May(permission, id) {
			return false
		}
	}
	return len(j.TenantIDs) > 0
}

// countTasks fills in how many tasks of each job are in which state, in one statement.
func countTasks(tx *gorm.DB, jobs []*Job) error {
	byID, ids := map[uuid.UUID]*Job{}, array[uuid.UUID]{}
	for _, j := range jobs {
		j.Counts = map[State]int{}
		byID[j.ID] = j
		ids = append(ids, j.ID)
	}
	var rows []struct {
		JobID uuid.UUID
		State State
		N     int
	}
	if err := tx.Raw("SELECT job_id, state, count(*) AS n FROM tasks WHERE job_id = ANY (?) GROUP BY job_id, state", ids).Scan(&rows).Error; err != nil {
		return fmt.Errorf("counting tasks: %w", err)
	}
	for _, r := range rows {
		byID[r.JobID].Counts[r.State] = r.N
	}
	return nil
}
