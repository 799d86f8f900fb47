package tenants

import (
	"context"
	"strings"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// Service keeps tenants and their sites.
type Service struct {
	db *tenantdb.DB
}

// NewService makes the service.
func NewService(db *tenantdb.DB) *Service { return &Service{db: db} }

// Create adds a tenant, and its first site when one is named.
func (s *Service) Create(ctx context.Context, n NewTenant) (Tenant, error) {
	if err := n.Validate(); err != nil {
		return Tenant{}, err
	}
	if !scope.From(ctx).MayEverywhere(permTenantsManage) {
		return Tenant{}, ErrNotPermitted
	}
	var t Tenant
	err := s.db.Tx(ctx, func(tx *gorm.DB) (err error) {
		if t, err = insertTenant(tx, n); err != nil {
			return err
		}
		entries := []audit.Entry{{TenantID: t.ID, Action: "tenant.created", ObjectType: "tenant", ObjectID: t.ID.String(),
			ObjectName: t.Name, After: t.face()}}
		if n.FirstSite != "" {
			site, err := insertSite(tx, NewSite{TenantID: t.ID, Name: n.FirstSite})
			if err != nil {
				return err
			}
			t.SiteCount = 1
			entries = append(entries, site.created())
		}
		return audit.WriteTx(tx, entries...)
	})
	return t, err
}

// List is a page of tenants by name.
func (s *Service) List(ctx context.Context, f TenantFilter, cursor string, limit int) (page []Tenant, next string, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		page, next, err = listTenants(tx, f, cursor, limit)
		return err
	})
	return page, next, err
}

// Get is one tenant.
func (s *Service) Get(ctx context.Context, id uuid.UUID) (t Tenant, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		if t, err = visibleTenant(tx, id, permTenantsRead); err != nil {
			return err
		}
		return countInto(tx, []*Tenant{&t})
	})
	return t, err
}

// Update changes a tenant's profile.
func (s *Service) Update(ctx context.Context, id uuid.UUID, c TenantChange) (Tenant, error) {
	if err := c.Validate(); err != nil {
		return Tenant{}, err
	}
	return s.change(ctx, id, "tenant.updated", "", func(tx *gorm.DB, t Tenant) (Tenant, error) {
		after, err := c.apply(t)
		if err != nil {
			return t, err
		}
		return after, updateTenant(tx, after, c.Version)
	})
}

// Suspend shuts a tenant out: its users cannot sign in and its endpoints get no work. Sign-in and the
// gateway read the state with every request, so it holds from the next one on.
func (s *Service) Suspend(ctx context.Context, id uuid.UUID, version int64, reason string) (Tenant, error) {
	return s.move(ctx, id, Suspended, version, reason)
}

// Resume lets a suspended tenant back in.
func (s *Service) Resume(ctx context.Context, id uuid.UUID, version int64, reason string) (Tenant, error) {
	return s.move(ctx, id, Active, version, reason)
}

// Archive ends a tenant for good. It must have no devices left; its enrolment tokens are revoked.
func (s *Service) Archive(ctx context.Context, id uuid.UUID, version int64, reason string) (Tenant, error) {
	return s.move(ctx, id, Archived, version, reason)
}

var moveActions = map[State]string{Suspended: "tenant.suspended", Active: "tenant.resumed", Archived: "tenant.archived"}

func (s *Service) move(ctx context.Context, id uuid.UUID, to State, version int64, reason string) (Tenant, error) {
	if err := checkReason(reason); err != nil {
		return Tenant{}, err
	}
	return s.change(ctx, id, moveActions[to], reason, func(tx *gorm.DB, t Tenant) (Tenant, error) {
		if !scope.From(ctx).MayEverywhere(permTenantsManage) {
			return t, ErrNotPermitted // a tenant does not decide about its own life
		}
		if err := t.moveTo(to); err != nil {
			return t, err
		}
		if to == Archived {
			now := tenantdb.Now(tx)
			t.ArchivedAt = &now
			if err := closeDoor(tx, t.ID, nil); err != nil {
				return t, err
			}
			if err := countInto(tx, []*Tenant{&t}); err != nil {
				return t, err
			}
			if t.DeviceCount > 0 {
				return t, ErrTenantInUse
			}
		}
		t.State = to
		return t, updateTenant(tx, t, version)
	})
}

