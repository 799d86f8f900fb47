package auth

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/tenants"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// Authenticate turns a bearer token, an access token or an API key, into the scope of its holder. It
// looks everything up anew: a session that ended, a role that changed or a tenant that was suspended
// counts from the next request on, although the token lives longer.
func (s *Service) Authenticate(ctx context.Context, bearer, address string) (scope.Scope, error) {
	if IsAPIKey(bearer) {
		return s.authenticateKey(ctx, bearer, address)
	}
	token, err := s.tokens.Read(ctx, bearer)
	if err != nil {
		return scope.Scope{}, err
	}
	var sc scope.Scope
	err = s.DB.System(ctx, func(tx *gorm.DB) error {
		sc, err = s.scopeOfSession(tx, token)
		return err
	})
	if err != nil {
		return scope.Scope{}, ended(err)
	}
	sc.Actor.Address = address
	return sc, nil
}

func (s *Service) scopeOfSession(tx *gorm.DB, token Access) (scope.Scope, error) {
	var row struct {
		Email        string
		SteppedUpAt  *time.Time
		ExpiresAt    time.Time
		LastUsedAt   time.Time
		SecondFactor bool
	}
	err := tx.Raw(`SELECT u.email, s.stepped_up_at, s.expires_at, s.last_used_at, c.second_factor_at IS NOT NULL AS second_factor
		FROM sessions s JOIN users u ON u.tenant_id = s.tenant_id AND u.id = s.user_id
		JOIN user_credentials c ON c.tenant_id = u.tenant_id AND c.user_id = u.id JOIN tenants t ON t.id = s.tenant_id
		WHERE s.tenant_id = ? AND s.id = ? AND s.user_id = ? AND s.revoked_at IS NULL AND u.state = ? AND t.state = ?`,
		uuid.UUID(token.Tenant), uuid.UUID(token.Session), uuid.UUID(token.User), tenants.UserActive, tenants.Active).Take(&row).Error
	if err != nil {
		return scope.Scope{}, err
	}
	security, err := s.Settings.Security(tx)
	if err != nil {
		return scope.Scope{}, err
	}
	now := tenantdb.Now(tx)
	stands := sessionRow{ExpiresAt: row.ExpiresAt, LastUsedAt: row.LastUsedAt}.stands(now, time.Duration(security.SessionIdleHours)*time.Hour)
	if !stands {
		return scope.Scope{}, ErrUnauthenticated
	}
	grants, emergency, err := grantsOf(tx, uuid.UUID(token.User))
	if err != nil {
		return scope.Scope{}, err
	}
	sc := tenants.ScopeOf(token.Tenant, grants, emergency)
	sc.Actor.Kind, sc.Actor.ID, sc.Actor.Name, sc.Actor.SessionID = scope.User, token.User, row.Email, token.Session
	stepUpFor := time.Duration(security.StepUpMinutes) * time.Minute
	sc.SteppedUp = row.SteppedUpAt != nil && now.Sub(*row.SteppedUpAt) < stepUpFor
	// A role that came to demand a second factor restricts the sessions that have none at once.
	sc.SetupOnly = token.Use == UseEnrol || !row.SecondFactor && demandsSecondFactor(security, grants)
	return sc, nil
}

// grantsOf reads what somebody was granted, and the emergency access that is running.
func grantsOf(tx *gorm.DB, user uuid.UUID) (grants []tenants.Grant, emergency *tenants.EmergencyGrant, err error) {
	var rows []struct {
		Role       tenants.RoleName
		AllTenants bool
		TenantID   uuid.UUID
		Reason     *string
	}
	err = tx.Raw(`SELECT role, all_tenants, tenant_id, NULL AS reason FROM user_grants WHERE user_id = ?
		UNION ALL (SELECT '', false, tenant_id, reason FROM emergency_grants
			WHERE user_id = ? AND ended_at IS NULL AND expires_at > now() ORDER BY started_at DESC LIMIT 1)`, user, user).Scan(&rows).Error
	for _, r := range rows {
		switch {
		case r.Reason != nil:
			emergency = &tenants.EmergencyGrant{TenantID: r.TenantID, Reason: *r.Reason}
		case r.AllTenants:
			grants = append(grants, tenants.Grant{Role: r.Role, AllTenants: true})
		default:
			grants = append(grants, tenants.Grant{Role: r.Role, TenantID: r.TenantID})
		}
	}
	return grants, emergency, err
}

// Profile is the actor's own account, for "who am I".
type Profile struct {
	User           tenants.User
	SetupRequired  bool       // a second factor must be set up first
	SteppedUpUntil *time.Time // nil when the identity was not confirmed lately
	Emergency      *Emergency
}

// Me describes the actor.
func (s *Service) Me(ctx context.Context) (p Profile, err error) {
	self, err := selfOf(ctx)
	if err != nil {
		return p, err
	}
	err = s.DB.System(ctx, func(tx *gorm.DB) error {
		if p.User, err = tenants.UserTx(tx, self.ID); err != nil {
			return err
		}
		security, err := s.Settings.Security(tx)
		if err != nil {
			return err
		}
		p.SetupRequired = !p.User.SecondFactor && demandsSecondFactor(security, p.User.Grants)
		var row struct{ SteppedUpAt *time.Time }
		err = tx.Raw("SELECT stepped_up_at FROM sessions WHERE tenant_id = ? AND id = ?", p.User.TenantID, uuid.UUID(self.SessionID)).Scan(&row).Error
		if err != nil {
			return err
		}
		if row.SteppedUpAt != nil {
			until := row.SteppedUpAt.Add(time.Duration(security.StepUpMinutes) * time.Minute)
			if until.After(tenantdb.Now(tx)) {
				p.SteppedUpUntil = &until
			}
		}
		p.Emergency, err = runningEmergency(tx, p.User)
		return err
	})
	return p, err
}

// RolesWithSecondFactor are the roles that demand a second factor now.
func (s *Service) RolesWithSecondFactor(ctx context.Context) (map[tenants.RoleName]bool, error) {
	required := map[tenants.RoleName]bool{}
	err := s.DB.System(ctx, func(tx *gorm.DB) error {
		security, err := s.Settings.Security(tx)
		for _, role := range security.SecondFactorRequiredRoles {
			required[tenants.RoleName(role)] = true
		}
		return err
	})
	return required, err
}
