// Package fault is the vocabulary of errors shared by server and endpoint: a small set of kinds,
// what the user may read, and the cause that only the log sees.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Kind classifies an error. Everything that is not a *Error is Internal.
type Kind string

// The kinds. The HTTP status of each is decided once, in server/rest.
const (
	Internal         Kind = "internal"         // our defect; the cause is logged, never shown
	Invalid          Kind = "invalid"          // input is malformed or breaks a rule; Fields name where
	Unauthenticated  Kind = "unauthenticated"  // who acts is unknown
	OTPRequired      Kind = "otp-required"     // the password is right and a one-time code must follow
	Forbidden        Kind = "forbidden"        // the actor is known and may not do this
	StepUp           Kind = "step-up-required" // the actor must confirm their identity again first
	NotFound         Kind = "not-found"        // does not exist, or is not visible to the actor
	MethodNotAllowed Kind = "method-not-allowed"
	Conflict         Kind = "conflict" // the object's state does not allow this now
	Gone             Kind = "gone"     // existed, expired or was used up
	TooLarge         Kind = "too-large"
	UnsupportedMedia Kind = "unsupported-media-type"
	RateLimited      Kind = "rate-limited" // RetryAfter says when to come back
	Unavailable      Kind = "unavailable"  // a part we need does not answer; try again
	ClockSkew        Kind = "clock-skew"   // an endpoint's clock is too far off
)

// Field names one faulty place of the input.
type Field struct {
	Pointer string // RFC 6901 into the body ("/targets/site_id"), or "?name" for a query parameter
	Detail  string // what is wrong and what would be right
}

// Error carries what happened in words its reader understands.
type Error struct {
	Kind       Kind
	Message    string        // shown to the user
	Fields     []Field       // for Invalid
	RetryAfter time.Duration // for RateLimited and Unavailable
	Cause      error         // logged only
}

func (e *Error) Error() string {
	s := e.Message
	for _, f := range e.Fields {
		s += fmt.Sprintf(" [%s: %s]", f.Pointer, f.Detail)
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap gives the cause to errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Cause }

// Is makes two faults equal when kind and message are, so that sentinels survive a Wrap.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind && t.Message == e.Message
}

// New returns an error of a kind with a message for the user.
func New(kind Kind, message string) *Error { return &Error{Kind: kind, Message: message} }

// Newf is New with formatting.
func Newf(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Wrap attaches a cause that is logged and never shown.
func Wrap(kind Kind, message string, cause error) *Error {
	return &Error{Kind: kind, Message: message, Cause: cause}
}

// InvalidField is the fault of a single field.
func InvalidField(pointer, detail string) *Error {
	return &Error{Kind: Invalid, Message: "the request has an invalid field", Fields: []Field{{pointer, detail}}}
}

// Fields collects the faults of an input, so that its reader sees all of them at once.
type Fields []Field

// Add notes a fault.
func (f *Fields) Add(pointer, format string, args ...any) {
	*f = append(*f, Field{pointer, fmt.Sprintf(format, args...)})
}

// Check notes a fault unless ok.
func (f *Fields) Check(ok bool, pointer, format string, args ...any) {
	if !ok {
		f.Add(pointer, format, args...)
	}
}

// Err is nil when nothing was noted.
func (f Fields) Err() error {
	if len(f) == 0 {
		return nil
	}
	return &Error{Kind: Invalid, Message: "the request has invalid fields", Fields: f}
}

// As finds the fault in an error's chain.
func As(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// KindOf is the kind of an error; what is not a fault is Internal, and nil has no kind.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	if e, ok := As(err); ok {
		return e.Kind
	}
	return Internal
}
