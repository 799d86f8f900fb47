package auth

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/pquerna/otp/totp"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/bus"
	"reeve/server/dbtest"
	"reeve/server/notify"
	"reeve/tenants"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/secrets"
)

const (
	goodPassword  = "violet harbour 91"
	otherPassword = "amber lighthouse 47"
	here          = "192.0.2.1"
)

var provider = uuid.UUID(scope.Provider)

// outbox is a mailer that keeps what it was given.
type outbox struct {
	mu   sync.Mutex
	on   bool
	sent []notify.Message
}

func (o *outbox) EnabledTx(*gorm.DB) (bool, error) { return o.on, nil }

func (o *outbox) MailTx(_ *gorm.DB, m notify.Message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sent = append(o.sent, m)
	return nil
}

// bench is a service on a database of its own, with a clock for what the database does not time.
type bench struct {
	*Service
	t    testing.TB
	mail *outbox
	mu   sync.Mutex
	at   time.Time
	keys *secrets.Keys
}

func newBench(t *testing.T) *bench {
	t.Helper()
	t.Parallel()
	return openBench(t)
}

func openBench(t testing.TB) *bench {
	t.Helper()
	db := dbtest.New(t)
	w := &bench{t: t, mail: &outbox{}, at: time.Now()}
	now := func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.at
	}
	master, err := secrets.OpenMaster(filepath.Join(t.TempDir(), "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	if w.keys, err = secrets.OpenKeys(dbtest.System(t), db, master, now); err != nil {
		t.Fatal(err)
	}
	keeper := secrets.NewKeeper(db, master, now)
	w.Service, err = New(Options{DB: db, Users: tenants.NewUsers(db), Settings: tenants.NewSettings(db, keeper), Keeper: keeper,
		Keys: w.keys.Ring(secrets.AccessKeys), Hasher: newHasher(t, cheap), Mail: w.mail, Bus: bus.NewLocal(), PublicURL: "https://rmm.example",
		Now: now, Log: dbtest.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// later moves the clock of the service. The database keeps its own.
func (w *bench) later(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = w.at.Add(d)
}

func (w *bench) exec(sql string, args ...any) {
	w.t.Helper()
	if err := w.DB.System(w.t.Context(), func(tx *gorm.DB) error { return tx.Exec(sql, args...).Error }); err != nil {
		w.t.Fatal(err)
	}
}

func (w *bench) owner() tenants.User {
	w.t.Helper()
	u, err := w.Bootstrap(w.t.Context(), "owner@msp.example", "Olga Owner", goodPassword)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

func (w *bench) tenant(name string) uuid.UUID {
	w.t.Helper()
	t, err := tenants.NewService(w.DB).Create(dbtest.Staff(w.t, "tenants.manage"), tenants.NewTenant{Name: name})
	if err != nil {
		w.t.Fatal(err)
	}
	return t.ID
}

// user makes somebody who can sign in with goodPassword.
func (w *bench) user(home uuid.UUID, email string, grants ...tenants.Grant) tenants.User {
	w.t.Helper()
	hash, err := w.Hasher.Hash(w.t.Context(), goodPassword)
	if err != nil {
		w.t.Fatal(err)
	}
	var u tenants.User
	err = w.DB.System(dbtest.System(w.t), func(tx *gorm.DB) error {
		u, err = w.Users.CreateTx(tx, tenants.NewUser{TenantID: home, Email: email, Name: "Somebody", Grants: grants},
			func(tx *gorm.DB, _, u tenants.User) error { return setPassword(tx, u, hash) })
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if u, err = w.reread(u.ID); err != nil {
		w.t.Fatal(err)
	}
	return u
}

func (w *bench) reread(id uuid.UUID) (u tenants.User, err error) {
	err = w.DB.System(dbtest.System(w.t), func(tx *gorm.DB) error {
		u, err = tenants.UserTx(tx, id)
		return err
	})
	return u, err
}

func (w *bench) login(email string) TokenSet {
	w.t.Helper()
	tokens, err := w.Login(w.t.Context(), Login{Email: email, Password: goodPassword, Address: here, UserAgent: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	return tokens
}

// as is the context that a bearer token gives.
func (w *bench) as(bearer string) context.Context {
	w.t.Helper()
	s, err := w.Authenticate(w.t.Context(), bearer, here)
	if err != nil {
		w.t.Fatal(err)
	}
	return scope.With(w.t.Context(), s)
}

func (w *bench) refuses(bearer string) {
	w.t.Helper()
	if s, err := w.Authenticate(w.t.Context(), bearer, here); fault.KindOf(err) != fault.Unauthenticated {
		w.t.Errorf("the credential still gives %+v, %v", s, err)
	}
}

func (w *bench) audited(tenant uuid.UUID, action string) []audit.Record {
	w.t.Helper()
	page, err := audit.List(dbtest.System(w.t), w.DB, audit.Filter{TenantID: tenant, Action: action})
	if err != nil {
		w.t.Fatal(err)
	}
	return page.Records
}

func (w *bench) require(roles ...tenants.RoleName) {
	w.t.Helper()
	d, err := w.Settings.ReadSecurity(dbtest.System(w.t))
	if err != nil {
		w.t.Fatal(err)
	}
	d.Value.SecondFactorRequiredRoles = nil
	for _, r := range roles {
		d.Value.SecondFactorRequiredRoles = append(d.Value.SecondFactorRequiredRoles, string(r))
	}
	if _, err := w.Settings.PutSecurity(dbtest.System(w.t), d); err != nil {
		w.t.Fatal(err)
	}
}

func everywhere(role tenants.RoleName) tenants.Grant {
	return tenants.Grant{Role: role, AllTenants: true}
}
func over(role tenants.RoleName, tenant uuid.UUID) tenants.Grant {
	return tenants.Grant{Role: role, TenantID: tenant}
}

func TestBootstrapHappensOnce(t *testing.T) {
	w := newBench(t)
	if has, err := w.Bootstrapped(t.Context()); has || err != nil {
		t.Fatal(has, err)
	}
	if _, err := w.Bootstrap(t.Context(), "o@msp.example", "O", "short"); fault.KindOf(err) != fault.Invalid {
		t.Errorf("a short password: %v", err)
	}
	const racers = 6
	var group sync.WaitGroup
	results := make([]error, racers)
	for i := range racers {
		group.Go(func() { _, results[i] = w.Bootstrap(t.Context(), "o@msp.example", "O", goodPassword) })
	}
	group.Wait()
	won := 0
	for _, err := range results {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, ErrBootstrapped):
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d first administrators", won)
	}
	s := scope.From(w.as(w.login("O@MSP.example").AccessToken))
	if s.Reach != scope.Staff || !s.MayEverywhere("grants.manage") || !s.SteppedUp || s.SetupOnly {
		t.Errorf("%+v", s)
	}
}

func TestLoginRefusesAlikeAndIsRecorded(t *testing.T) {
	w := newBench(t)
	acme := w.tenant("Acme")
	w.owner()
	w.user(acme, "joe@acme.example", over(tenants.CustomerUser, acme))
	disabled := w.user(acme, "gone@acme.example")
	w.exec("UPDATE users SET state = 'disabled' WHERE id = ?", disabled.ID)
	for name, l := range map[string]Login{
		"wrong password": {Email: "joe@acme.example", Password: "not it"}, "unknown": {Email: "nobody@acme.example", Password: goodPassword},
		"disabled": {Email: "gone@acme.example", Password: goodPassword}, "empty": {Email: "joe@acme.example"},
		"NUL": {Email: "joe\x00@acme.example", Password: goodPassword}, "oversized": {Email: "joe@acme.example", Password: strings.Repeat("x", 1<<20)},
	} {
		l.Address = here
		if _, err := w.Login(t.Context(), l); !errors.Is(err, ErrBadLogin) || fault.KindOf(err) != fault.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.login("joe@acme.example")
	if got := w.audited(acme, "session.refused"); len(got) != 3 || got[0].Address != here {
		t.Errorf("%d refusals in the tenant's log: %+v", len(got), got)
	}
	if got := w.audited(provider, "session.refused"); len(got) != 3 {
		t.Errorf("%d refusals in the provider's log", len(got))
	}
	started := w.audited(acme, "session.started")
	if len(started) != 1 || started[0].ActorName != "joe@acme.example" || started[0].Address != here || started[0].SessionID == nil {
		t.Errorf("%+v", started)
	}
	w.exec("UPDATE tenants SET state = 'suspended' WHERE id = ?", acme)
	if _, err := w.Login(t.Context(), Login{Email: "joe@acme.example", Password: goodPassword, Address: here}); !errors.Is(err, ErrBadLogin) {
		t.Errorf("a suspended tenant's user: %v", err)
	}
}

func TestSameAddressInTwoTenants(t *testing.T) {
	w := newBench(t)
	a, b := w.tenant("A"), w.tenant("B")
	w.user(a, "joe@x.example", over(tenants.CustomerUser, a))
	second := w.user(b, "JOE@x.example", over(tenants.CustomerUser, b))
	hash, err := w.Hasher.Hash(t.Context(), otherPassword)
	if err != nil {
		t.Fatal(err)
	}
	w.exec("UPDATE user_credentials SET password_hash = ? WHERE user_id = ?", hash, second.ID)
	for password, tenant := range map[string]uuid.UUID{goodPassword: a, otherPassword: b} {
		tokens, err := w.Login(t.Context(), Login{Email: "joe@x.example", Password: password, Address: here})
		if err != nil {
			t.Fatal(err)
		}
		if s := scope.From(w.as(tokens.AccessToken)); s.Actor.TenantID != tenant || s.Reach != scope.Tenant {
			t.Errorf("%+v", s)
		}
	}
}

func TestPasswordHashIsRenewedOnLogin(t *testing.T) {
	w := newBench(t)
	u := w.owner()
	w.Hasher = newHasher(t, HashParams{MemoryKiB: 128, Passes: 2, Lanes: 1})
	w.login(u.Email)
	if _, phc, err := w.credentials(t.Context(), u.ID); err != nil || !strings.Contains(phc, "m=128,t=2") {
		t.Errorf("%s %v", phc, err)
	}
	w.login(u.Email)
}

func TestGuessesAreThrottled(t *testing.T) {
	w := newBench(t)
	u := w.owner()
	guess := func(address, password string) error {
		_, err := w.Login(t.Context(), Login{Email: u.Email, Password: password, Address: address})
		return err
	}
	// Guesses at once are all counted: no more than the free ones are answered.
	const atOnce = 20
	var group sync.WaitGroup
	results := make([]error, atOnce)
	for i := range atOnce {
		group.Go(func() { results[i] = guess("198.51.100.7", "wrong") })
	}
	group.Wait()
	answered := 0
	for _, err := range results {
		switch fault.KindOf(err) {
		case fault.Unauthenticated:
			answered++
		case fault.RateLimited:
			if f, _ := fault.As(err); f.RetryAfter <= 0 {
				t.Errorf("no time to come back: %+v", f)
			}
		default:
			t.Error(err)
		}
	}
	if answered != pairRule.free {
		t.Errorf("%d of %d guesses were answered, want %d", answered, atOnce, pairRule.free)
	}
	if err := guess("198.51.100.7", goodPassword); fault.KindOf(err) != fault.RateLimited {
		t.Errorf("the right password during the wait: %v", err)
	}
	if err := guess(here, goodPassword); err != nil {
		t.Errorf("the owner from elsewhere is locked out: %v", err)
	}
	w.exec("UPDATE login_throttles SET blocked_until = now() - interval '1 second'")
	if err := guess("198.51.100.7", goodPassword); err != nil {
		t.Errorf("after the wait: %v", err)
	}
	for i := range pairRule.free - 1 {
		if err := guess("198.51.100.7", "wrong"); fault.KindOf(err) != fault.Unauthenticated {
			t.Errorf("guess %d after a success: %v", i, err)
		}
	}
}

func TestThrottleOfManyAccountsFromOneNetwork(t *testing.T) {
	w := newBench(t)
	for i := range addressRule.free {
		// A subscriber of IPv6 has many addresses, in one network.
		address := "2001:db8:1:2::" + string("0123456789abcdef"[i%16])
		err := w.reserve(t.Context(), throttlesFor(uuid.NewString()+"@x.example", address))
		if err != nil {
			t.Fatalf("guess %d: %v", i, err)
		}
	}
	if err := w.reserve(t.Context(), throttlesFor("next@x.example", "2001:db8:1:2::99")); fault.KindOf(err) != fault.RateLimited {
		t.Errorf("%v", err)
	}
	if err := w.reserve(t.Context(), throttlesFor("next@x.example", "2001:db8:1:3::99")); err != nil {
		t.Errorf("a neighbour: %v", err)
	}
}

func TestWaitsGrow(t *testing.T) {
	last := time.Duration(0)
	for n := range 100 {
		wait := pairRule.waitAfter(n)
		if wait < last || wait > pairRule.most || n < pairRule.free && wait != 0 {
			t.Fatalf("after %d: %s", n, wait)
		}
		last = wait
	}
	if last != pairRule.most {
		t.Errorf("ends at %s", last)
	}
}

func TestRefreshRotatesAndReuseEndsTheSession(t *testing.T) {
	w := newBench(t)
	u := w.owner()
	other := w.login(u.Email)
	first := w.login(u.Email)
	second, err := w.Refresh(t.Context(), first.RefreshToken, here)
	if err != nil || second.RefreshToken == first.RefreshToken {
		t.Fatal(err)
	}
	w.as(second.AccessToken)
	w.as(first.AccessToken) // the session stands, and so does its older access token
	if _, err := w.Refresh(t.Context(), first.RefreshToken, "203.0.113.9"); !errors.Is(err, ErrRefreshReused) {
		t.Fatalf("reuse: %v", err)
	}
	w.refuses(first.AccessToken)
	w.refuses(second.AccessToken)
	if _, err := w.Refresh(t.Context(), second.RefreshToken, here); fault.KindOf(err) != fault.Unauthenticated {
		t.Errorf("the newest token of the family: %v", err)
	}
	w.as(other.AccessToken)
	if got := w.audited(provider, "session.reuse_detected"); len(got) != 1 || got[0].ObjectID != u.ID.String() {
		t.Errorf("%+v", got)
	}
	for _, bad := range []string{"", "x", other.AccessToken, refreshPrefix + strings.Repeat("A", 43)} {
		if _, err := w.Refresh(t.Context(), bad, here); fault.KindOf(err) != fault.Unauthenticated {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestRefreshRacersGetOneSuccessor(t *testing.T) {
	w := newBench(t)
	tokens := w.login(w.owner().Email)
	const racers = 5
	var group sync.WaitGroup
	results := make([]error, racers)
	for i := range racers {
		group.Go(func() { _, results[i] = w.Refresh(t.Context(), tokens.RefreshToken, here) })
	}
	group.Wait()
	won := 0
	for _, err := range results {
		if err == nil {
			won++
		} else if fault.KindOf(err) != fault.Unauthenticated {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d successors", won)
	}
	w.refuses(tokens.AccessToken)
}

func TestSessionsEnd(t *testing.T) {
	w := newBench(t)
	u := w.owner()
	a, b, c := w.login(u.Email), w.login(u.Email), w.login(u.Email)
	list, err := w.Sessions(w.as(a.AccessToken))
	if err != nil || len(list) != 3 {
		t.Fatal(len(list), err)
	}
	current := slices.IndexFunc(list, func(s Session) bool { return s.Current })
	if current != 2 || list[0].Address != here || list[0].UserAgent != "test" {
		t.Errorf("%+v", list)
	}
	if err := w.RevokeSession(w.as(a.AccessToken), list[0].ID); err != nil {
		t.Error(err)
	}
	w.refuses(c.AccessToken)
	if err := w.RevokeSession(w.as(a.AccessToken), uuid.Must(uuid.NewV7())); !errors.Is(err, ErrSessionNotFound) {
		t.Error(err)
	}
	if err := w.Logout(w.as(b.AccessToken)); err != nil {
		t.Error(err)
	}
	w.refuses(b.AccessToken)
	if _, err := w.Refresh(t.Context(), b.RefreshToken, here); fault.KindOf(err) != fault.Unauthenticated {
		t.Errorf("refresh after signing out: %v", err)
	}
	d := w.login(u.Email)
	told := make(chan struct{}, 8)
	if _, err := w.Bus.Subscribe(RevokedSubject("*"), func(bus.Message) { told <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	if err := w.LogoutEverywhere(w.as(a.AccessToken)); err != nil {
		t.Error(err)
	}
	<-told
	w.refuses(a.AccessToken)
	w.refuses(d.AccessToken)

	idle, old := w.login(u.Email), w.login(u.Email)
	w.exec("UPDATE sessions SET last_used_at = now() - interval '80 hours' WHERE revoked_at IS NULL AND id = (SELECT min(id::text)::uuid FROM sessions WHERE revoked_at IS NULL)")
	w.refuses(idle.AccessToken)
	if _, err := w.Refresh(t.Context(), idle.RefreshToken, here); fault.KindOf(err) != fault.Unauthenticated {
		t.Errorf("an idle session: %v", err)
	}
	w.exec("UPDATE sessions SET expires_at = now() - interval '1 second' WHERE revoked_at IS NULL")
	w.refuses(old.AccessToken)
	w.exec("UPDATE sessions SET expires_at = now() - interval '31 days'")
	if n, err := w.Sweep(dbtest.System(t)); err != nil || n < 6 {
		t.Errorf("swept %d, %v", n, err)
	}
}

func TestAccessTokensExpire(t *testing.T) {
	w := newBench(t)
	tokens := w.login(w.owner().Email)
	w.later(AccessTTL + 10*time.Second)
	w.refuses(tokens.AccessToken)
	fresh, err := w.Refresh(t.Context(), tokens.RefreshToken, here)
	if err != nil {
		t.Fatal(err)
	}
	w.as(fresh.AccessToken)
}

func TestAccessKeyRotation(t *testing.T) {
	w := newBench(t)
	before := w.login(w.owner().Email)
	err := w.DB.System(dbtest.System(t), func(tx *gorm.DB) error {
		_, err := w.keys.RotateTx(tx, secrets.AccessKeys, 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.keys.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.later(2 * time.Second)
	after := w.login("owner@msp.example")
	w.as(before.AccessToken)
	w.as(after.AccessToken)
	old := w.keys.Chain(secrets.AccessKeys)[0].KeyID
	if err := w.DB.System(dbtest.System(t), func(tx *gorm.DB) error { return w.keys.RetireTx(tx, old) }); err != nil {
		t.Fatal(err)
	}
	if err := w.keys.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.refuses(before.AccessToken)
	w.as(after.AccessToken)
}

func TestChangesCountFromTheNextRequest(t *testing.T) {
	w := newBench(t)
	boss := w.as(w.login(w.owner().Email).AccessToken)
	acme := w.tenant("Acme")
	u := w.user(provider, "tech@msp.example", everywhere(tenants.Technician))
	token := w.login(u.Email).AccessToken
	if !scope.From(w.as(token)).May("jobs.run", acme) {
		t.Fatal("a technician may not run jobs")
	}
	u, err := w.SetGrants(boss, u.ID, u.Version, []tenants.Grant{everywhere(tenants.Auditor)})
	if err != nil {
		t.Fatal(err)
	}
	if s := scope.From(w.as(token)); s.May("jobs.run", acme) || !s.May("audit.read", acme) {
		t.Errorf("%+v", s)
	}
	if u, err = w.SetGrants(boss, u.ID, u.Version, []tenants.Grant{over(tenants.Auditor, acme)}); err != nil {
		t.Fatal(err)
	}
	if s := scope.From(w.as(token)); s.Reach != scope.Granted || !slices.Equal(s.Tenants, []scope.ID{acme}) {
		t.Errorf("%+v", s)
	}
	if _, err := w.UpdateUser(boss, u.ID, tenants.UserChange{Version: u.Version, Disabled: ptr(true)}); err != nil {
		t.Fatal(err)
	}
	w.refuses(token)
	u, err = w.reread(u.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.UpdateUser(boss, u.ID, tenants.UserChange{Version: u.Version, Disabled: ptr(false)}); err != nil {
		t.Fatal(err)
	}
	w.refuses(token) // enabling does not bring the old session back
	w.login(u.Email)
}

func ptr[T any](v T) *T { return &v }

func TestChangePassword(t *testing.T) {
	w := newBench(t)
	u := w.owner()
	mine, other := w.login(u.Email), w.login(u.Email)
	ctx := w.as(mine.AccessToken)
	if err := w.ChangePassword(ctx, "wrong", otherPassword); !errors.Is(err, ErrWrongPassword) {
		t.Error(err)
	}
	if err := w.ChangePassword(ctx, goodPassword, "Olga Owner 2026"); fault.KindOf(err) != fault.Invalid {
		t.Errorf("one's own name: %v", err)
	}
	if err := w.ChangePassword(ctx, goodPassword, otherPassword); err != nil {
		t.Fatal(err)
	}
	w.as(mine.AccessToken)
	w.refuses(other.AccessToken)
	if _, err := w.Login(t.Context(), Login{Email: u.Email, Password: goodPassword, Address: here}); !errors.Is(err, ErrBadLogin) {
		t.Errorf("the old password: %v", err)
	}
	if _, err := w.Login(t.Context(), Login{Email: u.Email, Password: otherPassword, Address: here}); err != nil {
		t.Error(err)
	}
}

func (w *bench) enrol(ctx context.Context) (secret string, codes []string) {
	w.t.Helper()
	offer, err := w.BeginTOTP(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	if codes, err = w.ConfirmTOTP(ctx, w.code(offer.Secret)); err != nil {
		w.t.Fatal(err)
	}
	return offer.Secret, codes
}

func (w *bench) code(secret string) string {
	w.t.Helper()
	code, err := totp.GenerateCode(secret, w.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return code
}

func TestSecondFactor(t *testing.T) {
	w := newBench(t)
	u := w.owner()
	other := w.login(u.Email)
	ctx := w.as(w.login(u.Email).AccessToken)
	if _, err := w.ConfirmTOTP(ctx, "123456"); !errors.Is(err, ErrTOTPNotPending) {
		t.Errorf("nothing offered: %v", err)
	}
	secret, codes := w.enrol(ctx)
	w.refuses(other.AccessToken)
	if _, err := w.BeginTOTP(ctx); !errors.Is(err, ErrTOTPActive) {
		t.Errorf("a second one: %v", err)
	}
	try := func(f SecondFactor) error {
		_, err := w.Login(t.Context(), Login{Email: u.Email, Password: goodPassword, Code: f, Address: here})
		return err
	}
	if err := try(SecondFactor{}); fault.KindOf(err) != fault.OTPRequired {
		t.Errorf("without a code: %v", err)
	}
	if err := try(SecondFactor{OTP: w.code(secret)}); !errors.Is(err, ErrBadLogin) {
		t.Errorf("the code that confirmed: %v", err)
	}
	w.later(time.Minute)
	if err := try(SecondFactor{OTP: w.code(secret)}); err != nil {
		t.Errorf("a right code: %v", err)
	}
	if err := try(SecondFactor{OTP: w.code(secret)}); !errors.Is(err, ErrBadLogin) {
		t.Errorf("the same code again: %v", err)
	}
	if err := try(SecondFactor{RecoveryCode: strings.ToUpper(codes[0])}); err != nil {
		t.Errorf("a recovery code: %v", err)
	}
	if err := try(SecondFactor{RecoveryCode: codes[0]}); !errors.Is(err, ErrBadLogin) {
		t.Errorf("the same recovery code again: %v", err)
	}
	if _, err := w.Login(t.Context(), Login{Email: u.Email, Password: "wrong", Code: SecondFactor{RecoveryCode: codes[1]}, Address: here}); !errors.Is(err, ErrBadLogin) {
		t.Errorf("a code with a wrong password: %v", err)
	}
	if err := try(SecondFactor{RecoveryCode: codes[1]}); err != nil {
		t.Errorf("a refused sign-in spent a recovery code: %v", err)
	}
	fresh, err := w.RegenerateRecoveryCodes(ctx)
	if err != nil || slices.Contains(fresh, codes[2]) {
		t.Fatal(err)
	}
	if err := try(SecondFactor{RecoveryCode: codes[2]}); !errors.Is(err, ErrBadLogin) {
		t.Errorf("a replaced recovery code: %v", err)
	}
	if err := w.DisableTOTP(ctx); err != nil {
		t.Fatal(err)
	}
	if err := try(SecondFactor{}); err != nil {
		t.Errorf("after switching it off: %v", err)
	}
}

func TestOneCodeSentManyTimesAtOnceIsAcceptedOnce(t *testing.T) {
	w := newBench(t)
	u := w.owner()
	secret, _ := w.enrol(w.as(w.login(u.Email).AccessToken))
	w.later(time.Minute)
	code := w.code(secret)
	const racers = 4 // fewer than the free guesses of an account from one address
	var group sync.WaitGroup
	results := make([]error, racers)
	for i := range racers {
		group.Go(func() {
			_, results[i] = w.Login(t.Context(), Login{Email: u.Email, Password: goodPassword, Code: SecondFactor{OTP: code}, Address: here})
		})
	}
	group.Wait()
	won := 0
	for _, err := range results {
		if err == nil {
			won++
		} else if !errors.Is(err, ErrBadLogin) {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("accepted %d times", won)
	}
}

func TestMandatorySecondFactor(t *testing.T) {
	w := newBench(t)
	w.owner()
	u := w.user(provider, "tech@msp.example", everywhere(tenants.Technician))
	before := w.login(u.Email)
	w.require(tenants.Technician)
	if !scope.From(w.as(before.AccessToken)).SetupOnly {
		t.Error("a running session without the factor is not restricted")
	}
	tokens := w.login(u.Email)
	if !tokens.SetupRequired || !scope.From(w.as(tokens.AccessToken)).SetupOnly {
		t.Error("the sign-in is not restricted")
	}
	if me, err := w.Me(w.as(tokens.AccessToken)); err != nil || !me.SetupRequired {
		t.Errorf("%+v %v", me, err)
	}
	if again, err := w.Refresh(t.Context(), tokens.RefreshToken, here); err != nil || !again.SetupRequired {
		t.Errorf("refreshing gets round it: %v", err)
	} else {
		tokens = again
	}
	w.enrol(w.as(tokens.AccessToken))
	if !scope.From(w.as(tokens.AccessToken)).SetupOnly {
		t.Error("a restricted token became unrestricted by itself")
	}
	full, err := w.Refresh(t.Context(), tokens.RefreshToken, here)
	if err != nil || full.SetupRequired || scope.From(w.as(full.AccessToken)).SetupOnly {
		t.Errorf("after setting it up: %+v %v", full, err)
	}
	if err := w.DisableTOTP(w.as(full.AccessToken)); !errors.Is(err, ErrTOTPMandatory) {
		t.Errorf("switching a mandatory factor off: %v", err)
	}
}

func TestStepUp(t *testing.T) {
	w := newBench(t)
	u := w.owner()
	tokens := w.login(u.Email)
	w.exec("UPDATE sessions SET stepped_up_at = now() - interval '16 minutes'")
	ctx := w.as(tokens.AccessToken)
	if scope.From(ctx).SteppedUp {
		t.Fatal("stepped up for too long")
	}
	for name, err := range map[string]error{
		"grants":         second(w.SetGrants(ctx, u.ID, u.Version, nil)),
		"reset link":     second(w.CreateResetLink(ctx, u.ID)),
		"second factor":  w.ResetSecondFactor(ctx, u.ID),
		"key":            func() error { _, _, err := w.CreateAPIKey(ctx, NewAPIKey{}); return err }(),
		"break glass":    second(w.BreakGlass(ctx, provider, "the server room burns", time.Hour)),
		"disable factor": w.DisableTOTP(ctx),
		"recovery codes": second(w.RegenerateRecoveryCodes(ctx)),
	} {
		if fault.KindOf(err) != fault.StepUp {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.StepUp(ctx, "wrong", SecondFactor{}); !errors.Is(err, ErrBadLogin) {
		t.Errorf("a wrong password: %v", err)
	}
	if got := w.audited(provider, "session.step_up_refused"); len(got) != 1 {
		t.Errorf("%+v", got)
	}
	up, err := w.StepUp(ctx, goodPassword, SecondFactor{})
	if err != nil || up.RefreshToken != "" || !scope.From(w.as(up.AccessToken)).SteppedUp {
		t.Fatalf("%+v %v", up, err)
	}
	if me, err := w.Me(w.as(up.AccessToken)); err != nil || me.SteppedUpUntil == nil {
		t.Errorf("%+v %v", me, err)
	}
	secret, _ := w.enrol(w.as(up.AccessToken))
	if _, err := w.StepUp(ctx, goodPassword, SecondFactor{}); fault.KindOf(err) != fault.OTPRequired {
		t.Errorf("the password alone, with a second factor: %v", err)
	}
	w.later(time.Minute)
	if _, err := w.StepUp(ctx, "", SecondFactor{OTP: w.code(secret)}); err != nil {
		t.Errorf("the code: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func (w *bench) try(ctx context.Context, sql string) error {
	return w.DB.Tx(ctx, func(tx *gorm.DB) error { return tx.Exec(sql).Error })
}
