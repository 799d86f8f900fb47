package tenants

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"reeve/tenants/scope"
)

func TestRolesAreWellFormed(t *testing.T) {
	owner, _ := FindRole(Owner)
	seen := map[RoleName]bool{}
	for _, r := range Roles() {
		if seen[r.Name] || r.Title == "" || r.Description == "" || len(r.Permissions) == 0 {
			t.Errorf("%+v", r)
		}
		seen[r.Name] = true
		if r.Staff == strings.HasPrefix(string(r.Name), "customer_") {
			t.Errorf("%s: the schema tells staff from customers by the name", r.Name)
		}
		if !slices.IsSorted(r.Permissions) || len(slices.Compact(slices.Clone(r.Permissions))) != len(r.Permissions) {
			t.Errorf("%s: permissions are not a sorted set", r.Name)
		}
		for _, p := range r.Permissions {
			if noun, verb, ok := strings.Cut(p, "."); !ok || noun == "" || verb == "" {
				t.Errorf("%s: %q is not noun.verb", r.Name, p)
			}
			if !slices.Contains(owner.Permissions, p) {
				t.Errorf("%s holds %s, which no owner could grant", r.Name, p)
			}
		}
	}
	if len(seen) != 10 {
		t.Errorf("%d roles", len(seen))
	}
	for _, p := range append(KeyPermissions(), EmergencyPermissions()...) {
		if slices.Contains(credentials, p) {
			t.Errorf("a key or emergency access may hold %s", p)
		}
	}
	if slices.Contains(EmergencyPermissions(), "approvals.decide") {
		t.Error("emergency access replaces a second person")
	}
	for _, p := range lasting {
		if slices.Contains(EmergencyPermissions(), p) {
			t.Errorf("emergency access leaves behind what %s makes", p)
		}
	}
}

// an administrator of customers must be able to appoint any of them
func TestAdministratorsHoldWhatCustomersHold(t *testing.T) {
	admin, _ := FindRole(Administrator)
	for _, r := range Roles() {
		for _, p := range r.Permissions {
			if !r.Staff && !slices.Contains(admin.Permissions, p) {
				t.Errorf("%s holds %s, an administrator does not", r.Name, p)
			}
		}
	}
}

func TestScopeOfGrants(t *testing.T) {
	a, b := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	for _, c := range []struct {
		name      string
		home      uuid.UUID
		grants    []Grant
		emergency *EmergencyGrant
		reach     scope.Reach
		tenants   []scope.ID
		may       []string // "permission@a", "permission@b", "permission@provider"
		mayNot    []string
	}{
		{"nobody", provider, nil, nil, scope.Granted, nil, nil, []string{"devices.read@a", "devices.read@provider"}},
		{"technician everywhere", provider, []Grant{{Role: Technician, AllTenants: true}}, nil, scope.Staff, nil,
			[]string{"jobs.run@a", "scripts.manage@provider"}, []string{"users.manage@a"}},
		{"technician of one", provider, []Grant{{Role: Technician, TenantID: a}}, nil, scope.Granted, []scope.ID{a},
			[]string{"jobs.run@a"}, []string{"jobs.run@b", "jobs.run@provider", "devices.read@b"}},
		{"reads all, works on one", provider, []Grant{{Role: Auditor, AllTenants: true}, {Role: Technician, TenantID: a}}, nil, scope.Staff, nil,
			[]string{"jobs.run@a", "devices.read@b", "audit.read@b"}, []string{"jobs.run@b"}},
		{"two roles on one tenant", provider, []Grant{{Role: Billing, TenantID: a}, {Role: Technician, TenantID: a}}, nil, scope.Granted, []scope.ID{a},
			[]string{"jobs.run@a"}, nil},
		{"customer", a, []Grant{{Role: CustomerAdministrator, TenantID: a}}, nil, scope.Tenant, []scope.ID{a},
			[]string{"users.manage@a"}, []string{"users.manage@b", "jobs.run@a", "tenants.manage@a"}},
		{"customer with a planted staff role", a, []Grant{{Role: Owner, AllTenants: true}}, nil, scope.Tenant, []scope.ID{a}, nil, []string{"users.manage@a"}},
		{"staff with a planted customer role", provider, []Grant{{Role: CustomerAdministrator, TenantID: a}}, nil, scope.Granted, nil, nil, []string{"users.manage@a"}},
		{"unknown role", provider, []Grant{{Role: "root", AllTenants: true}}, nil, scope.Granted, nil, nil, []string{"devices.read@a"}},
		{"emergency", provider, []Grant{{Role: Technician, TenantID: a}}, &EmergencyGrant{b, "fire"}, scope.Granted, []scope.ID{a, b},
			[]string{"jobs.run@b", "audit.read@b"}, []string{"users.manage@b", "approvals.decide@b", "audit.read@a"}},
		{"emergency of a customer", a, nil, &EmergencyGrant{b, "fire"}, scope.Tenant, []scope.ID{a}, nil, []string{"devices.read@b"}},
	} {
		s := ScopeOf(c.home, c.grants, c.emergency)
		if s.Reach != c.reach || !slices.Equal(s.Tenants, c.tenants) {
			t.Errorf("%s: reach %s over %v", c.name, s.Reach, s.Tenants)
		}
		check := func(list []string, want bool) {
			for _, item := range list {
				permission, at, _ := strings.Cut(item, "@")
				tenant := map[string]scope.ID{"a": a, "b": b, "provider": scope.Provider}[at]
				if s.May(permission, tenant) != want {
					t.Errorf("%s: May(%s) is %v", c.name, item, !want)
				}
			}
		}
		check(c.may, true)
		check(c.mayNot, false)
	}
}

