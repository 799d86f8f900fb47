package auth

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// Rescue lets one of the provider's people in again who lost password or second factor, where nobody
// else is left who could help. It removes the second factor, ends all sessions and makes a link to a new
// password that is never mailed. Only whoever runs commands on the server itself may call it.
func (s *Service) Rescue(ctx context.Context, email string) (i Invitation, err error) {
	if scope.From(ctx).Reach != scope.System {
		return i, ErrNotPermitted
	}
	err = s.DB.System(ctx, func(tx *gorm.DB) error {
		var row struct{ ID uuid.UUID }
		err := tx.Raw(`SELECT id FROM users WHERE tenant_id = ? AND lower(email) = lower(?)`,
			uuid.UUID(scope.Provider), strings.TrimSpace(email)).Take(&row).Error
		if fault.KindOf(err) == fault.NotFound {
			return fault.New(fault.NotFound, "nobody of the provider has this address")
		}
		if err != nil {
			return err
		}
		u, err := tenants.UserTx(tx, row.ID)
		if err != nil {
			return err
		}
		if u.State == tenants.UserDisabled {
			return fault.New(fault.Conflict, "the user is disabled; rescue another owner, who can enable them")
		}
		if err := removeSecondFactor(tx, u); err != nil {
			return err
		}
		if err := s.revoke(tx, u.TenantID, u.ID, "rescued", all); err != nil {
			return err
		}
		if err := dropLinks(tx, u); err != nil {
			return err
		}
		now := tenantdb.Now(tx)
		token, hash := NewOneTimeLink()
		i = Invitation{User: u, URL: s.PublicURL + "/set-password#token=" + token, ExpiresAt: now.Add(resetLife)}
		err = tx.Exec("INSERT INTO one_time_links (tenant_id, hash, user_id, purpose, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
			u.TenantID, hash[:], u.ID, linkReset, now, i.ExpiresAt).Error
		if err != nil {
			return fmt.Errorf("storing a one-time link: %w", err)
		}
		return audit.WriteTx(tx, entry(u, "user.rescued", nil))
	})
	return i, err
}
