package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/tenants"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// Session is a sign-in that is still good.
type Session struct {
	ID         uuid.UUID
	Address    string
	UserAgent  string
	CreatedAt  time.Time
	LastUsedAt time.Time
	ExpiresAt  time.Time
	Current    bool
}

// sessionRow is a session as refreshing sees it.
type sessionRow struct {
	TenantID    uuid.UUID
	SessionID   uuid.UUID
	UserID      uuid.UUID
	UsedAt      *time.Time
	RevokedAt   *time.Time
	CreatedAt   time.Time
	LastUsedAt  time.Time
	ExpiresAt   time.Time
	SteppedUpAt *time.Time
	TenantState tenants.State
}

func (r sessionRow) stands(now time.Time, idle time.Duration) bool {
	return r.RevokedAt == nil && now.Before(r.ExpiresAt) && now.Sub(r.LastUsedAt) < idle
}

// Refresh exchanges a refresh token for new tokens. A token works once: when one comes back, either
// its owner or a thief has the newer one, nobody can tell who, and so the session ends.
func (s *Service) Refresh(ctx context.Context, token, address string) (tokens TokenSet, err error) {
	hash := FingerprintOf(token)
	reused := false
	err = s.DB.System(from(ctx, address), func(tx *gorm.DB) error {
		var r sessionRow
		err := tx.Raw(`SELECT r.tenant_id, r.session_id, s.user_id, r.used_at, s.revoked_at, s.created_at, s.last_used_at, s.expires_at,
				s.stepped_up_at, t.state AS tenant_state
			FROM refresh_tokens r JOIN sessions s ON s.tenant_id = r.tenant_id AND s.id = r.session_id JOIN tenants t ON t.id = r.tenant_id
			WHERE r.hash = ? FOR UPDATE OF r, s`, hash[:]).Take(&r).Error
		if err != nil {
			return ended(err)
		}
		security, err := s.Settings.Security(tx)
		if err != nil {
			return err
		}
		now := tenantdb.Now(tx)
		if !r.stands(now, time.Duration(security.SessionIdleHours)*time.Hour) || r.TenantState != tenants.Active {
			return ErrUnauthenticated
		}
		u, err := tenants.UserTx(tx, r.UserID)
		if err != nil {
			return err
		}
		if r.UsedAt != nil {
			reused = true
			return s.endReused(tx, u, r)
		}
		if u.State != tenants.UserActive {
			return ErrUnauthenticated
		}
		tokens, err = s.rotate(tx, u, r, hash, security)
		return err
	})
	if err == nil && reused {
		err = ErrRefreshReused
	}
	return tokens, err
}

func (s *Service) rotate(tx *gorm.DB, u tenants.User, r sessionRow, hash Fingerprint, security tenants.SecuritySpec) (TokenSet, error) {
	now := tenantdb.Now(tx)
	if err := tx.Exec("UPDATE refresh_tokens SET used_at = ? WHERE tenant_id = ? AND hash = ?", now, r.TenantID, hash[:]).Error; err != nil {
		return TokenSet{}, err
	}
	if err := tx.Exec("UPDATE sessions SET last_used_at = ? WHERE tenant_id = ? AND id = ?", now, r.TenantID, r.SessionID).Error; err != nil {
		return TokenSet{}, err
	}
	return s.issue(tx, u, r.SessionID, security, r.CreatedAt, timeOf(r.SteppedUpAt))
}

func timeOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

func (s *Service) endReused(tx *gorm.DB, u tenants.User, r sessionRow) error {
	if err := s.revoke(tx, u.TenantID, u.ID, "refresh token used twice", "id = ?", r.SessionID); err != nil {
		return err
	}
	e := entry(u, "session.reuse_detected", map[string]any{"session_id": r.SessionID})
	return audit.WriteTx(tx, e)
}