// change runs one verb on one tenant, locked, and writes what it did into the audit log.
func (s *Service) change(ctx context.Context, id uuid.UUID, action, reason string,
	verb func(tx *gorm.DB, t Tenant) (Tenant, error)) (after Tenant, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		before, err := visibleTenant(tx.Clauses(forChange), id, permTenantsManage)
		if err != nil {
			return err
		}
		if after, err = verb(tx, before); err != nil {
			return err
		}
		after.Version, after.UpdatedAt = before.Version+1, tenantdb.Now(tx)
		if err := countInto(tx, []*Tenant{&after}); err != nil {
			return err
		}
		return audit.WriteTx(tx, audit.Entry{TenantID: id, Action: action, ObjectType: "tenant", ObjectID: id.String(),
			ObjectName: after.Name, Before: before.face(), After: after.face(), Detail: withReason(reason)})
	})
	return after, err
}

// CreateSite adds a site to a tenant.
func (s *Service) CreateSite(ctx context.Context, n NewSite) (site Site, err error) {
	if err := n.Validate(); err != nil {
		return Site{}, err
	}
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		t, err := visibleTenant(tx, n.TenantID, permSitesManage)
		if err != nil {
			return err
		}
		if t.State == Archived {
			return ErrTenantArchived
		}
		if site, err = insertSite(tx, n); err != nil {
			return err
		}
		site.TenantName, site.TenantZone = t.Name, t.Zone
		return audit.WriteTx(tx, site.created())
	})
	return site, err
}

// ListSites is a page of sites by name.
func (s *Service) ListSites(ctx context.Context, f SiteFilter, cursor string, limit int) (page []Site, next string, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		page, next, err = listSites(tx, f, cursor, limit)
		return err
	})
	return page, next, err
}

// GetSite is one site.
func (s *Service) GetSite(ctx context.Context, id uuid.UUID) (site Site, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		if site, err = visibleSite(tx, id, permSitesRead); err != nil {
			return err
		}
		return fillSites(tx, []*Site{&site})
	})
	return site, err
}

// UpdateSite changes, archives or restores a site. One with devices in use cannot be archived; its
// enrolment tokens are revoked with it.
func (s *Service) UpdateSite(ctx context.Context, id uuid.UUID, c SiteChange) (after Site, err error) {
	if err := c.Validate(); err != nil {
		return Site{}, err
	}
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		before, err := visibleSite(tx.Clauses(forUpdate), id, permSitesManage)
		if err != nil {
			return err
		}
		if c.Archived != nil && *c.Archived {
			if err := closeDoor(tx, before.TenantID, &before.ID); err != nil {
				return err
			}
		}
		if err := fillSites(tx, []*Site{&before}); err != nil {
			return err
		}
		if after, err = c.apply(before, before.DeviceCount, tenantdb.Now(tx)); err != nil {
			return err
		}
		if err := updateSite(tx, after, c.Version); err != nil {
			return err
		}
		after.Version, after.UpdatedAt = before.Version+1, tenantdb.Now(tx)
		return audit.WriteTx(tx, audit.Entry{TenantID: after.TenantID, Action: siteAction(before, after), ObjectType: "site",
			ObjectID: id.String(), ObjectName: after.Name, Before: before.face(), After: after.face()})
	})
	return after, err
}

func siteAction(before, after Site) string {
	switch {
	case before.ArchivedAt == nil && after.ArchivedAt != nil:
		return "site.archived"
	case before.ArchivedAt != nil && after.ArchivedAt == nil:
		return "site.restored"
	}
	return "site.updated"
}

func (s Site) created() audit.Entry {
	return audit.Entry{TenantID: s.TenantID, Action: "site.created", ObjectType: "site", ObjectID: s.ID.String(),
		ObjectName: s.Name, After: s.face()}
}

// face is the tenant as the audit log shows it.
func (t Tenant) face() map[string]any {
	return map[string]any{"name": t.Name, "slug": t.Slug, "state": t.State, "zone": t.Zone, "locale": t.Locale,
		"notes": t.Notes, "enrolment_approval": t.EnrolmentApproval, "version": t.Version}
}

// face is the site as the audit log shows it.
func (s Site) face() map[string]any {
	return map[string]any{"name": s.Name, "zone": s.Zone, "address": s.Address, "notes": s.Notes,
		"archived": s.ArchivedAt != nil, "version": s.Version}
}

func withReason(reason string) map[string]any {
	if reason == "" {
		return nil
	}
	return map[string]any{"reason": strings.TrimSpace(reason)}
}
