// Package dbtest gives every test a freshly migrated PostgreSQL database of its own.
//
// Each test process runs a private cluster in one of a few numbered folders under the temporary folder
// of the system: it takes the first that no other process holds, so that initdb is paid once per folder
// and machine, and the disk holds as many clusters as ever ran at once. The kernel ends the cluster
// with the process. Inside, one migrated database per schema is the template of all others.
package dbtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"reeve/server/migrations"
	"reeve/server/privatedb"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// slots is how many test processes may run at once on one machine.
const slots = 64

// errSchema is the error of a schema that does not migrate, which no new cluster would cure.
var errSchema = errors.New("the schema is broken")

// URLs are the logins of one database.
type URLs struct {
	App, Migrator, Admin string
}

// New opens a freshly migrated database that is dropped when the test ends.
func New(t testing.TB) *tenantdb.DB {
	t.Helper()
	return Open(t, NewURLs(t).App)
}

// Open opens a database of NewURLs, closed when the test ends: a second one plays another replica.
func Open(t testing.TB, url string) *tenantdb.DB {
	t.Helper()
	db, err := tenantdb.Open(context.Background(), tenantdb.Options{URL: url, MaxConns: 10, Log: Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// NewURLs makes a freshly migrated database that is dropped when the test ends.
func NewURLs(t testing.TB) URLs {
	t.Helper()
	// Copying files is five times as quick as the default, which writes the whole copy to the log.
	return create(t, "TEMPLATE "+shared(t).template+" STRATEGY FILE_COPY")
}

// Empty makes a database that no migration has touched.
func Empty(t testing.TB) URLs {
	t.Helper()
	return create(t, "")
}

// Log is a logger that writes into the test's own output.
func Log(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// System is a context whose transactions reach everything.
func System(t testing.TB) context.Context { return scope.AsSystem(t.Context(), "test") }

// Staff is a context of a technician of the provider who may do what is listed, everywhere.
func Staff(t testing.TB, permissions ...string) context.Context {
	return scope.With(t.Context(), scope.Scope{Reach: scope.Staff, Actor: actor(scope.Provider, "staff@example.test"),
		Grants: []scope.Grant{{AllTenants: true, Permissions: permissions}}})
}

// Tenant is a context of somebody of one tenant who may do what is listed there.
func Tenant(t testing.TB, tenant scope.ID, permissions ...string) context.Context {
	return scope.With(t.Context(), scope.Scope{Reach: scope.Tenant, Tenants: []scope.ID{tenant}, Actor: actor(tenant, "user@example.test"),
		Grants: []scope.Grant{{TenantID: tenant, Permissions: permissions}}})
}

// Granted is a context of a technician of the provider with access to some tenants.
func Granted(t testing.TB, tenants []scope.ID, permissions ...string) context.Context {
	s := scope.Scope{Reach: scope.Granted, Tenants: tenants, Actor: actor(scope.Provider, "granted@example.test")}
	for _, id := range tenants {
		s.Grants = append(s.Grants, scope.Grant{TenantID: id, Permissions: permissions})
	}
	return scope.With(t.Context(), s)
}

// cluster is the private cluster of this process.
type cluster struct {
	*privatedb.Cluster
	template string
}

// shared starts the cluster of this process on first use; the kernel ends it with the process.
var shared = func() func(t testing.TB) *cluster {
	once := sync.OnceValues(func() (*cluster, error) {
		return start(filepath.Join(os.TempDir(), fmt.Sprintf("reeve-dbtest-%d", os.Getuid())))
	})
	return func(t testing.TB) *cluster {
		t.Helper()
		c, err := once()
		if err != nil {
			t.Fatalf("starting a database for tests: %v", err)
		}
		return c
	}
}()

// start takes the first folder under root that no other process holds.
func start(root string) (*cluster, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var problems []error
	for i := range slots {
		dir := filepath.Join(root, fmt.Sprint(i))
		c, err := startIn(ctx, dir)
		if err != nil && !errors.Is(err, privatedb.ErrInUse) && !errors.Is(err, errSchema) {
			// Nothing in there is worth keeping: a machine that lost power may have left it broken.
			problems = append(problems, err)
			if err := os.RemoveAll(dir); err != nil {
				return nil, err
			}
			c, err = startIn(ctx, dir)
		}
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, privatedb.ErrInUse) {
			problems = append(problems, err)
			break
		}
	}
	return nil, fmt.Errorf("no usable folder for a cluster in %s: %w", root, errors.Join(problems...))
}

func startIn(ctx context.Context, dir string) (*cluster, error) {
	p, err := privatedb.Start(ctx, privatedb.Options{Dir: dir, Scratch: true,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))})
	if err != nil {
		return nil, err
	}
	c := &cluster{Cluster: p, template: "reeve_template_" + migrations.Hash()}
	if err := c.prepare(ctx); err != nil {
		return nil, errors.Join(err, p.Stop(ctx))
	}
	return c, nil
}

// prepare drops what earlier processes left and makes the template unless it is there.
func (c *cluster) prepare(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, c.URL("postgres", "postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "select datname from pg_database where datname like 'test\\_%' or datname like 'reeve\\_template\\_%'")
	if err != nil {
		return err
	}
	old, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	ready := false
	for _, name := range old {
		if name == c.template {
			ready = true
			continue
		}
		if _, err := conn.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			return err
		}
	}
	if ready {
		return nil
	}
	// Built under another name, so that an interrupted migration is never taken for a template.
	const building = "test_template"
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+building+" OWNER reeve_owner"); err != nil {
		return err
	}
	if err := migrations.Up(ctx, c.URL("reeve_migrator", building), slog.New(slog.DiscardHandler)); err != nil {
		return fmt.Errorf("%w: %w", errSchema, err)
	}
	_, err = conn.Exec(ctx, "ALTER DATABASE "+building+" RENAME TO "+c.template)
	return err
}

func create(t testing.TB, options string) URLs {
	t.Helper()
	c := shared(t)
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	name := "test_" + hex.EncodeToString(random[:])
	c.exec(t, strings.TrimSpace("CREATE DATABASE "+name+" OWNER reeve_owner "+options))
	t.Cleanup(func() { c.exec(t, "DROP DATABASE "+name+" WITH (FORCE)") })
	return URLs{App: c.URL("reeve_app", name), Migrator: c.URL("reeve_migrator", name), Admin: c.URL("postgres", name)}
}

func (c *cluster) exec(t testing.TB, sql string) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, c.URL("postgres", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
