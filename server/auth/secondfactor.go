package auth

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/tenants"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// totpPurpose binds a sealed secret to its use.
const totpPurpose = "auth.totp"

// BeginTOTP offers the actor a new second factor. It counts once a code of it was confirmed.
func (s *Service) BeginTOTP(ctx context.Context) (offer TOTPSecret, err error) {
	self, err := selfOf(ctx)
	if err != nil {
		return offer, err
	}
	err = s.DB.System(ctx, func(tx *gorm.DB) error {
		u, err := tenants.UserTx(tx, self.ID)
		if err != nil {
			return err
		}
		if u.SecondFactor {
			return ErrTOTPActive
		}
		provider, err := s.Settings.Provider(tx)
		if err != nil {
			return err
		}
		if offer, err = NewTOTP(provider.Name, u.Email); err != nil {
			return err
		}
		sealed, err := s.Keeper.SealTx(tx, u.TenantID, totpPurpose, u.ID, []byte(offer.Secret))
		if err != nil {
			return err
		}
		err = tx.Exec("UPDATE user_credentials SET totp_pending = ? WHERE tenant_id = ? AND user_id = ?", sealed, u.TenantID, u.ID).Error
		if err != nil {
			return err
		}
		return audit.WriteTx(tx, entry(u, "user.second_factor_offered", nil))
	})
	return offer, err
}

// ConfirmTOTP switches the offered second factor on and gives the recovery codes, which are shown once.
func (s *Service) ConfirmTOTP(ctx context.Context, code string) (codes []string, err error) {
	self, err := selfOf(ctx)
	if err != nil {
		return nil, err
	}
	counters := ownThrottles(self)
	if err := s.reserve(ctx, counters); err != nil {
		return nil, err
	}
	err = s.DB.System(ctx, func(tx *gorm.DB) error {
		u, err := tenants.UserTx(tx, self.ID)
		if err != nil {
			return err
		}
		c, err := lockCredentials(tx, u)
		if err != nil {
			return err
		}
		switch {
		case c.TotpSecret != nil:
			return ErrTOTPActive
		case c.TotpPending == nil:
			return ErrTOTPNotPending
		}
		secret, err := s.Keeper.OpenTx(tx, u.TenantID, totpPurpose, u.ID, c.TotpPending)
		if err != nil {
			return err
		}
		step, ok := VerifyTOTP(string(secret), code, s.Now(), c.TotpStep)
		if !ok {
			return ErrWrongCode
		}
		err = tx.Exec(`UPDATE user_credentials SET totp_secret = totp_pending, totp_pending = NULL, totp_step = ?, second_factor_at = ?
			WHERE tenant_id = ? AND user_id = ?`, step, tenantdb.Now(tx), u.TenantID, u.ID).Error
		if err != nil {
			return err
		}
		if codes, err = replaceRecoveryCodes(tx, u); err != nil {
			return err
		}
		if err := forgive(tx, counters); err != nil {
			return err
		}
		// Sessions without the factor would survive it: all others sign in again.
		if err := s.revoke(tx, u.TenantID, u.ID, "second factor set up", "id <> ?", uuid.UUID(self.SessionID)); err != nil {
			return err
		}
		return audit.WriteTx(tx, entry(u, "user.second_factor_enabled", nil))
	})
	return codes, err
}

// DisableTOTP switches the actor's second factor off, unless their role demands it.
func (s *Service) DisableTOTP(ctx context.Context) error {
	self, err := selfOf(ctx)
	if err != nil {
		return err
	}
	if !scope.From(ctx).SteppedUp {
		return ErrStepUpRequired
	}
	return s.DB.System(ctx, func(tx *gorm.DB) error {
		u, err := tenants.UserTx(tx, self.ID)
		if err != nil {
			return err
		}
		security, err := s.Settings.Security(tx)
		if err != nil {
			return err
		}
		if demandsSecondFactor(security, u.Grants) {
			return ErrTOTPMandatory
		}
		if err := removeSecondFactor(tx, u); err != nil {
			return err
		}
		return audit.WriteTx(tx, entry(u, "user.second_factor_disabled", nil))
	})
}

