package rest

import (
	"context"

	. "reeve/api"
	"reeve/tenants"
)

// approvalHandlers serve acts that wait for a second person.
type approvalHandlers struct{ approvals *tenants.Approvals }

func (h approvalHandlers) ListApprovals(ctx context.Context, r ListApprovalsRequestObject) (ListApprovalsResponseObject, error) {
	p := r.Params
	page, next, err := h.approvals.List(ctx, tenants.ApprovalFilter{TenantID: p.TenantID, State: (*tenants.ApprovalState)(p.State)}, value(p.Cursor), value(p.Limit))
	if err != nil {
		return nil, err
	}
	return ListApprovals200JSONResponse{Items: each(page, approvalOut), NextCursor: optional(next)}, nil
}

func (h approvalHandlers) GetApproval(ctx context.Context, r GetApprovalRequestObject) (GetApprovalResponseObject, error) {
	a, err := h.approvals.Get(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return GetApproval200JSONResponse(approvalOut(a)), nil
}

func (h approvalHandlers) ApproveApproval(ctx context.Context, r ApproveApprovalRequestObject) (ApproveApprovalResponseObject, error) {
	a, err := h.approvals.Approve(ctx, r.ID, value(r.Body.Reason))
	if err != nil {
		return nil, err
	}
	return ApproveApproval200JSONResponse(approvalOut(a)), nil
}

func (h approvalHandlers) RejectApproval(ctx context.Context, r RejectApprovalRequestObject) (RejectApprovalResponseObject, error) {
	a, err := h.approvals.Reject(ctx, r.ID, value(r.Body.Reason))
	if err != nil {
		return nil, err
	}
	return RejectApproval200JSONResponse(approvalOut(a)), nil
}

func (h approvalHandlers) WithdrawApproval(ctx context.Context, r WithdrawApprovalRequestObject) (WithdrawApprovalResponseObject, error) {
	a, err := h.approvals.Withdraw(ctx, r.ID, value(r.Body.Reason))
	if err != nil {
		return nil, err
	}
	return WithdrawApproval200JSONResponse(approvalOut(a)), nil
}

func approvalOut(a tenants.Approval) Approval {
	return Approval{ID: a.ID, TenantID: a.TenantID, Kind: ApprovalKind(a.Kind), Summary: a.Summary, SubjectType: a.SubjectType, SubjectID: a.SubjectID,
		State: ApprovalState(a.State), RequestedBy: a.RequestedByName, RequestedByID: a.RequestedBy, RequestedAt: a.RequestedAt,
		RequestReason: a.RequestReason, DecidedBy: a.DecidedByName, DecidedAt: a.DecidedAt, DecisionReason: a.DecisionReason,
		ExpiresAt: a.ExpiresAt, Detail: a.Detail}
}
