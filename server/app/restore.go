package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gorm.io/gorm"

	"reeve/server/dump"
	"reeve/server/migrations"
	"reeve/server/privatedb"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// unfinishedName marks a data folder whose restore has not ended: a server does not start in it.
const unfinishedName = "restore-unfinished"

// Restore makes a data folder and a database, both empty before, what they were at the time of a
// backup. When it fails, both are as empty as before.
func Restore(ctx context.Context, o Options, path string) (err error) {
	a, err := openArchive(path)
	if err != nil {
		return err
	}
	if err := a.manifest.fits(); err != nil {
		return err
	}
	target, err := claim(o)
	if err != nil {
		return err
	}
	err = withCleanups(o, func(c *cleanups) error { return target.restore(ctx, a, c) })
	if err := errors.Join(err, target.release(err == nil)); err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "restored the state of %s: %d rows in %d tables; everybody signs in again\n",
		a.manifest.CreatedAt.Format("2006-01-02 15:04:05 UTC"), a.manifest.rows(), len(a.manifest.Database.Rows))
	return nil
}

// fits refuses a backup of a newer server: its schema means things that this one does not know.
func (m manifest) fits() error {
	if m.Database.Schema > migrations.Latest() || m.Database.Queue > migrations.LatestQueue() {
		return fmt.Errorf("the backup was made by a newer server (%s, schema %d); this one (%s) knows schema %d: restore with that version or a later one",
			m.Version, m.Database.Schema, Version(), migrations.Latest())
	}
	return nil
}

// target is what a restore fills, and empties again when it fails.
type target struct {
	o       Options
	made    bool // the data folder was made here
	keyMade bool // the master key lies outside of it, and was put there
	cluster string
	undo    func(context.Context) error // empties the database
}

// claim takes an empty or missing data folder and marks it as unfinished.
func claim(o Options) (*target, error) {
	t := &target{o: o}
	entries, err := os.ReadDir(o.DataDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		t.made = true
		if err := os.MkdirAll(o.DataDir, 0o711); err != nil {
			return nil, fmt.Errorf("making the data folder: %w", err)
		}
	case err != nil:
		return nil, fmt.Errorf("reading the data folder: %w", err)
	}
	if err := cutOff(o); err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Name() != "lost+found" { // of a file system's own root
			return nil, fmt.Errorf("the data folder %s is not empty (%s): a restore never overwrites; choose another or remove it", o.DataDir, e.Name())
		}
	}
	f, err := os.OpenFile(filepath.Join(o.DataDir, unfinishedName), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("marking the data folder: %w", err)
	}
	return t, errors.Join(f.Sync(), f.Close(), syncFolder(o.DataDir))
}

