package auth

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/notify"
	"reeve/tenants"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// Bounds of emergency access.
const (
	minEmergency = 5 * time.Minute
	maxEmergency = 4 * time.Hour
	minReason    = 10
	maxReason    = 1000
)

// Emergency is break-glass access that is running: a time-boxed grant on one tenant.
type Emergency struct {
	TenantID   uuid.UUID
	TenantName string
	Reason     string
	ExpiresAt  time.Time
}

// BreakGlass gives the actor emergency access to a tenant, in place of any that is running. All owners
// are told at once, the tenant's log shows it, and so does every act done under it.
func (s *Service) BreakGlass(ctx context.Context, tenant uuid.UUID, reason string, duration time.Duration) (e Emergency, err error) {
	self, err := selfOf(ctx)
	if err != nil {
		return e, err
	}
	if err := mayBreakGlass(scope.From(ctx), reason, duration); err != nil {
		return e, err
	}
	err = s.DB.System(ctx, func(tx *gorm.DB) error {
		u, err := tenants.UserTx(tx, self.ID)
		if err != nil {
			return err
		}
		var t struct {
			Name  string
			State tenants.State
		}
		err = tx.Raw("SELECT name, state FROM tenants WHERE id = ? AND id <> ?", tenant, uuid.UUID(scope.Provider)).Take(&t).Error
		if fault.KindOf(err) == fault.NotFound || err == nil && t.State == tenants.Archived {
			return ErrTenantNotFound
		}
		if err != nil {
			return err
		}
		e = Emergency{TenantID: tenant, TenantName: t.Name, Reason: strings.TrimSpace(reason), ExpiresAt: tenantdb.Now(tx).Add(duration)}
		if err := startEmergency(tx, u, e); err != nil {
			return err
		}
		if err := s.alarm(tx, u, e, self.Address); err != nil {
			return err
		}
		s.tellRevoked(tx, u.ID)
		detail := map[string]any{"reason": e.Reason, "expires_at": e.ExpiresAt, "tenant_id": tenant}
		inTenant := entry(u, "emergency.started", detail)
		inTenant.TenantID = tenant
		return audit.WriteTx(tx, inTenant, entry(u, "emergency.started", detail))
	})
	return e, err
}

func mayBreakGlass(sc scope.Scope, reason string, duration time.Duration) error {
	if !sc.IsStaff() || !sc.MayAnywhere("break_glass.use") {
		return ErrNotPermitted
	}
	if !sc.SteppedUp {
		return ErrStepUpRequired
	}
	n := utf8.RuneCountInString(strings.TrimSpace(reason))
	var f fault.Fields
	f.Check(n >= minReason && n <= maxReason && !strings.ContainsRune(reason, 0), "/reason", "say why in %d to %d characters", minReason, maxReason)
	f.Check(duration >= minEmergency && duration <= maxEmergency, "/minutes", "must be from %d to %d", int(minEmergency.Minutes()), int(maxEmergency.Minutes()))
	return f.Err()
}

func startEmergency(tx *gorm.DB, u tenants.User, e Emergency) error {
	if err := endEmergencies(tx, u); err != nil {
		return err
	}
	err := tx.Exec(`INSERT INTO emergency_grants (tenant_id, id, user_tenant_id, user_id, reason, started_at, expires_at)
		VALUES (?, ?, ?, ?, ?, ?, ?)`, e.TenantID, uuid.UUID(newID()), u.TenantID, u.ID, e.Reason, tenantdb.Now(tx), e.ExpiresAt).Error
	if err != nil {
		return fmt.Errorf("starting emergency access: %w", err)
	}
	return nil
}

func endEmergencies(tx *gorm.DB, u tenants.User) error {
	err := tx.Exec("UPDATE emergency_grants SET ended_at = ? WHERE user_id = ? AND ended_at IS NULL", tenantdb.Now(tx), u.ID).Error
	if err != nil {
		return fmt.Errorf("ending emergency access: %w", err)
	}
	return nil
}

// alarm tells all owners by mail, where mail is set up, and always in the log.
func (s *Service) alarm(tx *gorm.DB, u tenants.User, e Emergency, address string) error {
	ctx := tx.Statement.Context
	tenantdb.AfterCommit(tx, func() {
		s.Log.WarnContext(context.WithoutCancel(ctx), "emergency access started", "actor", u.Email, "tenant_id", e.TenantID,
			"tenant", e.TenantName, "reason", e.Reason, "expires_at", e.ExpiresAt, "address", address)
	})
	enabled, err := s.Mail.EnabledTx(tx)
	if err != nil || !enabled {
		return err
	}
	owners, err := tenants.OwnersTx(tx)
	if err != nil {
		return err
	}
	for _, owner := range owners {
		err := s.Mail.MailTx(tx, notify.Message{TenantID: owner.TenantID, To: owner.Email, Template: notify.BreakGlass, Locale: owner.Locale,
			Data: map[string]string{"actor": u.Email, "tenant": e.TenantName, "reason": e.Reason, "expires": forPeople(e.ExpiresAt), "address": address}})
		if err != nil {
			return err
		}
	}
	return nil
}

// EndBreakGlass ends the actor's emergency access.
func (s *Service) EndBreakGlass(ctx context.Context) error {
	self, err := selfOf(ctx)
	if err != nil {
		return err
	}
	return s.DB.System(ctx, func(tx *gorm.DB) error {
		u, err := tenants.UserTx(tx, self.ID)
		if err != nil {
			return err
		}
		running, err := runningEmergency(tx, u)
		if err != nil || running == nil {
			return err
		}
		if err := endEmergencies(tx, u); err != nil {
			return err
		}
		s.tellRevoked(tx, u.ID)
		detail := map[string]any{"tenant_id": running.TenantID}
		inTenant := entry(u, "emergency.ended", detail)
		inTenant.TenantID = running.TenantID
		return audit.WriteTx(tx, inTenant, entry(u, "emergency.ended", detail))
	})
}

func runningEmergency(tx *gorm.DB, u tenants.User) (*Emergency, error) {
	var rows []Emergency
	err := tx.Raw(`SELECT e.tenant_id, t.name AS tenant_name, e.reason, e.expires_at FROM emergency_grants e JOIN tenants t ON t.id = e.tenant_id
		WHERE e.user_id = ? AND e.ended_at IS NULL AND e.expires_at > now() ORDER BY e.started_at DESC LIMIT 1`, u.ID).Scan(&rows).Error
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return &rows[0], nil
}
