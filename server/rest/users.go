package rest

import (
	"context"

	"github.com/google/uuid"

	. "reeve/api"
	"reeve/server/auth"
	"reeve/tenants"
)

// userHandlers serve users, roles, grants and API keys.
type userHandlers struct {
	auth     *auth.Service
	users    *tenants.Users
	settings *tenants.Settings
}

func (h userHandlers) ListUsers(ctx context.Context, r ListUsersRequestObject) (ListUsersResponseObject, error) {
	p := r.Params
	page, next, err := h.users.List(ctx, tenants.UserFilter{TenantID: p.TenantID, Query: p.Q, State: (*tenants.UserState)(p.State)}, value(p.Cursor), value(p.Limit))
	if err != nil {
		return nil, err
	}
	return ListUsers200JSONResponse{Items: each(page, userOut), NextCursor: optional(next)}, nil
}

func userOut(u tenants.User) User {
	return User{ID: u.ID, TenantID: u.TenantID, TenantName: u.TenantName, Email: u.Email, Name: u.Name, Locale: u.Locale, State: UserState(u.State),
		IsStaff: u.IsStaff(), Grants: grantsOut(u.Grants), SecondFactorEnabled: u.SecondFactor, LastSignInAt: utc(u.LastSignInAt),
		Version: int(u.Version), CreatedAt: u.CreatedAt.UTC(), UpdatedAt: u.UpdatedAt.UTC()}
}

// grantsOut gathers a role's named tenants into one grant.
func grantsOut(grants []tenants.Grant) []Grant {
	out := []Grant{}
	at := map[tenants.RoleName]int{}
	for _, g := range grants {
		if g.AllTenants {
			out = append(out, Grant{Role: RoleName(g.Role), AllTenants: true})
			continue
		}
		i, seen := at[g.Role]
		if !seen {
			i = len(out)
			at[g.Role] = i
			out = append(out, Grant{Role: RoleName(g.Role), TenantIds: &[]uuid.UUID{}})
		}
		*out[i].TenantIds = append(*out[i].TenantIds, g.TenantID)
	}
	return out
}

// grantsIn spreads grants over their tenants. A grant that names none is for the user's own.
func grantsIn(home uuid.UUID, grants []Grant) []tenants.Grant {
	var out []tenants.Grant
	for _, g := range grants {
		ids := value(g.TenantIds)
		switch {
		case g.AllTenants:
			out = append(out, tenants.Grant{Role: tenants.RoleName(g.Role), AllTenants: true})
		case len(ids) == 0:
			out = append(out, tenants.Grant{Role: tenants.RoleName(g.Role), TenantID: home})
		}
		for _, id := range ids {
			out = append(out, tenants.Grant{Role: tenants.RoleName(g.Role), AllTenants: g.AllTenants, TenantID: id})
		}
	}
	return out
}

func (h userHandlers) CreateUser(ctx context.Context, r CreateUserRequestObject) (CreateUserResponseObject, error) {
	b := r.Body
	i, err := h.auth.Invite(ctx, tenants.NewUser{TenantID: b.TenantID, Email: string(b.Email), Name: b.Name, Locale: value(b.Locale),
		Grants: grantsIn(b.TenantID, b.Grants)})
	if err != nil {
		return nil, err
	}
	return CreateUser201JSONResponse(invitationOut(i)), nil
}

func invitationOut(i auth.Invitation) UserInvitation {
	out := UserInvitation{User: userOut(i.User), SentByMail: i.SentByMail}
	if i.URL != "" {
		out.Link = &OneTimeLink{URL: i.URL, ExpiresAt: i.ExpiresAt.UTC()}
	}
	return out
}

