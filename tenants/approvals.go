package tenants

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants/scope"
)

// ApprovalKind says why a second person is needed.
type ApprovalKind string

// The kinds.
const (
	BlastRadius ApprovalKind = "blast_radius" // work that reaches more than the brake allows
	Change      ApprovalKind = "change"
	Deletion    ApprovalKind = "deletion"
	Restore     ApprovalKind = "restore"
)

// ApprovalState is where an approval stands. Every state but pending is final.
type ApprovalState string

// The states.
const (
	Pending   ApprovalState = "pending"
	Approved  ApprovalState = "approved"
	Rejected  ApprovalState = "rejected"
	Withdrawn ApprovalState = "withdrawn" // by who asked
	Expired   ApprovalState = "expired"   // nobody decided in time
)

// Approval is an act that waits for a second person.
type Approval struct {
	ID              uuid.UUID
	TenantID        uuid.UUID // the provider when the act reaches several tenants
	Kind            ApprovalKind
	Summary         string // what a yes means, for a reader who sees nothing else
	SubjectType     string // what waits: "job"
	SubjectID       uuid.UUID
	State           ApprovalState
	RequestedBy     uuid.UUID // a person; the maker of the key when an API key asked
	RequestedByName string
	RequestedAt     time.Time
	RequestReason   string
	DecidedBy       *uuid.UUID
	DecidedByName   *string
	DecidedAt       *time.Time
	DecisionReason  *string
	ExpiresAt       time.Time
	Detail          map[string]any `gorm:"serializer:json"` // facts that help to decide: devices, tenants
}

// DecidedFunc is told how an approval of its subject type ended, in the transaction that ends it: it
// starts, drops or deletes what waited. Its error undoes the decision.
type DecidedFunc func(ctx context.Context, tx *gorm.DB, a Approval) error

// ApprovalRequest asks for a second person.
type ApprovalRequest struct {
	TenantID    uuid.UUID
	Kind        ApprovalKind
	Summary     string
	SubjectType string
	SubjectID   uuid.UUID
	Reason      string
	ValidFor    time.Duration // defaultValidity when zero
	Detail      map[string]any
}

const (
	defaultValidity = 7 * 24 * time.Hour
	maxReason       = 1000
	maxSummary      = 500
)

// Validate reports every faulty field.
func (r ApprovalRequest) Validate() error {
	var f fault.Fields
	n := len([]rune(r.Summary))
	f.Check(n >= 1 && n <= maxSummary && printable(r.Summary, false), "/summary", "give 1 to %d characters", maxSummary)
	checkText(&f, "/reason", r.Reason, maxReason)
	f.Check(r.ValidFor >= 0, "/valid_for", "it must lie ahead")
	return f.Err()
}

// decide is the state machine: who may move a pending approval where, and what it then is.
func (a Approval) decide(to ApprovalState, reason string, s scope.Scope, now time.Time) (Approval, error) {
	if a.State != Pending {
		return a, ErrApprovalDecided
	}
	if to != Expired {
		if err := a.mayMove(to, s); err != nil {
			return a, err
		}
		if !now.Before(a.ExpiresAt) {
			return a, ErrApprovalExpired
		}
		by, name := uuid.UUID(s.Actor.ID), s.Actor.Name
		a.DecidedBy, a.DecidedByName = &by, &name
	}
	a.State, a.DecidedAt, a.DecisionReason = to, &now, nonEmpty(reason)
	return a, nil
}

func (a Approval) mayMove(to ApprovalState, s scope.Scope) error {
	mine := uuid.UUID(s.Actor.ID) == a.RequestedBy
	if s.Actor.Kind != scope.User {
		return ErrPeopleDecide
	}
	if to == Withdrawn {
		if !mine {
			return ErrNotYourRequest
		}
		return nil
	}
	switch {
	case !s.May(permApprovalsDecide, a.TenantID):
		return ErrNotPermitted
	case mine:
		return ErrOwnRequest
	case s.Emergency != "":
		return ErrEmergencyDecision
	}
	return nil
}

// ApprovalFilter narrows a list; nil means any.
type ApprovalFilter struct {
	TenantID *uuid.UUID
	State    *ApprovalState
}
