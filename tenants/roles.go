package tenants

import (
	"slices"

	"github.com/google/uuid"

	"reeve/tenants/scope"
)

// RoleName names a role. Staff roles reach all or named tenants, customer roles exactly their own.
type RoleName string

// The roles.
const (
	Owner         RoleName = "owner"
	Administrator RoleName = "administrator"
	Technician    RoleName = "technician"
	Dispatcher    RoleName = "dispatcher"
	Billing       RoleName = "billing"
	Auditor       RoleName = "auditor"

	CustomerUser          RoleName = "customer_user"
	CustomerAccounting    RoleName = "customer_accounting"
	CustomerManager       RoleName = "customer_manager"
	CustomerAdministrator RoleName = "customer_administrator"
)

// Role is a named set of permissions.
type Role struct {
	Name        RoleName
	Title       string
	Description string
	Staff       bool
	Permissions []string
}

// OwnersManage is what an owner holds beyond an administrator. No operation asks for it: who grants a
// role must hold all of it, so only owners appoint owners, or act upon their accounts.
const OwnersManage = "owners.manage"

// Building blocks of the roles below.
var (
	readFleet = []string{"tenants.read", "sites.read", "devices.read", "custom_fields.read"}
	readWork  = []string{"scripts.read", "jobs.read", "schedules.read", "policies.read", "approvals.read"}
	readAdmin = []string{"users.read", "api_keys.read", "settings.read", "audit.read"}
	doWork    = []string{"sites.manage", "devices.manage", "devices.enrol", "devices.approve", "scripts.manage",
		"jobs.run", "jobs.cancel", "schedules.manage", "custom_fields.write"}
	doAdmin = []string{"tenants.manage", "policies.manage", "settings.manage", "custom_fields.manage", "approvals.decide"}
	// credentials decide who gets in as what: no API key holds any of them, nor emergency access.
	credentials = []string{"users.manage", "grants.manage", "api_keys.manage", "break_glass.use", OwnersManage}
	// own is self-service: what a customer sees and asks for in their own name, and their company's. It
	// ranks the customer roles already; operations ask for it as the capabilities for customers arrive.
	ownUser       = []string{"own.read", "own.request"}
	ownAccounting = []string{"own.invoices"}
	ownManager    = []string{"own.reports", "own.approve"}
)

func join(sets ...[]string) []string {
	all := slices.Concat(sets...)
	slices.Sort(all)
	return slices.Compact(all)
}

// roles is the whole table. What a role holds changes here and nowhere else.
var roles = []Role{
	{Owner, "Owner", "Everything, also appointing owners.", true,
		join(readFleet, readWork, readAdmin, doWork, doAdmin, credentials, ownUser, ownAccounting, ownManager)},
	{Administrator, "Administrator", "Runs the installation or some tenants of it: users, settings, policies and all work.", true,
		join(readFleet, readWork, readAdmin, doWork, doAdmin, ownUser, ownAccounting, ownManager,
			without(credentials, OwnersManage))},
	{Technician, "Technician", "Looks after devices: enrols them, runs scripts and jobs, keeps schedules.", true,
		join(readFleet, readWork, doWork, []string{"approvals.decide", "users.read", "break_glass.use"})},
	{Dispatcher, "Dispatcher", "Sees tenants, devices and work in progress to plan and answer.", true,
		join(readFleet, readWork, []string{"users.read"})},
	{Billing, "Billing", "Sees tenants and what they have, to close months and export.", true,
		join(readFleet, []string{"users.read"})},
	{Auditor, "Auditor", "Reads everything and changes nothing.", true, join(readFleet, readWork, readAdmin)},

	{CustomerUser, "User", "Sees and asks for things in their own name.", false, join(ownUser)},
	{CustomerAccounting, "Accounting", "Also sees contracts and invoices of the company.", false, join(ownUser, ownAccounting)},
	{CustomerManager, "Manager", "Also sees the company's devices, work and reports, and approves changes.", false,
		join(ownUser, ownAccounting, ownManager, readFleet, []string{"jobs.read", "schedules.read", "approvals.read", "users.read"})},
	{CustomerAdministrator, "Administrator", "Also manages the company's users and reads its audit log.", false,
		join(ownUser, ownAccounting, ownManager, readFleet, []string{"jobs.read", "schedules.read", "approvals.read",
			"users.read", "users.manage", "grants.manage", "audit.read"})},
}

