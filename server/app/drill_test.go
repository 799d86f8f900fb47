//go:build linux

package app

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gorm.io/gorm"

	"reeve/server/dbtest"
)

// drillFolder is a folder that the account of a private cluster can enter, unlike those of t.TempDir.
func drillFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "reeve-drill-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestARestoredServerRunsNothingTwice is the drill: a server with a private database is backed up while
// it runs, goes on working, is lost, and is restored to the older state in another folder. Its endpoint
// knows more than it does.
func TestARestoredServerRunsNothingTwice(t *testing.T) {
	t.Parallel()
	dir := drillFolder(t)
	first := startWith(t, Options{Listen: "127.0.0.1:0", DataDir: filepath.Join(dir, "first"), TLS: "auto",
		AdminEmail: adminEmail, AdminPassword: adminPassword, Log: dbtest.Log(t), Out: nowhere(t)}, dbtest.URLs{})
	c := first.admin(t)
	tenant, site := c.place(t, "Acme")
	e := first.join(t, c.enrolmentToken(t, tenant, site, 1))
	c.online(t, e.id)

	// Queued while the endpoint is away, and therefore in the backup as queued.
	e.stop(t)
	marks := t.TempDir()
	mark := func(name string) string { return filepath.Join(marks, name) }
	_, before := c.job(t, e.id, bash("echo x >> "+mark("before")))
	path := filepath.Join(dir, "backup.tgz")
	if err := Backup(t.Context(), first.o.Defaults(), path); err != nil {
		t.Fatal(err)
	}

	var report strings.Builder
	if err := VerifyAudit(t.Context(), first.o.Defaults(), &report); err != nil {
		t.Errorf("verifying beside the running server: %v\n%s", err, &report)
	}

	// Everything from here on the restored server has never heard of.
	e.run(t)
	c.ends(t, before, "succeeded")
	_, after := c.job(t, e.id, bash("echo x >> "+mark("after")))
	c.ends(t, after, "succeeded")
	_, during := c.job(t, e.id, bash("echo x >> "+mark("during")+"; while [ ! -e "+mark("gate")+" ]; do sleep 0.1; done; echo done"))
	until(t, "the script runs", func() bool { return c.ok(t, "GET", "/api/v1/tasks/"+during, nil).body["state"] == "running" })
	address := first.app.addr
	first.stop(t)
	if err := os.WriteFile(mark("gate"), nil, 0o600); err != nil {
		t.Fatal(err)
	}

	o := first.o
	o.DataDir, o.Listen = filepath.Join(dir, "second"), address
	if err := Restore(t.Context(), o.Defaults(), path); err != nil {
		t.Fatal(err)
	}
	second := startWith(t, o, dbtest.URLs{})
	c = second.admin(t)
	c.online(t, e.id)
	if done := c.ends(t, before, "succeeded"); done["exit_code"] != 0.0 {
		t.Errorf("answered from the journal: %v", done)
	}
	until(t, "the result of the unknown task is kept", func() bool { return second.orphans(t, during) == 1 })
	for _, name := range []string{"before", "after", "during"} {
		if runs, err := os.ReadFile(mark(name)); err != nil || string(runs) != "x\n" {
			t.Errorf("%s ran %q, %v", name, runs, err)
		}
	}
	if r := c.call(t, "GET", "/api/v1/tasks/"+after, nil); r.status != 404 {
		t.Errorf("a task from after the backup: %d %s", r.status, r.raw)
	}
	// And the endpoint takes new work from the server that is younger than itself.
	_, task := c.job(t, e.id, bash("echo new"))
	if done := c.ends(t, task, "succeeded"); done["stdout"] != "new\n" {
		t.Errorf("stdout %v", done["stdout"])
	}
	until(t, "the audit log tells of the restore", func() bool {
		for _, entry := range c.ok(t, "GET", "/api/v1/audit?action=server.restored", nil).items(t) {
			return entry["action"] == "server.restored"
		}
		return false
	})
}

func (i *instance) orphans(t *testing.T, task string) (n int) {
	t.Helper()
	err := i.app.state.db.System(dbtest.System(t), func(tx *gorm.DB) error {
		return tx.Raw("SELECT count(*) FROM orphan_results WHERE task_id = ?", task).Scan(&n).Error
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestABackupOfAStoppedServer starts its private database for as long as that takes, and a restore that
// fails leaves no cluster behind.
func TestABackupOfAStoppedServer(t *testing.T) {
	t.Parallel()
	dir := drillFolder(t)
	i := startWith(t, Options{Listen: "127.0.0.1:0", DataDir: filepath.Join(dir, "first"),
		AdminEmail: adminEmail, AdminPassword: adminPassword, Log: dbtest.Log(t), Out: nowhere(t)}, dbtest.URLs{})
	i.stop(t)
	path := filepath.Join(dir, "backup.tgz")
	if err := Backup(t.Context(), i.o.Defaults(), path); err != nil {
		t.Fatal(err)
	}
	o := i.o
	o.DataDir = filepath.Join(dir, "second")
	wrong := rewrite(t, path, manifested(func(m *manifest) { m.Database.Rows["tenants"]++ }))
	if err := Restore(t.Context(), o.Defaults(), wrong); err == nil || !strings.Contains(err.Error(), "tenants has 1 rows") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(o.DataDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
	if err := Restore(t.Context(), o.Defaults(), path); err != nil {
		t.Fatal(err)
	}
	startWith(t, o, dbtest.URLs{}).admin(t)
}
