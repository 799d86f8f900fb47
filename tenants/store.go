package tenants

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"reeve/api/fault"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// forChange locks what is read until the transaction ends, and lets others refer to it meanwhile;
// forUpdate keeps them from that, too.
var (
	forChange = clause.Locking{Strength: "NO KEY UPDATE"}
	forUpdate = clause.Locking{Strength: "UPDATE"}
)

var tenantsByName = tenantdb.Sort{Name: "name", Columns: []tenantdb.Column{
	{SQL: `lower(tenants.name) COLLATE "C"`, Kind: tenantdb.Text}, {SQL: "tenants.id", Kind: tenantdb.UUID}}}

// sortedTenant carries the sort key as the database sees it: Go lowers some letters differently.
type sortedTenant struct {
	Tenant
	SortKey string
}

func listTenants(tx *gorm.DB, f TenantFilter, cursor string, limit int) ([]Tenant, string, error) {
	q := tx.Table("tenants").Select("tenants.*, lower(tenants.name) AS sort_key")
	q = tenantdb.Permitted(q, permTenantsRead, "tenants.id")
	if f.State != nil {
		q = q.Where("state = ?", *f.State)
	}
	if f.Query != nil {
		q = q.Where("(strpos(lower(name), lower(?)) > 0 OR strpos(slug, lower(?)) > 0)", *f.Query, *f.Query)
	}
	q, err := tenantsByName.Page(q, cursor, limit)
	if err != nil {
		return nil, "", err
	}
	var rows []sortedTenant
	if err := q.Find(&rows).Error; err != nil {
		return nil, "", fmt.Errorf("listing tenants: %w", err)
	}
	rows, next := tenantdb.Next(tenantsByName, rows, limit, func(t sortedTenant) []any { return []any{t.SortKey, t.ID} })
	page, pointers := make([]Tenant, len(rows)), make([]*Tenant, len(rows))
	for i := range rows {
		page[i], pointers[i] = rows[i].Tenant, &page[i]
	}
	return page, next, countInto(tx, pointers)
}

// visibleTenant finds a tenant within reach over which the actor holds the permission. The provider's
// row is readable for everybody in the database, and is nobody's object but the provider's.
func visibleTenant(tx *gorm.DB, id uuid.UUID, permission string) (t Tenant, err error) {
	s := tenantdb.ScopeOf(tx)
	if !s.Sees(id) {
		return t, ErrTenantNotFound
	}
	if err := tx.Table("tenants").Where("id = ?", id).Take(&t).Error; err != nil {
		return t, orNotFound(err, ErrTenantNotFound)
	}
	return t, need(s, permission, id)
}

func insertTenant(tx *gorm.DB, n NewTenant) (Tenant, error) {
	var provider Tenant
	if err := tx.Table("tenants").Where("id = ?", uuid.UUID(scope.Provider)).Take(&provider).Error; err != nil {
		return Tenant{}, fmt.Errorf("reading the provider: %w", err)
	}
	now := tenantdb.Now(tx)
	t := Tenant{ID: uuid.Must(uuid.NewV7()), Name: strings.TrimSpace(n.Name), State: Active, Zone: n.Zone, Locale: n.Locale,
		Notes: n.Notes, EnrolmentApproval: n.EnrolmentApproval, Version: 1, CreatedAt: now, UpdatedAt: now}
	if t.Zone == "" {
		t.Zone = provider.Zone
	}
	if t.Locale == "" {
		t.Locale = provider.Locale
	}
	if n.Slug != "" {
		t.Slug = n.Slug
		made, err := tryInsertTenant(tx, t)
		if err == nil && !made {
			err = ErrSlugTaken
		}
		return t, err
	}
	return t, insertNumbered(tx, &t)
}

// maxNumbered bounds the search for a free slug: two hundred clients of one name are a mistake.
const maxNumbered = 200

