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

// checkpointFile holds the signed heads of the audit chains, outside the database.
func checkpointFile(o Options) string { return filepath.Join(o.DataDir, "audit-checkpoints.jsonl") }

// privateDir is the folder of the private cluster.
func privateDir(o Options) string { return filepath.Join(o.DataDir, "postgres") }

// openDatabase starts the private cluster when no other database is configured.
func openDatabase(ctx context.Context, o Options, c *cleanups) (*privatedb.Cluster, logins, error) {
	if err := os.MkdirAll(o.DataDir, 0o711); err != nil {
		return nil, logins{}, fmt.Errorf("making the data folder: %w", err)
	}
	if _, err := os.Lstat(filepath.Join(o.DataDir, unfinishedName)); err == nil {
		return nil, logins{}, fmt.Errorf("a restore into %s was cut off: remove the folder (and empty the database, if it is your own), then restore again", o.DataDir)
	}
	if o.DatabaseURL != "" {
		return nil, logins{o.DatabaseURL, o.MigrationURL}, nil
	}
	cluster, err := privatedb.Start(ctx, privatedb.Options{Dir: privateDir(o), Log: o.Log})
	if err != nil {
		return nil, logins{}, fmt.Errorf("starting the private database: %w", err)
	}
	c.add("private database", cluster.Stop)
	return cluster, logins{cluster.AppURL, cluster.MigratorURL}, nil
}

// openState brings up everything that must be there before a single request is answered.
func openState(ctx context.Context, o Options, c *cleanups) (*state, error) {
	cluster, urls, err := openDatabase(ctx, o, c)
	if err != nil {
		return nil, err
	}
	return openStateOn(ctx, o, c, cluster, urls)
}

// openStateOn is openState on a database that is reached already.
func openStateOn(ctx context.Context, o Options, c *cleanups, cluster *privatedb.Cluster, urls logins) (*state, error) {
	err := migrations.Up(ctx, urls.migration, o.Log)
	if err != nil {
		return nil, fmt.Errorf("migrating the database: %w", err)
	}
	s := &state{cluster: cluster, urls: urls, now: time.Now}
	if s.db, err = tenantdb.Open(ctx, tenantdb.Options{URL: urls.app, Log: o.Log}); err != nil {
		return nil, err
	}
	c.add("database connections", func(context.Context) error { return s.db.Close() })
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