func (h userHandlers) GetUser(ctx context.Context, r GetUserRequestObject) (GetUserResponseObject, error) {
	u, err := h.users.Get(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return GetUser200JSONResponse(userOut(u)), nil
}

func (h userHandlers) UpdateUser(ctx context.Context, r UpdateUserRequestObject) (UpdateUserResponseObject, error) {
	b := r.Body
	u, err := h.auth.UpdateUser(ctx, r.ID, tenants.UserChange{Version: int64(b.Version), Email: text(b.Email), Name: b.Name, Locale: b.Locale, Disabled: b.Disabled})
	if err != nil {
		return nil, err
	}
	return UpdateUser200JSONResponse(userOut(u)), nil
}

func (h userHandlers) SetUserGrants(ctx context.Context, r SetUserGrantsRequestObject) (SetUserGrantsResponseObject, error) {
	before, err := h.users.Get(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	u, err := h.auth.SetGrants(ctx, r.ID, int64(r.Body.Version), grantsIn(before.TenantID, r.Body.Grants))
	if err != nil {
		return nil, err
	}
	return SetUserGrants200JSONResponse(userOut(u)), nil
}

func (h userHandlers) CreateResetLink(ctx context.Context, r CreateResetLinkRequestObject) (CreateResetLinkResponseObject, error) {
	i, err := h.auth.CreateResetLink(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return CreateResetLink201JSONResponse(invitationOut(i)), nil
}

func (h userHandlers) ResetSecondFactor(ctx context.Context, r ResetSecondFactorRequestObject) (ResetSecondFactorResponseObject, error) {
	if err := h.auth.ResetSecondFactor(ctx, r.ID); err != nil {
		return nil, err
	}
	return ResetSecondFactor204Response{}, nil
}

func (h userHandlers) LogoutUser(ctx context.Context, r LogoutUserRequestObject) (LogoutUserResponseObject, error) {
	if err := h.auth.LogoutUser(ctx, r.ID); err != nil {
		return nil, err
	}
	return LogoutUser204Response{}, nil
}

func (h userHandlers) ListRoles(ctx context.Context, _ ListRolesRequestObject) (ListRolesResponseObject, error) {
	required, err := h.auth.RolesWithSecondFactor(ctx)
	if err != nil {
		return nil, err
	}
	return ListRoles200JSONResponse{Items: each(tenants.Roles(), func(role tenants.Role) Role {
		return Role{Name: RoleName(role.Name), Title: role.Title, Description: role.Description, IsStaff: role.Staff,
			Permissions: role.Permissions, SecondFactorRequired: required[role.Name]}
	})}, nil
}

func (h userHandlers) ListAPIKeys(ctx context.Context, r ListAPIKeysRequestObject) (ListAPIKeysResponseObject, error) {
	page, next, err := h.auth.APIKeys(ctx, value(r.Params.Cursor), value(r.Params.Limit))
	if err != nil {
		return nil, err
	}
	return ListAPIKeys200JSONResponse{Items: each(page, keyOut), NextCursor: optional(next)}, nil
}

func keyOut(k auth.APIKey) APIKey {
	ids := k.TenantIDs
	if ids == nil {
		ids = []uuid.UUID{}
	}
	return APIKey{ID: k.ID, TenantID: k.TenantID, Name: k.Name, Prefix: k.Prefix(), Permissions: list(k.Permissions), AllTenants: k.AllTenants,
		TenantIds: ids, AllowedNetworks: list(k.Networks), CreatedBy: k.MakerEmail, CreatedAt: k.CreatedAt.UTC(), ExpiresAt: k.ExpiresAt.UTC(),
		LastUsedAt: utc(k.LastUsedAt), RevokedAt: utc(k.RevokedAt)}
}

func (h userHandlers) CreateAPIKey(ctx context.Context, r CreateAPIKeyRequestObject) (CreateAPIKeyResponseObject, error) {
	b := r.Body
	key, secret, err := h.auth.CreateAPIKey(ctx, auth.NewAPIKey{Name: b.Name, Permissions: b.Permissions, AllTenants: value(b.AllTenants),
		TenantIDs: value(b.TenantIds), Networks: value(b.AllowedNetworks), ExpiresAt: b.ExpiresAt})
	if err != nil {
		return nil, err
	}
	return CreateAPIKey201JSONResponse{APIKey: keyOut(key), Secret: secret}, nil
}

func (h userHandlers) RevokeAPIKey(ctx context.Context, r RevokeAPIKeyRequestObject) (RevokeAPIKeyResponseObject, error) {
	if err := h.auth.RevokeAPIKey(ctx, r.ID); err != nil {
		return nil, err
	}
	return RevokeAPIKey204Response{}, nil
}