// revoke ends sessions of a user, and rings for whoever lives on them.
func (s *Service) revoke(tx *gorm.DB, tenant, user uuid.UUID, reason, condition string, args ...any) error {
	args = append([]any{tenantdb.Now(tx), reason, tenant, user}, args...)
	err := tx.Exec(`UPDATE sessions SET revoked_at = ?, revoked_reason = ?
		WHERE tenant_id = ? AND user_id = ? AND revoked_at IS NULL AND `+condition, args...).Error
	if err != nil {
		return fmt.Errorf("ending sessions: %w", err)
	}
	s.tellRevoked(tx, user)
	return nil
}

// all is the condition of revoke that spares none.
const all = "true"

// Logout ends the actor's session.
func (s *Service) Logout(ctx context.Context) error {
	return s.endOwn(ctx, "session.ended", "signed out", "id = ?", func(a scope.Actor) []any { return []any{uuid.UUID(a.SessionID)} })
}

// LogoutEverywhere ends all of the actor's sessions, this one too.
func (s *Service) LogoutEverywhere(ctx context.Context) error {
	return s.endOwn(ctx, "session.ended_everywhere", "signed out everywhere", all, func(scope.Actor) []any { return nil })
}

func (s *Service) endOwn(ctx context.Context, action, reason, condition string, args func(scope.Actor) []any) error {
	self, err := selfOf(ctx)
	if err != nil {
		return err
	}
	return s.DB.System(ctx, func(tx *gorm.DB) error {
		u, err := tenants.UserTx(tx, self.ID)
		if err != nil {
			return err
		}
		if err := s.revoke(tx, u.TenantID, u.ID, reason, condition, args(self)...); err != nil {
			return err
		}
		return audit.WriteTx(tx, entry(u, action, map[string]any{"session_id": uuid.UUID(self.SessionID)}))
	})
}

// Sessions lists the actor's sessions that are still good, the newest first.
func (s *Service) Sessions(ctx context.Context) (list []Session, err error) {
	self, err := selfOf(ctx)
	if err != nil {
		return nil, err
	}
	err = s.DB.System(ctx, func(tx *gorm.DB) error {
		security, err := s.Settings.Security(tx)
		if err != nil {
			return err
		}
		now := tenantdb.Now(tx)
		return tx.Raw(`SELECT id, address, user_agent, created_at, last_used_at, expires_at, id = ? AS current FROM sessions
			WHERE tenant_id = ? AND user_id = ? AND revoked_at IS NULL AND expires_at > ? AND last_used_at > ?
			ORDER BY created_at DESC, id DESC`, uuid.UUID(self.SessionID), uuid.UUID(self.TenantID), uuid.UUID(self.ID), now,
			now.Add(-time.Duration(security.SessionIdleHours)*time.Hour)).Scan(&list).Error
	})
	return list, err
}

// RevokeSession ends one of the actor's sessions.
func (s *Service) RevokeSession(ctx context.Context, id uuid.UUID) error {
	list, err := s.Sessions(ctx)
	if err != nil {
		return err
	}
	for _, session := range list {
		if session.ID == id {
			return s.endOwn(ctx, "session.revoked", "ended by its owner", "id = ?", func(scope.Actor) []any { return []any{id} })
		}
	}
	return ErrSessionNotFound
}

