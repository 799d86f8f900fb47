package app

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"gorm.io/gorm"

	"reeve/server/dbtest"
	"reeve/tenants/secrets"
)

// TestEndpointsFollowANewTaskKey has the server sign with a key that the endpoint did not know when it
// enrolled.
func TestEndpointsFollowANewTaskKey(t *testing.T) {
	t.Parallel()
	i := start(t, "off")
	c := i.admin(t)
	tenant, site := c.place(t, "Acme")
	e := i.join(t, c.enrolmentToken(t, tenant, site, 1))
	c.online(t, e.id)
	keys := i.app.state.keys
	before, _, err := keys.Ring(secrets.TaskKeys).Signer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second is vouched for by a key that the endpoint has only just learnt
		err = i.app.state.db.System(dbtest.System(t), func(tx *gorm.DB) error {
			_, err := keys.RotateTx(tx, secrets.TaskKeys, 0)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := keys.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now, _, err := keys.Ring(secrets.TaskKeys).Signer(t.Context()); err != nil || now == before {
		t.Fatalf("%s signs, %v", now, err)
	}
	_, task := c.job(t, e.id, bash("echo trusted"))
	if done := c.ends(t, task, "succeeded"); done["stdout"] != "trusted\n" {
		t.Errorf("stdout %v", done["stdout"])
	}
}

func TestRotatingEachKeyByCommand(t *testing.T) {
	t.Parallel()
	i := start(t, "off")
	c := i.admin(t)
	sealed := i.seal(t, "a secret")
	o := i.o.Defaults()
	old, err := os.ReadFile(o.MasterKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, which := range []string{"task", "access", "checkpoint", "master"} {
		if err := RotateKeys(t.Context(), o, which); err != nil {
			t.Errorf("%s: %v", which, err)
		}
	}
	if err := RotateKeys(t.Context(), o, "house"); err == nil || !strings.Contains(err.Error(), "house") {
		t.Errorf("an unknown key: %v", err)
	}
	if now, err := os.ReadFile(o.MasterKeyFile); err != nil || bytes.Equal(old, now) {
		t.Errorf("the master key is what it was, %v", err)
	}
	// The running server goes on: what was signed and sealed before is still good.
	if list := c.ok(t, "GET", "/api/v1/audit?action=server_key.rotated", nil).items(t); len(list) != 4 {
		t.Errorf("the audit log tells of %d rotations", len(list))
	}
	if got := i.open(t, sealed); got != "a secret" {
		t.Errorf("the secret reads %q", got)
	}
	i.stop(t)
	again := startWith(t, i.o, i.urls)
	again.admin(t)
	if got := again.open(t, sealed); got != "a secret" {
		t.Errorf("the secret reads %q after a restart", got)
	}
}
