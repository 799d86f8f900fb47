// Package migrations holds the schema as numbered, embedded SQL files and brings a database up to it.
package migrations

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

//go:embed 0*.sql
var files embed.FS

// Roles is the SQL that an administrator runs once per PostgreSQL installation; the private cluster
// runs it by itself.
//
//go:embed roles.sql
var Roles string

// owner is the role that every object belongs to; the migrator logs in and becomes it.
const owner = "reeve_owner"

// lockID is the advisory lock that lets one replica migrate while the others wait. ("reeve" in ASCII.)
const lockID = 0x7265657665

// lockPoll is how often a waiting replica tries again. Waiting inside pg_advisory_lock would wake
// sooner but holds a snapshot, on which a CREATE INDEX CONCURRENTLY of the winner would wait forever.
const lockPoll = 50 * time.Millisecond

// Up brings the database at url to this program's schema. Any number of replicas may call it at once.
func Up(ctx context.Context, url string, log *slog.Logger) error {
	db, err := open(url)
	if err != nil {
		return err
	}
	defer db.Close()
	unlock, err := lock(ctx, db)
	if err != nil {
		return err
	}
	defer unlock()
	if err := upSchema(ctx, db, log); err != nil {
		return err
	}
	return upRiver(ctx, url, log)
}

// Version is the number of the newest file applied to the database at url.
func Version(ctx context.Context, url string) (int64, error) {
	db, err := open(url)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	provider, err := newProvider(db, slog.New(slog.DiscardHandler))
	if err != nil {
		return 0, err
	}
	return provider.GetDBVersion(ctx)
}

// Latest is the number of this program's newest file. Compare it with tenantdb.DB.SchemaVersion.
func Latest() int64 {
	names, err := fs.Glob(files, "0*.sql")
	if err != nil {
		panic(err) // a constant pattern
	}
	latest, err := goose.NumericComponent(names[len(names)-1])
	if err != nil {
		panic(err) // a test reads every name
	}
	return latest
}

// LatestQueue is the same of the job queue's schema, as its own migrations number it.
func LatestQueue() int64 {
	river, err := newRiver(nil)
	if err != nil {
		panic(err) // its migrations are part of the program
	}
	versions := river.AllVersions()
	return int64(versions[len(versions)-1].Version)
}

// Hash names the schema of this program: two programs with the same hash make the same database.
func Hash() string {
	h := sha256.New()
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := files.ReadFile(path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(text), text)
		return err
	})
	if err != nil {
		panic(err) // the files are part of the program
	}
	fmt.Fprintf(h, "roles\n%s\nriver\n%s", Roles, riverGrants)
	river, err := newRiver(nil)
	if err != nil {
		panic(err) // its migrations are part of the program, too
	}
	for _, m := range river.AllVersions() {
		fmt.Fprintf(h, "%d %d\n%s", m.Version, len(m.SQLUp), m.SQLUp)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

func newProvider(db *sql.DB, log *slog.Logger) (*goose.Provider, error) {
	return goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSlog(log), goose.WithDisableGlobalRegistry(true))
}

func upSchema(ctx context.Context, db *sql.DB, log *slog.Logger) error {
	provider, err := newProvider(db, slog.New(slog.DiscardHandler))
	if err != nil {
		return fmt.Errorf("reading migrations: %w", err)
	}
	done, err := provider.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrating: %w", err)
	}
	// Goose makes this table before the first file runs. The server compares it with Latest.
	if _, err := db.ExecContext(ctx, "GRANT SELECT ON goose_db_version TO reeve_system"); err != nil {
		return fmt.Errorf("granting the schema's version: %w", err)
	}
	for _, m := range done {
		log.InfoContext(ctx, "migration applied", "file", m.Source.Path, "duration", m.Duration)
	}
	return nil
}

// open logs in and makes every connection of the pool act as the owner.
func open(url string) (*sql.DB, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("reading the database URL: %w", err)
	}
	db := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(becomeOwner))
	db.SetMaxOpenConns(4)
	return db, nil
}

