// Package runner carries out tasks on the device: one handler per kind, told apart by platform
// where the operating systems differ.
package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"reeve/api"
	"reeve/api/wire"
)

// Why a running task was ended from outside; the cause of the context that Run was given.
var (
	ErrTimeout   = errors.New("the time limit was reached")
	ErrCancelled = errors.New("it was cancelled")
	ErrStopping  = errors.New("the endpoint was stopped")
)

// Stream names one of the two outputs of a task.
type Stream string

// The streams.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// Output takes a piece of output at its byte offset. It must not keep data, and is called for one
// piece at a time.
type Output func(stream Stream, offset int64, data []byte)

// Result is how a task ended.
type Result struct {
	State           api.AgentTaskUpdateState
	Reason          string // in words a technician understands; empty on success
	ExitCode        *int
	StdoutTruncated bool
	StderrTruncated bool
	Value           any // what the kind returns, as JSON
}

// Handler carries out one kind of task. Parallel kinds may run beside another task.
type Handler struct {
	Run      func(ctx context.Context, task wire.Payload, out Output) Result
	Parallel bool
}

// Registry is every kind this device can carry out.
type Registry map[string]Handler

// Run carries out a task whose envelope was opened. A panic of a handler fails the task, not the
// endpoint.
func (r Registry) Run(ctx context.Context, task wire.Payload, out Output) (result Result) {
	h, known := r[task.Kind]
	if !known {
		return Result{State: api.AgentTaskUpdateStateUnsupported, Reason: fmt.Sprintf("this endpoint does not know tasks of kind %s", task.Kind)}
	}
	defer func() {
		if p := recover(); p != nil {
			result = Failed("the endpoint met a defect of its own: %v", p)
		}
	}()
	return h.Run(ctx, task, out)
}

// Failed is a result in words.
func Failed(format string, args ...any) Result {
	return Result{State: api.AgentTaskUpdateStateFailed, Reason: fmt.Sprintf(format, args...)}
}

// ended is the result of a task that was stopped from outside.
func ended(ctx context.Context) Result {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, ErrTimeout):
		return Result{State: api.AgentTaskUpdateStateTimedOut, Reason: ErrTimeout.Error()}
	case errors.Is(cause, ErrCancelled):
		return Result{State: api.AgentTaskUpdateStateCancelled, Reason: ErrCancelled.Error()}
	default:
		return Failed("interrupted: %v", cause)
	}
}

// decodeBody reads the body of a task strictly: what this build does not know it must not ignore.
func decodeBody(body json.RawMessage, into any) error {
	if err := wire.DecodeStrict(body, into); err != nil {
		return fmt.Errorf("the task's body is not what its kind expects: %w", err)
	}
	return nil
}
