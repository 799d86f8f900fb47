package app

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"reeve/server/dump"
)

// archiveFormat is the number of this layout of a backup.
const archiveFormat = 1

// The names inside a backup. The manifest comes first, so that the rest is checked while it is read.
const (
	manifestName    = "manifest.json"
	dumpName        = "database.dump"
	masterName      = "master.key"
	checkpointsName = "audit-checkpoints.jsonl"
	filesName       = "files"
	longestManifest = 64 << 20
)

// caNames are the private CA, as it lies in the data folder.
var caNames = []string{"tls/ca.pem", "tls/ca.key"}

// manifest says what a backup holds.
type manifest struct {
	Format    int          `json:"format"`
	Version   string       `json:"version"` // of the server that wrote it
	CreatedAt time.Time    `json:"created_at"`
	Database  dump.Summary `json:"database"`
	Parts     []part       `json:"parts"`
}

// part is one file of a backup.
type part struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`

	path string // where it is read from
}

// errDamaged is the error of an archive that is not what was written.
var errDamaged = errors.New("the backup is damaged")

// newPart measures a file. size bounds how much of it counts; all of it when negative.
func newPart(name, path string, size int64) (part, error) {
	f, err := os.Open(path)
	if err != nil {
		return part{}, err
	}
	defer f.Close()
	var r io.Reader = f
	if size >= 0 {
		r = io.LimitReader(f, size)
	}
	h := sha256.New()
	n, err := io.Copy(h, r)
	return part{Name: name, Size: n, SHA256: hex.EncodeToString(h.Sum(nil)), path: path}, err
}

// write appends the part to an archive, and fails when the file is not what was measured.
func (p part) write(w *tar.Writer, at time.Time) error {
	f, err := os.Open(p.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := w.WriteHeader(&tar.Header{Name: p.Name, Size: p.Size, Mode: 0o600, ModTime: at}); err != nil {
		return err
	}
	h := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(w, h), f, p.Size); err != nil {
		return fmt.Errorf("%s: %w", p.path, err)
	}
	if p.SHA256 != hex.EncodeToString(h.Sum(nil)) {
		return fmt.Errorf("%s changed while it was being backed up", p.path)
	}
	return nil
}

// writeArchive writes a backup and makes it durable.
func writeArchive(f *os.File, m manifest) error {
	compressed, err := gzip.NewWriterLevel(f, gzip.BestSpeed) // the dump is compressed already
	if err != nil {
		return err
	}
	w := tar.NewWriter(compressed)
	head, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: manifestName, Size: int64(len(head)), Mode: 0o600, ModTime: m.CreatedAt}); err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	for _, p := range m.Parts {
		if err := p.write(w, m.CreatedAt); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), compressed.Close(), f.Sync())
}

// archive is a backup that is read.
type archive struct {
	path     string
	manifest manifest
}

// openArchive reads a backup to its end and checks every part of it.
func openArchive(path string) (*archive, error) {
	a := &archive{path: path}
	err := a.each(func(_ part, r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return a, nil
}

// extract writes every part below a folder. Nothing in an archive can name a place outside of it.
func (a *archive) extract(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return a.each(func(p part, r io.Reader) error {
		if err := root.MkdirAll(filepath.Dir(filepath.FromSlash(p.Name)), 0o700); err != nil {
			return err
		}
		f, err := root.OpenFile(filepath.FromSlash(p.Name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Sync(), f.Close())
	})
}

// each calls visit with every part, and fails unless exactly the parts of the manifest are there.
func (a *archive) each(visit func(part, io.Reader) error) error {
	f, err := os.Open(a.path)
	if err != nil {
		return err
	}
	defer f.Close()
	uncompressed, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	r := tar.NewReader(uncompressed)
	if err := a.readManifest(r); err != nil {
		return err
	}
	for _, p := range a.manifest.Parts {
		head, err := r.Next()
		if err != nil || head.Name != p.Name || head.Size != p.Size || head.Typeflag != tar.TypeReg {
			return fmt.Errorf("%w: %s is not where the manifest says: %w", errDamaged, p.Name, err)
		}
		sum := &summing{r: r, hash: sha256.New()}
		if err := visit(p, sum); err != nil {
			if sum.failed != nil {
				err = fmt.Errorf("%w: %w", errDamaged, err)
			}
			return err
		}
		if p.SHA256 != hex.EncodeToString(sum.hash.Sum(nil)) {
			return fmt.Errorf("%w: %s is not what was written", errDamaged, p.Name)
		}
	}
	// To the end of the compressed stream, which carries a checksum of its own.
	if _, err := r.Next(); err != io.EOF {
		return fmt.Errorf("%w: it holds more than its manifest names", errDamaged)
	}
	if _, err := io.Copy(io.Discard, uncompressed); err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return nil
}

// summing hashes what is read through it, and remembers a failure of the source.
type summing struct {
	r      io.Reader
	hash   hash.Hash
	failed error
}

func (s *summing) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	s.hash.Write(b[:n])
	if err != nil && err != io.EOF {
		s.failed = err
	}
	return n, err
}

func (a *archive) readManifest(r *tar.Reader) error {
	head, err := r.Next()
	if err != nil || head.Name != manifestName || head.Size > longestManifest {
		return fmt.Errorf("%w: it does not begin with a manifest: %w", errDamaged, err)
	}
	raw, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	var m manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return fmt.Errorf("%w: the manifest: %w", errDamaged, err)
	}
	if m.Format != archiveFormat {
		return fmt.Errorf("the backup has format %d, and this server (%s) reads format %d", m.Format, Version(), archiveFormat)
	}
	a.manifest = m
	return m.check()
}

// check refuses names that a backup does not have, whoever wrote it.
func (m manifest) check() error {
	seen := map[string]bool{}
	for _, p := range m.Parts {
		expected := p.Name == dumpName || p.Name == masterName || p.Name == checkpointsName || slices.Contains(caNames, p.Name) ||
			strings.HasPrefix(p.Name, filesName+"/")
		if !expected || seen[p.Name] || !filepath.IsLocal(filepath.FromSlash(p.Name)) {
			return fmt.Errorf("%w: its manifest names %q", errDamaged, p.Name)
		}
		seen[p.Name] = true
	}
	for _, name := range []string{dumpName, masterName} {
		if !seen[name] {
			return fmt.Errorf("%w: it lacks %s", errDamaged, name)
		}
	}
	return nil
}

func (m manifest) size() (n int64) {
	for _, p := range m.Parts {
		n += p.Size
	}
	return n
}

func (m manifest) rows() (n int64) {
	for _, c := range m.Database.Rows {
		n += c
	}
	return n
}
