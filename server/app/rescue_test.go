package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gorm.io/gorm"

	"reeve/server/dbtest"
)

func TestTheLastOwnerGetsInAgain(t *testing.T) {
	t.Parallel()
	i := start(t, "off")
	c := i.admin(t)
	tenant, _ := c.place(t, "Acme")
	customer := c.user(t, tenant, "pia@acme.example", object{"role": "customer_manager", "all_tenants": false, "tenant_ids": []string{tenant}})
	// A second factor that nobody has any more.
	err := i.app.state.db.System(dbtest.System(t), func(tx *gorm.DB) error {
		return tx.Exec("UPDATE user_credentials SET totp_secret = 'lost', second_factor_at = now() WHERE user_id = (SELECT id FROM users WHERE email = ?)", adminEmail).Error
	})
	if err != nil {
		t.Fatal(err)
	}
	if r := i.send(t, "", "POST", "/api/v1/auth/login", object{"email": adminEmail, "password": adminPassword}); r.status != 401 {
		t.Fatalf("without the second factor: %d %s", r.status, r.raw)
	}
	o := i.o.Defaults()
	if o.Out, err = os.Create(filepath.Join(t.TempDir(), "out")); err != nil {
		t.Fatal(err)
	}
	defer o.Out.Close()
	if err := Rescue(t.Context(), o, customer.name); err == nil {
		t.Error("somebody of a tenant was rescued")
	}
	if err := Rescue(t.Context(), o, strings.ToUpper(adminEmail)); err != nil {
		t.Fatal(err)
	}
	if r := i.send(t, c.token, "GET", "/api/v1/tenants", nil); r.status != 401 {
		t.Errorf("an earlier session: %d", r.status)
	}
	said, err := os.ReadFile(o.Out.Name())
	_, token, found := strings.Cut(string(said), "#token=")
	if err != nil || !found {
		t.Fatalf("%q, %v", said, err)
	}
	const fresh = "marble-lantern-orchid-58"
	r := i.send(t, "", "POST", "/api/v1/auth/password-reset/complete", object{"token": strings.TrimSpace(token), "new_password": fresh})
	if r.status != 204 {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	c = i.signIn(t, adminEmail, fresh)
	if list := c.ok(t, "GET", "/api/v1/audit?action=user.rescued", nil).items(t); len(list) != 1 {
		t.Errorf("the audit log tells of %d rescues", len(list))
	}
}