func becomeOwner(ctx context.Context, conn *pgx.Conn) error {
	if _, err := conn.Exec(ctx, "SET ROLE "+owner); err != nil {
		return fmt.Errorf("becoming %s (has an administrator run the roles SQL that `reeve-server migrate --print-roles` prints?): %w", owner, err)
	}
	return nil
}

func lock(ctx context.Context, db *sql.DB) (unlock func(), err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		var got bool
		if err := conn.QueryRowContext(ctx, "select pg_try_advisory_lock($1)", int64(lockID)).Scan(&got); err != nil {
			return nil, errors.Join(fmt.Errorf("taking the migration lock: %w", err), conn.Close())
		}
		if got {
			// The end of the pool ends the session, and the lock with it.
			return func() { _ = conn.Close() }, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("waiting for another replica to migrate: %w", ctx.Err()), conn.Close())
		case <-tick.C:
		}
	}
}

// RiverSchema is where the background jobs live.
const RiverSchema = "river"

// riverGrants is repeatable. It lets the app enqueue in the caller's transaction and work as the system. A tenant's
// transaction may only touch jobs whose arguments name that tenant.
const riverGrants = `
GRANT USAGE ON SCHEMA river TO reeve_tenant, reeve_granted, reeve_staff, reeve_system;
GRANT SELECT, INSERT, UPDATE ON river.river_job TO reeve_tenant, reeve_granted, reeve_staff;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA river TO reeve_system;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA river TO reeve_tenant, reeve_granted, reeve_staff, reeve_system;
ALTER TABLE river.river_job ENABLE ROW LEVEL SECURITY;
ALTER TABLE river.river_job FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS owner ON river.river_job;
DROP POLICY IF EXISTS tenant ON river.river_job;
DROP POLICY IF EXISTS granted ON river.river_job;
DROP POLICY IF EXISTS staff ON river.river_job;
DROP POLICY IF EXISTS system ON river.river_job;
CREATE POLICY owner ON river.river_job TO reeve_owner USING (true) WITH CHECK (true);
CREATE POLICY tenant ON river.river_job TO reeve_tenant
    USING (args ->> 'tenant_id' = nullif(current_setting('reeve.tenant', true), ''));
CREATE POLICY granted ON river.river_job TO reeve_granted
    USING ((args ->> 'tenant_id') = ANY ((SELECT nullif(current_setting('reeve.tenants', true), '')::uuid[]::text[])::text[]));
CREATE POLICY staff ON river.river_job TO reeve_staff USING (true) WITH CHECK (true);
CREATE POLICY system ON river.river_job TO reeve_system USING (true) WITH CHECK (true);`

func upRiver(ctx context.Context, url string, log *slog.Logger) error {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return fmt.Errorf("reading the database URL: %w", err)
	}
	config.AfterConnect = becomeOwner
	config.MaxConns = 2
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer pool.Close()
	migrator, err := newRiver(pool)
	if err != nil {
		return err
	}
	if _, err := pool.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+RiverSchema); err != nil {
		return fmt.Errorf("creating the job queue's schema: %w", err)
	}
	done, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	if err != nil {
		return fmt.Errorf("migrating the job queue: %w", err)
	}
	if len(done.Versions) > 0 {
		log.InfoContext(ctx, "job queue migrated", "version", done.Versions[len(done.Versions)-1].Version)
	}
	// Every time: an earlier run may have ended between the two, and new versions bring new tables.
	if _, err := pool.Exec(ctx, riverGrants); err != nil {
		return fmt.Errorf("granting the job queue: %w", err)
	}
	return nil
}

func newRiver(pool *pgxpool.Pool) (*rivermigrate.Migrator[pgx.Tx], error) {
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{
		Schema: RiverSchema, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, fmt.Errorf("reading the job queue's migrations: %w", err)
	}
	return migrator, nil
}