func insertNumbered(tx *gorm.DB, t *Tenant) error {
	base := slugOf(t.Name)
	if base == "" {
		base = "tenant" // a name without any letter or digit of the Latin alphabet
	}
	for i := 1; i <= maxNumbered; i++ {
		t.Slug = numbered(base, i)
		made, err := tryInsertTenant(tx, *t)
		if err != nil || made {
			return err
		}
	}
	return ErrSlugTaken
}

// tryInsertTenant reports a taken slug without an SQL error, which would end the transaction.
func tryInsertTenant(tx *gorm.DB, t Tenant) (bool, error) {
	done := tx.Table("tenants").Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "slug"}}, DoNothing: true}).Create(&t)
	if done.Error != nil {
		return false, fmt.Errorf("creating tenant: %w", done.Error)
	}
	return done.RowsAffected == 1, nil
}

func updateTenant(tx *gorm.DB, t Tenant, version int64) error {
	return tenantdb.UpdateVersion(tx.Table("tenants").Where("id = ?", t.ID), version, map[string]any{
		"name": t.Name, "zone": t.Zone, "locale": t.Locale, "notes": t.Notes, "enrolment_approval": t.EnrolmentApproval,
		"state": t.State, "archived_at": t.ArchivedAt, "updated_at": tenantdb.Now(tx)})
}

type tenantCount struct {
	TenantID uuid.UUID
	Sites    int64
	Devices  int64
}

// countInto counts sites and devices of a page of tenants in one statement.
func countInto(tx *gorm.DB, page []*Tenant) error {
	if len(page) == 0 {
		return nil
	}
	ids := make([]uuid.UUID, len(page))
	for i, t := range page {
		ids[i] = t.ID
	}
	var counts []tenantCount
	err := tx.Raw(`SELECT tenant_id, sum(sites) AS sites, sum(devices) AS devices FROM (
			SELECT tenant_id, count(*) AS sites, 0 AS devices FROM sites
			WHERE tenant_id IN ? AND archived_at IS NULL GROUP BY tenant_id
			UNION ALL
			SELECT tenant_id, 0, count(*) FROM devices
			WHERE tenant_id IN ? AND state <> 'retired' GROUP BY tenant_id
		) AS counted GROUP BY tenant_id`, ids, ids).Scan(&counts).Error
	if err != nil {
		return fmt.Errorf("counting sites and devices: %w", err)
	}
	for _, t := range page {
		if i := slices.IndexFunc(counts, func(c tenantCount) bool { return c.TenantID == t.ID }); i >= 0 {
			t.SiteCount, t.DeviceCount = counts[i].Sites, counts[i].Devices
		}
	}
	return nil
}

// closeDoor revokes the enrolment tokens of a tenant, or of one of its sites. An enrolment takes its
// token's row first: one that is under way is waited for, and counted after, and a later one finds its
// token revoked. So nothing can join what is being archived.
func closeDoor(tx *gorm.DB, tenant uuid.UUID, site *uuid.UUID) error {
	q := tx.Table("enrolment_tokens").Where("tenant_id = ? AND revoked_at IS NULL", tenant)
	if site != nil {
		q = q.Where("site_id = ?", *site)
	}
	if err := q.Update("revoked_at", tenantdb.Now(tx)).Error; err != nil {
		return fmt.Errorf("revoking enrolment tokens: %w", err)
	}
	return nil
}

var sitesByName = tenantdb.Sort{Name: "name", Columns: []tenantdb.Column{
	{SQL: `lower(sites.name) COLLATE "C"`, Kind: tenantdb.Text}, {SQL: "sites.id", Kind: tenantdb.UUID}}}

type sortedSite struct {
	Site
	SortKey string
}

