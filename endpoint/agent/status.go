package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"

	"reeve/api"
)

// live is what a running endpoint writes for the status command.
type live struct {
	PID          int             `json:"pid"`
	Version      string          `json:"version"`
	State        api.DeviceState `json:"state"`
	LastSync     time.Time       `json:"last_sync,omitzero"`
	LastError    string          `json:"last_error,omitempty"`
	Connected    bool            `json:"websocket"`
	SkewMS       int64           `json:"clock_ahead_ms"`
	RunningTasks []uuid.UUID     `json:"running_tasks"`
	Waiting      bool            `json:"updates_waiting"`
	Events       int             `json:"events_waiting"`
	Stopped      bool            `json:"stopped"`
}

// statusWriter keeps status.json, which may be lost at any time.
type statusWriter struct {
	path     string
	lastSync time.Time
}

func (a *Agent) tellStatus(err error, stopped bool) {
	if err == nil && !stopped {
		a.status.lastSync = a.clock.serverNow()
	}
	running, _ := a.worker.state()
	if running == nil {
		running = []uuid.UUID{}
	}
	l := live{
		PID: os.Getpid(), Version: a.version, State: a.state, LastSync: a.status.lastSync, Connected: a.socket.current() != nil && !stopped,
		SkewMS: a.clock.skew().Milliseconds(), RunningTasks: running, Waiting: a.store.reports.pending(), Events: a.store.events.waiting(), Stopped: stopped,
	}
	if err != nil {
		l.LastError = err.Error()
	}
	text, err := json.Marshal(l)
	if err != nil {
		a.log.Error("the status could not be encoded", "error", err)
		return
	}
	tmp := a.status.path + ".new"
	if err := errors.Join(os.WriteFile(tmp, text, 0o600), os.Rename(tmp, a.status.path)); err != nil {
		a.log.Warn("the status could not be written", "error", err)
	}
}

// Status is what a device knows of itself.
type Status struct {
	Enrolled      bool      `json:"enrolled"`
	Server        string    `json:"server,omitempty"`
	DeviceID      uuid.UUID `json:"device_id,omitzero"`
	TenantID      uuid.UUID `json:"tenant_id,omitzero"`
	EnrolledAt    time.Time `json:"enrolled_at,omitzero"`
	CAFingerprint string    `json:"pinned_ca_sha256,omitempty"`
	TaskKeys      []string  `json:"task_keys,omitempty"`
	Interval      int       `json:"interval_seconds,omitempty"`
	ConfigVersion string    `json:"config_version,omitempty"`
	Running       bool      `json:"running"`
	Live          *live     `json:"live,omitempty"`
	TaskLogLines  int64     `json:"task_log_lines"`
	TaskLogIntact bool      `json:"task_log_intact"`
	KillSwitch    bool      `json:"kill_switch"`
	DenyKinds     []string  `json:"deny_kinds"`
}

// ReadStatus reads the data folder; the endpoint need not run.
func ReadStatus(dir Dir) (Status, error) {
	s := Status{DenyKinds: []string{}}
	dev, err := dir.load()
	if errors.Is(err, ErrNotEnrolled) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	s.Enrolled, s.Server, s.DeviceID, s.TenantID, s.EnrolledAt = true, dev.Server, dev.ID, dev.TenantID, dev.EnrolledAt
	s.Interval, s.ConfigVersion, s.TaskKeys = dev.Interval, dev.ConfigVersion, slices.Sorted(maps.Keys(dev.TaskKeys))
	if block, _ := pem.Decode([]byte(dev.CA)); block != nil {
		sum := sha256.Sum256(block.Bytes)
		s.CAFingerprint = hex.EncodeToString(sum[:])
	}
	if lock, err := lockFile(dir.lockFile()); errors.Is(err, errRunning) {
		s.Running = true
	} else if err == nil {
		lock.Close()
	}
	if text, err := os.ReadFile(dir.statusFile()); err == nil {
		if err := json.Unmarshal(text, &s.Live); err != nil {
			s.Live = nil // half-written by a crash
		}
	}
	last, _, err := verifyTaskLog(dir.taskLogFile())
	s.TaskLogLines, s.TaskLogIntact = last.N, err == nil
	_, err = os.Stat(dir.stopFile())
	s.KillSwitch = err == nil
	p, err := dir.localPolicy()
	if err != nil {
		return s, fmt.Errorf("reading the local policy: %w", err)
	}
	s.DenyKinds = append(s.DenyKinds, p.DenyKinds...)
	return s, nil
}
