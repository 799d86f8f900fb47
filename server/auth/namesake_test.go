package auth

import (
	"testing"

	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants"
	"reeve/tenants/scope"
)

// An administrator of one tenant can give somebody there the address of a user of another one, with a
// password of their choice. Neither signing in as the namesake nor making links for it may clear what was
// counted against the guesses at the other.
func TestANamesakeElsewhereClearsNoGuesses(t *testing.T) {
	w := newBench(t)
	victim := w.owner()
	b := w.tenant("Bravo")
	namesake := w.user(b, victim.Email, tenants.Grant{Role: tenants.CustomerUser, TenantID: b})
	const stranger = "198.51.100.7"
	attempt := func(password string) fault.Kind {
		_, err := w.Login(t.Context(), Login{Email: victim.Email, Password: password, Address: stranger})
		return fault.KindOf(err)
	}
	w.choose(namesake, otherPassword)
	answered := 0
	for range 30 {
		if attempt("wrong") == fault.Unauthenticated {
			answered++
		}
		_ = attempt(otherPassword) // the namesake's own
	}
	if answered > pairRule.free {
		t.Errorf("%d guesses were answered, want at most %d", answered, pairRule.free)
	}

	admin := w.as(w.login(victim.Email).AccessToken)
	for range 5 {
		invitation, err := w.CreateResetLink(admin, namesake.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.CompletePasswordReset(t.Context(), tokenOf(t, invitation.URL), otherPassword, stranger); err != nil {
			t.Fatal(err)
		}
		if got := attempt("wrong"); got != fault.RateLimited {
			t.Fatalf("a guess after the namesake's password was reset: %s", got)
		}
	}
}

// choose sets somebody's password.
func (w *bench) choose(u tenants.User, password string) {
	w.t.Helper()
	hash, err := w.Hasher.Hash(w.t.Context(), password)
	if err == nil {
		err = w.DB.System(w.t.Context(), func(tx *gorm.DB) error { return setPassword(tx, u, hash) })
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// Strangers who guess at an account make its sign-in wait. Whoever is signed in can still confirm who
// they are, and what they guess there does not count as signing in.
func TestGuessesAtSignInDoNotHoldUpWhoIsSignedIn(t *testing.T) {
	w := newBench(t)
	u := w.owner()
	ctx := w.as(w.login(u.Email).AccessToken)
	for range 2 * accountRule.free {
		w.exec("UPDATE login_throttles SET blocked_until = NULL")
		_, _ = w.Login(t.Context(), Login{Email: u.Email, Password: "wrong", Address: "198.51.100.7"})
	}
	if _, err := w.Login(t.Context(), Login{Email: u.Email, Password: goodPassword, Address: "203.0.113.1"}); fault.KindOf(err) != fault.RateLimited {
		t.Errorf("the account as a whole does not wait: %v", err)
	}
	self := scope.From(ctx)
	self.Actor.Address = here
	if _, err := w.StepUp(scope.With(ctx, self), goodPassword, SecondFactor{}); err != nil {
		t.Errorf("stepping up: %v", err)
	}
	for range pairRule.free {
		_, _ = w.StepUp(ctx, "wrong", SecondFactor{})
	}
	if _, err := w.StepUp(ctx, goodPassword, SecondFactor{}); fault.KindOf(err) != fault.RateLimited {
		t.Errorf("guesses at stepping up are not counted: %v", err)
	}
}
