package tenants_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/dbtest"
	"reeve/tenants"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// hall is an Approvals whose decisions are kept for the test to see.
type hall struct {
	*tenants.Approvals
	db   *tenantdb.DB
	told []tenants.Approval
	fail error // of the next hook
}

func newHall(t *testing.T) *hall {
	h := &hall{db: dbtest.New(t)}
	h.Approvals = tenants.NewApprovals(h.db, map[string]tenants.DecidedFunc{
		"job": func(_ context.Context, _ *gorm.DB, a tenants.Approval) error {
			if h.fail == nil {
				h.told = append(h.told, a)
			}
			return h.fail
		},
	})
	return h
}

func (h *hall) ask(t *testing.T, ctx context.Context, tenant uuid.UUID, validFor time.Duration) tenants.Approval {
	t.Helper()
	return inTx(t, ctx, h.db, func(tx *gorm.DB) (tenants.Approval, error) {
		return h.RequestTx(tx, tenants.ApprovalRequest{TenantID: tenant, Kind: tenants.BlastRadius, Summary: "Run x on 500 devices",
			SubjectType: "job", SubjectID: uuid.Must(uuid.NewV7()), Reason: "patch day", ValidFor: validFor,
			Detail: map[string]any{"devices": 500}})
	})
}

func TestASecondPersonDecides(t *testing.T) {
	t.Parallel()
	h := newHall(t)
	acme := addTenant(t, h.db, "Acme")
	asker, second2 := dbtest.Staff(t, everything...), dbtest.Staff(t, everything...)
	a := h.ask(t, asker, acme.ID, 0)
	if a.State != tenants.Pending || a.RequestedByName != "staff@example.test" || a.ExpiresAt.Sub(a.RequestedAt) != 7*24*time.Hour {
		t.Errorf("asked %+v", a)
	}
	apiKey := scope.From(second2)
	apiKey.Actor.Kind = scope.APIKey
	emergency := scope.From(second2)
	emergency.Emergency = "server room is on fire"
	for name, c := range map[string]struct {
		err, want error
	}{
		"approve own":        {second(h.Approve(asker, a.ID, "")), tenants.ErrOwnRequest},
		"reject own":         {second(h.Reject(asker, a.ID, "")), tenants.ErrOwnRequest},
		"without permission": {second(h.Approve(dbtest.Staff(t, "approvals.read"), a.ID, "")), tenants.ErrNotPermitted},
		"API key":            {second(h.Approve(scope.With(t.Context(), apiKey), a.ID, "")), tenants.ErrPeopleDecide},
		"break-glass":        {second(h.Approve(scope.With(t.Context(), emergency), a.ID, "")), tenants.ErrEmergencyDecision},
		"withdraw another's": {second(h.Withdraw(second2, a.ID, "")), tenants.ErrNotYourRequest},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v", name, c.err)
		}
	}
	h.fail = errors.New("the job cannot start")
	if _, err := h.Approve(second2, a.ID, ""); !errors.Is(err, h.fail) {
		t.Errorf("a failing hook: %v", err)
	}
	if got := must[tenants.Approval](t)(h.Get(second2, a.ID)); got.State != tenants.Pending {
		t.Errorf("decided although the hook failed: %+v", got)
	}
	h.fail = nil
	a = must[tenants.Approval](t)(h.Approve(second2, a.ID, "go"))
	if a.State != tenants.Approved || *a.DecidedByName != "staff@example.test" || *a.DecisionReason != "go" || len(h.told) != 1 || h.told[0].State != tenants.Approved {
		t.Errorf("approved %+v, told %+v", a, h.told)
	}
	if _, err := h.Reject(second2, a.ID, ""); !errors.Is(err, tenants.ErrApprovalDecided) {
		t.Errorf("decided twice: %v", err)
	}
	got := must[tenants.Approval](t)(h.Get(second2, a.ID))
	if got.Detail["devices"] != 500.0 || got.RequestReason != "patch day" {
		t.Errorf("read %+v", got)
	}
	audited(t, h.db, acme.ID, "approval.requested")
	audited(t, h.db, acme.ID, "approval.approved")
}

func TestOnlyOneOfManyDecides(t *testing.T) {
	t.Parallel()
	h := newHall(t)
	acme := addTenant(t, h.db, "Acme")
	a := h.ask(t, dbtest.Staff(t, everything...), acme.ID, 0)
	const n = 6
	results := make(chan error, n)
	for i := range n {
		ctx := dbtest.Staff(t, everything...)
		go func() {
			if i%2 == 0 {
				results <- second(h.Approve(ctx, a.ID, ""))
			} else {
				results <- second(h.Reject(ctx, a.ID, ""))
			}
		}()
	}
	decided := 0
	for range n {
		switch err := <-results; {
		case err == nil:
			decided++
		case !errors.Is(err, tenants.ErrApprovalDecided):
			t.Error(err)
		}
	}
	if decided != 1 || len(h.told) != 1 {
		t.Errorf("%d decided, %d told", decided, len(h.told))
	}
}

