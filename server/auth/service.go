package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/bus"
	"reeve/server/notify"
	"reeve/tenants"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/secrets"
	"reeve/tenants/tenantdb"
)

// Mailer queues mail in a transaction; notify.Mailer is one.
type Mailer interface {
	EnabledTx(tx *gorm.DB) (bool, error)
	MailTx(tx *gorm.DB, m notify.Message) error
}

var _ Mailer = (*notify.Mailer)(nil)

// Options are what a Service works with. All fields are required.
type Options struct {
	DB        *tenantdb.DB
	Users     *tenants.Users
	Settings  *tenants.Settings
	Keeper    *secrets.Keeper
	Keys      KeyRing // of access tokens
	Hasher    *Hasher
	Mail      Mailer
	Bus       bus.Bus
	PublicURL string // where the portal is, for one-time links
	Now       func() time.Time
	Log       *slog.Logger
}

// Service signs people and programs in and out.
//
// It works with the server's own reach, because who acts is what it finds out; what an actor may do to
// others' credentials it decides by the actor's scope.
type Service struct {
	Options
	tokens *Tokens
}

// New makes the service.
func New(o Options) (*Service, error) {
	if o.DB == nil || o.Users == nil || o.Settings == nil || o.Keeper == nil || o.Keys == nil || o.Hasher == nil ||
		o.Mail == nil || o.Bus == nil || o.PublicURL == "" || o.Now == nil || o.Log == nil {
		return nil, errors.New("auth: an option is missing")
	}
	return &Service{o, NewTokens(o.Keys, o.Now)}, nil
}

// RevokedSubject is where it is told that a user's sessions, keys or grants changed: whoever holds a
// connection open on the strength of them looks again. "*" in place of the id hears of everybody.
func RevokedSubject(user string) string { return "auth.revoked." + user }

// tellRevoked rings after the commit.
func (s *Service) tellRevoked(tx *gorm.DB, user uuid.UUID) {
	ctx := context.WithoutCancel(tx.Statement.Context)
	tenantdb.AfterCommit(tx, func() {
		if err := s.Bus.Publish(ctx, RevokedSubject(user.String()), nil); err != nil {
			s.Log.WarnContext(ctx, "telling of a revocation", "user_id", user, "error", err)
		}
	})
}

// Bootstrap makes the first administrator, an owner who can sign in at once. It works only while there
// is no user at all; of any number of callers at once one succeeds.
func (s *Service) Bootstrap(ctx context.Context, email, name, password string) (u tenants.User, err error) {
	if err := CheckPassword("/password", password, PasswordOwner{Email: email, Name: name}); err != nil {
		return u, err
	}
	hash, err := s.Hasher.Hash(ctx, password)
	if err != nil {
		return u, err
	}
	err = s.DB.System(scope.AsSystem(ctx, "bootstrap"), func(tx *gorm.DB) error {
		if err := tx.Exec("SELECT pg_advisory_xact_lock(hashtext('reeve_bootstrap'))").Error; err != nil {
			return err
		}
		if has, err := hasUsers(tx); err != nil || has {
			return errors.Join(err, onlyIf(has, ErrBootstrapped))
		}
		u, err = s.Users.CreateTx(tx, tenants.NewUser{TenantID: scope.Provider, Email: email, Name: name,
			Grants: []tenants.Grant{{Role: tenants.Owner, AllTenants: true}}},
			func(tx *gorm.DB, _, u tenants.User) error { return setPassword(tx, u, hash) })
		return err
	})
	if errors.Is(err, ErrBootstrapped) {
		return tenants.User{}, ErrBootstrapped
	}
	u.State = tenants.UserActive
	return u, err
}

func onlyIf(condition bool, err error) error {
	if condition {
		return err
	}
	return nil
}

// Bootstrapped tells whether there is a user.
func (s *Service) Bootstrapped(ctx context.Context) (has bool, err error) {
	err = s.DB.System(ctx, func(tx *gorm.DB) error {
		has, err = hasUsers(tx)
		return err
	})
	return has, err
}

