package app

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"gorm.io/gorm"

	"reeve/server/dbtest"
	"reeve/server/dump"
	"reeve/server/migrations"
	"reeve/tenants/scope"
	"reeve/tenants/secrets"
)

// otherwise is the options of an instance for another folder and database.
func (i *instance) otherwise(dir string, urls dbtest.URLs) Options {
	o := i.o
	o.DataDir, o.DatabaseURL, o.MigrationURL, o.MasterKeyFile = dir, urls.App, urls.Migrator, ""
	return o.Defaults()
}

// backup backs an instance up while it runs.
func (i *instance) backup(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "backup.tgz")
	if err := Backup(t.Context(), i.o.Defaults(), path); err != nil {
		t.Fatal(err)
	}
	return path
}

func counts(t *testing.T, url string) map[string]int64 {
	t.Helper()
	n, err := dump.Count(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestABackupBringsEverythingBack(t *testing.T) {
	t.Parallel()
	i := start(t, "auto")
	c := i.admin(t)
	tenant, _ := c.place(t, "Acme")
	pia := c.user(t, tenant, "pia@acme.example", object{"role": "customer_manager", "all_tenants": false, "tenant_ids": []string{tenant}})
	sealed := i.seal(t, "a secret of Acme")
	store := filepath.Join(i.o.DataDir, "files", "ab")
	if err := errors.Join(os.MkdirAll(store, 0o700), os.WriteFile(filepath.Join(store, "cd"), []byte("a file"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := i.app.wired.checkpointer.Sweep(dbtest.System(t)); err != nil {
		t.Fatal(err)
	}
	path := i.backup(t)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) != 0 {
		t.Errorf("it leaves %v", left)
	}

	urls, dir := dbtest.Empty(t), filepath.Join(t.TempDir(), "new")
	o := i.otherwise(dir, urls)
	i.stop(t)
	want := counts(t, i.urls.Migrator)
	if err := Restore(t.Context(), o, path); err != nil {
		t.Fatal(err)
	}
	want["audit_entries"]++            // the restore itself
	delete(want, "river.river_leader") // of the running server
	for name, n := range counts(t, urls.Migrator) {
		if name == "river.river_leader" {
			continue
		}
		if n != want[name] {
			t.Errorf("%s has %d rows instead of %d", name, n, want[name])
		}
		delete(want, name)
	}
	if len(want) != 0 {
		t.Errorf("missing: %v", want)
	}
	for _, name := range []string{"tls/ca.key", "tls/ca.pem", "files/ab/cd", "audit-checkpoints.jsonl", "master.key"} {
		before, err1 := os.ReadFile(filepath.Join(i.o.DataDir, name))
		after, err2 := os.ReadFile(filepath.Join(dir, name))
		if err := errors.Join(err1, err2); err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s is not what it was, %v", name, err)
		}
	}
	again := startWith(t, o, urls)
	again.admin(t).ok(t, "GET", "/api/v1/tenants/"+tenant, nil)
	again.signIn(t, pia.name, pia.password)
	if r := again.send(t, c.token, "GET", "/api/v1/tenants", nil); r.status != 401 {
		t.Errorf("a session from before the restore: %d %s", r.status, r.raw)
	}
	if got := again.open(t, sealed); got != "a secret of Acme" {
		t.Errorf("the secret reads %q", got)
	}
	var report bytes.Buffer
	if err := VerifyAudit(t.Context(), o, &report); err != nil {
		t.Errorf("%v\n%s", err, &report)
	}
}

// seal stores nothing: what a row would hold comes back.
func (i *instance) seal(t *testing.T, secret string) (sealed []byte) {
	t.Helper()
	err := i.app.state.db.System(dbtest.System(t), func(tx *gorm.DB) (err error) {
		sealed, err = i.app.state.keeper.SealTx(tx, scope.Provider, "test", scope.Provider, []byte(secret))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func (i *instance) open(t *testing.T, sealed []byte) string {
	t.Helper()
	secret, err := i.app.state.keeper.Open(dbtest.System(t), scope.Provider, "test", scope.Provider, sealed)
	if err != nil {
		t.Fatal(err)
	}
	return string(secret)
}

func TestABackupOverwritesNothing(t *testing.T) {
	t.Parallel()
	i := start(t, "off")
	path := i.backup(t)
	if err := Backup(t.Context(), i.o.Defaults(), path); err == nil || !strings.Contains(err.Error(), "never overwrites") {
		t.Errorf("an archive: %v", err)
	}
	urls := dbtest.Empty(t)
	occupied := t.TempDir()
	if err := os.WriteFile(filepath.Join(occupied, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Restore(t.Context(), i.otherwise(occupied, urls), path); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a data folder: %v", err)
	}
	fresh := filepath.Join(t.TempDir(), "fresh")
	if err := Restore(t.Context(), i.otherwise(fresh, i.urls), path); !errors.Is(err, dump.ErrNotEmpty) {
		t.Errorf("a database: %v", err)
	}
	if _, err := os.Stat(fresh); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
	if len(counts(t, i.urls.Migrator)) < 20 {
		t.Error("the database that was in the way is gone")
	}
	o := i.otherwise(fresh, urls)
	o.MasterKeyFile = filepath.Join(t.TempDir(), "other.key")
	if _, err := secrets.OpenMaster(o.MasterKeyFile); err != nil {
		t.Fatal(err)
	}
	if err := Restore(t.Context(), o, path); err == nil || !strings.Contains(err.Error(), "other master keys") {
		t.Errorf("a master key: %v", err)
	}
	if err := dump.Empty(t.Context(), urls.Migrator); err != nil {
		t.Error(err)
	}
}

// rewrite copies an archive with its entries changed.
func rewrite(t *testing.T, path string, change func(name string, body []byte) (newName string, newBody []byte)) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	in, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	var buffer bytes.Buffer
	out := gzip.NewWriter(&buffer)
	from, to := tar.NewReader(in), tar.NewWriter(out)
	for {
		head, err := from.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(from)
		if err != nil {
			t.Fatal(err)
		}
		head.Name, body = change(head.Name, body)
		head.Size = int64(len(body))
		if err := to.WriteHeader(head); err != nil {
			t.Fatal(err)
		}
		if _, err := to.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(to.Close(), out.Close()); err != nil {
		t.Fatal(err)
	}
	return write(t, buffer.Bytes())
}

func write(t *testing.T, raw []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "changed.tgz")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// manifested changes the manifest alone.
func manifested(change func(m *manifest)) func(string, []byte) (string, []byte) {
	return func(name string, body []byte) (string, []byte) {
		if name == manifestName {
			var m manifest
			if err := json.Unmarshal(body, &m); err != nil {
				panic(err)
			}
			change(&m)
			body, _ = json.Marshal(m)
		}
		return name, body
	}
}

func TestWhatIsNotABackupIsNotRestored(t *testing.T) {
	t.Parallel()
	i := start(t, "off")
	good := i.backup(t)
	raw, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(raw)
	flipped[len(flipped)/2] ^= 1
	broken := []byte("no dump at all")
	for name, c := range map[string]struct{ path, because string }{
		"cut short":   {write(t, raw[:len(raw)-100]), "damaged"},
		"a bit":       {write(t, flipped), "damaged"},
		"another":     {write(t, []byte("PK\x03\x04 something else entirely")), "damaged"},
		"empty":       {write(t, nil), "damaged"},
		"newer":       {rewrite(t, good, manifested(func(m *manifest) { m.Database.Schema = 99_999 })), "newer server"},
		"newer queue": {rewrite(t, good, manifested(func(m *manifest) { m.Database.Queue = 99_999 })), "newer server"},
		"format":      {rewrite(t, good, manifested(func(m *manifest) { m.Format = 2 })), "format 2"},
		"counts":      {rewrite(t, good, manifested(func(m *manifest) { m.Database.Rows["tenants"]++ })), "tenants has 1 rows instead of 2"},
		"no key":      {rewrite(t, good, manifested(func(m *manifest) { m.Parts = m.Parts[:1] })), "lacks master.key"},
		"traversal":   {rewrite(t, good, manifested(func(m *manifest) { m.Parts[0].Name = "files/../../x" })), "its manifest names"},
		"absolute":    {rewrite(t, good, manifested(func(m *manifest) { m.Parts[0].Name = "/etc/passwd" })), "its manifest names"},
		"another key": {rewrite(t, good, otherKey(t)), "master key"},
		"a broken dump": {rewrite(t, good, func(name string, body []byte) (string, []byte) {
			if name == dumpName {
				return name, broken
			}
			return manifested(func(m *manifest) { m.replace(dumpName, broken) })(name, body)
		}), "restoring the database"},
		"another name": {rewrite(t, good, func(name string, body []byte) (string, []byte) {
			if name == masterName {
				name = "master.bak"
			}
			return name, body
		}), "not where the manifest says"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			urls, dir := dbtest.Empty(t), filepath.Join(t.TempDir(), "data")
			err := Restore(t.Context(), i.otherwise(dir, urls), c.path)
			if err == nil || !strings.Contains(err.Error(), c.because) {
				t.Errorf("want %q, got %v", c.because, err)
			}
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the folder is left: %v", err)
			}
			if err := dump.Empty(t.Context(), urls.Migrator); err != nil {
				t.Error(err)
			}
			if name != "another key" { // the last to fail: all that is undone was done
				return
			}
			if err := Restore(t.Context(), i.otherwise(dir, urls), good); err != nil {
				t.Error(err)
			}
		})
	}
}

func (m *manifest) replace(name string, body []byte) {
	for i := range m.Parts {
		if m.Parts[i].Name == name {
			sum := sha256.Sum256(body)
			m.Parts[i].Size, m.Parts[i].SHA256 = int64(len(body)), hex.EncodeToString(sum[:])
		}
	}
}

// otherKey puts a master key into the archive that has sealed nothing in its database.
func otherKey(t *testing.T) func(string, []byte) (string, []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if _, err := secrets.OpenMaster(path); err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return func(name string, body []byte) (string, []byte) {
		if name == masterName {
			return name, other
		}
		return manifested(func(m *manifest) { m.replace(masterName, other) })(name, body)
	}
}

func TestABackupOfAnOlderSchemaIsMigrated(t *testing.T) {
	t.Parallel()
	old := dbtest.Empty(t)
	config, err := pgx.ParseConfig(old.Migrator)
	if err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SET ROLE reeve_owner")
		return err
	}))
	defer db.Close()
	upTo(t, db, migrations.Latest()-1)
	o := Options{DataDir: t.TempDir(), DatabaseURL: old.App, MigrationURL: old.Migrator, Log: dbtest.Log(t), Out: nowhere(t)}.Defaults()
	if _, err := secrets.OpenMaster(o.MasterKeyFile); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "old.tgz")
	if err := Backup(t.Context(), o, path); err != nil {
		t.Fatal(err)
	}
	urls := dbtest.Empty(t)
	o.DataDir, o.MasterKeyFile = filepath.Join(t.TempDir(), "new"), ""
	o.DatabaseURL, o.MigrationURL = urls.App, urls.Migrator
	if err := Restore(t.Context(), o.Defaults(), path); err != nil {
		t.Fatal(err)
	}
	if v, err := migrations.Version(t.Context(), urls.Migrator); err != nil || v != migrations.Latest() {
		t.Errorf("schema %d, %v", v, err)
	}
}

// nowhere takes what is meant for people.
func nowhere(t *testing.T) *os.File {
	t.Helper()
	f, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func upTo(t *testing.T, db *sql.DB, version int64) {
	t.Helper()
	provider, err := goose.NewProvider(goose.DialectPostgres, db, os.DirFS("../migrations"), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(t.Context(), version); err != nil {
		t.Fatal(err)
	}
}

func TestARestoreThatWasCutOffIsNoServer(t *testing.T) {
	t.Parallel()
	i := start(t, "off")
	path := i.backup(t)
	o := i.otherwise(t.TempDir(), dbtest.Empty(t))
	err := errors.Join(os.WriteFile(filepath.Join(o.DataDir, unfinishedName), nil, 0o600), os.Mkdir(filepath.Join(o.DataDir, "postgres"), 0o700))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), o); err == nil || !strings.Contains(err.Error(), "was cut off") {
		t.Errorf("a start: %v", err)
	}
	if err := Restore(t.Context(), o, path); err == nil || !strings.Contains(err.Error(), "was cut off") {
		t.Errorf("a restore: %v", err)
	}
}

func TestACommandMakesNoServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := Options{DataDir: filepath.Join(dir, "none"), Log: dbtest.Log(t)}.Defaults()
	if err := Backup(t.Context(), o, filepath.Join(dir, "x.tgz")); err == nil || !strings.Contains(err.Error(), "no server") {
		t.Error(err)
	}
	if err := VerifyAudit(t.Context(), o, io.Discard); err == nil || !strings.Contains(err.Error(), "no server") {
		t.Error(err)
	}
	if err := Rescue(t.Context(), o, adminEmail); err == nil || !strings.Contains(err.Error(), "no server") {
		t.Error(err)
	}
	if _, err := os.Stat(o.DataDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder was made: %v", err)
	}
}

func TestAServerWithoutTheLoginForMigrations(t *testing.T) {
	t.Parallel()
	i := start(t, "off")
	i.stop(t)
	o := i.o
	o.MigrationURL = ""
	startWith(t, o, i.urls).admin(t)

	empty := dbtest.Empty(t)
	o.DatabaseURL = empty.App
	if _, err := Start(dbtest.System(t), o); err == nil || !strings.Contains(err.Error(), "run reeve-server migrate") {
		t.Errorf("on an empty database: %v", err)
	}
}