func TestAnAPIKeyAsksForItsMaker(t *testing.T) {
	t.Parallel()
	h := newHall(t)
	acme := addTenant(t, h.db, "Acme")
	maker := dbtest.Staff(t, everything...)
	key := scope.From(maker)
	key.Actor = scope.Actor{Kind: scope.APIKey, ID: uuid.Must(uuid.NewV7()), MakerID: key.Actor.ID, TenantID: scope.Provider, Name: "deploy key"}
	a := h.ask(t, scope.With(t.Context(), key), acme.ID, 0)
	if _, err := h.Approve(maker, a.ID, ""); !errors.Is(err, tenants.ErrOwnRequest) {
		t.Errorf("the maker of the key approved: %v", err)
	}
}

func TestTheDatabaseItselfWantsASecondPerson(t *testing.T) {
	t.Parallel()
	h := newHall(t)
	acme := addTenant(t, h.db, "Acme")
	a := h.ask(t, dbtest.Staff(t, everything...), acme.ID, 0)
	err := h.db.Tx(dbtest.System(t), func(tx *gorm.DB) error {
		return tx.Exec("UPDATE approvals SET state = 'approved', decided_at = now(), decided_by = requested_by WHERE id = ?", a.ID).Error
	})
	if tenantdb.Constraint(err) != "approvals_second_person" {
		t.Errorf("%v", err)
	}
}

func TestWithdrawAndExpire(t *testing.T) {
	t.Parallel()
	h := newHall(t)
	acme := addTenant(t, h.db, "Acme")
	asker, other := dbtest.Staff(t, everything...), dbtest.Staff(t, everything...)
	a := h.ask(t, asker, acme.ID, 0)
	if a = must[tenants.Approval](t)(h.Withdraw(asker, a.ID, "")); a.State != tenants.Withdrawn {
		t.Errorf("withdrawn %+v", a)
	}
	late, open := h.ask(t, asker, acme.ID, time.Microsecond), h.ask(t, asker, acme.ID, 0)
	if _, err := h.Approve(other, late.ID, ""); !errors.Is(err, tenants.ErrApprovalExpired) {
		t.Errorf("approved too late: %v", err)
	}
	h.fail = errors.New("not now")
	if n, err := h.SweepExpired(dbtest.System(t)); n != 0 || !errors.Is(err, h.fail) {
		t.Errorf("swept %d, %v", n, err)
	}
	h.fail, h.told = nil, nil
	for _, want := range []int{1, 0} {
		if n, err := h.SweepExpired(dbtest.System(t)); n != want || err != nil {
			t.Errorf("swept %d, %v", n, err)
		}
	}
	if len(h.told) != 1 || h.told[0].ID != late.ID || h.told[0].State != tenants.Expired || h.told[0].DecidedBy != nil {
		t.Errorf("told %+v", h.told)
	}
	if got := must[tenants.Approval](t)(h.Get(other, open.ID)); got.State != tenants.Pending {
		t.Errorf("open %+v", got)
	}
}

func TestOneOpenQuestionAboutAThing(t *testing.T) {
	t.Parallel()
	h := newHall(t)
	acme, thing := addTenant(t, h.db, "Acme"), uuid.Must(uuid.NewV7())
	ctx := dbtest.Staff(t, everything...)
	ask := func(subject string) error {
		return h.db.Tx(ctx, func(tx *gorm.DB) error {
			_, err := h.RequestTx(tx, tenants.ApprovalRequest{TenantID: acme.ID, Kind: tenants.Deletion, Summary: "x", SubjectType: subject, SubjectID: thing})
			return err
		})
	}
	if err := ask("job"); err != nil {
		t.Error(err)
	}
	if err := ask("job"); !errors.Is(err, tenants.ErrApprovalOpen) {
		t.Errorf("asked twice: %v", err)
	}
	if err := ask("unheard-of"); fault.KindOf(err) != fault.Internal {
		t.Errorf("nobody is told: %v", err)
	}
}

func TestApprovalsOfOthersAreOutOfReach(t *testing.T) {
	t.Parallel()
	h := newHall(t)
	mine, theirs := addTenant(t, h.db, "Mine"), addTenant(t, h.db, "Theirs")
	asker := dbtest.Staff(t, everything...)
	own, foreign, wide := h.ask(t, asker, mine.ID, 0), h.ask(t, asker, theirs.ID, 0), h.ask(t, asker, scope.Provider, 0)
	ctx := dbtest.Tenant(t, mine.ID, everything...)
	for _, id := range []uuid.UUID{foreign.ID, wide.ID} {
		for name, err := range map[string]error{"get": second(h.Get(ctx, id)), "approve": second(h.Approve(ctx, id, "")),
			"reject": second(h.Reject(ctx, id, "")), "withdraw": second(h.Withdraw(ctx, id, ""))} {
			if fault.KindOf(err) != fault.NotFound {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	page, _, err := h.List(ctx, tenants.ApprovalFilter{}, "", 0)
	if err != nil || len(page) != 1 || page[0].ID != own.ID {
		t.Errorf("listed %+v, %v", page, err)
	}
	page, next, err := h.List(asker, tenants.ApprovalFilter{State: ptr(tenants.Pending)}, "", 2)
	if err != nil || len(page) != 2 || next == "" || page[0].ID != wide.ID {
		t.Errorf("listed %+v, %v", page, err)
	}
	page, next, err = h.List(asker, tenants.ApprovalFilter{State: ptr(tenants.Pending)}, next, 2)
	if err != nil || len(page) != 1 || next != "" || page[0].ID != own.ID {
		t.Errorf("listed %+v, %v", page, err)
	}
}
