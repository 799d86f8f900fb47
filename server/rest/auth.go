package rest

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	. "reeve/api"
	"reeve/api/fault"
	"reeve/server/auth"
	"reeve/tenants"
	"reeve/tenants/scope"
)

// authHandlers serve sign-in and everything about one's own account.
type authHandlers struct{ auth *auth.Service }

// The portal keeps its refresh token in a cookie that scripts cannot read and other sites cannot make
// the browser send. It asks for that with a header, which a form of another site cannot set.
const (
	refreshCookie  = "reeve_refresh"
	cookiePath     = "/api/v1/auth"
	sessionHeader  = "X-Reeve-Session"
	sessionsCookie = "cookie"
)

func byCookie(c *fiber.Ctx) bool { return c.Get(sessionHeader) == sessionsCookie }

// tokensOut answers with tokens; where the caller is the portal, the refresh token goes into a cookie.
func (h authHandlers) tokensOut(ctx context.Context, t auth.TokenSet) TokenSet {
	out := TokenSet{AccessToken: t.AccessToken, RefreshToken: optional(t.RefreshToken), TokenType: "Bearer",
		ExpiresIn: int(t.ExpiresIn / time.Second), SecondFactorSetupRequired: t.SetupRequired}
	if c := exchange(ctx); byCookie(c) && t.RefreshToken != "" {
		h.setRefreshCookie(c, t.RefreshToken)
		out.RefreshToken = nil
	}
	return out
}

func (h authHandlers) setRefreshCookie(c *fiber.Ctx, token string) {
	cookie := &fiber.Cookie{Name: refreshCookie, Value: token, Path: cookiePath, HTTPOnly: true, SameSite: fiber.CookieSameSiteStrictMode,
		Secure: c.Secure() || strings.HasPrefix(h.auth.PublicURL, "https://"), SessionOnly: true}
	if token == "" {
		cookie.Expires, cookie.SessionOnly = time.Unix(1, 0), false
	}
	c.Cookie(cookie)
}

func codeIn(otp, recovery *string) auth.SecondFactor {
	return auth.SecondFactor{OTP: strings.TrimSpace(value(otp)), RecoveryCode: strings.TrimSpace(value(recovery))}
}

func (h authHandlers) Login(ctx context.Context, r LoginRequestObject) (LoginResponseObject, error) {
	c, b := exchange(ctx), r.Body
	tokens, err := h.auth.Login(ctx, auth.Login{Email: b.Email, Password: b.Password, Code: codeIn(b.Otp, b.RecoveryCode),
		Address: c.IP(), UserAgent: c.Get(fiber.HeaderUserAgent)})
	if err != nil {
		return nil, err
	}
	return Login200JSONResponse(h.tokensOut(ctx, tokens)), nil
}

func (h authHandlers) RefreshSession(ctx context.Context, r RefreshSessionRequestObject) (RefreshSessionResponseObject, error) {
	c, token := exchange(ctx), value(r.Body.RefreshToken)
	if token == "" {
		if !byCookie(c) {
			return nil, fault.InvalidField("/refresh_token", "is required, unless it travels as a cookie with the header X-Reeve-Session: cookie")
		}
		token = c.Cookies(refreshCookie)
	}
	tokens, err := h.auth.Refresh(ctx, token, c.IP())
	if err != nil {
		if byCookie(c) && fault.KindOf(err) == fault.Unauthenticated {
			h.setRefreshCookie(c, "")
		}
		return nil, err
	}
	return RefreshSession200JSONResponse(h.tokensOut(ctx, tokens)), nil
}

func (h authHandlers) Logout(ctx context.Context, _ LogoutRequestObject) (LogoutResponseObject, error) {
	if err := h.auth.Logout(ctx); err != nil {
		return nil, err
	}
	h.setRefreshCookie(exchange(ctx), "")
	return Logout204Response{}, nil
}

func (h authHandlers) LogoutEverywhere(ctx context.Context, _ LogoutEverywhereRequestObject) (LogoutEverywhereResponseObject, error) {
	if err := h.auth.LogoutEverywhere(ctx); err != nil {
		return nil, err
	}
	h.setRefreshCookie(exchange(ctx), "")
	return LogoutEverywhere204Response{}, nil
}

func (h authHandlers) StepUp(ctx context.Context, r StepUpRequestObject) (StepUpResponseObject, error) {
	tokens, err := h.auth.StepUp(ctx, value(r.Body.Password), codeIn(r.Body.Otp, r.Body.RecoveryCode))
	if err != nil {
		return nil, err
	}
	return StepUp200JSONResponse(h.tokensOut(ctx, tokens)), nil
}

func (h authHandlers) GetMe(ctx context.Context, _ GetMeRequestObject) (GetMeResponseObject, error) {
	me, err := h.me(ctx)
	return GetMe200JSONResponse(me), err
}

func (h authHandlers) UpdateMe(ctx context.Context, r UpdateMeRequestObject) (UpdateMeResponseObject, error) {
	_, err := h.auth.Users.UpdateOwn(ctx, tenants.UserChange{Version: int64(r.Body.Version), Name: r.Body.Name, Locale: r.Body.Locale})
	if err != nil {
		return nil, err
	}
	me, err := h.me(ctx)
	return UpdateMe200JSONResponse(me), err
}