// StepUp confirms the actor's identity again: by the second factor where there is one, otherwise by the
// password. Dangerous acts are open for as long as the settings say.
func (s *Service) StepUp(ctx context.Context, password string, code SecondFactor) (tokens TokenSet, err error) {
	self, err := selfOf(ctx)
	if err != nil {
		return TokenSet{}, err
	}
	counters := ownThrottles(self)
	if err := s.reserve(ctx, counters); err != nil {
		return TokenSet{}, err
	}
	u, phc, err := s.credentials(ctx, self.ID)
	if err != nil {
		return TokenSet{}, err
	}
	if !u.SecondFactor {
		ok, _, err := s.Hasher.Verify(ctx, password, phc)
		if err != nil {
			return TokenSet{}, err
		}
		if !ok {
			return TokenSet{}, errors.Join(ErrBadLogin, s.stepUpRefused(ctx, u, "password"))
		}
	} else if !code.given() {
		return TokenSet{}, ErrSecondFactor
	}
	err = s.DB.System(ctx, func(tx *gorm.DB) error {
		if tokens, err = s.steppedUp(tx, u, self, code); err != nil {
			return err
		}
		if err := forgive(tx, counters); err != nil {
			return err
		}
		return audit.WriteTx(tx, entry(u, "session.stepped_up", map[string]any{"session_id": uuid.UUID(self.SessionID)}))
	})
	if errors.Is(err, ErrWrongCode) {
		err = errors.Join(ErrBadLogin, s.stepUpRefused(ctx, u, "second factor"))
	}
	return tokens, err
}

func (s *Service) stepUpRefused(ctx context.Context, u tenants.User, why string) error {
	who := account{TenantID: u.TenantID, ID: u.ID, Email: u.Email}
	return s.refused(ctx, "session.step_up_refused", []account{who}, Login{Address: scope.From(ctx).Actor.Address}, why)
}

func (s *Service) steppedUp(tx *gorm.DB, u tenants.User, self scope.Actor, code SecondFactor) (TokenSet, error) {
	if u.SecondFactor {
		if _, err := s.checkCode(tx, u, code); err != nil {
			return TokenSet{}, err
		}
	}
	security, err := s.Settings.Security(tx)
	if err != nil {
		return TokenSet{}, err
	}
	now := tenantdb.Now(tx)
	var session struct{ CreatedAt time.Time }
	err = tx.Raw("UPDATE sessions SET stepped_up_at = ? WHERE tenant_id = ? AND id = ? AND revoked_at IS NULL RETURNING created_at",
		now, u.TenantID, uuid.UUID(self.SessionID)).Take(&session).Error
	if err != nil {
		return TokenSet{}, ended(err)
	}
	return s.access(tx.Statement.Context, u, self.SessionID, security, session.CreatedAt, now)
}

// credentials reads a user with their password hash.
func (s *Service) credentials(ctx context.Context, id scope.ID) (u tenants.User, phc string, err error) {
	err = s.DB.System(ctx, func(tx *gorm.DB) error {
		if u, err = tenants.UserTx(tx, id); err != nil {
			return err
		}
		return tx.Raw("SELECT coalesce(password_hash, '') FROM user_credentials WHERE tenant_id = ? AND user_id = ?", u.TenantID, u.ID).Scan(&phc).Error
	})
	return u, phc, err
}

// ChangePassword replaces the actor's password and ends all other sessions.
func (s *Service) ChangePassword(ctx context.Context, current, next string) error {
	self, err := selfOf(ctx)
	if err != nil {
		return err
	}
	counters := ownThrottles(self)
	if err := s.reserve(ctx, counters); err != nil {
		return err
	}
	u, phc, err := s.credentials(ctx, self.ID)
	if err != nil {
		return err
	}
	ok, _, err := s.Hasher.Verify(ctx, current, phc)
	if err != nil {
		return err
	}
	if !ok {
		return ErrWrongPassword
	}
	owner, err := s.policyOf(ctx, u)
	if err != nil {
		return err
	}
	if err := CheckPassword("/new_password", next, owner); err != nil {
		return err
	}
	hash, err := s.Hasher.Hash(ctx, next)
	if err != nil {
		return err
	}
	return s.DB.System(ctx, func(tx *gorm.DB) error {
		if err := setPassword(tx, u, hash); err != nil {
			return err
		}
		if err := s.revoke(tx, u.TenantID, u.ID, "password changed", "id <> ?", uuid.UUID(self.SessionID)); err != nil {
			return err
		}
		if err := forgive(tx, counters); err != nil {
			return err
		}
		return audit.WriteTx(tx, entry(u, "user.password_changed", nil))
	})
}
