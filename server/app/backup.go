package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"reeve/server/dump"
	"reeve/server/privatedb"
)

// Backup writes the server's own state to a new file: database, master key, private CA, audit
// checkpoints and stored files. The server may run meanwhile.
func Backup(ctx context.Context, o Options, path string) error {
	path, err := newFile(path)
	if err != nil {
		return err
	}
	if err := existing(o); err != nil {
		return err
	}
	// Beside the target, so that the last step is a rename within one file system.
	scratch, err := os.MkdirTemp(filepath.Dir(path), ".reeve-backup-")
	if err != nil {
		return fmt.Errorf("making room for the backup: %w", err)
	}
	defer os.RemoveAll(scratch)
	return withCleanups(o, func(c *cleanups) error {
		url, programs, err := backupLogin(ctx, o, c)
		if err != nil {
			return err
		}
		m := manifest{Format: archiveFormat, Version: Version(), CreatedAt: time.Now().UTC()}
		if err := collect(ctx, o, &m, url, programs, scratch); err != nil {
			return err
		}
		if err := publish(m, filepath.Join(scratch, "archive"), path); err != nil {
			return err
		}
		fmt.Fprintf(o.Out, "%s: schema %d, %d rows in %d tables, %d parts, %d bytes before compression\n",
			path, m.Database.Schema, m.rows(), len(m.Database.Rows), len(m.Parts), m.size())
		return nil
	})
}

// newFile refuses a target that exists.
func newFile(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	switch _, err := os.Lstat(path); {
	case err == nil:
		return "", fmt.Errorf("%s exists; a backup never overwrites", path)
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	return path, nil
}

// backupLogin reaches the database with a login that sees everything.
func backupLogin(ctx context.Context, o Options, c *cleanups) (url, programs string, err error) {
	if o.DatabaseURL != "" {
		return o.MigrationURL, "", nil
	}
	cluster, err := privatedb.Attach(ctx, privatedb.Options{Dir: privateDir(o), Log: o.Log})
	if err != nil {
		return "", "", fmt.Errorf("reaching the private database: %w", err)
	}
	c.add("private database", cluster.Stop)
	return cluster.AdminURL, cluster.BinDir, nil
}

// collect gathers the parts. What the database refers to is copied after its snapshot, and what
// refers to the database before it: the audit checkpoints must never be ahead of the log.
func collect(ctx context.Context, o Options, m *manifest, url, programs, scratch string) error {
	checkpoints, err := wholeLines(checkpointFile(o))
	if err != nil {
		return fmt.Errorf("reading the audit checkpoints: %w", err)
	}
	dumped, err := os.OpenFile(filepath.Join(scratch, dumpName), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	key := filepath.Join(scratch, masterName)
	m.Database, err = dump.Write(ctx, url, programs, dumped, func() error { return copyFile(o.MasterKeyFile, key) })
	if err = errors.Join(err, dumped.Close()); err != nil {
		return err
	}
	add := func(name, path string, size int64) error {
		p, err := newPart(name, path, size)
		if err == nil {
			m.Parts = append(m.Parts, p)
		}
		return err
	}
	if err := errors.Join(add(dumpName, dumped.Name(), -1), add(masterName, key, -1)); err != nil {
		return err
	}
	for _, name := range caNames {
		err := add(name, filepath.Join(o.DataDir, filepath.FromSlash(name)), -1)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if checkpoints > 0 {
		if err := add(checkpointsName, checkpointFile(o), checkpoints); err != nil {
			return err
		}
	}
	return addFiles(filepath.Join(o.DataDir, filesName), add)
}

// addFiles adds the store of files, when there is one.
func addFiles(dir string, add func(name, path string, size int64) error) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return add(filesName+"/"+filepath.ToSlash(name), path, -1)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// wholeLines is how much of a file that is being appended to ends with a line; 0 without the file.
func wholeLines(path string) (int64, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return int64(bytes.LastIndexByte(raw, '\n') + 1), err
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// publish writes the archive and gives it its name when it is complete and durable.
func publish(m manifest, temporary, path string) error {
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(writeArchive(f, m), f.Close()); err != nil {
		return fmt.Errorf("writing the backup: %w", err)
	}
	// A link fails when the name has been taken meanwhile; file systems without links get a rename.
	if err := os.Link(temporary, path); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists; a backup never overwrites", path)
	} else if err != nil {
		if err := os.Rename(temporary, path); err != nil {
			return err
		}
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
