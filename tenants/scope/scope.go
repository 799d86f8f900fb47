// Package scope says who acts, for which tenants and with which permissions, carried in a context.
//
// It decides nothing about a request: server/auth fills it, tenantdb turns it into a database role,
// audit writes it down.
package scope

import (
	"context"
	"slices"
)

// ID is a UUID. The type is an alias so that a uuid.UUID assigns to it without conversion.
type ID = [16]byte

// Provider is the tenant row of the MSP itself. It is fixed: provider-wide rows belong to it.
var Provider = ID{0x01, 0x90, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0x01}

// Reach is how much of the database an actor's transactions see.
type Reach string

// The reaches, each a database role.
const (
	Nothing Reach = ""        // the zero scope: no transaction can be opened
	Tenant  Reach = "tenant"  // one tenant
	Granted Reach = "granted" // a list of tenants
	Staff   Reach = "staff"   // every tenant
	System  Reach = "system"  // sweeps and ingest
)

// ActorKind says what kind of being acts.
type ActorKind string

// The kinds of actors.
const (
	User   ActorKind = "user"
	APIKey ActorKind = "api_key"
	Device ActorKind = "device"
	Server ActorKind = "system"
)

// Actor is who acts and from where, as the audit log records it.
type Actor struct {
	Kind      ActorKind
	ID        ID
	MakerID   ID     // of an API key: the person who made it and answers for it
	TenantID  ID     // where the actor itself lives
	Name      string // e-mail address of a user, name of a key, host name of a device
	SessionID ID
	Address   string // remote IP address
	RequestID string
}

// Grant gives permissions over one tenant, or over all of them.
type Grant struct {
	AllTenants  bool
	TenantID    ID // when not AllTenants
	Permissions []string
	// Emergency marks what break-glass access adds: it serves its holder and cannot be passed on.
	Emergency bool
}

// Scope is the whole of what a request may do.
type Scope struct {
	Reach   Reach
	Tenants []ID // for Tenant (exactly one) and Granted
	Actor   Actor
	Grants  []Grant
	// SteppedUp is true while the actor's identity was confirmed again a short time ago.
	SteppedUp bool
	// SetupOnly is true for a token that serves only to set up a required second factor.
	SetupOnly bool
	// Emergency names the reason while the actor works under break-glass access.
	Emergency string
}

type key struct{}

// With puts a scope into a context.
func With(ctx context.Context, s Scope) context.Context { return context.WithValue(ctx, key{}, s) }

// From reads the scope; without one it is the zero Scope, which reaches nothing.
func From(ctx context.Context) Scope {
	s, _ := ctx.Value(key{}).(Scope)
	return s
}

// AsSystem is the scope of the server's own sweeps; actor names which one ("schedule", "migration").
func AsSystem(ctx context.Context, actor string) context.Context {
	return With(ctx, Scope{Reach: System, Actor: Actor{Kind: Server, TenantID: Provider, Name: actor}})
}

// ForTenant narrows a scope to one tenant, keeping who acts. The caller has checked that it may.
func (s Scope) ForTenant(id ID) Scope {
	s.Reach, s.Tenants = Tenant, []ID{id}
	return s
}

// Sees tells whether the tenant is within reach.
func (s Scope) Sees(tenant ID) bool {
	switch s.Reach {
	case Staff, System:
		return true
	case Tenant, Granted:
		return slices.Contains(s.Tenants, tenant)
	}
	return false
}

// May tells whether the actor holds a permission over a tenant. The system may everything.
func (s Scope) May(permission string, tenant ID) bool {
	if s.Reach == System {
		return true
	}
	for _, g := range s.Grants {
		if (g.AllTenants || g.TenantID == tenant) && slices.Contains(g.Permissions, permission) {
			return true
		}
	}
	return false
}

// MayAnywhere tells whether the actor holds a permission over at least one tenant.
func (s Scope) MayAnywhere(permission string) bool {
	if s.Reach == System {
		return true
	}
	for _, g := range s.Grants {
		if slices.Contains(g.Permissions, permission) {
			return true
		}
	}
	return false
}

// MayEverywhere tells whether the actor holds a permission over all tenants.
func (s Scope) MayEverywhere(permission string) bool {
	if s.Reach == System {
		return true
	}
	for _, g := range s.Grants {
		if g.AllTenants && slices.Contains(g.Permissions, permission) {
			return true
		}
	}
	return false
}

// Permitted lists the tenants over which the actor holds a permission; all is true when it is every
// one, and then the list is empty. Lists use it: row-level security bounds what an actor reaches, and
// this what each of its grants permits there.
func (s Scope) Permitted(permission string) (tenants []ID, all bool) {
	if s.MayEverywhere(permission) {
		return nil, true
	}
	for _, g := range s.Grants {
		if slices.Contains(g.Permissions, permission) && !slices.Contains(tenants, g.TenantID) {
			tenants = append(tenants, g.TenantID)
		}
	}
	return tenants, false
}

// Person is who answers for what is done: the user, or the maker of the API key that acts.
func (a Actor) Person() ID {
	if a.Kind == APIKey {
		return a.MakerID
	}
	return a.ID
}

// IsStaff tells whether the actor belongs to the provider.
func (s Scope) IsStaff() bool { return s.Actor.TenantID == Provider }
