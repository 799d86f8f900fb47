package rest

import (
	"context"

	. "reeve/api"
	"reeve/tenants"
)

// tenantHandlers serve tenants and their sites.
type tenantHandlers struct{ tenants *tenants.Service }

func (h tenantHandlers) ListTenants(ctx context.Context, r ListTenantsRequestObject) (ListTenantsResponseObject, error) {
	p := r.Params
	page, next, err := h.tenants.List(ctx, tenants.TenantFilter{State: (*tenants.State)(p.State), Query: p.Q}, value(p.Cursor), value(p.Limit))
	if err != nil {
		return nil, err
	}
	return ListTenants200JSONResponse{Items: each(page, tenantOut), NextCursor: optional(next)}, nil
}

func (h tenantHandlers) CreateTenant(ctx context.Context, r CreateTenantRequestObject) (CreateTenantResponseObject, error) {
	b := r.Body
	t, err := h.tenants.Create(ctx, tenants.NewTenant{Name: b.Name, Slug: value(b.Slug), Zone: value(b.Zone), Locale: value(b.Locale),
		Notes: value(b.Notes), EnrolmentApproval: value(b.EnrolmentApproval), FirstSite: value(b.FirstSite)})
	if err != nil {
		return nil, err
	}
	return CreateTenant201JSONResponse(tenantOut(t)), nil
}

func (h tenantHandlers) GetTenant(ctx context.Context, r GetTenantRequestObject) (GetTenantResponseObject, error) {
	t, err := h.tenants.Get(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return GetTenant200JSONResponse(tenantOut(t)), nil
}

func (h tenantHandlers) UpdateTenant(ctx context.Context, r UpdateTenantRequestObject) (UpdateTenantResponseObject, error) {
	b := r.Body
	t, err := h.tenants.Update(ctx, r.ID, tenants.TenantChange{Version: int64(b.Version), Name: b.Name, Zone: b.Zone, Locale: b.Locale,
		Notes: b.Notes, EnrolmentApproval: b.EnrolmentApproval})
	if err != nil {
		return nil, err
	}
	return UpdateTenant200JSONResponse(tenantOut(t)), nil
}

func (h tenantHandlers) SuspendTenant(ctx context.Context, r SuspendTenantRequestObject) (SuspendTenantResponseObject, error) {
	t, err := h.tenants.Suspend(ctx, r.ID, int64(r.Body.Version), value(r.Body.Reason))
	if err != nil {
		return nil, err
	}
	return SuspendTenant200JSONResponse(tenantOut(t)), nil
}

func (h tenantHandlers) ResumeTenant(ctx context.Context, r ResumeTenantRequestObject) (ResumeTenantResponseObject, error) {
	t, err := h.tenants.Resume(ctx, r.ID, int64(r.Body.Version), value(r.Body.Reason))
	if err != nil {
		return nil, err
	}
	return ResumeTenant200JSONResponse(tenantOut(t)), nil
}

func (h tenantHandlers) ArchiveTenant(ctx context.Context, r ArchiveTenantRequestObject) (ArchiveTenantResponseObject, error) {
	t, err := h.tenants.Archive(ctx, r.ID, int64(r.Body.Version), value(r.Body.Reason))
	if err != nil {
		return nil, err
	}
	return ArchiveTenant200JSONResponse(tenantOut(t)), nil
}

func (h tenantHandlers) ListSites(ctx context.Context, r ListSitesRequestObject) (ListSitesResponseObject, error) {
	p := r.Params
	page, next, err := h.tenants.ListSites(ctx, tenants.SiteFilter{TenantID: p.TenantID, Query: p.Q, Archived: p.Archived}, value(p.Cursor), value(p.Limit))
	if err != nil {
		return nil, err
	}
	return ListSites200JSONResponse{Items: each(page, siteOut), NextCursor: optional(next)}, nil
}

func (h tenantHandlers) CreateSite(ctx context.Context, r CreateSiteRequestObject) (CreateSiteResponseObject, error) {
	b := r.Body
	s, err := h.tenants.CreateSite(ctx, tenants.NewSite{TenantID: b.TenantID, Name: b.Name, Zone: value(b.Zone), Address: value(b.Address), Notes: value(b.Notes)})
	if err != nil {
		return nil, err
	}
	return CreateSite201JSONResponse(siteOut(s)), nil
}

func (h tenantHandlers) GetSite(ctx context.Context, r GetSiteRequestObject) (GetSiteResponseObject, error) {
	s, err := h.tenants.GetSite(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return GetSite200JSONResponse(siteOut(s)), nil
}

func (h tenantHandlers) UpdateSite(ctx context.Context, r UpdateSiteRequestObject) (UpdateSiteResponseObject, error) {
	b := r.Body
	c := tenants.SiteChange{Version: int64(b.Version), Name: b.Name, Zone: b.Zone, Address: b.Address, Notes: b.Notes, Archived: b.Archived}
	if isNull(ctx, "zone") {
		c.Zone = new(string) // the tenant's again
	}
	s, err := h.tenants.UpdateSite(ctx, r.ID, c)
	if err != nil {
		return nil, err
	}
	return UpdateSite200JSONResponse(siteOut(s)), nil
}

// isNull tells a field that the request sets to null from one that it leaves out: the generated types
// do not.
func isNull(ctx context.Context, field string) bool {
	c := exchange(ctx)
	if c == nil {
		return false
	}
	body, _ := c.Locals(validatedBodyLocalsKey).(map[string]any)
	v, given := body[field]
	return given && v == nil
}

func tenantOut(t tenants.Tenant) Tenant {
	return Tenant{ID: t.ID, Name: t.Name, Slug: t.Slug, State: TenantState(t.State), IsProvider: t.IsProvider(), Zone: t.Zone, Locale: t.Locale,
		Notes: t.Notes, EnrolmentApproval: t.EnrolmentApproval, SiteCount: int(t.SiteCount), DeviceCount: int(t.DeviceCount),
		Version: int(t.Version), CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt}
}

func siteOut(s tenants.Site) Site {
	return Site{ID: s.ID, TenantID: s.TenantID, TenantName: s.TenantName, Name: s.Name, Zone: s.Zone, EffectiveZone: s.EffectiveZone(),
		Address: s.Address, Notes: s.Notes, Archived: s.ArchivedAt != nil, DeviceCount: int(s.DeviceCount), Version: int(s.Version),
		CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt}
}
