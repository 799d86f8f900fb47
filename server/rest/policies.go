package rest

import (
	"context"
	"encoding/json"

	. "reeve/api"
	"reeve/server/policy"
)

// policyHandlers serve inherited settings.
type policyHandlers struct{ policies *policy.Service }

func (h policyHandlers) ListPolicies(ctx context.Context, r ListPoliciesRequestObject) (ListPoliciesResponseObject, error) {
	p := r.Params
	page, next, err := h.policies.List(ctx, policy.Filter{TenantID: p.TenantID, Kind: text(p.Kind), Scope: text(p.Scope)}, value(p.Cursor), value(p.Limit))
	if err != nil {
		return nil, err
	}
	return ListPolicies200JSONResponse{Items: each(page, policyOut), NextCursor: optional(next)}, nil
}

func (h policyHandlers) CreatePolicy(ctx context.Context, r CreatePolicyRequestObject) (CreatePolicyResponseObject, error) {
	b := r.Body
	spec, err := json.Marshal(b.Spec)
	if err != nil {
		return nil, err
	}
	made, err := h.policies.Create(ctx, policy.NewPolicy{TenantID: b.TenantID, Kind: policy.Kind(b.Kind), Name: b.Name, Scope: policy.Scope(b.Scope),
		ScopeID: b.ScopeID, Tag: b.Tag, Priority: value(b.Priority), Spec: spec})
	if err != nil {
		return nil, err
	}
	return CreatePolicy201JSONResponse(policyOut(made)), nil
}

func (h policyHandlers) GetPolicy(ctx context.Context, r GetPolicyRequestObject) (GetPolicyResponseObject, error) {
	found, err := h.policies.Policy(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return GetPolicy200JSONResponse(policyOut(found)), nil
}

func (h policyHandlers) UpdatePolicy(ctx context.Context, r UpdatePolicyRequestObject) (UpdatePolicyResponseObject, error) {
	c := policy.Change{Version: int64(r.Body.Version), Name: r.Body.Name, Priority: r.Body.Priority}
	if r.Body.Spec != nil {
		spec, err := json.Marshal(r.Body.Spec)
		if err != nil {
			return nil, err
		}
		c.Spec = spec
	}
	changed, err := h.policies.Update(ctx, r.ID, c)
	if err != nil {
		return nil, err
	}
	return UpdatePolicy200JSONResponse(policyOut(changed)), nil
}

func (h policyHandlers) DeletePolicy(ctx context.Context, r DeletePolicyRequestObject) (DeletePolicyResponseObject, error) {
	if err := h.policies.Delete(ctx, r.ID); err != nil {
		return nil, err
	}
	return DeletePolicy204Response{}, nil
}

func (h policyHandlers) GetEffectivePolicies(ctx context.Context, r GetEffectivePoliciesRequestObject) (GetEffectivePoliciesResponseObject, error) {
	list, err := h.policies.Effective(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return GetEffectivePolicies200JSONResponse{Items: each(list, effectiveOut)}, nil
}

func effectiveOut(e policy.Effective) EffectivePolicy {
	return EffectivePolicy{Kind: PolicyKind(e.Kind), Hash: e.Hash, Fields: each(e.Fields(), func(name string) EffectiveField {
		o := e.Origins[name]
		return EffectiveField{Field: name, Value: e.Spec[name], Origin: PolicyOrigin{Scope: PolicyOriginScope(o.Scope), PolicyID: o.PolicyID, Name: o.Name}}
	})}
}

func policyOut(p policy.Policy) Policy {
	spec := make(map[string]any, len(p.Spec))
	for name, v := range p.Spec {
		spec[name] = v
	}
	return Policy{ID: p.ID, TenantID: p.TenantID, Kind: PolicyKind(p.Kind), Name: p.Name, Scope: PolicyScope(p.Scope), ScopeID: p.ScopeID(),
		ScopeName: p.ScopeName, Tag: p.Tag, Priority: p.Priority, Spec: spec, Version: int(p.Version), CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt}
}
