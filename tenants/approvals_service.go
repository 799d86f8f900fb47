package tenants

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"reeve/tenants/audit"
	"reeve/tenants/tenantdb"
)

// Approvals keeps the acts that wait for a second person.
type Approvals struct {
	db      *tenantdb.DB
	decided map[string]DecidedFunc
}

// NewApprovals makes the service. decided names, for each type of subject, who is told the end.
func NewApprovals(db *tenantdb.DB, decided map[string]DecidedFunc) *Approvals {
	return &Approvals{db: db, decided: decided}
}

// RequestTx asks for a second person in the transaction that creates what has to wait. It writes its
// own audit entry, so it comes right before the caller's.
func (s *Approvals) RequestTx(tx *gorm.DB, r ApprovalRequest) (Approval, error) {
	if err := r.Validate(); err != nil {
		return Approval{}, err
	}
	if s.decided[r.SubjectType] == nil {
		return Approval{}, fmt.Errorf("approvals: nobody is told how the approval of a %q ends", r.SubjectType)
	}
	a := r.approval(tx)
	if err := tx.Table("approvals").Create(&a).Error; err != nil {
		if tenantdb.Constraint(err) == "approvals_open" {
			return a, ErrApprovalOpen
		}
		return a, fmt.Errorf("asking for approval: %w", err)
	}
	return a, audit.WriteTx(tx, a.entry("approval.requested", nil))
}

func (r ApprovalRequest) approval(tx *gorm.DB) Approval {
	now, valid := tenantdb.Now(tx), r.ValidFor
	if valid == 0 {
		valid = defaultValidity
	}
	if r.Detail == nil {
		r.Detail = map[string]any{}
	}
	// An API key asks for its maker, who must not be able to say yes to their own key.
	actor := tenantdb.ScopeOf(tx).Actor
	return Approval{ID: uuid.Must(uuid.NewV7()), TenantID: r.TenantID, Kind: r.Kind, Summary: strings.TrimSpace(r.Summary),
		SubjectType: r.SubjectType, SubjectID: r.SubjectID, State: Pending, RequestedAt: now, RequestReason: r.Reason,
		RequestedBy: actor.Person(), RequestedByName: actor.Name, ExpiresAt: now.Add(valid), Detail: r.Detail}
}

var approvalsNewest = tenantdb.Sort{Name: "newest", Columns: []tenantdb.Column{
	{SQL: "requested_at", Kind: tenantdb.Instant, Descending: true}, {SQL: "id", Kind: tenantdb.UUID, Descending: true}}}

// List is a page of approvals, newest first.
func (s *Approvals) List(ctx context.Context, f ApprovalFilter, cursor string, limit int) (page []Approval, next string, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		q := tenantdb.Permitted(tx.Table("approvals"), permApprovalsRead, "tenant_id")
		if f.TenantID != nil {
			q = q.Where("tenant_id = ?", *f.TenantID)
		}
		if f.State != nil {
			q = q.Where("state = ?", *f.State)
		}
		if q, err = approvalsNewest.Page(q, cursor, limit); err != nil {
			return err
		}
		if err := q.Find(&page).Error; err != nil {
			return fmt.Errorf("listing approvals: %w", err)
		}
		page, next = tenantdb.Next(approvalsNewest, page, limit, func(a Approval) []any { return []any{a.RequestedAt, a.ID} })
		return nil
	})
	return page, next, err
}

// Get is one approval.
func (s *Approvals) Get(ctx context.Context, id uuid.UUID) (a Approval, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		a, err = visibleApproval(tx, id)
		return err
	})
	return a, err
}

// Approve lets the act go ahead.
func (s *Approvals) Approve(ctx context.Context, id uuid.UUID, reason string) (Approval, error) {
	return s.move(ctx, id, Approved, reason)
}

// Reject stops the act.
func (s *Approvals) Reject(ctx context.Context, id uuid.UUID, reason string) (Approval, error) {
	return s.move(ctx, id, Rejected, reason)
}

// Withdraw takes the request back.
func (s *Approvals) Withdraw(ctx context.Context, id uuid.UUID, reason string) (Approval, error) {
	return s.move(ctx, id, Withdrawn, reason)
}

func (s *Approvals) move(ctx context.Context, id uuid.UUID, to ApprovalState, reason string) (a Approval, err error) {
	if err := checkReason(reason); err != nil {
		return a, err
	}
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		before, err := visibleApproval(tx.Clauses(forUpdate), id)
		if err != nil {
			return err
		}
		a, err = s.end(ctx, tx, before, to, strings.TrimSpace(reason))
		return err
	})
	return a, err
}

// end decides, stores the decision, and tells who waits for it.
func (s *Approvals) end(ctx context.Context, tx *gorm.DB, before Approval, to ApprovalState, reason string) (Approval, error) {
	a, err := before.decide(to, reason, tenantdb.ScopeOf(tx), tenantdb.Now(tx))
	if err != nil {
		return a, err
	}
	return a, s.settle(ctx, tx, before, a)
}

