package secrets

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/dbtest"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

type bench struct {
	*Keeper
	path  string
	urls  dbtest.URLs
	admin *pgx.Conn
	a, b  scope.ID
	clock time.Time
}

func newBench(t *testing.T) *bench {
	t.Helper()
	w := &bench{urls: dbtest.NewURLs(t), path: filepath.Join(t.TempDir(), "keys", "master.key"),
		a: uuid.Must(uuid.NewV7()), b: uuid.Must(uuid.NewV7()), clock: time.Now()}
	admin, err := pgx.Connect(t.Context(), w.urls.Admin)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close(context.Background()) })
	w.admin = admin
	for slug, id := range map[string]scope.ID{"a": w.a, "b": w.b} {
		w.exec(t, "INSERT INTO tenants (id, name, slug) VALUES ($1, $2, $2)", uuid.UUID(id), slug)
	}
	w.Keeper = w.replica(t)
	return w
}

// replica is another process with the same file and database.
func (w *bench) replica(t *testing.T) *Keeper {
	t.Helper()
	master, err := OpenMaster(w.path)
	if err != nil {
		t.Fatal(err)
	}
	return NewKeeper(dbtest.Open(t, w.urls.App), master, func() time.Time { return w.clock })
}

func (w *bench) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := w.admin.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (w *bench) seal(t *testing.T, ctx context.Context, tenant scope.ID, row scope.ID, secret string) (sealed []byte) {
	t.Helper()
	err := w.db.Tx(ctx, func(tx *gorm.DB) error {
		var err error
		sealed, err = w.SealTx(tx, tenant, "mail.password", row, []byte(secret))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func TestSealedSecretsOpenInTheirPlaceOnly(t *testing.T) {
	w := newBench(t)
	row, other := scope.ID(uuid.Must(uuid.NewV7())), scope.ID(uuid.Must(uuid.NewV7()))
	sealed := w.seal(t, dbtest.Tenant(t, w.a), w.a, row, "canary-7")
	w.seal(t, dbtest.Tenant(t, w.b), w.b, row, "something")
	ctx := t.Context()
	if got, err := w.Open(ctx, w.a, "mail.password", row, sealed); err != nil || string(got) != "canary-7" {
		t.Fatalf("%q %v", got, err)
	}
	if again := w.seal(t, dbtest.Staff(t), w.a, row, "canary-7"); bytes.Equal(again, sealed) {
		t.Error("equal secrets look equal")
	}
	damaged := bytes.Clone(sealed)
	damaged[len(damaged)-1] ^= 1
	version := bytes.Clone(sealed)
	version[4] = 2
	for name, try := range map[string]func() ([]byte, error){
		"other row":       func() ([]byte, error) { return w.Open(ctx, w.a, "mail.password", other, sealed) },
		"other purpose":   func() ([]byte, error) { return w.Open(ctx, w.a, "mail.passwor", row, sealed) },
		"other tenant":    func() ([]byte, error) { return w.Open(ctx, w.b, "mail.password", row, sealed) },
		"damaged":         func() ([]byte, error) { return w.Open(ctx, w.a, "mail.password", row, damaged) },
		"unknown version": func() ([]byte, error) { return w.Open(ctx, w.a, "mail.password", row, version) },
		"empty":           func() ([]byte, error) { return w.Open(ctx, w.a, "mail.password", row, nil) },
		"header only":     func() ([]byte, error) { return w.Open(ctx, w.a, "mail.password", row, sealed[:5]) },
	} {
		if got, err := try(); !errors.Is(err, ErrTampered) {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
	// A tenant's transaction does not even see another tenant's key.
	fresh := w.replica(t)
	err := fresh.db.Tx(dbtest.Tenant(t, w.b), func(tx *gorm.DB) error {
		_, err := fresh.OpenTx(tx, w.a, "mail.password", row, sealed)
		return err
	})
	if err == nil {
		t.Error("a tenant opened another tenant's secret")
	}
}

func TestARolledBackKeyIsForgotten(t *testing.T) {
	w := newBench(t)
	row := scope.ID(uuid.Must(uuid.NewV7()))
	boom := errors.New("boom")
	err := w.db.Tx(dbtest.Staff(t), func(tx *gorm.DB) error {
		if _, err := w.SealTx(tx, w.a, "p", row, []byte("x")); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatal(err)
	}
	sealed := w.seal(t, dbtest.Staff(t), w.a, row, "y")
	if got, err := w.replica(t).Open(t.Context(), w.a, "mail.password", row, sealed); err != nil || string(got) != "y" {
		t.Errorf("another replica reads %q, %v", got, err)
	}
}

func TestDatabaseHoldsNoSecret(t *testing.T) {
	w := newBench(t)
	keys, err := OpenKeys(dbtest.System(t), w.db, w.master, func() time.Time { return w.clock })
	if err != nil {
		t.Fatal(err)
	}
	w.seal(t, dbtest.Staff(t), w.a, w.a, "canary-8")
	_, private, err := keys.Ring(TaskKeys).Signer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"tenant_keys", "server_keys"} {
		rows, err := w.admin.Query(t.Context(), "SELECT t::text FROM "+table+" t")
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil || len(lines) == 0 {
			t.Fatal(len(lines), err)
		}
		dump := strings.Join(lines, "\n")
		for _, secret := range [][]byte{private.Seed(), w.master.current().key} {
			if strings.Contains(dump, hexOf(secret)) {
				t.Errorf("%s holds a key in clear", table)
			}
		}
	}
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, c := range b {
		s.WriteByte(digits[c>>4])
		s.WriteByte(digits[c&15])
	}
	return s.String()
}

func TestShreddedTenantIsUnreadableAlsoFromABackup(t *testing.T) {
	w := newBench(t)
	ctx, row := t.Context(), scope.ID(uuid.Must(uuid.NewV7()))
	sealed := w.seal(t, dbtest.Staff(t), w.a, row, "canary-9")
	kept := w.seal(t, dbtest.Staff(t), w.b, row, "stays")
	w.exec(t, "CREATE TABLE backup AS SELECT * FROM tenant_keys")
	other := w.replica(t)
	if _, err := other.Open(ctx, w.a, "mail.password", row, sealed); err != nil {
		t.Fatal(err)
	}
	if err := w.db.System(dbtest.System(t), func(tx *gorm.DB) error { return w.ShredTx(tx, w.a) }); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Open(ctx, w.a, "mail.password", row, sealed); !errors.Is(err, ErrShredded) {
		t.Errorf("after shredding: %v", err)
	}
	w.clock = w.clock.Add(cacheFor)
	if _, err := other.Open(ctx, w.a, "mail.password", row, sealed); !errors.Is(err, ErrShredded) {
		t.Errorf("another replica after its cache: %v", err)
	}
	err := w.db.Tx(dbtest.Staff(t), func(tx *gorm.DB) error {
		_, err := w.SealTx(tx, w.a, "p", row, []byte("new"))
		return err
	})
	if !errors.Is(err, ErrShredded) {
		t.Errorf("sealing for a shredded tenant: %v", err)
	}

	if n, err := w.RotateMaster(ctx); err != nil || n != 1 {
		t.Fatalf("%d wrapped anew, %v", n, err)
	}
	if n, err := w.RetireMasters(ctx); err != nil || n != 1 {
		t.Fatalf("%d retired, %v", n, err)
	}
	if got, err := w.replica(t).Open(ctx, w.b, "mail.password", row, kept); err != nil || string(got) != "stays" {
		t.Errorf("the other tenant after rotation: %q %v", got, err)
	}
	w.exec(t, "DELETE FROM tenant_keys")
	w.exec(t, "INSERT INTO tenant_keys SELECT * FROM backup")
	restored := w.replica(t)
	if got, err := restored.Open(ctx, w.a, "mail.password", row, sealed); err == nil {
		t.Errorf("the restored backup gives %q", got)
	}
	if err := restored.Check(ctx); err == nil || !strings.Contains(err.Error(), "restore the file") {
		t.Errorf("the check at start says %v", err)
	}
}

func TestMasterRotationKeepsEverythingReadable(t *testing.T) {
	w := newBench(t)
	ctx, row := t.Context(), scope.ID(uuid.Must(uuid.NewV7()))
	keys, err := OpenKeys(dbtest.System(t), w.db, w.master, func() time.Time { return w.clock })
	if err != nil {
		t.Fatal(err)
	}
	sealed := w.seal(t, dbtest.Staff(t), w.a, row, "x")
	running := w.replica(t) // has read the file before the rotation
	before := w.master.current().id
	if n, err := w.RotateMaster(ctx); err != nil || n != 1+len(purposes) {
		t.Fatalf("%d wrapped anew, %v", n, err)
	}
	if n, err := w.RetireMasters(ctx); err != nil || n != 1 || w.master.current().id == before {
		t.Fatalf("%d retired, %v", n, err)
	}
	for name, k := range map[string]*Keeper{"same": w.Keeper, "running": running, "new": w.replica(t)} {
		if got, err := k.Open(ctx, w.a, "mail.password", row, sealed); err != nil || string(got) != "x" {
			t.Errorf("%s replica: %q %v", name, got, err)
		}
		if err := k.Check(ctx); err != nil {
			t.Errorf("%s replica: %v", name, err)
		}
	}
	if err := keys.Reload(ctx); err != nil {
		t.Error(err)
	}
	// The running replica wraps the next tenant's key with a master key that still exists.
	err = running.db.Tx(dbtest.Staff(t), func(tx *gorm.DB) error {
		sealed, err = running.SealTx(tx, w.b, "mail.password", row, []byte("z"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := w.replica(t).Open(ctx, w.b, "mail.password", row, sealed); err != nil || string(got) != "z" {
		t.Errorf("%q %v", got, err)
	}
}

func TestMasterFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "master.key")
	var group sync.WaitGroup
	ids := make([]string, 8)
	for i := range ids {
		group.Go(func() {
			m, err := OpenMaster(path)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = m.current().id
		})
	}
	group.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("replicas that start at once have different keys: %v", ids)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".master-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenMaster(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a readable file: %v", err)
	}
	for name, text := range map[string]string{"empty": "# nothing\n", "short key": "m1 AAAA\n", "no id": " \nAAAA\n",
		"twice": strings.Repeat("m1 "+strings.Repeat("A", 43)+"=\n", 2)} {
		file := filepath.Join(t.TempDir(), "m")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenMaster(file); err == nil || strings.Contains(err.Error(), "AAAA") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestServerKeysAreMadeOnceAndRotate(t *testing.T) {
	w := newBench(t)
	ctx := dbtest.System(t)
	now := func() time.Time { return w.clock }
	replicas := make([]*Keys, 4)
	var group sync.WaitGroup
	for i := range replicas {
		group.Go(func() {
			var err error
			if replicas[i], err = OpenKeys(ctx, w.db, w.master, now); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if t.Failed() {
		return
	}
	k, other := replicas[0], replicas[1]
	for _, purpose := range purposes {
		if chain := k.Chain(purpose); len(chain) != 1 || chain[0].SignedBy != "" {
			t.Fatalf("%s: %d keys", purpose, len(chain))
		}
	}
	first, private, err := k.Ring(TaskKeys).Signer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Ring(AccessKeys).Public(ctx, first); err == nil {
		t.Error("a task key verifies access tokens")
	}

	rotate := func(lead time.Duration) (kid string) {
		t.Helper()
		err := w.db.System(ctx, func(tx *gorm.DB) error {
			key, err := k.RotateTx(tx, TaskKeys, lead)
			kid = key.KeyID
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Reload(ctx); err != nil {
			t.Fatal(err)
		}
		return kid
	}
	second := rotate(time.Hour)
	if kid, _, _ := k.Ring(TaskKeys).Signer(ctx); kid != first {
		t.Error("a key signs before its time")
	}
	// The other replica has not reloaded: an unknown key id makes it look.
	if _, err := other.Ring(TaskKeys).Public(ctx, second); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("looked up too often: %v", err)
	}
	w.clock = w.clock.Add(2 * time.Second)
	if _, err := other.Ring(TaskKeys).Public(ctx, second); err != nil {
		t.Errorf("another replica's new key: %v", err)
	}
	if err := retire(ctx, w.db, k, first); !errors.Is(err, ErrLastKey) {
		t.Errorf("the key in use was retired: %v", err)
	}
	third := rotate(0)
	w.clock = w.clock.Add(time.Minute)
	if kid, _, _ := k.Ring(TaskKeys).Signer(ctx); kid != third {
		t.Errorf("signs with %s, want %s", kid, third)
	}

	// An endpoint that pinned the first key follows the chain.
	trusted := map[string]ed25519.PublicKey{first: private.Public().(ed25519.PublicKey)}
	for _, key := range k.Chain(TaskKeys)[1:] {
		if !key.VouchedFor(string(TaskKeys), trusted) {
			t.Fatalf("%s is not vouched for", key.KeyID)
		}
		trusted[key.KeyID] = key.Public
	}
	if len(trusted) != 3 {
		t.Errorf("%d keys in the chain", len(trusted))
	}

	if err := retire(ctx, w.db, k, first); err != nil {
		t.Fatal(err)
	}
	if err := k.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Ring(TaskKeys).Public(ctx, first); err == nil {
		t.Error("a retired key still verifies")
	}
	if len(k.Chain(TaskKeys)) != 3 || len(k.Ring(TaskKeys).PublicKeys()) != 3 {
		t.Error("a retired key left the chain")
	}
	if err := retire(ctx, w.db, k, "task-none"); !errors.Is(err, ErrUnknownKey) {
		t.Error(err)
	}
}

func retire(ctx context.Context, db *tenantdb.DB, k *Keys, kid string) error {
	return db.System(ctx, func(tx *gorm.DB) error { return k.RetireTx(tx, kid) })
}

func TestOnlyTheServerReachesItsKeys(t *testing.T) {
	w := newBench(t)
	if _, err := OpenKeys(dbtest.System(t), w.db, w.master, time.Now); err != nil {
		t.Fatal(err)
	}
	for name, ctx := range map[string]context.Context{"tenant": dbtest.Tenant(t, w.a), "granted": dbtest.Granted(t, []scope.ID{w.a, scope.Provider}), "staff": dbtest.Staff(t)} {
		err := w.db.Tx(ctx, func(tx *gorm.DB) error {
			var n int64
			return tx.Table("server_keys").Count(&n).Error
		})
		if fault.KindOf(err) != fault.Internal {
			t.Errorf("%s reads server_keys: %v", name, err)
		}
	}
}
