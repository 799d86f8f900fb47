package migrations_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"reeve/server/dbtest"
	"reeve/server/migrations"
)

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func exec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func refused(t *testing.T, conn *pgx.Conn, sql, because string) {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql)
	if err == nil || !strings.Contains(err.Error(), because) {
		t.Errorf("%s: want %q, got %v", sql, because, err)
	}
}

func TestSeveralReplicasMayMigrateAtOnce(t *testing.T) {
	t.Parallel()
	urls := dbtest.Empty(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := migrations.Up(t.Context(), urls.Migrator, dbtest.Log(t)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	version, err := migrations.Version(t.Context(), urls.Migrator)
	if err != nil || version != migrations.Latest() || version < 2 {
		t.Errorf("version %d, %v; the newest file is %d", version, err, migrations.Latest())
	}
	db := dbtest.Open(t, urls.App)
	if seen, err := db.SchemaVersion(t.Context()); err != nil || seen != version {
		t.Errorf("the server sees version %d, %v", seen, err)
	}
}

func TestWaitingForAnotherReplicaEndsWithTheContext(t *testing.T) {
	t.Parallel()
	urls := dbtest.Empty(t)
	other := connect(t, urls.Migrator)
	exec(t, other, "select pg_advisory_lock(x'7265657665'::bigint)")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := migrations.Up(ctx, urls.Migrator, dbtest.Log(t)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	exec(t, other, "select pg_advisory_unlock(x'7265657665'::bigint)")
	if err := migrations.Up(t.Context(), urls.Migrator, dbtest.Log(t)); err != nil {
		t.Error(err)
	}
}

func TestOnlyTheMigratorMigrates(t *testing.T) {
	t.Parallel()
	err := migrations.Up(t.Context(), dbtest.Empty(t).App, dbtest.Log(t))
	if err == nil || !strings.Contains(err.Error(), "--print-roles") {
		t.Errorf("%v", err)
	}
}

func TestTheRolesMayBeMadeAgainAndAtOnce(t *testing.T) {
	t.Parallel()
	admin := dbtest.NewURLs(t).Admin
	var wg sync.WaitGroup
	for range 4 {
		conn := connect(t, admin)
		wg.Go(func() {
			if _, err := conn.Exec(t.Context(), migrations.Roles); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestTheRolesForAdministratorsAreTheSameFile(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../deploy/postgres-roles.sql")
	if err != nil || !bytes.Equal(text, []byte(migrations.Roles)) {
		t.Errorf("copy server/migrations/roles.sql to deploy/postgres-roles.sql (%v)", err)
	}
}

func TestTheFilesAreNumberedWithoutDoubles(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	for _, e := range entries {
		number, _, ok := strings.Cut(e.Name(), "_")
		if !strings.HasSuffix(e.Name(), ".sql") || e.Name() == "roles.sql" {
			continue
		}
		if !ok || len(number) != 5 || number <= last {
			t.Errorf("%s: the name must be NNNNN_noun.sql, with a number of its own", e.Name())
		}
		last = number
	}
}

func TestAnAppendOnlyTableTakesRowsAndKeepsThem(t *testing.T) {
	t.Parallel()
	urls := dbtest.NewURLs(t)
	owner := connect(t, urls.Migrator)
	exec(t, owner, `SET ROLE reeve_owner;
		CREATE TABLE ledger (tenant_id uuid NOT NULL REFERENCES tenants (id), at timestamptz NOT NULL, PRIMARY KEY (tenant_id, at)) PARTITION BY RANGE (at);
		SELECT reeve_protect('ledger'); SELECT reeve_append_only('ledger');
		SELECT reeve_partition('ledger', '2026-01-01', '2026-02-01')`)
	app := connect(t, urls.App)
	exec(t, app, "SET ROLE reeve_system; INSERT INTO ledger VALUES (reeve_provider(), '2026-01-15')")
	for _, conn := range []*pgx.Conn{app, owner} {
		for _, sql := range []string{"UPDATE ledger SET at = at + interval '1 hour'", "DELETE FROM ledger", "TRUNCATE ledger"} {
			want := "append-only"
			if conn == app {
				want = "permission denied"
			}
			refused(t, conn, sql, want)
		}
	}
	refused(t, owner, "UPDATE ledger_p20260101t0000 SET at = at", "append-only")
	// Not even an administrator who forgets what it is; replication tricks included.
	admin := connect(t, urls.Admin)
	refused(t, admin, "DELETE FROM ledger", "append-only")
	refused(t, admin, "SET session_replication_role = replica; DELETE FROM ledger", "append-only")
	refused(t, app, "SELECT reeve_drop_partitions('ledger', '2030-01-01')", "never pruned")
}

func TestPartitionsComeAndGo(t *testing.T) {
	t.Parallel()
	urls := dbtest.NewURLs(t)
	owner := connect(t, urls.Migrator)
	exec(t, owner, `SET ROLE reeve_owner;
		CREATE TABLE samples (tenant_id uuid NOT NULL REFERENCES tenants (id), at timestamptz NOT NULL, PRIMARY KEY (tenant_id, at)) PARTITION BY RANGE (at);
		SELECT reeve_protect('samples')`)
	app := connect(t, urls.App)
	exec(t, app, `SET ROLE reeve_system; SET timezone = 'Asia/Tokyo';
		SELECT reeve_partition('samples', d, d + interval '1 day') FROM generate_series('2026-01-01 00:00Z'::timestamptz, '2026-01-05 00:00Z', '1 day') d;
		SELECT reeve_partition('samples', '2026-01-01 00:00Z', '2026-01-02 00:00Z');
		INSERT INTO samples SELECT reeve_provider(), d + interval '12 hours' FROM generate_series('2026-01-01 00:00Z'::timestamptz, '2026-01-05 00:00Z', '1 day') d`)
	var dropped, left int
	if err := app.QueryRow(t.Context(), "SELECT reeve_drop_partitions('samples', '2026-01-03 23:59Z')").Scan(&dropped); err != nil || dropped != 2 {
		t.Errorf("dropped %d, %v", dropped, err)
	}
	if err := app.QueryRow(t.Context(), "SELECT count(*) FROM samples").Scan(&left); err != nil || left != 3 {
		t.Errorf("%d rows left, %v", left, err)
	}
	refused(t, app, "SELECT * FROM samples_p20260104t0000", "permission denied")
	for _, role := range []string{"reeve_tenant", "reeve_granted", "reeve_staff"} {
		exec(t, app, "SET ROLE "+role)
		refused(t, app, "SELECT reeve_drop_partitions('samples', '2030-01-01')", "permission denied")
	}
}

func TestPartitionsAreMadeOnceByManyReplicas(t *testing.T) {
	t.Parallel()
	urls := dbtest.NewURLs(t)
	exec(t, connect(t, urls.Migrator), `SET ROLE reeve_owner;
		CREATE TABLE samples (tenant_id uuid NOT NULL, at timestamptz NOT NULL, PRIMARY KEY (tenant_id, at)) PARTITION BY RANGE (at);
		SELECT reeve_protect('samples')`)
	var wg sync.WaitGroup
	for range 4 {
		conn := connect(t, urls.App)
		wg.Go(func() {
			if _, err := conn.Exec(t.Context(), `SET ROLE reeve_system; SELECT reeve_partition('samples', d, d + interval '1 hour')
				FROM generate_series('2026-01-01'::timestamptz, '2026-01-01 09:00', '1 hour') d`); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
