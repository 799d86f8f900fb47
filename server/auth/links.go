package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/notify"
	"reeve/tenants"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// How long a link works.
const (
	invitationLife = 7 * 24 * time.Hour
	resetLife      = time.Hour
)

type linkPurpose string

const (
	linkInvitation linkPurpose = "invitation"
	linkReset      linkPurpose = "reset"
)

// Invitation is the way to a first or a new password: by mail, or for an administrator to hand over.
type Invitation struct {
	User       tenants.User
	URL        string // empty when it was sent by mail
	ExpiresAt  time.Time
	SentByMail bool
}

// Invite creates a user and the link by which they set their password.
func (s *Service) Invite(ctx context.Context, n tenants.NewUser) (i Invitation, err error) {
	i.User, err = s.Users.Create(ctx, n, func(tx *gorm.DB, _, u tenants.User) error {
		made, err := s.link(tx, u, linkInvitation, scope.From(ctx).Actor.Name)
		i = made
		return err
	})
	return i, err
}

// CreateResetLink makes a link for somebody who cannot sign in any more, or not yet.
func (s *Service) CreateResetLink(ctx context.Context, user uuid.UUID) (i Invitation, err error) {
	if !scope.From(ctx).SteppedUp {
		return i, ErrStepUpRequired
	}
	u, err := s.Users.Manage(ctx, user, "user.reset_link_created", func(tx *gorm.DB, u tenants.User) error {
		purpose := linkReset
		switch u.State {
		case tenants.UserDisabled:
			return fault.New(fault.Conflict, "the user is disabled; enable them first")
		case tenants.UserInvited:
			purpose = linkInvitation
		}
		i, err = s.link(tx, u, purpose, scope.From(ctx).Actor.Name)
		return err
	})
	i.User = u
	return i, err
}

// RequestPasswordReset mails a reset link to whoever has this address. It never tells whether anybody has.
func (s *Service) RequestPasswordReset(ctx context.Context, email, address string) error {
	if err := s.reserve(ctx, throttlesFor("reset "+email, address)); err != nil {
		return err
	}
	list, err := s.candidates(ctx, email)
	if err != nil {
		return err
	}
	return s.DB.System(from(ctx, address), func(tx *gorm.DB) error {
		enabled, err := s.Mail.EnabledTx(tx)
		if err != nil || !enabled {
			return err
		}
		var entries []audit.Entry
		for _, a := range list {
			u, err := tenants.UserTx(tx, a.ID)
			if err != nil {
				return err
			}
			if _, err := s.link(tx, u, linkReset, ""); err != nil {
				return err
			}
			entries = append(entries, entry(u, "user.reset_requested", nil))
		}
		return audit.WriteTx(tx, entries...)
	})
}

// link makes a one-time link in place of any earlier one, and mails it when mail is set up.
func (s *Service) link(tx *gorm.DB, u tenants.User, purpose linkPurpose, inviter string) (Invitation, error) {
	if err := dropLinks(tx, u); err != nil {
		return Invitation{}, err
	}
	life, template := resetLife, notify.PasswordReset
	if purpose == linkInvitation {
		life, template = invitationLife, notify.Invitation
	}
	now := tenantdb.Now(tx)
	token, hash := NewOneTimeLink()
	i := Invitation{User: u, URL: s.PublicURL + "/set-password#token=" + token, ExpiresAt: now.Add(life)}
	err := tx.Exec("INSERT INTO one_time_links (tenant_id, hash, user_id, purpose, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
		u.TenantID, hash[:], u.ID, purpose, now, i.ExpiresAt).Error
	if err != nil {
		return i, fmt.Errorf("storing a one-time link: %w", err)
	}
	enabled, err := s.Mail.EnabledTx(tx)
	if err != nil || !enabled {
		return i, err
	}
	data := map[string]string{"name": u.Name, "link": i.URL, "expires": forPeople(i.ExpiresAt)}
	if purpose == linkInvitation {
		data["inviter"] = inviter
	}
	err = s.Mail.MailTx(tx, notify.Message{TenantID: u.TenantID, To: u.Email, Template: template, Locale: u.Locale, Data: data, ExpiresAt: i.ExpiresAt})
	if err != nil {
		return i, err
	}
	i.URL, i.SentByMail = "", true
	return i, nil
}

