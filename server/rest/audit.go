package rest

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	. "reeve/api"
	"reeve/api/fault"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// auditHandlers serve the audit log. It is read straight from its package: there is no rule above it.
type auditHandlers struct {
	db          *tenantdb.DB
	checkpoints func() (audit.Checkpoints, error)
	now         func() time.Time
}

func (h auditHandlers) ListAudit(ctx context.Context, r ListAuditRequestObject) (ListAuditResponseObject, error) {
	p := r.Params
	page, err := audit.List(ctx, h.db, audit.Filter{
		TenantID: value(p.TenantID), ActorID: value(p.ActorID), ActorName: value(p.Actor), Action: value(p.Action),
		ObjectType: value(p.ObjectType), ObjectID: value(p.ObjectID), From: value(p.From), To: value(p.To),
		Limit: value(p.Limit), Cursor: value(p.Cursor),
	})
	if err != nil {
		return nil, err
	}
	return ListAudit200JSONResponse{Items: each(page.Records, auditEntry), NextCursor: optional(page.Next)}, nil
}

func auditEntry(r audit.Record) AuditEntry {
	e := AuditEntry{
		TenantID: r.TenantID, Number: r.Number, At: r.At, ActorKind: AuditEntryActorKind(r.ActorKind), ActorName: r.ActorName,
		Address: r.Address, RequestID: r.RequestID, Action: r.Action, ObjectType: r.ObjectType, ObjectID: optional(r.ObjectID),
		ObjectName: r.ObjectName, Detail: map[string]any{}, Hash: hex.EncodeToString(r.Hash),
	}
	if r.ActorID != nil {
		id := uuid.UUID(*r.ActorID)
		e.ActorID = &id
	}
	if r.Before != nil {
		e.Before = r.Before
	}
	if r.After != nil {
		e.After = r.After
	}
	// The log holds objects only, as its writer encoded them.
	_ = json.Unmarshal(r.Detail, &e.Detail)
	if r.Emergency != "" {
		e.Detail["emergency"] = r.Emergency
	}
	return e
}

func (h auditHandlers) VerifyAudit(ctx context.Context, r VerifyAuditRequestObject) (VerifyAuditResponseObject, error) {
	s := scope.From(ctx)
	tenant := value(r.Params.TenantID)
	if tenant == uuid.Nil {
		tenant = s.Actor.TenantID
	}
	if !s.Sees(tenant) {
		return nil, fault.New(fault.NotFound, "there is no such tenant")
	}
	if !s.May(audit.PermRead, tenant) {
		return nil, fault.New(fault.Forbidden, "you may not read this tenant's audit log")
	}
	known, err := h.checkpoints()
	if err != nil {
		return nil, err
	}
	report, err := audit.Verify(ctx, h.db, tenant, known)
	if err != nil {
		return nil, err
	}
	problems := []string{}
	for _, f := range report.Findings {
		problems = append(problems, fmt.Sprintf("entry %d %s: %s", f.Number, f.Kind, f.Detail))
	}
	return VerifyAudit200JSONResponse{TenantID: tenant, Entries: report.Entries, Intact: report.Intact(),
		Problems: problems, CheckedAt: h.now().UTC()}, nil
}
