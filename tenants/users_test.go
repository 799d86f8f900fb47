package tenants_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/dbtest"
	"reeve/tenants"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

var home = uuid.UUID(scope.Provider)

// as is a context of the user, computed from their grants as signing in would.
func as(t *testing.T, u tenants.User) context.Context {
	t.Helper()
	s := tenants.ScopeOf(u.TenantID, u.Grants, nil)
	s.Actor = scope.Actor{Kind: scope.User, ID: u.ID, TenantID: u.TenantID, Name: u.Email, Address: "192.0.2.7"}
	return scope.With(t.Context(), s)
}

// addUser makes a user who can sign in, whoever is allowed to.
func addUser(t *testing.T, db *tenantdb.DB, in uuid.UUID, email string, grants ...tenants.Grant) tenants.User {
	t.Helper()
	var u tenants.User
	err := db.System(dbtest.System(t), func(tx *gorm.DB) (err error) {
		u, err = tenants.NewUsers(db).CreateTx(tx, tenants.NewUser{TenantID: in, Email: email, Name: "Ann " + email, Grants: grants},
			func(tx *gorm.DB, _, u tenants.User) error {
				return tx.Exec("UPDATE users SET state = 'active' WHERE id = ?", u.ID).Error
			})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	u.State = tenants.UserActive
	return u
}

func everywhere(role tenants.RoleName) tenants.Grant {
	return tenants.Grant{Role: role, AllTenants: true}
}
func over(role tenants.RoleName, tenant uuid.UUID) tenants.Grant {
	return tenants.Grant{Role: role, TenantID: tenant}
}

func TestUserLife(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	users := tenants.NewUsers(db)
	acme := addTenant(t, db, "Acme")
	owner := addUser(t, db, home, "owner@msp.example", everywhere(tenants.Owner))
	ctx := as(t, owner)

	u, err := users.Create(ctx, tenants.NewUser{TenantID: acme.ID, Email: " Joe@Acme.example ", Name: "Joe", Grants: []tenants.Grant{over(tenants.CustomerUser, acme.ID)}}, nil)
	if err != nil || u.State != tenants.UserInvited || u.Email != "Joe@Acme.example" || u.TenantName != "Acme" || u.Locale != acme.Locale {
		t.Fatalf("%+v %v", u, err)
	}
	if _, err := users.Create(ctx, tenants.NewUser{TenantID: acme.ID, Email: "joe@ACME.example", Name: "Joe"}, nil); !errors.Is(err, tenants.ErrEmailTaken) {
		t.Errorf("the same address twice: %v", err)
	}
	if _, err := users.Create(ctx, tenants.NewUser{TenantID: home, Email: "joe@acme.example", Name: "Joe"}, nil); err != nil {
		t.Errorf("the same address in another tenant: %v", err)
	}
	changed, err := users.Update(ctx, u.ID, tenants.UserChange{Version: u.Version, Name: ptr("Joseph"), Disabled: ptr(true)}, nil)
	if err != nil || changed.Name != "Joseph" || changed.State != tenants.UserDisabled || changed.Version != u.Version+1 {
		t.Fatalf("%+v %v", changed, err)
	}
	if _, err := users.Update(ctx, u.ID, tenants.UserChange{Version: u.Version, Name: ptr("Late")}, nil); fault.KindOf(err) != fault.Conflict {
		t.Errorf("a lost race: %v", err)
	}
	// Somebody who never set a password is invited again, not active.
	if changed, err = users.Update(ctx, u.ID, tenants.UserChange{Version: changed.Version, Disabled: ptr(false)}, nil); err != nil || changed.State != tenants.UserInvited {
		t.Errorf("%s %v", changed.State, err)
	}
	changed, err = users.SetGrants(ctx, u.ID, changed.Version, []tenants.Grant{over(tenants.CustomerManager, acme.ID)}, nil)
	if err != nil || len(changed.Grants) != 1 || changed.Grants[0].Role != tenants.CustomerManager {
		t.Errorf("%+v %v", changed.Grants, err)
	}
	for _, action := range []string{"user.created", "user.disabled", "user.enabled", "user.grants_changed"} {
		if r := audited(t, db, acme.ID, action); r.ObjectID != u.ID.String() || *r.ActorID != scope.ID(owner.ID) {
			t.Errorf("%s: %+v", action, r)
		}
	}
	page, next, err := users.List(ctx, tenants.UserFilter{Query: ptr("JOS")}, "", 10)
	if err != nil || next != "" || len(page) != 1 || page[0].ID != u.ID || len(page[0].Grants) != 1 {
		t.Errorf("%+v %q %v", page, next, err)
	}
	if page, next, err = users.List(ctx, tenants.UserFilter{}, "", 1); err != nil || len(page) != 1 || next == "" {
		t.Errorf("%d users, next %q, %v", len(page), next, err)
	}
	if page, _, err = users.List(ctx, tenants.UserFilter{}, next, 10); err != nil || len(page) != 2 {
		t.Errorf("%d users on the second page, %v", len(page), err)
	}
}

func TestUserFaultsAreNamed(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	users := tenants.NewUsers(db)
	acme := addTenant(t, db, "Acme")
	ctx := as(t, addUser(t, db, home, "owner@msp.example", everywhere(tenants.Owner)))
	for _, c := range []struct {
		pointer string
		n       tenants.NewUser
	}{
		{"/email", tenants.NewUser{TenantID: acme.ID, Email: "Joe <joe@acme.example>", Name: "Joe"}},
		{"/email", tenants.NewUser{TenantID: acme.ID, Email: "joe@acme.example\r\nBcc: x@y.example", Name: "Joe"}},
		{"/name", tenants.NewUser{TenantID: acme.ID, Email: "joe@acme.example", Name: " "}},
		{"/tenant_id", tenants.NewUser{Email: "joe@acme.example", Name: "Joe"}},
		{"/locale", tenants.NewUser{TenantID: acme.ID, Email: "joe@acme.example", Name: "Joe", Locale: "klingon!"}},
		{"/grants/0/role", tenants.NewUser{TenantID: acme.ID, Email: "joe@acme.example", Name: "Joe", Grants: []tenants.Grant{over("root", acme.ID)}}},
		{"/grants/0/role", tenants.NewUser{TenantID: acme.ID, Email: "joe@acme.example", Name: "Joe", Grants: []tenants.Grant{over(tenants.Technician, acme.ID)}}},
		{"/grants/0/role", tenants.NewUser{TenantID: home, Email: "joe@acme.example", Name: "Joe", Grants: []tenants.Grant{over(tenants.CustomerUser, acme.ID)}}},
		{"/grants/0/tenant_ids", tenants.NewUser{TenantID: acme.ID, Email: "joe@acme.example", Name: "Joe", Grants: []tenants.Grant{over(tenants.CustomerUser, home)}}},
		{"/grants/0/all_tenants", tenants.NewUser{TenantID: home, Email: "joe@acme.example", Name: "Joe", Grants: []tenants.Grant{over(tenants.Owner, acme.ID)}}},
		{"/grants/1", tenants.NewUser{TenantID: home, Email: "joe@acme.example", Name: "Joe", Grants: []tenants.Grant{everywhere(tenants.Auditor), over(tenants.Auditor, home)}}},
		{"/grants", tenants.NewUser{TenantID: home, Email: "joe@acme.example", Name: "Joe", Grants: []tenants.Grant{over(tenants.Auditor, uuid.Must(uuid.NewV7()))}}},
	} {
		_, err := users.Create(ctx, c.n, nil)
		f, ok := fault.As(err)
		if !ok || f.Kind != fault.Invalid || !slices.ContainsFunc(f.Fields, func(x fault.Field) bool { return x.Pointer == c.pointer }) {
			t.Errorf("%s: %v", c.pointer, err)
		}
	}
	if _, err := users.Create(ctx, tenants.NewUser{TenantID: uuid.Must(uuid.NewV7()), Email: "a@b.example", Name: "A"}, nil); fault.KindOf(err) != fault.NotFound {
		t.Errorf("an unknown tenant: %v", err)
	}
}

func TestTheLastOwnerStays(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	users := tenants.NewUsers(db)
	first := addUser(t, db, home, "first@msp.example", everywhere(tenants.Owner))
	ctx := as(t, first)
	if _, err := users.SetGrants(ctx, first.ID, first.Version, []tenants.Grant{everywhere(tenants.Administrator)}, nil); !errors.Is(err, tenants.ErrLastOwner) {
		t.Errorf("demoting the last owner: %v", err)
	}
	if _, err := users.SetGrants(ctx, first.ID, first.Version, nil, nil); !errors.Is(err, tenants.ErrLastOwner) {
		t.Errorf("stripping the last owner: %v", err)
	}
	if _, err := users.Update(ctx, first.ID, tenants.UserChange{Version: first.Version, Disabled: ptr(true)}, nil); !errors.Is(err, tenants.ErrOwnAccount) {
		t.Errorf("disabling oneself: %v", err)
	}
	// One who is only invited cannot appoint anybody yet.
	invited, err := users.Create(ctx, tenants.NewUser{TenantID: home, Email: "invited@msp.example", Name: "I", Grants: []tenants.Grant{everywhere(tenants.Owner)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := users.SetGrants(ctx, first.ID, first.Version, nil, nil); !errors.Is(err, tenants.ErrLastOwner) {
		t.Errorf("with an invited second owner: %v", err)
	}
	second := addUser(t, db, home, "second@msp.example", everywhere(tenants.Owner))
	// Two owners demote each other at once: one of them remains.
	var group sync.WaitGroup
	failures := make([]error, 2)
	for i, pair := range [][2]tenants.User{{first, second}, {second, first}} {
		group.Go(func() {
			_, failures[i] = users.SetGrants(as(t, pair[0]), pair[1].ID, pair[1].Version, nil, nil)
		})
	}
	group.Wait()
	if (failures[0] == nil) == (failures[1] == nil) {
		t.Errorf("%v", failures)
	}
	_ = invited
}

func TestACustomerAdministratorManagesTheirOwn(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	users := tenants.NewUsers(db)
	acme, zeta := addTenant(t, db, "Acme"), addTenant(t, db, "Zeta")
	admin := addUser(t, db, acme.ID, "admin@acme.example", over(tenants.CustomerAdministrator, acme.ID))
	neighbour := addUser(t, db, zeta.ID, "joe@zeta.example", over(tenants.CustomerUser, zeta.ID))
	technician := addUser(t, db, home, "tech@msp.example", over(tenants.Technician, acme.ID))
	ctx := as(t, admin)

	u, err := users.Create(ctx, tenants.NewUser{TenantID: acme.ID, Email: "new@acme.example", Name: "New", Grants: []tenants.Grant{over(tenants.CustomerAdministrator, acme.ID)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := users.SetGrants(ctx, u.ID, u.Version, []tenants.Grant{over(tenants.CustomerUser, acme.ID)}, nil); err != nil {
		t.Error(err)
	}
	for name, try := range map[string]func() error{
		"create staff": func() error {
			_, err := users.Create(ctx, tenants.NewUser{TenantID: home, Email: "x@msp.example", Name: "X"}, nil)
			return err
		},
		"create a neighbour": func() error {
			_, err := users.Create(ctx, tenants.NewUser{TenantID: zeta.ID, Email: "x@zeta.example", Name: "X"}, nil)
			return err
		},
		"read a neighbour": func() error { _, err := users.Get(ctx, neighbour.ID); return err },
		"change a neighbour": func() error {
			_, err := users.Update(ctx, neighbour.ID, tenants.UserChange{Version: 1, Name: ptr("X")}, nil)
			return err
		},
		"grant to a neighbour": func() error {
			_, err := users.SetGrants(ctx, neighbour.ID, 1, nil, nil)
			return err
		},
		"read staff":   func() error { _, err := users.Get(ctx, technician.ID); return err },
		"strip staff":  func() error { _, err := users.SetGrants(ctx, technician.ID, 1, nil, nil); return err },
		"manage staff": func() error { _, err := users.Manage(ctx, technician.ID, "x.y", nil); return err },
	} {
		if err := try(); fault.KindOf(err) != fault.NotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	if page, _, err := users.List(ctx, tenants.UserFilter{}, "", 0); err != nil || len(page) != 2 {
		t.Errorf("%d users, %v", len(page), err)
	}
	// A user without users.manage sees and changes themselves only.
	plain := as(t, addUser(t, db, acme.ID, "plain@acme.example", over(tenants.CustomerUser, acme.ID)))
	if _, err := users.Update(plain, admin.ID, tenants.UserChange{Version: 1, Name: ptr("X")}, nil); fault.KindOf(err) != fault.NotFound {
		t.Errorf("a plain user changes the administrator: %v", err)
	}
	if me, err := users.UpdateOwn(plain, tenants.UserChange{Version: 1, Name: ptr("Plain"), Email: ptr("admin@msp.example")}); err != nil || me.Name != "Plain" || me.Email != "plain@acme.example" {
		t.Errorf("%+v %v", me, err)
	}
}

// TestHiddenGrantsCount: who manages a user must hold what the user holds in tenants the actor cannot see.
func TestHiddenGrantsCount(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	users := tenants.NewUsers(db)
	acme, zeta := addTenant(t, db, "Acme"), addTenant(t, db, "Zeta")
	partial := addUser(t, db, home, "partial@msp.example", over(tenants.Administrator, home), over(tenants.Administrator, acme.ID))
	wide := addUser(t, db, home, "wide@msp.example", over(tenants.Technician, acme.ID), over(tenants.Technician, zeta.ID))
	narrow := addUser(t, db, home, "narrow@msp.example", over(tenants.Technician, acme.ID))
	ctx := as(t, partial)
	if _, err := users.Manage(ctx, wide.ID, "x.y", func(*gorm.DB, tenants.User) error { return nil }); !errors.Is(err, tenants.ErrTooStrong) {
		t.Errorf("managing somebody stronger elsewhere: %v", err)
	}
	if _, err := users.SetGrants(ctx, wide.ID, wide.Version, nil, nil); !errors.Is(err, tenants.ErrTooStrong) {
		t.Errorf("taking grants one does not hold: %v", err)
	}
	if _, err := users.SetGrants(ctx, narrow.ID, narrow.Version, []tenants.Grant{over(tenants.Technician, zeta.ID)}, nil); !errors.Is(err, tenants.ErrTooStrong) {
		t.Errorf("granting a tenant one does not hold: %v", err)
	}
	if _, err := users.SetGrants(ctx, narrow.ID, narrow.Version, []tenants.Grant{over(tenants.Dispatcher, acme.ID)}, nil); err != nil {
		t.Error(err)
	}
	if r := audited(t, db, acme.ID, "access.granted"); r.ObjectName != narrow.Email {
		t.Errorf("the tenant does not learn who may act on it: %+v", r)
	}
	key := scope.From(ctx)
	key.Actor.Kind = scope.APIKey
	if _, err := users.SetGrants(scope.With(ctx, key), narrow.ID, 2, nil, nil); !errors.Is(err, tenants.ErrPeopleOnly) {
		t.Errorf("an API key grants: %v", err)
	}
}

// TestRolePairsAgainstTheDatabase tries every role against every other through the service.
func TestRolePairsAgainstTheDatabase(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	users := tenants.NewUsers(db)
	acme := addTenant(t, db, "Acme")
	where := func(r tenants.Role) (uuid.UUID, tenants.Grant) {
		if r.Staff {
			return home, everywhere(r.Name)
		}
		return acme.ID, over(r.Name, acme.ID)
	}
	for i, from := range tenants.Roles() {
		in, g := where(from)
		actor := addUser(t, db, in, fmt.Sprintf("actor%d@x.example", i), g)
		for j, to := range tenants.Roles() {
			in, g := where(to)
			u, err := users.Create(as(t, actor), tenants.NewUser{TenantID: in, Email: fmt.Sprintf("u%d-%d@x.example", i, j), Name: "U", Grants: []tenants.Grant{g}}, nil)
			subset := !slices.ContainsFunc(to.Permissions, func(p string) bool { return !slices.Contains(from.Permissions, p) })
			if err == nil && !subset {
				t.Errorf("%s made a %s", from.Name, to.Name)
			}
			if err != nil && from.Name == tenants.Owner {
				t.Errorf("an owner cannot make a %s: %v", to.Name, err)
			}
			_ = u
		}
	}
}