// cutOff refuses a data folder in which a restore has not ended.
func cutOff(o Options) error {
	_, err := os.Lstat(filepath.Join(o.DataDir, unfinishedName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(fmt.Errorf("a restore into %s was cut off: remove the folder (and empty the database, if it is your own), then restore again", o.DataDir), err)
}

// release ends the restore, or undoes it.
func (t *target) release(done bool) error {
	marker := filepath.Join(t.o.DataDir, unfinishedName)
	if done {
		return errors.Join(syncFolder(t.o.DataDir), os.Remove(marker), syncFolder(t.o.DataDir))
	}
	var errs []error
	if t.keyMade {
		errs = append(errs, os.Remove(t.o.MasterKeyFile))
	}
	if t.cluster != "" {
		errs = append(errs, os.RemoveAll(t.cluster))
	}
	entries, err := os.ReadDir(t.o.DataDir)
	errs = append(errs, err)
	for _, e := range entries {
		if e.Name() != "lost+found" && e.Name() != unfinishedName {
			errs = append(errs, os.RemoveAll(filepath.Join(t.o.DataDir, e.Name())))
		}
	}
	errs = append(errs, os.Remove(marker))
	if t.made {
		errs = append(errs, os.Remove(t.o.DataDir))
	}
	return errors.Join(errs...)
}

func (t *target) restore(ctx context.Context, a *archive, c *cleanups) (err error) {
	cluster, urls, programs, err := t.database(ctx, c)
	if err != nil {
		return err
	}
	if err := a.extract(t.o.DataDir); err != nil {
		return fmt.Errorf("unpacking the backup: %w", err)
	}
	if err := t.placeKey(); err != nil {
		return err
	}
	dumped := filepath.Join(t.o.DataDir, dumpName)
	if err := dump.Read(ctx, urls.migration, programs, dumped); err != nil {
		return fmt.Errorf("restoring the database: %w", err)
	}
	defer func() {
		if err != nil && t.undo != nil {
			undoing, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
			defer cancel()
			err = errors.Join(err, t.undo(undoing))
		}
	}()
	if err := os.Remove(dumped); err != nil {
		return err
	}
	if err := complete(ctx, urls.migration, a.manifest.Database.Rows); err != nil {
		return err
	}
	// What a start would do: migrate up, and open what the master key has sealed.
	s, err := openStateOn(ctx, t.o, c, cluster, urls)
	if err != nil {
		return err
	}
	return s.noteRestore(ctx, a.manifest)
}

// database makes an empty database ready.
func (t *target) database(ctx context.Context, c *cleanups) (*privatedb.Cluster, logins, string, error) {
	if t.o.DatabaseURL != "" {
		urls := logins{t.o.DatabaseURL, t.o.MigrationURL}
		t.undo = func(ctx context.Context) error { return dump.Clear(ctx, urls.migration) }
		return nil, urls, "", dump.Empty(ctx, urls.migration)
	}
	cluster, err := privatedb.Start(ctx, privatedb.Options{Dir: privateDir(t.o), Log: t.o.Log})
	if err != nil {
		return nil, logins{}, "", fmt.Errorf("starting the private database: %w", err)
	}
	c.add("private database", cluster.Stop)
	urls := logins{cluster.AppURL, cluster.MigratorURL}
	if err := dump.Empty(ctx, urls.migration); err != nil {
		return nil, urls, "", fmt.Errorf("the private database in %s: %w", cluster.Dir, err)
	}
	t.cluster = cluster.Dir
	return cluster, urls, cluster.BinDir, nil
}

// placeKey puts the master key where the server looks for it.
func (t *target) placeKey() error {
	from := filepath.Join(t.o.DataDir, masterName)
	if from == t.o.MasterKeyFile {
		return nil
	}
	restored, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	present, err := os.ReadFile(t.o.MasterKeyFile)
	switch {
	case err == nil && string(present) == string(restored):
	case err == nil:
		return fmt.Errorf("%s holds other master keys than the backup; move it away", t.o.MasterKeyFile)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	default:
		if err := os.MkdirAll(filepath.Dir(t.o.MasterKeyFile), 0o700); err != nil {
			return err
		}
		if err := copyFile(from, t.o.MasterKeyFile); err != nil {
			return err
		}
		t.keyMade = true
	}
	return os.Remove(from)
}

// complete compares every table with what was counted when the backup was made.
func complete(ctx context.Context, url string, want map[string]int64) error {
	got, err := dump.Count(ctx, url)
	if err != nil {
		return err
	}
	if maps.Equal(got, want) {
		return nil
	}
	var differ []string
	for name, n := range want {
		if got[name] != n {
			differ = append(differ, fmt.Sprintf("%s has %d rows instead of %d", name, got[name], n))
		}
	}
	slices.Sort(differ)
	return fmt.Errorf("the restored database is not the one that was backed up: %s", strings.Join(differ, "; "))
}

// noteRestore writes into the audit log that time went back, and ends every session: who signed out,
// or was signed out, after the backup must not be signed in again.
func (s *state) noteRestore(ctx context.Context, m manifest) error {
	return s.db.System(scope.AsSystem(ctx, "restore"), func(tx *gorm.DB) error {
		err := tx.Exec("UPDATE sessions SET revoked_at = ?, revoked_reason = 'restored from a backup' WHERE revoked_at IS NULL", tenantdb.Now(tx)).Error
		if err != nil {
			return err
		}
		return audit.WriteTx(tx, audit.Entry{TenantID: scope.Provider, Action: "server.restored", ObjectType: "server",
			Detail: map[string]any{"backup_of": m.CreatedAt, "backup_version": m.Version}})
	})
}
