package auth

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"reeve/api/fault"
	"reeve/server/dbtest"
	"reeve/server/notify"
	"reeve/tenants"
	"reeve/tenants/scope"
)

func tokenOf(t *testing.T, url string) string {
	t.Helper()
	_, token, found := strings.Cut(url, "https://rmm.example/set-password#token=")
	if !found {
		t.Fatalf("%q is no link", url)
	}
	return token
}

func TestInvitationSetsTheFirstPassword(t *testing.T) {
	w := newBench(t)
	boss := w.as(w.login(w.owner().Email).AccessToken)
	acme := w.tenant("Acme")
	i, err := w.Invite(boss, tenants.NewUser{TenantID: acme, Email: "joe@acme.example", Name: "Joe Field", Grants: []tenants.Grant{over(tenants.CustomerUser, acme)}})
	if err != nil || i.SentByMail || i.User.Email != "joe@acme.example" || i.User.State != tenants.UserInvited {
		t.Fatalf("%+v %v", i, err)
	}
	token := tokenOf(t, i.URL)
	if _, err := w.Login(t.Context(), Login{Email: "joe@acme.example", Address: here}); !errors.Is(err, ErrBadLogin) {
		t.Errorf("signing in without a password: %v", err)
	}
	if err := w.CompletePasswordReset(t.Context(), token, "joe@acme.example!!", here); fault.KindOf(err) != fault.Invalid {
		t.Errorf("a bad password: %v", err)
	}
	if err := w.CompletePasswordReset(t.Context(), token, goodPassword, here); err != nil {
		t.Fatal(err)
	}
	if err := w.CompletePasswordReset(t.Context(), token, otherPassword, here); !errors.Is(err, ErrLinkSpent) {
		t.Errorf("a second time: %v", err)
	}
	w.login("joe@acme.example")
	if got := w.audited(acme, "user.password_reset"); len(got) != 1 || got[0].ActorName != "joe@acme.example" || got[0].Address != here {
		t.Errorf("%+v", got)
	}
	if _, err := w.Invite(boss, tenants.NewUser{TenantID: acme, Email: "JOE@acme.example", Name: "Joe"}); !errors.Is(err, tenants.ErrEmailTaken) {
		t.Errorf("the same address again: %v", err)
	}
}

func TestResetByMailTellsNothing(t *testing.T) {
	w := newBench(t)
	u := w.owner()
	session := w.login(u.Email)
	for _, email := range []string{u.Email, "nobody@msp.example"} {
		if err := w.RequestPasswordReset(t.Context(), email, here); err != nil {
			t.Errorf("%s, mail off: %v", email, err)
		}
	}
	w.mail.on = true
	for _, email := range []string{u.Email, u.Email, "nobody@msp.example"} {
		if err := w.RequestPasswordReset(t.Context(), email, here); err != nil {
			t.Errorf("%s: %v", email, err)
		}
	}
	if len(w.mail.sent) != 2 || w.mail.sent[0].Template != notify.PasswordReset || w.mail.sent[0].To != u.Email {
		t.Fatalf("%+v", w.mail.sent)
	}
	older, newer := tokenOf(t, w.mail.sent[0].Data["link"]), tokenOf(t, w.mail.sent[1].Data["link"])
	if err := w.CompletePasswordReset(t.Context(), older, otherPassword, here); !errors.Is(err, ErrLinkSpent) {
		t.Errorf("a replaced link: %v", err)
	}
	if err := w.CompletePasswordReset(t.Context(), newer, otherPassword, here); err != nil {
		t.Fatal(err)
	}
	w.refuses(session.AccessToken)
	if _, err := w.Login(t.Context(), Login{Email: u.Email, Password: otherPassword, Address: here}); err != nil {
		t.Error(err)
	}
	if err := w.RequestPasswordReset(t.Context(), u.Email, here); err != nil {
		t.Error(err)
	}
	w.exec("UPDATE one_time_links SET expires_at = now()")
	if err := w.CompletePasswordReset(t.Context(), tokenOf(t, w.mail.sent[2].Data["link"]), goodPassword, here); !errors.Is(err, ErrLinkSpent) {
		t.Errorf("an expired link: %v", err)
	}
	for range pairRule.free {
		_ = w.RequestPasswordReset(t.Context(), u.Email, here)
	}
	if err := w.RequestPasswordReset(t.Context(), u.Email, here); fault.KindOf(err) != fault.RateLimited {
		t.Errorf("a flood of mail: %v", err)
	}
}

