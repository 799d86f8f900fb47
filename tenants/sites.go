package tenants

import (
	"time"

	"github.com/google/uuid"

	"reeve/api/fault"
)

// Site is a place of a tenant where devices stand.
type Site struct {
	ID         uuid.UUID
	TenantID   uuid.UUID
	Name       string
	Zone       *string // IANA; the tenant's when nil
	Address    string
	Notes      string
	Version    int64
	CreatedAt  time.Time
	UpdatedAt  time.Time
	ArchivedAt *time.Time

	// These are filled on reading.
	TenantName  string `gorm:"-" audit:"-"`
	TenantZone  string `gorm:"-" audit:"-"`
	DeviceCount int64  `gorm:"-" audit:"-"` // devices not retired
	tenantState State
}

// EffectiveZone is the zone that holds at the site.
func (s Site) EffectiveZone() string {
	if s.Zone != nil {
		return *s.Zone
	}
	return s.TenantZone
}

// NewSite is what it takes to create a site.
type NewSite struct {
	TenantID uuid.UUID
	Name     string
	Zone     string // the tenant's when empty
	Address  string
	Notes    string
}

const maxAddress = 500

// Validate reports every faulty field.
func (n NewSite) Validate() error {
	var f fault.Fields
	checkName(&f, "/name", n.Name)
	if n.Zone != "" {
		checkZone(&f, "/zone", n.Zone)
	}
	checkText(&f, "/address", n.Address, maxAddress)
	checkText(&f, "/notes", n.Notes, maxNotes)
	return f.Err()
}

// SiteChange names what to change; nil leaves as it is.
type SiteChange struct {
	Version  int64
	Name     *string
	Zone     *string // empty: the tenant's again
	Address  *string
	Notes    *string
	Archived *bool
}

// Validate reports every faulty field.
func (c SiteChange) Validate() error {
	var f fault.Fields
	if c.Name != nil {
		checkName(&f, "/name", *c.Name)
	}
	if c.Zone != nil && *c.Zone != "" {
		checkZone(&f, "/zone", *c.Zone)
	}
	if c.Address != nil {
		checkText(&f, "/address", *c.Address, maxAddress)
	}
	if c.Notes != nil {
		checkText(&f, "/notes", *c.Notes, maxNotes)
	}
	return f.Err()
}

// apply decides what the site becomes. An archived site changes only by being restored.
func (c SiteChange) apply(s Site, devices int64, now time.Time) (Site, error) {
	if s.tenantState == Archived {
		return s, ErrTenantArchived
	}
	restoring := c.Archived != nil && !*c.Archived
	if s.ArchivedAt != nil && !restoring {
		return s, ErrSiteArchived
	}
	set(&s.Name, trimmed(c.Name))
	set(&s.Address, c.Address)
	set(&s.Notes, c.Notes)
	if c.Zone != nil {
		s.Zone = nonEmpty(*c.Zone)
	}
	switch {
	case c.Archived == nil:
	case restoring:
		s.ArchivedAt = nil
	case devices > 0:
		return s, ErrSiteInUse
	default:
		s.ArchivedAt = &now
	}
	return s, nil
}

// SiteFilter narrows a list; nil means any.
type SiteFilter struct {
	TenantID *uuid.UUID
	Query    *string // part of the name or address, in any letter case
	Archived *bool
}

func nonEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