func (h authHandlers) me(ctx context.Context) (Me, error) {
	p, err := h.auth.Me(ctx)
	if err != nil {
		return Me{}, err
	}
	s := scope.From(ctx)
	u := p.User
	me := Me{ID: u.ID, TenantID: u.TenantID, TenantName: u.TenantName, Email: u.Email, Name: u.Name, Locale: u.Locale, IsStaff: u.IsStaff(),
		AllTenants: s.Reach == scope.Staff, Grants: grantsOut(u.Grants), Permissions: permissionsOf(s), SecondFactorEnabled: u.SecondFactor,
		SecondFactorSetupRequired: p.SetupRequired, SteppedUpUntil: utc(p.SteppedUpUntil), Version: int(u.Version)}
	if e := p.Emergency; e != nil {
		me.Emergency = &EmergencyAccess{TenantID: e.TenantID, TenantName: e.TenantName, Reason: e.Reason, ExpiresAt: e.ExpiresAt.UTC()}
	}
	return me, nil
}

// permissionsOf is everything an actor holds over at least one tenant.
func permissionsOf(s scope.Scope) []string {
	held := map[string]bool{}
	for _, g := range s.Grants {
		for _, p := range g.Permissions {
			held[p] = true
		}
	}
	return append([]string{}, slices.Sorted(maps.Keys(held))...)
}

func (h authHandlers) ChangePassword(ctx context.Context, r ChangePasswordRequestObject) (ChangePasswordResponseObject, error) {
	if err := h.auth.ChangePassword(ctx, r.Body.CurrentPassword, r.Body.NewPassword); err != nil {
		return nil, err
	}
	return ChangePassword204Response{}, nil
}

func (h authHandlers) RequestPasswordReset(ctx context.Context, r RequestPasswordResetRequestObject) (RequestPasswordResetResponseObject, error) {
	if err := h.auth.RequestPasswordReset(ctx, r.Body.Email, exchange(ctx).IP()); err != nil {
		return nil, err
	}
	return RequestPasswordReset202Response{}, nil
}

func (h authHandlers) CompletePasswordReset(ctx context.Context, r CompletePasswordResetRequestObject) (CompletePasswordResetResponseObject, error) {
	if err := h.auth.CompletePasswordReset(ctx, r.Body.Token, r.Body.NewPassword, exchange(ctx).IP()); err != nil {
		return nil, err
	}
	return CompletePasswordReset204Response{}, nil
}

func (h authHandlers) BeginTotp(ctx context.Context, _ BeginTotpRequestObject) (BeginTotpResponseObject, error) {
	offer, err := h.auth.BeginTOTP(ctx)
	if err != nil {
		return nil, err
	}
	return BeginTotp200JSONResponse{Secret: offer.Secret, URI: offer.URL}, nil
}

func (h authHandlers) ConfirmTotp(ctx context.Context, r ConfirmTotpRequestObject) (ConfirmTotpResponseObject, error) {
	codes, err := h.auth.ConfirmTOTP(ctx, strings.TrimSpace(r.Body.Otp))
	if err != nil {
		return nil, err
	}
	return ConfirmTotp200JSONResponse{RecoveryCodes: codes}, nil
}

func (h authHandlers) DisableTotp(ctx context.Context, _ DisableTotpRequestObject) (DisableTotpResponseObject, error) {
	if err := h.auth.DisableTOTP(ctx); err != nil {
		return nil, err
	}
	return DisableTotp204Response{}, nil
}

func (h authHandlers) RegenerateRecoveryCodes(ctx context.Context, _ RegenerateRecoveryCodesRequestObject) (RegenerateRecoveryCodesResponseObject, error) {
	codes, err := h.auth.RegenerateRecoveryCodes(ctx)
	if err != nil {
		return nil, err
	}
	return RegenerateRecoveryCodes200JSONResponse{RecoveryCodes: codes}, nil
}

func (h authHandlers) ListMySessions(ctx context.Context, _ ListMySessionsRequestObject) (ListMySessionsResponseObject, error) {
	sessions, err := h.auth.Sessions(ctx)
	if err != nil {
		return nil, err
	}
	return ListMySessions200JSONResponse{Items: each(sessions, func(s auth.Session) Session {
		return Session{ID: s.ID, CreatedAt: s.CreatedAt.UTC(), LastUsedAt: s.LastUsedAt.UTC(), ExpiresAt: s.ExpiresAt.UTC(), Address: s.Address,
			UserAgent: s.UserAgent, Current: s.Current}
	})}, nil
}

func (h authHandlers) RevokeMySession(ctx context.Context, r RevokeMySessionRequestObject) (RevokeMySessionResponseObject, error) {
	if err := h.auth.RevokeSession(ctx, r.ID); err != nil {
		return nil, err
	}
	return RevokeMySession204Response{}, nil
}

func (h authHandlers) BreakGlass(ctx context.Context, r BreakGlassRequestObject) (BreakGlassResponseObject, error) {
	e, err := h.auth.BreakGlass(ctx, r.Body.TenantID, r.Body.Reason, time.Duration(r.Body.Minutes)*time.Minute)
	if err != nil {
		return nil, err
	}
	return BreakGlass200JSONResponse{TenantID: e.TenantID, TenantName: e.TenantName, Reason: e.Reason, ExpiresAt: e.ExpiresAt.UTC()}, nil
}

func (h authHandlers) EndBreakGlass(ctx context.Context, _ EndBreakGlassRequestObject) (EndBreakGlassResponseObject, error) {
	if err := h.auth.EndBreakGlass(ctx); err != nil {
		return nil, err
	}
	return EndBreakGlass204Response{}, nil
}
