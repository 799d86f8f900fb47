package tenants

import (
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"reeve/api/fault"
	"reeve/tenants/scope"
)

// UserState is where somebody's account stands.
type UserState string

// The states.
const (
	UserInvited  UserState = "invited" // has not set a password yet
	UserActive   UserState = "active"
	UserDisabled UserState = "disabled" // cannot sign in; what they did keeps their name
)

// The permissions over users, over the tenant where the user lives.
const (
	permUsersRead    = "users.read"
	permUsersManage  = "users.manage"
	permGrantsManage = "grants.manage"
)

// maxGrants bounds what one person may be granted: more named tenants than that is "all".
const maxGrants = 5000

// What can go wrong with users.
var (
	ErrUserNotFound = fault.New(fault.NotFound, "user not found")
	ErrEmailTaken   = fault.New(fault.Conflict, "the tenant already has a user with this e-mail address")
	ErrTooStrong    = fault.New(fault.Forbidden, "you cannot give, take or manage more than you hold yourself")
	ErrLastOwner    = fault.New(fault.Conflict, "this is the last owner who can sign in; appoint another one first")
	ErrOwnAccount   = fault.New(fault.Conflict, "you cannot disable your own account")
	ErrPeopleOnly   = fault.New(fault.Forbidden, "only a person may manage users, not an API key")
)

// User is somebody who signs in.
type User struct {
	ID           uuid.UUID
	TenantID     uuid.UUID // where they live: the provider for staff
	TenantName   string
	Email        string
	Name         string
	Locale       string
	State        UserState
	SecondFactor bool
	LastSignInAt *time.Time
	Version      int64
	CreatedAt    time.Time
	UpdatedAt    time.Time
	Grants       []Grant
}

// IsStaff tells the provider's people from customers.
func (u User) IsStaff() bool { return u.TenantID == provider }

// NewUser is what it takes to create a user.
type NewUser struct {
	TenantID uuid.UUID
	Email    string
	Name     string
	Locale   string // the tenant's when empty
	Grants   []Grant
}

// Validate reports every faulty field.
func (n NewUser) Validate() error {
	var f fault.Fields
	f.Check(n.TenantID != uuid.Nil, "/tenant_id", "name the tenant where the user lives")
	checkEmail(&f, "/email", n.Email)
	checkName(&f, "/name", n.Name)
	if n.Locale != "" {
		checkLocale(&f, "/locale", n.Locale)
	}
	checkGrants(&f, n.TenantID, n.Grants)
	return f.Err()
}

// UserChange names what to change; nil leaves as it is.
type UserChange struct {
	Version  int64
	Email    *string
	Name     *string
	Locale   *string
	Disabled *bool
}

// Validate reports every faulty field.
func (c UserChange) Validate() error {
	var f fault.Fields
	if c.Email != nil {
		checkEmail(&f, "/email", *c.Email)
	}
	if c.Name != nil {
		checkName(&f, "/name", *c.Name)
	}
	if c.Locale != nil {
		checkLocale(&f, "/locale", *c.Locale)
	}
	return f.Err()
}

// apply decides what the user becomes.
func (c UserChange) apply(u User, passwordSet bool) User {
	if c.Email != nil {
		u.Email = strings.TrimSpace(*c.Email)
	}
	set(&u.Name, trimmed(c.Name))
	set(&u.Locale, c.Locale)
	switch {
	case c.Disabled == nil:
	case *c.Disabled:
		u.State = UserDisabled
	case u.State == UserDisabled && passwordSet:
		u.State = UserActive
	case u.State == UserDisabled:
		u.State = UserInvited
	}
	return u
}

// UserFilter narrows a list; nil means any.
type UserFilter struct {
	TenantID *uuid.UUID
	State    *UserState
	Query    *string // part of the name or e-mail address, in any letter case
}

func checkEmail(f *fault.Fields, pointer, address string) {
	address = strings.TrimSpace(address)
	a, err := mail.ParseAddress(address)
	f.Check(err == nil && a.Address == address && len(address) <= 254 && printable(address, false), pointer,
		"give a plain e-mail address such as ann@example.com")
}

// checkGrants refuses grants that make no sense, whoever gives them.
func checkGrants(f *fault.Fields, home uuid.UUID, grants []Grant) {
	f.Check(len(grants) <= maxGrants, "/grants", "grant all tenants instead of more than %d", maxGrants)
	for i, g := range grants {
		at := pointerAt("/grants", i)
		role, known := FindRole(g.Role)
		switch {
		case !known:
			f.Add(at+"/role", "%q is not a role", g.Role)
		case role.Staff != (home == provider):
			f.Add(at+"/role", "staff roles are for the provider's people, customer roles for a tenant's own")
		case !role.Staff && (g.AllTenants || g.TenantID != home):
			f.Add(at+"/tenant_ids", "a customer's role is over their own tenant only")
		case !g.AllTenants && g.TenantID == uuid.Nil:
			f.Add(at+"/tenant_ids", "name the tenant, or grant all tenants")
		case g.Role == Owner && !g.AllTenants:
			f.Add(at+"/all_tenants", "an owner owns the whole installation")
		case g.AllTenants && g.TenantID != uuid.Nil:
			f.Add(at+"/tenant_ids", "leave tenants out when all are granted")
		}
		f.Check(!slices.ContainsFunc(grants[:i], g.repeats), at, "stands here twice")
	}
}

// repeats tells whether two grants would be one row: all tenants is kept as a row of the provider.
func (g Grant) repeats(other Grant) bool {
	at := func(g Grant) uuid.UUID {
		if g.AllTenants {
			return provider
		}
		return g.TenantID
	}
	return g.Role == other.Role && at(g) == at(other)
}

// mayManage decides whether the actor may change a user at all: only somebody who holds everything
// that the user holds. Otherwise whoever resets a password would inherit more than they were given.
func mayManage(s scope.Scope, u User) error {
	if s.Reach == scope.System {
		return nil
	}
	if s.Actor.Kind != scope.User {
		return ErrPeopleOnly
	}
	if err := need(s, permUsersManage, u.TenantID); err != nil {
		return err
	}
	for _, g := range u.Grants {
		if !holds(s, g) {
			return ErrTooStrong
		}
	}
	return nil
}

// mayGrant decides whether the actor may give a user these grants instead of those they have.
func mayGrant(s scope.Scope, u User, grants []Grant) error {
	if s.Reach == scope.System {
		return nil
	}
	if s.Actor.Kind != scope.User {
		return ErrPeopleOnly
	}
	if len(grants) > 0 || len(u.Grants) > 0 {
		if err := need(s, permGrantsManage, u.TenantID); err != nil {
			return err
		}
	}
	for _, g := range slices.Concat(grants, u.Grants) {
		// Both sides of a two-object act: the user, above, and the tenant that the grant reaches.
		manages := g.AllTenants && s.MayEverywhere(permGrantsManage) || !g.AllTenants && s.May(permGrantsManage, g.TenantID)
		if !manages || !holds(s, g) {
			return ErrTooStrong
		}
	}
	return nil
}

// face is the user as the audit log shows it.
func (u User) face() map[string]any {
	return map[string]any{"email": u.Email, "name": u.Name, "locale": u.Locale, "state": u.State, "version": u.Version,
		"grants": grantFaces(u.Grants)}
}

func grantFaces(grants []Grant) []map[string]any {
	faces := make([]map[string]any, len(grants))
	for i, g := range grants {
		faces[i] = map[string]any{"role": g.Role, "all_tenants": g.AllTenants}
		if !g.AllTenants {
			faces[i]["tenant_id"] = g.TenantID
		}
	}
	return faces
}
