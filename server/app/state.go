package app

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"reeve/server/migrations"
	"reeve/server/privatedb"
	"reeve/tenants/audit"
	"reeve/tenants/secrets"
	"reeve/tenants/tenantdb"
)

// state is everything a server keeps: the database, the keys, and where they are.
type state struct {
	cluster *privatedb.Cluster // nil with an external database
	db      *tenantdb.DB
	keeper  *secrets.Keeper
	keys    *secrets.Keys
	urls    logins
	now     func() time.Time
}

// logins are the two ways into the database.
type logins struct{ app, migration string }

// migrates tells whether this server has a login that may change the schema. The application's own
// never may: an operator who gives no other migrates by command.
func (l logins) migrates() bool { return l.migration != l.app }

// current refuses a schema that is behind and that this server may not change.
func current(ctx context.Context, db *tenantdb.DB) error {
	version, err := db.SchemaVersion(ctx)
	if err == nil && version >= migrations.Latest() {
		return nil
	}
	return errors.Join(fmt.Errorf("the schema is at version %d and this server needs %d: run reeve-server migrate, or set REEVE_MIGRATION_DATABASE_URL",
		version, migrations.Latest()), err)
}

// checkpointFile holds the signed heads of the audit chains, outside the database.
func checkpointFile(o Options) string { return filepath.Join(o.DataDir, "audit-checkpoints.jsonl") }

// privateDir is the folder of the private cluster.
func privateDir(o Options) string { return filepath.Join(o.DataDir, "postgres") }

// reach is privatedb.Start for a server, which must be alone in its folder, and privatedb.Attach for a
// command, which may run beside it.
type reach func(context.Context, privatedb.Options) (*privatedb.Cluster, error)

// openDatabase reaches the private cluster when no other database is configured.
func openDatabase(ctx context.Context, o Options, c *cleanups, reach reach) (*privatedb.Cluster, logins, error) {
	if err := os.MkdirAll(o.DataDir, 0o711); err != nil {
		return nil, logins{}, fmt.Errorf("making the data folder: %w", err)
	}
	if err := cutOff(o); err != nil {
		return nil, logins{}, err
	}
	if o.DatabaseURL != "" {
		return nil, logins{o.DatabaseURL, o.MigrationURL}, nil
	}
	cluster, err := reach(ctx, privatedb.Options{Dir: privateDir(o), Log: o.Log})
	if err != nil {
		return nil, logins{}, fmt.Errorf("starting the private database: %w", err)
	}
	c.add("private database", cluster.Stop)
	return cluster, logins{cluster.AppURL, cluster.MigratorURL}, nil
}

// openState brings up everything that must be there before a single request is answered.
func openState(ctx context.Context, o Options, c *cleanups, reach reach) (*state, error) {
	cluster, urls, err := openDatabase(ctx, o, c, reach)
	if err != nil {
		return nil, err
	}
	return openStateOn(ctx, o, c, cluster, urls)
}

// openStateOn is openState on a database that is reached already.
func openStateOn(ctx context.Context, o Options, c *cleanups, cluster *privatedb.Cluster, urls logins) (*state, error) {
	var err error
	if urls.migrates() {
		if err = migrations.Up(ctx, urls.migration, o.Log); err != nil {
			return nil, fmt.Errorf("migrating the database: %w", err)
		}
	}
	s := &state{cluster: cluster, urls: urls, now: time.Now}
	if s.db, err = tenantdb.Open(ctx, tenantdb.Options{URL: urls.app, Log: o.Log}); err != nil {
		return nil, err
	}
	c.add("database connections", func(context.Context) error { return s.db.Close() })
	if !urls.migrates() {
		if err := current(ctx, s.db); err != nil {
			return nil, err
		}
	}
	master, err := secrets.OpenMaster(o.MasterKeyFile)
	if err != nil {
		return nil, fmt.Errorf("opening the master key: %w", err)
	}
	s.keeper = secrets.NewKeeper(s.db, master, s.now)
	if err := s.keeper.Check(ctx); err != nil {
		return nil, fmt.Errorf("the master key in %s does not fit this database: %w", o.MasterKeyFile, err)
	}
	if s.keys, err = secrets.OpenKeys(ctx, s.db, master, s.now); err != nil {
		return nil, err
	}
	return s, nil
}

// checkpoints reads the signed heads of the audit chains; a missing file knows nothing.
func (s *state) checkpoints(o Options) (audit.Checkpoints, error) {
	f, err := os.Open(checkpointFile(o))
	if errors.Is(err, fs.ErrNotExist) {
		return audit.Checkpoints{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the audit checkpoints: %w", err)
	}
	defer f.Close()
	keys := s.keys.Ring(secrets.CheckpointKeys).PublicKeys()
	return audit.ReadCheckpoints(f, func(kid string) (ed25519.PublicKey, error) {
		if key, ok := keys[kid]; ok {
			return key, nil
		}
		return nil, fmt.Errorf("no key %q", kid)
	})
}