// ObsoleteTx ends the question about a thing, if there is one, because the thing has changed or gone:
// a yes to what it was must not count for what it is. Who waits for it is told that it was withdrawn.
func (s *Approvals) ObsoleteTx(ctx context.Context, tx *gorm.DB, subjectType string, subjectID uuid.UUID, reason string) (bool, error) {
	var open []Approval
	err := tx.Table("approvals").Clauses(forUpdate).Where("subject_type = ? AND subject_id = ? AND state = ?", subjectType, subjectID, Pending).
		Find(&open).Error
	if err != nil {
		return false, fmt.Errorf("finding the open approval: %w", err)
	}
	now := tenantdb.Now(tx)
	for _, before := range open { // one at most
		a := before
		a.State, a.DecidedAt, a.DecisionReason = Withdrawn, &now, nonEmpty(reason)
		if err := s.settle(ctx, tx, before, a); err != nil {
			return false, err
		}
	}
	return len(open) > 0, nil
}

// PendingTx is the open question about a thing, or nil.
func (s *Approvals) PendingTx(tx *gorm.DB, tenant uuid.UUID, subjectType string, subjectID uuid.UUID) (*Approval, error) {
	var open []Approval
	err := tx.Table("approvals").Where("tenant_id = ? AND subject_type = ? AND subject_id = ? AND state = ?", tenant, subjectType, subjectID, Pending).
		Find(&open).Error
	if err != nil {
		return nil, fmt.Errorf("finding the open approval: %w", err)
	}
	if len(open) == 0 {
		return nil, nil
	}
	return &open[0], nil
}

// settle stores the end of an approval, and tells who waits for it.
func (s *Approvals) settle(ctx context.Context, tx *gorm.DB, before, a Approval) error {
	err := tx.Table("approvals").Where("tenant_id = ? AND id = ?", a.TenantID, a.ID).Updates(map[string]any{"state": a.State,
		"decided_by": a.DecidedBy, "decided_by_name": a.DecidedByName, "decided_at": a.DecidedAt, "decision_reason": a.DecisionReason}).Error
	if err != nil {
		return fmt.Errorf("storing the decision: %w", err)
	}
	tell := s.decided[a.SubjectType]
	if tell == nil {
		return fmt.Errorf("approvals: nobody is told how the approval of a %q ends", a.SubjectType)
	}
	if err := tell(ctx, tx, a); err != nil {
		return err
	}
	return audit.WriteTx(tx, a.entry("approval."+string(a.State), &before))
}

// expireBatch bounds one run of the sweep.
const expireBatch = 200

// SweepExpired ends the approvals that nobody decided in time. One that cannot be ended does not keep
// the others from it.
func (s *Approvals) SweepExpired(ctx context.Context) (n int, err error) {
	var due []uuid.UUID
	err = s.db.System(ctx, func(tx *gorm.DB) error {
		return tx.Table("approvals").Where("state = ? AND expires_at <= now()", Pending).Order("expires_at").
			Limit(expireBatch).Pluck("id", &due).Error
	})
	if err != nil {
		return 0, fmt.Errorf("finding approvals that expired: %w", err)
	}
	var problems []error
	for _, id := range due {
		done, err := s.expire(ctx, id)
		if err != nil {
			problems = append(problems, fmt.Errorf("ending approval %s: %w", id, err))
		}
		if done {
			n++
		}
	}
	return n, errors.Join(problems...)
}

// expire ends one approval unless a person, or another replica, is at it.
func (s *Approvals) expire(ctx context.Context, id uuid.UUID) (done bool, err error) {
	err = s.db.System(ctx, func(tx *gorm.DB) error {
		var claimed []Approval
		err := tx.Table("approvals").Clauses(clause.Locking{Strength: "UPDATE", Options: "SKIP LOCKED"}).
			Where("id = ? AND state = ?", id, Pending).Find(&claimed).Error
		if err != nil || len(claimed) == 0 {
			return err
		}
		_, err = s.end(ctx, tx, claimed[0], Expired, "")
		done = err == nil
		return err
	})
	return done, err
}

func visibleApproval(tx *gorm.DB, id uuid.UUID) (a Approval, err error) {
	if err := tx.Table("approvals").Where("id = ?", id).Take(&a).Error; err != nil {
		return a, orNotFound(err, ErrApprovalNotFound)
	}
	return a, need(tenantdb.ScopeOf(tx), permApprovalsRead, a.TenantID)
}

// entry is what the audit log says about a step of the approval.
func (a Approval) entry(action string, before *Approval) audit.Entry {
	e := audit.Entry{TenantID: a.TenantID, Action: action, ObjectType: "approval", ObjectID: a.ID.String(), ObjectName: a.Summary,
		After: a.face()}
	if before != nil {
		e.Before = before.face()
	}
	return e
}

func (a Approval) face() map[string]any {
	return map[string]any{"kind": a.Kind, "state": a.State, "subject_type": a.SubjectType, "subject_id": a.SubjectID,
		"requested_by": a.RequestedByName, "request_reason": a.RequestReason, "decided_by": a.DecidedByName,
		"decision_reason": a.DecisionReason, "expires_at": a.ExpiresAt, "detail": a.Detail}
}