// RegenerateRecoveryCodes replaces the actor's recovery codes.
func (s *Service) RegenerateRecoveryCodes(ctx context.Context) (codes []string, err error) {
	self, err := selfOf(ctx)
	if err != nil {
		return nil, err
	}
	if !scope.From(ctx).SteppedUp {
		return nil, ErrStepUpRequired
	}
	err = s.DB.System(ctx, func(tx *gorm.DB) error {
		u, err := tenants.UserTx(tx, self.ID)
		if err != nil {
			return err
		}
		if !u.SecondFactor {
			return ErrTOTPNotActive
		}
		if codes, err = replaceRecoveryCodes(tx, u); err != nil {
			return err
		}
		return audit.WriteTx(tx, entry(u, "user.recovery_codes_replaced", nil))
	})
	return codes, err
}

// ResetSecondFactor removes the second factor of somebody who lost it, and ends their sessions.
func (s *Service) ResetSecondFactor(ctx context.Context, user uuid.UUID) error {
	if !scope.From(ctx).SteppedUp {
		return ErrStepUpRequired
	}
	_, err := s.Users.Manage(ctx, user, "user.second_factor_reset", func(tx *gorm.DB, u tenants.User) error {
		if err := removeSecondFactor(tx, u); err != nil {
			return err
		}
		return s.revoke(tx, u.TenantID, u.ID, "second factor reset", all)
	})
	return err
}

func removeSecondFactor(tx *gorm.DB, u tenants.User) error {
	err := tx.Exec(`UPDATE user_credentials SET totp_secret = NULL, totp_pending = NULL, second_factor_at = NULL
		WHERE tenant_id = ? AND user_id = ?`, u.TenantID, u.ID).Error
	if err != nil {
		return fmt.Errorf("removing a second factor: %w", err)
	}
	return tx.Exec("DELETE FROM recovery_codes WHERE tenant_id = ? AND user_id = ?", u.TenantID, u.ID).Error
}

type credentialRow struct {
	TotpPending []byte
	TotpSecret  []byte
	TotpStep    int64
}

func lockCredentials(tx *gorm.DB, u tenants.User) (c credentialRow, err error) {
	err = tx.Raw(`SELECT totp_pending, totp_secret, totp_step FROM user_credentials
		WHERE tenant_id = ? AND user_id = ? FOR NO KEY UPDATE`, u.TenantID, u.ID).Take(&c).Error
	return c, err
}

// checkCode spends a code of the second factor, and says which kind it was. A right one is accepted
// once: the transaction that spends it must commit.
func (s *Service) checkCode(tx *gorm.DB, u tenants.User, f SecondFactor) (factor string, err error) {
	c, err := lockCredentials(tx, u)
	if err != nil {
		return "", err
	}
	if f.RecoveryCode != "" {
		hash := recoveryFingerprint(f.RecoveryCode)
		done := tx.Exec("UPDATE recovery_codes SET used_at = ? WHERE tenant_id = ? AND user_id = ? AND hash = ? AND used_at IS NULL",
			tenantdb.Now(tx), u.TenantID, u.ID, hash[:])
		if done.Error == nil && done.RowsAffected != 1 {
			return "", ErrWrongCode
		}
		return "recovery code", done.Error
	}
	secret, err := s.Keeper.OpenTx(tx, u.TenantID, totpPurpose, u.ID, c.TotpSecret)
	if err != nil {
		return "", err
	}
	step, ok := VerifyTOTP(string(secret), f.OTP, s.Now(), c.TotpStep)
	if !ok {
		return "", ErrWrongCode
	}
	return "one-time code", tx.Exec("UPDATE user_credentials SET totp_step = ? WHERE tenant_id = ? AND user_id = ?", step, u.TenantID, u.ID).Error
}

func replaceRecoveryCodes(tx *gorm.DB, u tenants.User) ([]string, error) {
	if err := tx.Exec("DELETE FROM recovery_codes WHERE tenant_id = ? AND user_id = ?", u.TenantID, u.ID).Error; err != nil {
		return nil, err
	}
	codes, stored := NewRecoveryCodes()
	for _, hash := range stored {
		err := tx.Exec("INSERT INTO recovery_codes (tenant_id, user_id, hash) VALUES (?, ?, ?)", u.TenantID, u.ID, hash[:]).Error
		if err != nil {
			return nil, fmt.Errorf("storing recovery codes: %w", err)
		}
	}
	return codes, nil
}
