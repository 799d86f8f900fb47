// Package privatedb creates and supervises a private PostgreSQL cluster from the installed binaries.
//
// The cluster listens on a unix socket inside a folder of mode 0700 and trusts whoever reaches it. A
// password would add nothing: the same account owns the data folder, so whoever could read the
// password's file can read, or replace, the data itself; and a secret that does not exist is never
// logged, backed up or lost. The network is not listened to at all.
package privatedb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"reeve/server/migrations"
)

// The names inside the cluster.
const (
	database  = "reeve"
	superuser = "postgres"
)

// ErrInUse is the error of starting a cluster whose folder another process holds.
var ErrInUse = errors.New("another server runs the database in this folder")

// Options says where the cluster lives and how careful it is.
type Options struct {
	Dir string // its folder, made when missing; the data, the socket and the logs are inside
	Log *slog.Logger
	// Scratch gives up durability for speed, for tests: what is written may be lost with the machine.
	Scratch bool
	// StartTimeout bounds the wait until it answers, crash recovery included; 5 minutes when zero.
	StartTimeout time.Duration
}

// Cluster is a running private cluster.
type Cluster struct {
	AppURL      string // logs in as reeve_app
	MigratorURL string // logs in as reeve_migrator
	AdminURL    string // logs in as the superuser, for backup and restore; never used to serve requests
	Dir         string // where it really lives, which differs from Options.Dir when that is out of its account's reach
	BinDir      string // the PostgreSQL programs that match it: pg_dump, pg_restore

	log      *slog.Logger
	keeper   *keeper
	lock     *os.File
	location location
}

// Start creates the cluster when there is none, starts it, and returns when it answers and holds the
// roles and an (unmigrated) database. ctx bounds the start only; Stop ends the cluster, and so does
// the death of this process, however sudden.
func Start(ctx context.Context, o Options) (_ *Cluster, err error) {
	if o.Log == nil {
		return nil, errors.New("privatedb: a log is required")
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = 5 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, o.StartTimeout)
	defer cancel()
	c := &Cluster{log: o.Log}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.release())
		}
	}()
	if err := c.prepare(o.Dir); err != nil {
		return nil, err
	}
	if err := c.create(ctx); err != nil {
		return nil, err
	}
	if err := c.location.configure(o.Scratch); err != nil {
		return nil, err
	}
	if err := c.location.clearPredecessor(ctx, o.Log); err != nil {
		return nil, err
	}
	if c.keeper, err = startKeeper(ctx, c.location, o.Log); err != nil {
		return nil, err
	}
	c.setURLs()
	return c, c.bootstrap(ctx)
}

func (c *Cluster) setURLs() {
	c.AppURL = c.url("reeve_app", database)
	c.MigratorURL = c.url("reeve_migrator", database)
	c.AdminURL = c.url(superuser, database)
}

// Stop shuts the cluster down: clients are disconnected, everything is written out.
func (c *Cluster) Stop(ctx context.Context) error {
	var err error
	if c.keeper != nil {
		err = c.keeper.stop(ctx)
		c.keeper = nil
		if filepath.Dir(c.location.socket) != c.location.dir {
			_ = os.Remove(c.location.socket) // empty now; it is made again at the next start
		}
	}
	return errors.Join(err, c.unlock())
}

// Pid is the process of the running postmaster, and 0 while there is none.
func (c *Cluster) Pid() int {
	if c.keeper == nil {
		return 0
	}
	return c.keeper.pid()
}

// URL is a login of any role to any database of the cluster.
func (c *Cluster) URL(user, database string) string { return c.url(user, database) }

func (c *Cluster) url(user, database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(user), Path: "/" + database,
		RawQuery: url.Values{"host": {c.location.socket}, "sslmode": {"disable"}}.Encode()}
	return u.String()
}

// prepare decides where the cluster lives, whose account runs it and with which programs, and takes
// the lock that keeps a second server out of the same folder.
func (c *Cluster) prepare(dir string) (err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	who, err := chooseAccount()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if c.lock, err = lockFolder(dir); err != nil {
		return err
	}
	if c.location, err = locate(dir, who); err != nil {
		return err
	}
	c.Dir, c.BinDir = c.location.dir, c.location.bin
	// Nothing in there belongs to root, so that the account itself may run the server one day.
	return c.location.account.own(c.lock.Name())
}

// create runs initdb unless the cluster exists. It builds beside the final place and renames, so that
// an interrupted initdb never looks like a cluster.
func (c *Cluster) create(ctx context.Context) error {
	l := c.location
	if l.exists() {
		return nil
	}
	c.log.InfoContext(ctx, "creating the private database", "folder", l.data, "programs", l.bin)
	unfinished := l.data + ".new"
	if err := os.RemoveAll(unfinished); err != nil {
		return fmt.Errorf("clearing an unfinished cluster: %w", err)
	}
	cmd := l.command(ctx, "initdb", "--pgdata="+unfinished, "--username="+superuser, "--encoding=UTF8",
		"--locale=C.UTF-8", "--auth=trust", "--no-instructions", "--data-checksums", "--wal-segsize=4")
	if out, err := finish(cmd); err != nil {
		return fmt.Errorf("creating the private database: %w: %s", err, lastLines(out))
	}
	if err := l.include(unfinished); err != nil {
		return err
	}
	if err := os.Rename(unfinished, l.data); err != nil {
		return fmt.Errorf("creating the private database: %w", err)
	}
	return nil
}

// bootstrap makes the roles and the database.
func (c *Cluster) bootstrap(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, c.url(superuser, "postgres"))
	if err != nil {
		return fmt.Errorf("connecting to the private database: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, migrations.Roles); err != nil {
		return fmt.Errorf("making the database roles: %w", err)
	}
	var exists bool
	if err := conn.QueryRow(ctx, "select exists (select from pg_database where datname = $1)", database).Scan(&exists); err != nil {
		return fmt.Errorf("looking for the database: %w", err)
	}
	if exists {
		return nil
	}
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+database+" OWNER reeve_owner"); err != nil {
		return fmt.Errorf("making the database: %w", err)
	}
	_, err = conn.Exec(ctx, "REVOKE ALL ON DATABASE "+database+" FROM PUBLIC; GRANT CONNECT ON DATABASE "+database+" TO reeve_app, reeve_migrator")
	if err != nil {
		return fmt.Errorf("granting the database: %w", err)
	}
	return nil
}

// release undoes a start that failed.
func (c *Cluster) release() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return c.Stop(ctx)
}

func (c *Cluster) unlock() error {
	if c.lock == nil {
		return nil
	}
	err := c.lock.Close()
	c.lock = nil
	return err
}

// lastLines is the part of a program's output that says what went wrong.
func lastLines(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], " | ")
}
