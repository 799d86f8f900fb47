// Package policy is the one mechanism of inherited settings: provider, tenant, site, tag and device
// each may set fields, the nearest wins, and what it comes to is kept for every device.
package policy

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"reeve/api/fault"
	"reeve/server/fleet"
	"reeve/tenants/scope"
)

// Kind says what a policy is about.
type Kind string

// Endpoint policies say how the endpoint program itself works.
const Endpoint Kind = "endpoint"

// Scope is the place where a policy holds.
type Scope string

// The scopes, from far to near. Default is no row: it is what the program itself says.
const (
	Default  Scope = "default"
	Provider Scope = "provider"
	Tenant   Scope = "tenant"
	Site     Scope = "site"
	Tag      Scope = "tag"
	Device   Scope = "device"
)

// rank orders the scopes from far to near.
var rank = map[Scope]int{Provider: 1, Tenant: 2, Site: 3, Tag: 4, Device: 5}

// Spec is the fields a policy sets. Absent fields inherit; lists replace.
type Spec = map[string]json.RawMessage

// Policy is a set of fields for a place.
type Policy struct {
	ID        uuid.UUID
	TenantID  uuid.UUID // the provider's hold for every tenant
	Kind      Kind
	Name      string
	Scope     Scope
	SiteID    *uuid.UUID
	DeviceID  *uuid.UUID
	Tag       *string
	Priority  int  // among tags the higher wins
	Spec      Spec `gorm:"-"`
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time
	ScopeName string // of the tenant, site, tag or device, for people
}

// ScopeID is the site or device a policy holds for.
func (p Policy) ScopeID() *uuid.UUID {
	if p.SiteID != nil {
		return p.SiteID
	}
	return p.DeviceID
}

// NewPolicy is what it takes to make a policy.
type NewPolicy struct {
	TenantID uuid.UUID
	Kind     Kind
	Name     string
	Scope    Scope
	ScopeID  *uuid.UUID
	Tag      *string
	Priority int
	Spec     json.RawMessage
}

// Change names what to change of a policy; nil leaves as it is.
type Change struct {
	Version  int64
	Name     *string
	Priority *int
	Spec     json.RawMessage
}

const (
	maxName     = 120
	maxTag      = 60
	maxPriority = 1000
)

// Validate reports every faulty field and returns the spec.
func (n NewPolicy) Validate() (Spec, error) {
	var f fault.Fields
	checkName(&f, n.Name)
	f.Check(rank[n.Scope] > 0, "/scope", "use provider, tenant, site, tag or device")
	needsID := n.Scope == Site || n.Scope == Device
	f.Check(needsID == (n.ScopeID != nil), "/scope_id", "sites and devices, and nothing else, need the id")
	f.Check((n.Scope == Tag) == (n.Tag != nil), "/tag", "scope tag, and nothing else, needs the tag")
	if n.Tag != nil {
		f.Check(*n.Tag != "" && *n.Tag == fleet.Line(*n.Tag, maxTag), "/tag", "a tag has 1 to %d characters, no control characters and no space at its ends", maxTag)
	}
	ofProvider := n.TenantID == scope.Provider
	switch n.Scope {
	case Provider:
		f.Check(ofProvider, "/tenant_id", "a policy of scope provider belongs to the provider")
	case Tenant:
		f.Check(!ofProvider, "/scope", "the provider's own policy has scope provider")
	}
	f.Check(n.Scope == Tag || n.Priority == 0, "/priority", "only tags have a priority")
	f.Check(n.Priority >= 0 && n.Priority <= maxPriority, "/priority", "must be between 0 and %d", maxPriority)
	spec := checkSpec(&f, n.Kind, n.Spec)
	return spec, f.Err()
}

func checkName(f *fault.Fields, name string) {
	f.Check(name != "" && name == fleet.Line(name, maxName), "/name", "give 1 to %d characters, no control characters", maxName)
}

// Validate reports every faulty field and returns the spec, nil when it stays.
func (c Change) Validate(kind Kind, at Scope) (Spec, error) {
	var f fault.Fields
	if c.Name != nil {
		checkName(&f, *c.Name)
	}
	if c.Priority != nil {
		f.Check(*c.Priority >= 0 && *c.Priority <= maxPriority, "/priority", "must be between 0 and %d", maxPriority)
		f.Check(at == Tag || *c.Priority == 0, "/priority", "only tags have a priority")
	}
	if c.Spec == nil {
		return nil, f.Err()
	}
	spec := checkSpec(&f, kind, c.Spec)
	return spec, f.Err()
}

// What can go wrong, in the words of its reader.
var (
	ErrNotFound  = fault.New(fault.NotFound, "the policy was not found")
	ErrForbidden = fault.New(fault.Forbidden, "your role does not allow this for the tenant")
	ErrTaken     = fault.New(fault.Conflict, "there is a policy of this kind for this place already; change that one")
	ErrPlace     = fault.New(fault.NotFound, "the tenant, site or device was not found")
)

// Origin is where a value comes from.
type Origin struct {
	Scope    Scope      `json:"scope"`
	PolicyID *uuid.UUID `json:"policy_id,omitempty"`
	Name     string     `json:"-"` // of the policy, read when shown
}

// Effective is what holds for a device.
type Effective struct {
	TenantID uuid.UUID
	DeviceID uuid.UUID
	Kind     Kind
	Spec     Spec
	Origins  map[string]Origin
	Hash     string
}

// Fields lists the names of the fields, in order.
func (e Effective) Fields() []string { return slices.Sorted(maps.Keys(e.Spec)) }
