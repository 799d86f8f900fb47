package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/tenants"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// maxCandidates is how many accounts of one e-mail address are tried: it is unique within a tenant only.
const maxCandidates = 4

// Login is an attempt to sign in.
type Login struct {
	Email     string
	Password  string
	Code      SecondFactor
	Address   string
	UserAgent string
}

// SecondFactor is what proves it: a code of the authenticator app, or a recovery code in its place.
type SecondFactor struct {
	OTP          string
	RecoveryCode string
}

func (f SecondFactor) given() bool { return f.OTP != "" || f.RecoveryCode != "" }

// TokenSet is what a sign-in gives.
type TokenSet struct {
	AccessToken  string
	RefreshToken string // empty when the session keeps the one it has
	ExpiresIn    time.Duration
	// SetupRequired says that the role demands a second factor and that the token serves only to set one up.
	SetupRequired bool
}

// account is somebody as signing in sees them.
type account struct {
	TenantID     uuid.UUID
	ID           uuid.UUID
	Email        string
	PasswordHash string
	HasTOTP      bool
}

// Login signs somebody in. All refusals look alike, except that a right password without its code is
// told to bring one.
func (s *Service) Login(ctx context.Context, l Login) (TokenSet, error) {
	counters := throttlesFor(l.Email, l.Address)
	if err := s.reserve(ctx, counters); err != nil {
		return TokenSet{}, err
	}
	candidates, err := s.candidates(ctx, l.Email)
	if err != nil {
		return TokenSet{}, err
	}
	found, renewed, err := s.matchPassword(ctx, candidates, l.Password)
	if err != nil {
		return TokenSet{}, err
	}
	if found == nil {
		return TokenSet{}, errors.Join(ErrBadLogin, s.refused(ctx, "session.refused", candidates, l, "password"))
	}
	if found.HasTOTP && !l.Code.given() {
		// The password was right: this is not a guess, but it opens nothing either.
		return TokenSet{}, ErrSecondFactor
	}
	tokens, err := s.start(ctx, *found, l, renewed, counters)
	if errors.Is(err, ErrWrongCode) {
		return TokenSet{}, errors.Join(ErrBadLogin, s.refused(ctx, "session.refused", []account{*found}, l, "second factor"))
	}
	return tokens, ended(err)
}

func (s *Service) candidates(ctx context.Context, email string) (list []account, err error) {
	email = strings.TrimSpace(email)
	if len(email) > 254 || strings.ContainsRune(email, 0) {
		return nil, nil
	}
	err = s.DB.System(ctx, func(tx *gorm.DB) error {
		return tx.Raw(`SELECT u.tenant_id, u.id, u.email, c.password_hash, c.second_factor_at IS NOT NULL AS has_totp
			FROM users u JOIN tenants t ON t.id = u.tenant_id
			JOIN user_credentials c ON c.tenant_id = u.tenant_id AND c.user_id = u.id
			WHERE lower(u.email) COLLATE "C" = lower(? COLLATE "C") AND u.state = ? AND t.state = ? AND c.password_hash IS NOT NULL
			ORDER BY u.tenant_id <> ?, u.id LIMIT ?`,
			email, tenants.UserActive, tenants.Active, uuid.UUID(scope.Provider), maxCandidates).Scan(&list).Error
	})
	return list, err
}

// matchPassword finds the account that the password belongs to. Without any account it takes as long
// as with one. renewed is a stronger hash of the same password, when today's parameters differ.
func (s *Service) matchPassword(ctx context.Context, list []account, password string) (found *account, renewed string, err error) {
	if len(list) == 0 {
		return nil, "", s.Hasher.Waste(ctx, password)
	}
	for i := range list {
		ok, renew, err := s.Hasher.Verify(ctx, password, list[i].PasswordHash)
		if err != nil {
			return nil, "", err
		}
		if !ok {
			continue
		}
		if renew {
			if renewed, err = s.Hasher.Hash(ctx, password); err != nil {
				return nil, "", err
			}
		}
		return &list[i], renewed, nil
	}
	return nil, "", nil
}