func forPeople(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

func dropLinks(tx *gorm.DB, u tenants.User) error {
	if err := tx.Exec("DELETE FROM one_time_links WHERE tenant_id = ? AND user_id = ?", u.TenantID, u.ID).Error; err != nil {
		return fmt.Errorf("removing one-time links: %w", err)
	}
	return nil
}

// CompletePasswordReset sets a password by a one-time link and ends all sessions. A second factor
// stays: who has the mailbox alone does not get in.
func (s *Service) CompletePasswordReset(ctx context.Context, token, password, address string) error {
	// Links cannot be guessed; the throttle keeps strangers from making us hash.
	if err := s.reserve(ctx, throttlesFor("", address)); err != nil {
		return err
	}
	hash := FingerprintOf(token)
	u, err := s.linkedUser(ctx, hash)
	if err != nil {
		return err
	}
	owner, err := s.policyOf(ctx, u)
	if err != nil {
		return err
	}
	if err := CheckPassword("/new_password", password, owner); err != nil {
		return err
	}
	phc, err := s.Hasher.Hash(ctx, password)
	if err != nil {
		return err
	}
	return s.DB.System(asUser(ctx, u, scope.ID{}, address), func(tx *gorm.DB) error {
		done := tx.Exec("DELETE FROM one_time_links WHERE hash = ? AND expires_at > now()", hash[:])
		if done.Error != nil {
			return done.Error
		}
		if done.RowsAffected != 1 {
			return ErrLinkSpent // somebody was quicker
		}
		if err := setPassword(tx, u, phc); err != nil {
			return err
		}
		if err := s.revoke(tx, u.TenantID, u.ID, "password reset", all); err != nil {
			return err
		}
		// The owner has waited long enough, and starts anew. An administrator elsewhere who makes links for
		// a namesake again and again clears nothing.
		counters, err := withoutNamesakes(tx, u.Email, throttlesFor(u.Email, address))
		if err != nil {
			return err
		}
		counters = slices.DeleteFunc(counters, func(t throttle) bool { return t.shared && t.rule != addressRule })
		if err := forgive(tx, counters); err != nil {
			return err
		}
		return audit.WriteTx(tx, entry(u, "user.password_reset", nil))
	})
}

func (s *Service) linkedUser(ctx context.Context, hash Fingerprint) (u tenants.User, err error) {
	err = s.DB.System(ctx, func(tx *gorm.DB) error {
		var row struct{ UserID uuid.UUID }
		err := tx.Raw(`SELECT l.user_id FROM one_time_links l JOIN tenants t ON t.id = l.tenant_id
			WHERE l.hash = ? AND l.expires_at > now() AND t.state = ?`, hash[:], tenants.Active).Take(&row).Error
		if errors.Is(err, gorm.ErrRecordNotFound) {
			return ErrLinkSpent
		}
		if err != nil {
			return err
		}
		if u, err = tenants.UserTx(tx, row.UserID); err != nil {
			return err
		}
		if u.State == tenants.UserDisabled {
			return ErrLinkSpent
		}
		return nil
	})
	return u, err
}

// UpdateUser changes, disables or enables a user. Disabling ends their sessions and links; a new
// address voids links that were sent to the old one.
func (s *Service) UpdateUser(ctx context.Context, id uuid.UUID, c tenants.UserChange) (tenants.User, error) {
	return s.Users.Update(ctx, id, c, func(tx *gorm.DB, before, after tenants.User) error {
		if before.Email != after.Email || after.State == tenants.UserDisabled {
			if err := dropLinks(tx, after); err != nil {
				return err
			}
		}
		if after.State == tenants.UserDisabled {
			return s.revoke(tx, after.TenantID, after.ID, "user disabled", all)
		}
		return nil
	})
}

// SetGrants replaces what a user may do, which also ends their emergency access.
func (s *Service) SetGrants(ctx context.Context, id uuid.UUID, version int64, grants []tenants.Grant) (tenants.User, error) {
	if !scope.From(ctx).SteppedUp {
		return tenants.User{}, ErrStepUpRequired
	}
	return s.Users.SetGrants(ctx, id, version, grants, func(tx *gorm.DB, _, after tenants.User) error {
		s.tellRevoked(tx, after.ID)
		return endEmergencies(tx, after)
	})
}

// LogoutUser ends all sessions of a user.
func (s *Service) LogoutUser(ctx context.Context, id uuid.UUID) error {
	_, err := s.Users.Manage(ctx, id, "user.signed_out_everywhere", func(tx *gorm.DB, u tenants.User) error {
		return s.revoke(tx, u.TenantID, u.ID, "ended by an administrator", all)
	})
	return err
}
