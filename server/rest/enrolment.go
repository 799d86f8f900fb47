package rest

import (
	"context"
	"strings"

	. "reeve/api"
	"reeve/server/fleet"
)

// enrolmentHandlers serve enrolment tokens.
type enrolmentHandlers struct{ fleet *fleet.Service }

func (h enrolmentHandlers) ListEnrolmentTokens(ctx context.Context, r ListEnrolmentTokensRequestObject) (ListEnrolmentTokensResponseObject, error) {
	page, next, err := h.fleet.Tokens(ctx, r.Params.TenantID, value(r.Params.Cursor), value(r.Params.Limit))
	if err != nil {
		return nil, err
	}
	return ListEnrolmentTokens200JSONResponse{Items: each(page, tokenOut), NextCursor: optional(next)}, nil
}

func (h enrolmentHandlers) CreateEnrolmentToken(ctx context.Context, r CreateEnrolmentTokenRequestObject) (CreateEnrolmentTokenResponseObject, error) {
	b := r.Body
	made, token, install, err := h.fleet.CreateToken(ctx, fleet.NewToken{TenantID: b.TenantID, SiteID: b.SiteID,
		Label: strings.TrimSpace(value(b.Label)), Tags: value(b.Tags), MaxUses: value(b.MaxUses), ExpiresAt: b.ExpiresAt})
	if err != nil {
		return nil, err
	}
	return CreateEnrolmentToken201JSONResponse{Token: token, EnrolmentToken: tokenOut(made), Install: each(install, func(l fleet.InstallLine) InstallLine {
		return InstallLine{Platform: l.Platform, Title: l.Title, Command: l.Command, Note: l.Note}
	})}, nil
}

func (h enrolmentHandlers) RevokeEnrolmentToken(ctx context.Context, r RevokeEnrolmentTokenRequestObject) (RevokeEnrolmentTokenResponseObject, error) {
	if err := h.fleet.RevokeToken(ctx, r.ID); err != nil {
		return nil, err
	}
	return RevokeEnrolmentToken204Response{}, nil
}

func tokenOut(t fleet.Token) EnrolmentToken {
	return EnrolmentToken{ID: t.ID, TenantID: t.TenantID, TenantName: t.TenantName, SiteID: t.SiteID, SiteName: t.SiteName, Label: t.Label,
		Tags: list(t.Tags), MaxUses: t.MaxUses, Uses: t.Uses, ExpiresAt: t.ExpiresAt, RevokedAt: t.RevokedAt, CreatedBy: t.CreatedByName, CreatedAt: t.CreatedAt}
}