func TestAdministratorsHelpThoseWhoAreNotStronger(t *testing.T) {
	w := newBench(t)
	owner := w.owner()
	acme := w.tenant("Acme")
	w.user(provider, "admin@msp.example", everywhere(tenants.Administrator))
	admin := w.as(w.login("admin@msp.example").AccessToken)
	joe := w.user(acme, "joe@acme.example", over(tenants.CustomerManager, acme))
	session := w.login(joe.Email)
	w.enrol(w.as(session.AccessToken))

	for name, err := range map[string]error{
		"reset link":    second(w.CreateResetLink(admin, owner.ID)),
		"second factor": w.ResetSecondFactor(admin, owner.ID),
		"sign out":      w.LogoutUser(admin, owner.ID),
		"disable":       second(w.UpdateUser(admin, owner.ID, tenants.UserChange{Version: 1, Disabled: ptr(true)})),
		"address":       second(w.UpdateUser(admin, owner.ID, tenants.UserChange{Version: 1, Email: ptr("me@evil.example")})),
		"demote":        second(w.SetGrants(admin, owner.ID, 1, nil)),
		"appoint": func() error {
			_, err := w.Invite(admin, tenants.NewUser{TenantID: provider, Email: "x@msp.example", Name: "X", Grants: []tenants.Grant{everywhere(tenants.Owner)}})
			return err
		}(),
	} {
		if !errors.Is(err, tenants.ErrTooStrong) {
			t.Errorf("an administrator upon an owner, %s: %v", name, err)
		}
	}
	if err := w.ResetSecondFactor(admin, joe.ID); err != nil {
		t.Fatal(err)
	}
	w.refuses(session.AccessToken)
	w.login(joe.Email)
	i, err := w.CreateResetLink(admin, joe.ID)
	if err != nil || i.URL == "" {
		t.Fatalf("%+v %v", i, err)
	}
	// A new address voids the link that went to the old one.
	u, err := w.reread(joe.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.UpdateUser(admin, joe.ID, tenants.UserChange{Version: u.Version, Email: ptr("joseph@acme.example")}); err != nil {
		t.Fatal(err)
	}
	if err := w.CompletePasswordReset(t.Context(), tokenOf(t, i.URL), otherPassword, here); !errors.Is(err, ErrLinkSpent) {
		t.Errorf("a link to an old address: %v", err)
	}
	session = w.login("joseph@acme.example")
	if err := w.LogoutUser(admin, joe.ID); err != nil {
		t.Error(err)
	}
	w.refuses(session.AccessToken)
	for _, action := range []string{"user.second_factor_reset", "user.reset_link_created", "user.signed_out_everywhere"} {
		if got := w.audited(acme, action); len(got) != 1 || got[0].ActorName != "admin@msp.example" {
			t.Errorf("%s: %+v", action, got)
		}
	}
}

func TestBreakGlass(t *testing.T) {
	w := newBench(t)
	w.owner()
	acme, zeta := w.tenant("Acme"), w.tenant("Zeta")
	tech := w.user(provider, "tech@msp.example", over(tenants.Technician, acme))
	w.user(provider, "billing@msp.example", everywhere(tenants.Billing))
	customer := w.user(acme, "joe@acme.example", over(tenants.CustomerAdministrator, acme))
	token := w.login(tech.Email).AccessToken
	ctx := w.as(token)
	if scope.From(ctx).Sees(zeta) {
		t.Fatal("the technician sees the other tenant already")
	}
	for name, err := range map[string]error{
		"billing":      second(w.BreakGlass(w.as(w.login("billing@msp.example").AccessToken), zeta, "the server room burns", time.Hour)),
		"customer":     second(w.BreakGlass(w.as(w.login(customer.Email).AccessToken), zeta, "the server room burns", time.Hour)),
		"no reason":    second(w.BreakGlass(ctx, zeta, "   because   ", time.Hour)),
		"too long":     second(w.BreakGlass(ctx, zeta, "the server room burns", 5*time.Hour)),
		"too short":    second(w.BreakGlass(ctx, zeta, "the server room burns", time.Minute)),
		"no tenant":    second(w.BreakGlass(ctx, uuid.Must(uuid.NewV7()), "the server room burns", time.Hour)),
		"the provider": second(w.BreakGlass(ctx, provider, "the server room burns", time.Hour)),
	} {
		if err == nil {
			t.Errorf("%s: granted", name)
		}
	}
	w.mail.on = true
	e, err := w.BreakGlass(ctx, zeta, "the server room burns", time.Hour)
	if err != nil || e.TenantName != "Zeta" {
		t.Fatalf("%+v %v", e, err)
	}
	if len(w.mail.sent) != 1 || w.mail.sent[0].To != "owner@msp.example" || w.mail.sent[0].Template != notify.BreakGlass || w.mail.sent[0].Data["actor"] != tech.Email {
		t.Errorf("%+v", w.mail.sent)
	}
	s := scope.From(w.as(token))
	if !s.Sees(zeta) || !s.May("jobs.run", zeta) || s.May("users.manage", zeta) || s.May("approvals.decide", zeta) || s.Emergency != "the server room burns" {
		t.Errorf("%+v", s)
	}
	for _, tenant := range []uuid.UUID{zeta, provider} {
		if got := w.audited(tenant, "emergency.started"); len(got) != 1 || got[0].ActorName != tech.Email || !strings.Contains(string(got[0].Detail), "server room") {
			t.Errorf("%+v", got)
		}
	}
	if me, err := w.Me(w.as(token)); err != nil || me.Emergency == nil || me.Emergency.TenantID != zeta {
		t.Errorf("%+v %v", me, err)
	}
	if err := w.EndBreakGlass(w.as(token)); err != nil {
		t.Fatal(err)
	}
	if s := scope.From(w.as(token)); s.Sees(zeta) || s.Emergency != "" {
		t.Errorf("after its end: %+v", s)
	}
	if _, err := w.BreakGlass(ctx, zeta, "the server room burns", time.Hour); err != nil {
		t.Fatal(err)
	}
	w.exec("UPDATE emergency_grants SET started_at = now() - interval '2 hours', expires_at = now() - interval '1 second' WHERE ended_at IS NULL")
	if s := scope.From(w.as(token)); s.Sees(zeta) || s.Emergency != "" {
		t.Errorf("after its hour: %+v", s)
	}
}

// keyMaker is a signed-in administrator and a way to make keys.
func (w *bench) key(ctx context.Context, n NewAPIKey) (APIKey, string) {
	w.t.Helper()
	if n.Name == "" {
		n.Name = "ci"
	}
	if n.ExpiresAt.IsZero() {
		n.ExpiresAt = w.Now().Add(24 * time.Hour)
	}
	k, secret, err := w.CreateAPIKey(ctx, n)
	if err != nil {
		w.t.Fatal(err)
	}
	return k, secret
}

func TestAPIKeysAreNeverStrongerThanTheirMaker(t *testing.T) {
	w := newBench(t)
	boss := w.as(w.login(w.owner().Email).AccessToken)
	acme, zeta := w.tenant("Acme"), w.tenant("Zeta")
	admin := w.user(provider, "admin@msp.example", everywhere(tenants.Administrator))
	ctx := w.as(w.login(admin.Email).AccessToken)
	wide, wideKey := w.key(ctx, NewAPIKey{Permissions: []string{"jobs.run", "devices.read"}, AllTenants: true})
	_, oneKey := w.key(ctx, NewAPIKey{Permissions: []string{"devices.read"}, TenantIDs: []uuid.UUID{acme}})

	s := scope.From(w.as(wideKey))
	if s.Actor.Kind != scope.APIKey || s.Actor.ID != wide.ID || s.Actor.Person() != scope.ID(admin.ID) || s.Reach != scope.Staff || !s.May("jobs.run", zeta) ||
		s.May("jobs.cancel", zeta) || s.SteppedUp {
		t.Errorf("%+v", s)
	}
	if s := scope.From(w.as(oneKey)); s.Reach != scope.Granted || !slices.Equal(s.Tenants, []scope.ID{acme}) || !s.May("devices.read", acme) || s.May("devices.read", zeta) || s.Sees(zeta) {
		t.Errorf("%+v", s)
	}

	// The maker loses a role: so do the keys, at once.
	admin, err := w.SetGrants(boss, admin.ID, admin.Version, []tenants.Grant{over(tenants.Technician, zeta)})
	if err != nil {
		t.Fatal(err)
	}
	if s := scope.From(w.as(wideKey)); s.Reach != scope.Granted || !slices.Equal(s.Tenants, []scope.ID{zeta}) || !s.May("jobs.run", zeta) || s.May("jobs.run", acme) {
		t.Errorf("%+v", s)
	}
	if s := scope.From(w.as(oneKey)); s.Sees(acme) || s.Sees(zeta) || s.MayAnywhere("devices.read") {
		t.Errorf("%+v", s)
	}
	// Emergency access of the maker does not pass to keys.
	if _, err := w.BreakGlass(w.as(w.login(admin.Email).AccessToken), acme, "the server room burns", time.Hour); err != nil {
		t.Fatal(err)
	}
	if s := scope.From(w.as(oneKey)); s.Sees(acme) || s.Emergency != "" {
		t.Errorf("%+v", s)
	}
	if _, err := w.UpdateUser(boss, admin.ID, tenants.UserChange{Version: admin.Version, Disabled: ptr(true)}); err != nil {
		t.Fatal(err)
	}
	w.refuses(wideKey)
}

func TestAPIKeyCreationIsBounded(t *testing.T) {
	w := newBench(t)
	w.owner()
	acme, zeta := w.tenant("Acme"), w.tenant("Zeta")
	w.user(provider, "admin@msp.example", over(tenants.Administrator, acme))
	w.user(provider, "tech@msp.example", over(tenants.Technician, acme))
	ctx := w.as(w.login("admin@msp.example").AccessToken)
	good := NewAPIKey{Name: "ci", Permissions: []string{"devices.read"}, TenantIDs: []uuid.UUID{acme}, ExpiresAt: w.Now().Add(time.Hour)}
	with := func(change func(n *NewAPIKey)) NewAPIKey {
		n := good
		change(&n)
		return n
	}
	for name, c := range map[string]struct {
		n    NewAPIKey
		kind fault.Kind
	}{
		"another tenant":     {with(func(n *NewAPIKey) { n.TenantIDs = []uuid.UUID{acme, zeta} }), fault.Forbidden},
		"all tenants":        {with(func(n *NewAPIKey) { n.AllTenants, n.TenantIDs = true, nil }), fault.Forbidden},
		"both":               {with(func(n *NewAPIKey) { n.AllTenants = true }), fault.Invalid},
		"no tenant":          {with(func(n *NewAPIKey) { n.TenantIDs = nil }), fault.Invalid},
		"users.manage":       {with(func(n *NewAPIKey) { n.Permissions = []string{"users.manage"} }), fault.Invalid},
		"api_keys.manage":    {with(func(n *NewAPIKey) { n.Permissions = []string{"api_keys.manage"} }), fault.Invalid},
		"unknown permission": {with(func(n *NewAPIKey) { n.Permissions = []string{"root.all"} }), fault.Invalid},
		"no permission":      {with(func(n *NewAPIKey) { n.Permissions = nil }), fault.Invalid},
		"expired":            {with(func(n *NewAPIKey) { n.ExpiresAt = w.Now() }), fault.Invalid},
		"for ever":           {with(func(n *NewAPIKey) { n.ExpiresAt = w.Now().AddDate(3, 0, 0) }), fault.Invalid},
		"no name":            {with(func(n *NewAPIKey) { n.Name = " " }), fault.Invalid},
		"bad network":        {with(func(n *NewAPIKey) { n.Networks = []string{"everywhere"} }), fault.Invalid},
	} {
		if _, _, err := w.CreateAPIKey(ctx, c.n); fault.KindOf(err) != c.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, secret, err := w.CreateAPIKey(ctx, good)
	if err != nil {
		t.Fatal(err)
	}
	keyed := w.as(secret)
	for name, err := range map[string]error{
		"a key makes a key":        func() error { _, _, err := w.CreateAPIKey(keyed, good); return err }(),
		"a key revokes":            w.RevokeAPIKey(keyed, uuid.Must(uuid.NewV7())),
		"a key changes a password": w.ChangePassword(keyed, goodPassword, otherPassword),
		"a key enrols":             second(w.BeginTOTP(keyed)),
		"a key breaks glass":       second(w.BreakGlass(keyed, zeta, "the server room burns", time.Hour)),
		"a key signs out":          w.LogoutEverywhere(keyed),
		"a key has no account":     second(w.Me(keyed)),
		"a technician makes keys": func() error {
			_, _, err := w.CreateAPIKey(w.as(w.login("tech@msp.example").AccessToken), good)
			return err
		}(),
	} {
		if fault.KindOf(err) != fault.Forbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.Invite(keyed, tenants.NewUser{TenantID: acme, Email: "x@acme.example", Name: "X"}); !errors.Is(err, tenants.ErrPeopleOnly) {
		t.Errorf("a key invites: %v", err)
	}
}

func TestAPIKeyLife(t *testing.T) {
	w := newBench(t)
	boss := w.as(w.login(w.owner().Email).AccessToken)
	k, secret := w.key(boss, NewAPIKey{Permissions: []string{"devices.read"}, AllTenants: true, Networks: []string{"192.0.2.0/24", "2001:db8::7"}})
	for address, ok := range map[string]bool{"192.0.2.77": true, "::ffff:192.0.2.77": true, "2001:db8::7": true, "192.0.3.1": false, "2001:db8::8": false, "": false, "proxy": false} {
		_, err := w.Authenticate(t.Context(), secret, address)
		if (err == nil) != ok || err != nil && fault.KindOf(err) != fault.Unauthenticated {
			t.Errorf("from %q: %v", address, err)
		}
	}
	if got := w.audited(provider, "api_key.used_from_new_network"); len(got) != 2 || got[0].ActorKind != scope.APIKey {
		t.Errorf("%d networks noted: %+v", len(got), got)
	}
	page, next, err := w.APIKeys(boss, "", 10)
	if err != nil || next != "" || len(page) != 1 || page[0].ID != k.ID || page[0].LastUsedAt == nil || !strings.HasPrefix(secret, page[0].Prefix()) {
		t.Errorf("%+v %q %v", page, next, err)
	}
	for _, wrong := range []string{secret[:len(secret)-1] + "A", strings.Replace(secret, "reeve_key_0", "reeve_key_1", 1)} {
		if wrong != secret {
			w.refuses(wrong)
		}
	}
	// Somebody else of the staff neither sees nor revokes it.
	w.user(provider, "tech@msp.example", everywhere(tenants.Technician))
	tech := w.as(w.login("tech@msp.example").AccessToken)
	if page, _, err := w.APIKeys(tech, "", 10); err != nil || len(page) != 0 {
		t.Errorf("%+v %v", page, err)
	}
	if err := w.RevokeAPIKey(tech, k.ID); !errors.Is(err, ErrKeyNotFound) {
		t.Errorf("%v", err)
	}
	if err := w.RevokeAPIKey(boss, k.ID); err != nil {
		t.Fatal(err)
	}
	w.refuses(secret)
	if err := w.RevokeAPIKey(boss, k.ID); !errors.Is(err, ErrKeyNotFound) {
		t.Errorf("%v", err)
	}
	_, expiring := w.key(boss, NewAPIKey{Permissions: []string{"devices.read"}, AllTenants: true})
	w.exec("UPDATE api_keys SET expires_at = now()")
	w.refuses(expiring)
}

// TestKeyScopeProperty: for any maker and any key, what the key may do its maker may do too.
func TestKeyScopeProperty(t *testing.T) {
	a, b := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	place := rapid.SampledFrom([]uuid.UUID{provider, a, b})
	grant := rapid.Custom(func(t *rapid.T) tenants.Grant {
		g := tenants.Grant{Role: rapid.SampledFrom(tenants.Roles()).Draw(t, "role").Name}
		if g.AllTenants = rapid.Bool().Draw(t, "all"); !g.AllTenants {
			g.TenantID = place.Draw(t, "over")
		}
		return g
	})
	owner, _ := tenants.FindRole(tenants.Owner)
	rapid.Check(t, func(t *rapid.T) {
		home := place.Draw(t, "home")
		maker := tenants.ScopeOf(home, rapid.SliceOfN(grant, 0, 3).Draw(t, "grants"), nil)
		k := APIKey{ID: uuid.Must(uuid.NewV7()), TenantID: home, AllTenants: rapid.Bool().Draw(t, "everywhere"),
			TenantIDs: rapid.SliceOf(place).Draw(t, "tenants"), Permissions: rapid.SliceOf(rapid.SampledFrom(owner.Permissions)).Draw(t, "permissions")}
		s := k.scope(maker)
		for _, p := range owner.Permissions {
			if s.MayEverywhere(p) && !maker.MayEverywhere(p) {
				t.Errorf("%s everywhere", p)
			}
			for _, tenant := range []uuid.UUID{provider, a, b} {
				if s.May(p, tenant) && (!maker.May(p, tenant) || !slices.Contains(k.Permissions, p) || !k.AllTenants && !slices.Contains(k.TenantIDs, tenant)) {
					t.Errorf("%s over %s", p, tenant)
				}
				if s.Sees(tenant) && !maker.Sees(tenant) {
					t.Errorf("sees %s", tenant)
				}
			}
		}
		for _, p := range []string{"users.manage", "grants.manage", "api_keys.manage", "break_glass.use", tenants.OwnersManage} {
			if s.MayAnywhere(p) {
				t.Errorf("a key holds %s", p)
			}
		}
	})
}

func TestPasswordsAndFactorsStayWithTheServer(t *testing.T) {
	w := newBench(t)
	u := w.owner()
	acme := w.tenant("Acme")
	w.enrol(w.as(w.login(u.Email).AccessToken))
	for name, ctx := range map[string]context.Context{"tenant": dbtest.Tenant(t, acme), "granted": dbtest.Granted(t, []scope.ID{scope.Provider}), "staff": dbtest.Staff(t)} {
		for _, sql := range []string{"SELECT password_hash FROM user_credentials", "SELECT totp_secret FROM user_credentials", "SELECT hash FROM recovery_codes",
			"SELECT hash FROM refresh_tokens", "SELECT hash FROM one_time_links", "SELECT * FROM login_throttles", "UPDATE user_credentials SET password_hash = 'x'"} {
			if err := w.try(ctx, sql); err == nil {
				t.Errorf("%s may %s", name, sql)
			}
		}
	}
}
