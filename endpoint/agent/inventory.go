package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"reeve/api"
	"reeve/api/wire"
	"reeve/endpoint/runner"
)

const (
	maxSections = 32
	// hashesAgain is how often unchanged hashes are told all the same, should the server have lost them.
	hashesAgain = time.Hour
)

// inventory keeps the sections last collected: hashes in memory, content in files.
type inventory struct {
	mu     sync.Mutex
	dir    string
	now    func() time.Time
	hashes map[string]string
	wanted []string
	told   time.Time // when the server last took the hashes; zero when they changed since
	asking bool      // the outstanding batch carries hashes
}

var sectionName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,59}$`)

func openInventory(dir string, now func() time.Time) (*inventory, error) {
	v := &inventory{dir: dir, now: now, hashes: map[string]string{}}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the last inventory: %w", err)
	}
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), ".json")
		if !ok || !sectionName.MatchString(name) {
			continue
		}
		if s, err := v.read(name); err == nil { // a torn file is collected again
			v.hashes[name] = s.Hash
		}
	}
	return v, nil
}

func (v *inventory) read(name string) (runner.Section, error) {
	var s runner.Section
	text, err := os.ReadFile(filepath.Join(v.dir, name+".json"))
	if err != nil {
		return s, fmt.Errorf("reading section %s: %w", name, err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("reading section %s: %w", name, err)
	}
	if s.Name != name || wire.Hash(s.Data) != s.Hash {
		return s, fmt.Errorf("section %s is damaged", name)
	}
	return s, nil
}

// store takes freshly collected sections; changed says whether the server should hear of it.
func (v *inventory) store(sections []runner.Section) (changed bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range sections {
		if !sectionName.MatchString(s.Name) || v.hashes[s.Name] == s.Hash {
			continue
		}
		text, err := wire.Canonical(s) // escaping would change the bytes that the hash is of
		if err != nil {
			return changed, fmt.Errorf("encoding section %s: %w", s.Name, err)
		}
		if err := writeFile(filepath.Join(v.dir, s.Name+".json"), text, 0o600); err != nil {
			return changed, err
		}
		v.hashes[s.Name], v.told, changed = s.Hash, time.Time{}, true
	}
	return changed, nil
}

// next gives the hashes when they are due, and the content that the server asked for, within a
// number of bytes but always at least one section.
func (v *inventory) next(budget int) (hashes map[string]string, sections []api.AgentSection, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asking = len(v.hashes) > 0 && v.now().Sub(v.told) >= hashesAgain
	if v.asking {
		hashes = make(map[string]string, len(v.hashes))
		for name, hash := range v.hashes {
			hashes[name] = hash
		}
	}
	for len(v.wanted) > 0 && len(sections) < maxSections {
		s, err := v.read(v.wanted[0])
		if err != nil { // collect it again rather than never
			delete(v.hashes, v.wanted[0])
			v.wanted = v.wanted[1:]
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			return hashes, sections, err
		}
		if budget -= len(s.Data); budget < 0 && len(sections) > 0 {
			break
		}
		v.wanted = v.wanted[1:]
		sections = append(sections, api.AgentSection{Name: s.Name, Hash: s.Hash, CollectedAt: s.CollectedAt, Data: s.Data})
	}
	return hashes, sections, nil
}

// heard notes that the server took the batch, and what it wants next. What it wants stays wanted
// until it asks no more, so a lost section is asked for again.
func (v *inventory) heard(wanted []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.asking {
		v.told, v.asking = v.now(), false
	}
	for _, name := range wanted {
		if _, have := v.hashes[name]; have && !slices.Contains(v.wanted, name) {
			v.wanted = append(v.wanted, name)
		}
	}
}

// failed puts the hashes on the next batch again; the server then asks anew for what it lacks.
func (v *inventory) failed() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.told, v.asking = time.Time{}, false
}

func (v *inventory) pending() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.wanted) > 0
}
