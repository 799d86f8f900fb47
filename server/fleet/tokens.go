package fleet

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// Token lets machines join one site: capped, expiring, and known here by its hash alone.
type Token struct {
	ID            uuid.UUID
	TenantID      uuid.UUID
	TenantName    string
	SiteID        uuid.UUID
	SiteName      string
	Label         string
	Tags          Texts
	MaxUses       int
	Uses          int
	ExpiresAt     time.Time
	RevokedAt     *time.Time
	CreatedByName string
	CreatedAt     time.Time
}

// NewToken is what it takes to make an enrolment token.
type NewToken struct {
	TenantID  uuid.UUID
	SiteID    uuid.UUID
	Label     string
	Tags      []string // put on each device that joins
	MaxUses   int      // 1 when zero
	ExpiresAt *time.Time
}

// Bounds of enrolment tokens.
const (
	maxTokenUses     = 100_000
	maxTokenLife     = 366 * 24 * time.Hour
	defaultTokenLife = 7 * 24 * time.Hour
	maxTokenTags     = 20
	maxLabel         = 120
)

// Validate reports every faulty field.
func (n NewToken) Validate(now time.Time) error {
	var f fault.Fields
	f.Check(runes(n.Label) <= maxLabel && n.Label == Line(n.Label, maxLabel), "/label", "give at most %d characters, no control characters", maxLabel)
	checkTags(&f, "/tags", n.Tags, maxTokenTags)
	f.Check(n.MaxUses >= 0 && n.MaxUses <= maxTokenUses, "/max_uses", "must be between 1 and %d", maxTokenUses)
	if n.ExpiresAt != nil {
		f.Check(n.ExpiresAt.After(now) && n.ExpiresAt.Before(now.Add(maxTokenLife)), "/expires_at", "must be in the future and at most a year ahead")
	}
	return f.Err()
}

const tokenColumns = `e.id, e.tenant_id, t.name as tenant_name, e.site_id, s.name as site_name, e.label,
	to_json(e.tags) as tags, e.max_uses, e.uses, e.expires_at, e.revoked_at, e.created_by_name, e.created_at`

const tokenJoins = `join tenants t on t.id = e.tenant_id join sites s on s.tenant_id = e.tenant_id and s.id = e.site_id`

// CreateToken makes an enrolment token. The token itself is in the answer and nowhere else.
func (s *Service) CreateToken(ctx context.Context, n NewToken) (Token, string, []InstallLine, error) {
	var made Token
	token, stored := s.o.Tokens.New()
	err := s.db.Tx(ctx, func(tx *gorm.DB) error {
		now := databaseNow(tx)
		if err := n.Validate(now); err != nil {
			return err
		}
		if err := checkSiteTx(ctx, tx, n.TenantID, n.SiteID); err != nil {
			return err
		}
		if n.MaxUses == 0 {
			n.MaxUses = 1
		}
		if n.ExpiresAt == nil {
			at := now.Add(defaultTokenLife)
			n.ExpiresAt = &at
		}
		slices.Sort(n.Tags)
		id, actor := newID(), scope.From(ctx).Actor
		err := tx.Exec(`insert into enrolment_tokens (tenant_id, id, site_id, token_hash, label, tags, max_uses, expires_at,
			created_by, created_by_name, created_at) values (?, ?, ?, ?, ?, ?::text[], ?, ?, ?, ?, ?)`,
			n.TenantID, id, n.SiteID, stored[:], n.Label, texts(slices.Compact(n.Tags)), n.MaxUses, *n.ExpiresAt,
			uuid.UUID(actor.ID), actor.Name, now).Error
		if err != nil {
			return fmt.Errorf("creating an enrolment token: %w", err)
		}
		if made, err = tokenTx(tx, id); err != nil {
			return err
		}
		return audit.WriteTx(tx, audit.Entry{TenantID: n.TenantID, Action: "enrolment_token.created", ObjectType: "enrolment_token",
			ObjectID: id.String(), ObjectName: made.Label, After: made.public()})
	})
	if err != nil {
		return Token{}, "", nil, err
	}
	return made, token, s.o.Install.lines(token), nil
}