func listSites(tx *gorm.DB, f SiteFilter, cursor string, limit int) ([]Site, string, error) {
	q := tx.Table("sites").Select("sites.*, lower(sites.name) AS sort_key")
	q = tenantdb.Permitted(q, permSitesRead, "sites.tenant_id")
	if f.TenantID != nil {
		q = q.Where("tenant_id = ?", *f.TenantID)
	}
	if f.Query != nil {
		q = q.Where("(strpos(lower(name), lower(?)) > 0 OR strpos(lower(address), lower(?)) > 0)", *f.Query, *f.Query)
	}
	if f.Archived != nil {
		q = q.Where("(archived_at IS NOT NULL) = ?", *f.Archived)
	}
	q, err := sitesByName.Page(q, cursor, limit)
	if err != nil {
		return nil, "", err
	}
	var rows []sortedSite
	if err := q.Find(&rows).Error; err != nil {
		return nil, "", fmt.Errorf("listing sites: %w", err)
	}
	rows, next := tenantdb.Next(sitesByName, rows, limit, func(s sortedSite) []any { return []any{s.SortKey, s.ID} })
	page, pointers := make([]Site, len(rows)), make([]*Site, len(rows))
	for i := range rows {
		page[i], pointers[i] = rows[i].Site, &page[i]
	}
	return page, next, fillSites(tx, pointers)
}

func visibleSite(tx *gorm.DB, id uuid.UUID, permission string) (s Site, err error) {
	if err := tx.Table("sites").Where("id = ?", id).Take(&s).Error; err != nil {
		return s, orNotFound(err, ErrSiteNotFound)
	}
	return s, need(tenantdb.ScopeOf(tx), permission, s.TenantID)
}

func insertSite(tx *gorm.DB, n NewSite) (Site, error) {
	now := tenantdb.Now(tx)
	s := Site{ID: uuid.Must(uuid.NewV7()), TenantID: n.TenantID, Name: strings.TrimSpace(n.Name), Zone: nonEmpty(n.Zone),
		Address: n.Address, Notes: n.Notes, Version: 1, CreatedAt: now, UpdatedAt: now}
	return s, siteFault(tx.Table("sites").Create(&s).Error)
}

func updateSite(tx *gorm.DB, s Site, version int64) error {
	return siteFault(tenantdb.UpdateVersion(tx.Table("sites").Where("tenant_id = ? AND id = ?", s.TenantID, s.ID), version,
		map[string]any{"name": s.Name, "zone": s.Zone, "address": s.Address, "notes": s.Notes, "archived_at": s.ArchivedAt,
			"updated_at": tenantdb.Now(tx)}))
}

func siteFault(err error) error {
	if tenantdb.Constraint(err) == "sites_tenant_name" {
		return ErrSiteNameTaken
	}
	return err
}

// fillSites adds the names and zones of the tenants, and the numbers of devices, in one statement each.
func fillSites(tx *gorm.DB, page []*Site) error {
	if len(page) == 0 {
		return nil
	}
	ids, tenantIDs := make([]uuid.UUID, len(page)), make([]uuid.UUID, len(page))
	for i, s := range page {
		ids[i], tenantIDs[i] = s.ID, s.TenantID
	}
	var owners []Tenant
	if err := tx.Table("tenants").Where("id IN ?", tenantIDs).Find(&owners).Error; err != nil {
		return fmt.Errorf("reading the tenants of sites: %w", err)
	}
	var counts []struct {
		SiteID  uuid.UUID
		Devices int64
	}
	err := tx.Table("devices").Select("site_id, count(*) AS devices").
		Where("tenant_id IN ? AND site_id IN ? AND state <> 'retired'", tenantIDs, ids).Group("site_id").Scan(&counts).Error
	if err != nil {
		return fmt.Errorf("counting devices of sites: %w", err)
	}
	for _, s := range page {
		if i := slices.IndexFunc(owners, func(t Tenant) bool { return t.ID == s.TenantID }); i >= 0 {
			s.TenantName, s.TenantZone, s.tenantState = owners[i].Name, owners[i].Zone, owners[i].State
		}
		for _, c := range counts {
			if c.SiteID == s.ID {
				s.DeviceCount = c.Devices
			}
		}
	}
	return nil
}

// orNotFound says in the domain's words that a row is not there.
func orNotFound(err error, notFound *fault.Error) error {
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return notFound
	}
	return err
}
