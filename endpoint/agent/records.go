package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// recordFile is an append-only file of JSON records, each on a line behind its checksum. A record is
// there wholly or not at all: what a crash tore off at the end is cut off when the file is opened.
type recordFile struct {
	path string
	f    *os.File
	size int64
}

// openRecords reads what the file holds and opens it for appending. damaged counts records in the
// middle that no crash explains; they are left out and the rest is kept, because forgetting that a
// task ran is worse than not knowing one of them.
func openRecords(path string, each func(raw json.RawMessage) error) (r *recordFile, damaged int, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("opening %s: %w", filepath.Base(path), err)
	}
	r = &recordFile{path: path, f: f}
	if damaged, err = r.load(each); err != nil {
		f.Close()
		return nil, 0, err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		f.Close()
		return nil, 0, err
	}
	return r, damaged, nil
}

func (r *recordFile) load(each func(json.RawMessage) error) (damaged int, err error) {
	all, err := io.ReadAll(r.f)
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", filepath.Base(r.path), err)
	}
	bad := 0 // since the last good record
	for rest := all; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		raw, ok := parseRecord(line)
		if !whole || !ok || each(raw) != nil {
			bad++
		} else {
			damaged, bad = damaged+bad, 0
			r.size = int64(len(all) - len(after))
		}
		rest = after
	}
	if r.size < int64(len(all)) {
		if err := r.f.Truncate(r.size); err != nil {
			return 0, fmt.Errorf("cutting the torn end off %s: %w", filepath.Base(r.path), err)
		}
		if err := r.f.Sync(); err != nil {
			return 0, fmt.Errorf("writing %s to disk: %w", filepath.Base(r.path), err)
		}
	}
	_, err = r.f.Seek(r.size, io.SeekStart)
	return damaged, err
}

func parseRecord(line []byte) (json.RawMessage, bool) {
	if len(line) < 10 || line[8] != ' ' {
		return nil, false
	}
	raw := line[9:]
	return raw, fmt.Sprintf("%08x", crc32.Checksum(raw, castagnoli)) == string(line[:8])
}

func encodeRecord(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding a record: %w", err)
	}
	return fmt.Appendf(nil, "%08x %s\n", crc32.Checksum(raw, castagnoli), raw), nil
}

// append writes a record and returns once it is on disk. After an error the file is as it was.
func (r *recordFile) append(v any) error {
	line, err := encodeRecord(v)
	if err != nil {
		return err
	}
	_, err = r.f.WriteAt(line, r.size)
	if err == nil {
		err = r.f.Sync()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", filepath.Base(r.path), err), r.f.Truncate(r.size))
	}
	r.size += int64(len(line))
	return nil
}

// replace exchanges the whole content at once: a crash leaves the old file or the new one.
func (r *recordFile) replace(records []any) error {
	var text []byte
	for _, v := range records {
		line, err := encodeRecord(v)
		if err != nil {
			return err
		}
		text = append(text, line...)
	}
	// Windows replaces no open file; should the rename then fail, the old content is opened again.
	if err := r.f.Close(); err != nil {
		return fmt.Errorf("closing %s: %w", filepath.Base(r.path), err)
	}
	werr := writeFile(r.path, text, 0o600)
	f, err := os.OpenFile(r.path, os.O_RDWR, 0o600)
	if err != nil {
		return errors.Join(werr, fmt.Errorf("opening %s again: %w", filepath.Base(r.path), err))
	}
	r.f = f
	if werr != nil {
		return werr
	}
	r.size = int64(len(text))
	return nil
}

func (r *recordFile) close() error { return r.f.Close() }

// writeFile replaces a file durably: new content under another name, synced, renamed.
func writeFile(path string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Base(path), err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", filepath.Base(path), err), os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}