// public is what the audit log keeps of a token.
func (t Token) public() map[string]any {
	return map[string]any{"site_id": t.SiteID, "site": t.SiteName, "label": t.Label, "tags": t.Tags, "max_uses": t.MaxUses,
		"uses": t.Uses, "expires_at": t.ExpiresAt, "revoked_at": t.RevokedAt}
}

// checkSiteTx makes sure that devices may be put there: the site is of the tenant, and both are in use.
func checkSiteTx(ctx context.Context, tx *gorm.DB, tenant, site uuid.UUID) error {
	var found []struct {
		State    string
		Archived bool
	}
	err := tx.Raw(`select t.state, s.archived_at is not null as archived from sites s join tenants t on t.id = s.tenant_id
		where s.tenant_id = ? and s.id = ?`, tenant, site).Scan(&found).Error
	switch {
	case err != nil:
		return err
	case len(found) == 0:
		return ErrSite
	}
	if err := need(ctx, permEnrol, tenant); err != nil {
		return err
	}
	if found[0].Archived || found[0].State != "active" {
		return fault.New(fault.Conflict, "the site or its tenant is not in use")
	}
	return nil
}

func tokenTx(tx *gorm.DB, id uuid.UUID) (Token, error) {
	var t Token
	err := tx.Table("enrolment_tokens e").Select(tokenColumns).Joins(tokenJoins).Where("e.id = ?", id).Take(&t).Error
	if fault.KindOf(err) == fault.NotFound {
		return t, ErrTokenNotFound
	}
	return t, err
}

var tokenSort = tenantdb.Sort{Name: "newest", Columns: []tenantdb.Column{{SQL: "e.id", Kind: tenantdb.UUID, Descending: true}}}

// Tokens lists enrolment tokens, the newest first.
func (s *Service) Tokens(ctx context.Context, tenant *uuid.UUID, cursor string, limit int) ([]Token, string, error) {
	var found []Token
	err := s.db.Tx(ctx, func(tx *gorm.DB) error {
		q := tenantdb.Permitted(tx.Table("enrolment_tokens e").Select(tokenColumns).Joins(tokenJoins), permEnrol, "e.tenant_id")
		if tenant != nil {
			q = q.Where("e.tenant_id = ?", *tenant)
		}
		q, err := tokenSort.Page(q, cursor, limit)
		if err != nil {
			return err
		}
		return q.Scan(&found).Error
	})
	if err != nil {
		return nil, "", err
	}
	found, next := tenantdb.Next(tokenSort, found, limit, func(t Token) []any { return []any{t.ID} })
	return found, next, nil
}

// RevokeToken makes a token worthless from now on. Devices that joined with it stay.
func (s *Service) RevokeToken(ctx context.Context, id uuid.UUID) error {
	return s.db.Tx(ctx, func(tx *gorm.DB) error {
		before, err := tokenTx(tx, id)
		if err != nil {
			return err
		}
		if err := need(ctx, permEnrol, before.TenantID); err != nil {
			return err
		}
		done := tx.Exec(`update enrolment_tokens set revoked_at = now() where tenant_id = ? and id = ? and revoked_at is null`, before.TenantID, id)
		if done.Error != nil || done.RowsAffected == 0 {
			return done.Error // revoked already: nothing to do, nothing to log
		}
		after, err := tokenTx(tx, id)
		if err != nil {
			return err
		}
		return audit.WriteTx(tx, audit.Entry{TenantID: before.TenantID, Action: "enrolment_token.revoked", ObjectType: "enrolment_token",
			ObjectID: id.String(), ObjectName: before.Label, Before: before.public(), After: after.public()})
	})
}