func hasUsers(tx *gorm.DB) (has bool, err error) {
	err = tx.Raw("SELECT EXISTS (SELECT FROM users)").Scan(&has).Error
	return has, err
}

// setPassword stores a hash, and ends an invitation.
func setPassword(tx *gorm.DB, u tenants.User, hash string) error {
	err := tx.Exec("UPDATE user_credentials SET password_hash = ?, password_set_at = ? WHERE tenant_id = ? AND user_id = ?",
		hash, tenantdb.Now(tx), u.TenantID, u.ID).Error
	if err != nil {
		return fmt.Errorf("storing a password: %w", err)
	}
	if err := dropLinks(tx, u); err != nil {
		return err
	}
	return tenants.ActivateTx(tx, u)
}

// selfOf is the person who acts upon their own account; programs have none.
func selfOf(ctx context.Context) (scope.Actor, error) {
	a := scope.From(ctx).Actor
	if a.Kind != scope.User || a.ID == (scope.ID{}) {
		return a, ErrCredentialByKey
	}
	return a, nil
}

// asUser is a context in which the user acts, for transactions before there is a scope. In which
// request is kept.
func asUser(ctx context.Context, u tenants.User, session scope.ID, address string) context.Context {
	ctx = from(ctx, address)
	s := scope.From(ctx)
	s.Reach, s.Tenants, s.Grants = scope.System, nil, nil
	s.Actor.Kind, s.Actor.ID, s.Actor.TenantID, s.Actor.Name, s.Actor.SessionID = scope.User, u.ID, u.TenantID, u.Email, session
	return scope.With(ctx, s)
}

// from is a context in which a stranger acts from an address, for what happens before anybody is known.
func from(ctx context.Context, address string) context.Context {
	s := scope.From(ctx)
	s.Actor.Address = address
	return scope.With(ctx, s)
}

// entry is an audit entry about a user's own account.
func entry(u tenants.User, action string, detail map[string]any) audit.Entry {
	return audit.Entry{TenantID: u.TenantID, Action: action, ObjectType: "user", ObjectID: u.ID.String(), ObjectName: u.Email, Detail: detail}
}

// policyOf is the password policy for a user, as the settings are now.
func (s *Service) policyOf(ctx context.Context, u tenants.User) (owner PasswordOwner, err error) {
	err = s.DB.System(ctx, func(tx *gorm.DB) error {
		security, err := s.Settings.Security(tx)
		owner = PasswordOwner{Email: u.Email, Name: u.Name, MinLength: security.PasswordMinLength}
		return err
	})
	return owner, err
}

// Batch is how many rows of a kind Sweep deletes at once.
const Batch = 1000

// Sweep deletes what has served its time: ended sessions after a month, spent links, old throttles. It
// may run on several replicas at once.
func (s *Service) Sweep(ctx context.Context) (deleted int64, err error) {
	for _, sql := range []string{
		`DELETE FROM sessions WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM sessions
			WHERE expires_at < now() - interval '30 days' ORDER BY expires_at LIMIT ? FOR UPDATE SKIP LOCKED)`,
		`DELETE FROM one_time_links WHERE (tenant_id, hash) IN (SELECT tenant_id, hash FROM one_time_links
			WHERE expires_at < now() - interval '1 day' ORDER BY expires_at LIMIT ? FOR UPDATE SKIP LOCKED)`,
		`DELETE FROM login_throttles WHERE key IN (SELECT key FROM login_throttles
			WHERE last_at < now() - interval '1 day' ORDER BY last_at LIMIT ? FOR UPDATE SKIP LOCKED)`,
	} {
		err := s.DB.System(ctx, func(tx *gorm.DB) error {
			done := tx.Exec(sql, Batch)
			deleted += done.RowsAffected
			return done.Error
		})
		if err != nil {
			return deleted, fmt.Errorf("sweeping sign-ins: %w", err)
		}
	}
	return deleted, nil
}

// ended maps the absence of a row that a credential names to one answer.
func ended(err error) error {
	if fault.KindOf(err) == fault.NotFound {
		return ErrUnauthenticated
	}
	return err
}