// TestNobodyGrantsMoreThanTheyHold goes through every pair of roles, scopes and homes: whatever is
// allowed leaves the grantee with nothing that the grantor does not hold, tenant by tenant.
func TestNobodyGrantsMoreThanTheyHold(t *testing.T) {
	a, b := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	homes := []uuid.UUID{provider, a, b}
	spread := func(role RoleName) []Grant {
		return []Grant{{Role: role, AllTenants: true}, {Role: role, TenantID: provider}, {Role: role, TenantID: a}, {Role: role, TenantID: b}}
	}
	tried, allowed := 0, 0
	for _, actorHome := range homes {
		for _, actorRole := range Roles() {
			for _, actorGrant := range spread(actorRole.Name) {
				actor := ScopeOf(actorHome, []Grant{actorGrant}, nil)
				actor.Actor.Kind = scope.User
				for _, home := range homes {
					for _, role := range Roles() {
						for _, g := range spread(role.Name) {
							tried++
							if grantable(actor, home, g) {
								allowed++
								noStronger(t, actor, ScopeOf(home, []Grant{g}, nil), fmt.Sprintf("%s %v → %s %v", actorHome, actorGrant, home, g), a, b)
							}
						}
					}
				}
			}
		}
	}
	t.Logf("%d combinations, %d allowed", tried, allowed)
	if allowed == 0 || allowed == tried {
		t.Error("the rule decides nothing")
	}
}

// grantable is the whole decision of creating a user of a home with a grant.
func grantable(actor scope.Scope, home uuid.UUID, g Grant) bool {
	u := User{TenantID: home}
	return actor.Sees(home) && validGrants(home, []Grant{g}) == nil && mayManage(actor, u) == nil && mayGrant(actor, u, []Grant{g}) == nil
}

func noStronger(t interface{ Errorf(string, ...any) }, actor, made scope.Scope, what string, tenants ...uuid.UUID) {
	for _, g := range made.Grants {
		for _, p := range g.Permissions {
			if g.AllTenants && !actor.MayEverywhere(p) {
				t.Errorf("%s: %s everywhere", what, p)
			}
		}
	}
	for _, tenant := range append(tenants, provider) {
		for _, g := range made.Grants {
			for _, p := range g.Permissions {
				if made.May(p, tenant) && !actor.May(p, tenant) {
					t.Errorf("%s: %s over %s", what, p, tenant)
				}
			}
		}
		if made.Sees(tenant) && len(made.Grants) > 0 && !actor.Sees(tenant) {
			t.Errorf("%s: sees %s", what, tenant)
		}
	}
}

// TestGrantsProperty does the same for random sets of grants on both sides, with emergency access.
func TestGrantsProperty(t *testing.T) {
	a, b := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	home := rapid.SampledFrom([]uuid.UUID{provider, a, b})
	grant := rapid.Custom(func(t *rapid.T) Grant {
		g := Grant{Role: rapid.SampledFrom(Roles()).Draw(t, "role").Name}
		if g.AllTenants = rapid.Bool().Draw(t, "all"); !g.AllTenants {
			g.TenantID = home.Draw(t, "over")
		}
		return g
	})
	grants := rapid.SliceOfN(grant, 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		var emergency *EmergencyGrant
		if rapid.Bool().Draw(t, "emergency") {
			emergency = &EmergencyGrant{rapid.SampledFrom([]uuid.UUID{a, b}).Draw(t, "at"), "fire"}
		}
		actor := ScopeOf(home.Draw(t, "actor lives"), grants.Draw(t, "actor"), emergency)
		actor.Actor.Kind = scope.User
		target := User{TenantID: home.Draw(t, "target lives"), Grants: grants.Draw(t, "target")}
		given := grants.Draw(t, "given")
		if !actor.Sees(target.TenantID) || validGrants(target.TenantID, given) != nil || mayManage(actor, target) != nil || mayGrant(actor, target, given) != nil {
			return
		}
		lasting := actor
		lasting.Grants = slices.DeleteFunc(slices.Clone(actor.Grants), func(g scope.Grant) bool { return g.Emergency })
		noStronger(t, lasting, ScopeOf(target.TenantID, given, nil), "given", a, b)
		noStronger(t, lasting, ScopeOf(target.TenantID, target.Grants, nil), "managed", a, b)
		actor.Actor.Kind = scope.APIKey
		if mayManage(actor, target) == nil || mayGrant(actor, target, given) == nil {
			t.Errorf("an API key manages users")
		}
	})
}