// start opens the session of somebody whose password was right.
func (s *Service) start(ctx context.Context, a account, l Login, renewed string, counters []throttle) (tokens TokenSet, err error) {
	session := newID()
	ctx = asUser(ctx, tenants.User{ID: a.ID, TenantID: a.TenantID, Email: a.Email}, session, l.Address)
	err = s.DB.System(ctx, func(tx *gorm.DB) error {
		// The lock queues sign-ins of one account: a code is accepted once, however many send it at once.
		var still struct{ PasswordHash string }
		err := tx.Raw(`SELECT c.password_hash FROM user_credentials c JOIN users u ON u.tenant_id = c.tenant_id AND u.id = c.user_id
			WHERE c.tenant_id = ? AND c.user_id = ? AND u.state = ? FOR NO KEY UPDATE OF c`, a.TenantID, a.ID, tenants.UserActive).Scan(&still).Error
		if err != nil {
			return err
		}
		if still.PasswordHash != a.PasswordHash {
			return ErrBadLogin // changed or disabled while we were hashing
		}
		u, err := tenants.UserTx(tx, a.ID)
		if err != nil {
			return err
		}
		factor := "password"
		if u.SecondFactor {
			if factor, err = s.checkCode(tx, u, l.Code); err != nil {
				return err
			}
		}
		if renewed != "" {
			err := tx.Exec("UPDATE user_credentials SET password_hash = ? WHERE tenant_id = ? AND user_id = ?", renewed, a.TenantID, a.ID).Error
			if err != nil {
				return err
			}
		}
		if tokens, err = s.openSession(tx, u, session, l); err != nil {
			return err
		}
		if counters, err = withoutNamesakes(tx, l.Email, counters); err != nil {
			return err
		}
		if err := forgive(tx, counters); err != nil {
			return err
		}
		return audit.WriteTx(tx, entry(u, "session.started", map[string]any{"factor": factor, "user_agent": l.UserAgent, "session_id": uuid.UUID(session)}))
	})
	return tokens, err
}

const maxUserAgent = 300

func (s *Service) openSession(tx *gorm.DB, u tenants.User, session scope.ID, l Login) (TokenSet, error) {
	security, err := s.Settings.Security(tx)
	if err != nil {
		return TokenSet{}, err
	}
	now := tenantdb.Now(tx)
	agent := strings.ToValidUTF8(strings.ReplaceAll(l.UserAgent, "\x00", ""), "")
	if len(agent) > maxUserAgent {
		agent = strings.ToValidUTF8(agent[:maxUserAgent], "")
	}
	// Signing in proves as much as confirming one's identity does.
	err = tx.Exec(`INSERT INTO sessions (tenant_id, id, user_id, address, user_agent, created_at, last_used_at, expires_at, stepped_up_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`, u.TenantID, uuid.UUID(session), u.ID, l.Address, agent, now, now,
		now.Add(time.Duration(security.SessionMaxDays)*24*time.Hour), now).Error
	if err != nil {
		return TokenSet{}, fmt.Errorf("opening a session: %w", err)
	}
	if err := tx.Exec("UPDATE users SET last_sign_in_at = ? WHERE tenant_id = ? AND id = ?", now, u.TenantID, u.ID).Error; err != nil {
		return TokenSet{}, err
	}
	return s.issue(tx, u, session, security, now, now)
}

// issue gives a session its next refresh token and an access token.
func (s *Service) issue(tx *gorm.DB, u tenants.User, session scope.ID, security tenants.SecuritySpec, authTime, steppedUp time.Time) (t TokenSet, err error) {
	token, hash := NewRefreshToken()
	err = tx.Exec("INSERT INTO refresh_tokens (tenant_id, hash, session_id, created_at) VALUES (?, ?, ?, ?)",
		u.TenantID, hash[:], uuid.UUID(session), tenantdb.Now(tx)).Error
	if err != nil {
		return t, fmt.Errorf("storing a refresh token: %w", err)
	}
	t, err = s.access(tx.Statement.Context, u, session, security, authTime, steppedUp)
	t.RefreshToken = token
	return t, err
}

func (s *Service) access(ctx context.Context, u tenants.User, session scope.ID, security tenants.SecuritySpec, authTime, steppedUp time.Time) (t TokenSet, err error) {
	t.SetupRequired = !u.SecondFactor && demandsSecondFactor(security, u.Grants)
	use := UseFull
	if t.SetupRequired {
		use = UseEnrol
	}
	t.AccessToken, t.ExpiresIn, err = s.tokens.Issue(ctx, Access{User: u.ID, Tenant: u.TenantID, Session: session,
		AuthTime: authTime, SteppedUp: steppedUp, Use: use})
	return t, err
}

func demandsSecondFactor(security tenants.SecuritySpec, grants []tenants.Grant) bool {
	return slices.ContainsFunc(grants, func(g tenants.Grant) bool {
		return slices.Contains(security.SecondFactorRequiredRoles, string(g.Role))
	})
}

// refused records a failed sign-in with the account it was about, or with the provider when there is
// none. What was typed is not kept: people type passwords into the wrong field.
func (s *Service) refused(ctx context.Context, action string, list []account, l Login, why string) error {
	e := audit.Entry{TenantID: scope.Provider, Action: action, ObjectType: "user", Detail: map[string]any{"wrong": why, "user_agent": l.UserAgent}}
	if len(list) > 0 {
		a := list[0]
		e.TenantID, e.ObjectID, e.ObjectName = a.TenantID, a.ID.String(), a.Email
	} else {
		e.Detail["account"] = "unknown"
	}
	if err := audit.Write(from(ctx, l.Address), s.DB, e); err != nil {
		return fmt.Errorf("recording a refused sign-in: %w", err)
	}
	return nil
}