func without(set []string, drop string) []string {
	return slices.DeleteFunc(slices.Clone(set), func(p string) bool { return p == drop })
}

// Roles lists all roles, strongest first on each side.
func Roles() []Role { return slices.Clone(roles) }

// FindRole finds a role by its name.
func FindRole(name RoleName) (Role, bool) {
	i := slices.IndexFunc(roles, func(r Role) bool { return r.Name == name })
	if i < 0 {
		return Role{}, false
	}
	return roles[i], true
}

// KeyPermissions are the permissions that an API key may hold: all but those over credentials.
func KeyPermissions() []string {
	owner, _ := FindRole(Owner)
	return slices.DeleteFunc(slices.Clone(owner.Permissions), func(p string) bool { return slices.Contains(credentials, p) })
}

// lasting permissions make things that go on working by themselves when the hour is over: a schedule, a
// script that others run, a token that lets machines in, a policy.
var lasting = []string{"schedules.manage", "scripts.manage", "devices.enrol", "policies.manage"}

// EmergencyPermissions are what break-glass access adds over one tenant: the work of a technician and
// the look around of an administrator. Never credentials, never what outlasts the access, and never the part of a second person.
func EmergencyPermissions() []string {
	now := slices.DeleteFunc(slices.Clone(doWork), func(p string) bool { return slices.Contains(lasting, p) })
	return join(readFleet, readWork, now, []string{"users.read", "settings.read", "audit.read"})
}

// Grant is a role over all tenants or over one.
type Grant struct {
	Role       RoleName
	AllTenants bool
	TenantID   uuid.UUID // when not AllTenants
}

// EmergencyGrant is break-glass access that is running.
type EmergencyGrant struct {
	TenantID uuid.UUID
	Reason   string
}

// ScopeOf computes what somebody of a tenant may do by their grants.
func ScopeOf(home uuid.UUID, grants []Grant, emergency *EmergencyGrant) scope.Scope {
	var s scope.Scope
	s.Actor.TenantID = home
	everywhere := false
	for _, g := range grants {
		role, known := FindRole(g.Role)
		if !known || role.Staff != (home == provider) {
			continue // a role that this program does not know, or that the user cannot have, gives nothing
		}
		everywhere = everywhere || g.AllTenants
		add := scope.Grant{AllTenants: g.AllTenants, Permissions: role.Permissions}
		if !g.AllTenants {
			add.TenantID = g.TenantID
		}
		s.Grants = append(s.Grants, add)
	}
	if emergency != nil && home == provider {
		s.Emergency = emergency.Reason
		s.Grants = append(s.Grants, scope.Grant{TenantID: emergency.TenantID, Permissions: EmergencyPermissions(), Emergency: true})
	}
	switch {
	case home != provider:
		s.Reach, s.Tenants = scope.Tenant, []scope.ID{home}
	case everywhere:
		s.Reach = scope.Staff
	default:
		s.Reach = scope.Granted
		for _, g := range s.Grants {
			if !slices.Contains(s.Tenants, g.TenantID) {
				s.Tenants = append(s.Tenants, g.TenantID)
			}
		}
	}
	return s
}

// holds tells whether the actor itself holds all that a grant would give. What it holds only by
// emergency access does not count: that must not outlive its hour in somebody else's hands.
func holds(s scope.Scope, g Grant) bool {
	role, known := FindRole(g.Role)
	if !known {
		return false
	}
	lasting := s
	lasting.Grants = slices.DeleteFunc(slices.Clone(s.Grants), func(g scope.Grant) bool { return g.Emergency })
	for _, p := range role.Permissions {
		if g.AllTenants && !lasting.MayEverywhere(p) || !g.AllTenants && !lasting.May(p, g.TenantID) {
			return false
		}
	}
	return true
}
