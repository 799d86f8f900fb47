package secrets

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"gorm.io/gorm"
)

// Master is the file with the master keys. It is the one thing that a copy of the database lacks:
// keep it apart from the backups, and keep it.
type Master struct {
	path string
	mu   sync.RWMutex
	keys []masterKey // the last one wraps; the others only unwrap
}

type masterKey struct {
	id  string
	key []byte
}

const masterHeading = `# Reeve's master keys: "id key", one a line; the last one is in use.
# Whoever has this file and a copy of the database can read every secret in it. Without this file
# nobody can. Keep a copy apart from the backups of the database.
`

// OpenMaster reads the master keys from a file that only its owner may read, and makes one at first start.
func OpenMaster(path string) (*Master, error) {
	m := &Master{path: path}
	err := m.reload()
	if errors.Is(err, fs.ErrNotExist) {
		if err = m.create(); err == nil {
			err = m.reload()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading the master key file %s: %w", path, err)
	}
	return m, nil
}

// create makes the file complete or not at all: replicas may start at once, and the first one wins.
func (m *Master) create() error {
	if err := os.MkdirAll(filepath.Dir(m.path), 0o700); err != nil {
		return err
	}
	temporary, err := m.writeTemporary([]masterKey{newMasterKey()})
	if err != nil {
		return err
	}
	defer os.Remove(temporary)
	if err := os.Link(temporary, m.path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(m.path))
}

func newMasterKey() masterKey {
	return masterKey{id: "m" + hex.EncodeToString(newKey()[:4]), key: newKey()}
}

func (m *Master) writeTemporary(keys []masterKey) (path string, err error) {
	f, err := os.CreateTemp(filepath.Dir(m.path), ".master-*") // created 0600
	if err != nil {
		return "", err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	var text bytes.Buffer
	text.WriteString(masterHeading)
	for _, k := range keys {
		fmt.Fprintf(&text, "%s %s\n", k.id, base64.StdEncoding.EncodeToString(k.key))
	}
	if _, err := f.Write(text.Bytes()); err != nil {
		return "", err
	}
	return f.Name(), f.Sync()
}

func (m *Master) replace(keys []masterKey) error {
	temporary, err := m.writeTemporary(keys)
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, m.path); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return syncDir(filepath.Dir(m.path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (m *Master) reload() error {
	info, err := os.Stat(m.path)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("others may read it (mode %04o); run chmod 600", info.Mode().Perm())
	}
	raw, err := os.ReadFile(m.path)
	if err != nil {
		return err
	}
	keys, err := parseMaster(string(raw))
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys = keys
	return nil
}

func parseMaster(text string) ([]masterKey, error) {
	var keys []masterKey
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, encoded, _ := strings.Cut(line, " ")
		key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
		if err != nil || len(key) != keyBytes || id == "" {
			return nil, fmt.Errorf("line %d is not an id and a key of %d bytes in base64", n, keyBytes) // never the line itself
		}
		if slices.ContainsFunc(keys, func(k masterKey) bool { return k.id == id }) {
			return nil, fmt.Errorf("line %d repeats an id", n)
		}
		keys = append(keys, masterKey{id, key})
	}
	if len(keys) == 0 {
		return nil, errors.New("it holds no key")
	}
	return keys, nil
}

func (m *Master) current() masterKey {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.keys[len(m.keys)-1]
}

// find looks a key up, and reads the file again when another replica may have added it.
func (m *Master) find(id string) ([]byte, error) {
	if key := m.lookup(id); key != nil {
		return key, nil
	}
	if err := m.reload(); err != nil {
		return nil, fmt.Errorf("reading the master key file %s: %w", m.path, err)
	}
	if key := m.lookup(id); key != nil {
		return key, nil
	}
	return nil, fmt.Errorf("the master key file %s does not hold the key %s; restore the file that belongs to this database", m.path, id)
}

func (m *Master) lookup(id string) []byte {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, k := range m.keys {
		if k.id == id {
			return k.key
		}
	}
	return nil
}

// wrap seals a key under the current master key.
func (m *Master) wrap(key, aad []byte) (masterID string, wrapped []byte, err error) {
	current := m.current()
	wrapped, err = seal(current.key, key, aad)
	return current.id, wrapped, err
}

func (m *Master) unwrap(masterID string, wrapped, aad []byte) ([]byte, error) {
	key, err := m.find(masterID)
	if err != nil {
		return nil, err
	}
	plain, err := open(key, wrapped, aad)
	if err != nil {
		return nil, ErrTampered
	}
	return plain, nil
}

// add puts a new key in use. Keys that were added elsewhere in the meantime are kept.
func (m *Master) add() (id string, err error) {
	if err := m.reload(); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	fresh := newMasterKey()
	keys := append(slices.Clone(m.keys), fresh)
	if err := m.replace(keys); err != nil {
		return "", err
	}
	m.keys = keys
	return fresh.id, nil
}

// keep drops every key but those named and the current one.
func (m *Master) keep(used []string) (dropped int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []masterKey
	for i, k := range m.keys {
		if slices.Contains(used, k.id) || i == len(m.keys)-1 {
			keys = append(keys, k)
		}
	}
	dropped = len(m.keys) - len(keys)
	if dropped == 0 {
		return 0, nil
	}
	if err := m.replace(keys); err != nil {
		return 0, err
	}
	m.keys = keys
	return dropped, nil
}

// hold keeps the file as it is until the transaction ends, and reads it: who wraps must not use a key
// that another replica is about to drop. exclusive is for the one who drops.
func (m *Master) hold(tx *gorm.DB, exclusive bool) error {
	lock := "SELECT pg_advisory_xact_lock_shared(hashtext('reeve_master'))"
	if exclusive {
		lock = "SELECT pg_advisory_xact_lock(hashtext('reeve_master'))"
	}
	if err := tx.Exec(lock).Error; err != nil {
		return err
	}
	if err := m.reload(); err != nil {
		return fmt.Errorf("reading the master key file %s: %w", m.path, err)
	}
	return nil
}
