// Package tasks is the queue of remote work: a job asks for something on many devices, each device gets
// a signed task, and what it answers is kept, exactly once.
package tasks

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"reeve/server/fleet"
	"reeve/tenants/calendar"
)

// Task is one device's share of a job. Times without a remark are on the database's clock.
type Task struct {
	ID                 uuid.UUID
	TenantID           uuid.UUID
	TenantName         string
	DeviceID           uuid.UUID
	DeviceName         string
	JobID              uuid.UUID
	Kind               string
	State              State
	Reason             string
	ExitCode           *int64
	Output             Output          `gorm:"-"`
	Result             json.RawMessage // what the kind reports beside exit code and output
	Attempts           int             // leases that counted
	Late               bool            // the result came after the task was given up
	AfterTaskID        *uuid.UUID      // has to succeed first
	CreatedAt          time.Time
	NotBefore          time.Time
	ExpiresAt          time.Time
	LeasedAt           *time.Time
	StartedAt          *time.Time
	FinishedAt         *time.Time
	EndpointStartedAt  *time.Time // the endpoint's claim
	EndpointFinishedAt *time.Time
}

// Output is what a task wrote, as text that is safe to send: valid UTF-8 without NUL.
type Output struct {
	Stdout, Stderr                   string
	StdoutBytes, StderrBytes         int64 // stored
	StdoutTruncated, StderrTruncated bool  // there was more, or a part was lost
}

// JobState is where a job stands.
type JobState string

// The states of a job.
const (
	WaitingApproval JobState = "waiting_approval" // a second person must approve it
	Canary          JobState = "canary"           // a first share is running
	RunningJob      JobState = "running"
	Finished        JobState = "finished"
	CancelledJob    JobState = "cancelled"
	Rejected        JobState = "rejected"
	Stopped         JobState = "stopped" // too much failed; what had not begun was cancelled
)

// jobMoves is the whole life of a job.
var jobMoves = map[JobState][]JobState{
	WaitingApproval: {Canary, RunningJob, Rejected, CancelledJob},
	Canary:          {RunningJob, Stopped, CancelledJob, Finished},
	RunningJob:      {Finished, Stopped, CancelledJob},
}

// CanMove tells whether one step leads from this state to another.
func (s JobState) CanMove(to JobState) bool {
	for _, legal := range jobMoves[s] {
		if legal == to {
			return true
		}
	}
	return false
}

// Origin is what made a job.
type Origin string

// The origins.
const (
	Manual    Origin = "manual"
	Scheduled Origin = "schedule"
	Retry     Origin = "retry"
	Inventory Origin = "inventory"
)

// Job is one request over many devices.
type Job struct {
	ID          uuid.UUID
	TenantID    uuid.UUID // the provider when it reaches several tenants
	Name        string
	Kind        string
	State       JobState
	StateReason string
	Targets     fleet.Selector  // as somebody asked; the tasks say what it came to
	Payload     json.RawMessage // as it may be shown
	Origin      Origin
	ScheduleID  *uuid.UUID
	RetryOf     *uuid.UUID
	ApprovalID  *uuid.UUID
	TenantIDs   []uuid.UUID // that it reaches
	TasksTotal  int
	Counts      map[State]int // of the tasks made so far
	CreatedBy   string
	CreatedAt   time.Time
	NotBefore   time.Time
	ExpiresAt   time.Time
	FinishedAt  *time.Time
}

// NewJob asks for work.
type NewJob struct {
	Kind    string
	Name    string // made from the payload when empty
	Targets fleet.Selector
	// Devices are targets that the caller has resolved already; Targets is then only kept for show.
	Devices          []fleet.Target
	Payload          json.RawMessage
	ExpiresIn        time.Duration // 7 days when zero
	NotBefore        time.Time     // at once when zero
	Reason           string        // for the second approver, and for overriding a blackout
	OverrideBlackout bool
	Origin           Origin            // Manual when empty
	ScheduleID       *uuid.UUID        // of a schedule that fires
	Jitter           time.Duration     // over which the devices of a schedule start, each at its own place
	Open             []calendar.Period // times in which tasks may start; none: any time
	// OpenIn stands instead of Open for the devices of some tenants: those with blackouts of their own.
	OpenIn map[uuid.UUID][]calendar.Period
	// Cleared says that a second person has approved this already, or that it changes nothing on the
	// devices: the limits on reach are not asked, a first share goes ahead as ever. It is for other parts
	// of the server, never for a request.
	Cleared bool

	retryOf    *uuid.UUID
	permission string // instead of jobs.run
}
