package agent

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"
)

const taskLogLimit = 8 << 20

// logEntry is one line of the device's own record of what the server had it do.
type logEntry struct {
	N      int64     `json:"n"`
	At     time.Time `json:"at"`
	Event  string    `json:"event"` // started, ended, refused
	Task   uuid.UUID `json:"task"`
	Kind   string    `json:"kind"`
	RunAs  string    `json:"run_as,omitempty"`
	Body   string    `json:"body_sha256,omitempty"`
	Detail string    `json:"detail,omitempty"`
	Prev   string    `json:"prev"` // hash of the line before
	Hash   string    `json:"hash"` // SHA-256 of this line with an empty hash
}

func (e logEntry) sum() (string, error) {
	e.Hash = ""
	raw, err := json.Marshal(e)
	if err != nil {
		return "", fmt.Errorf("encoding a line of the task log: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}

// taskLog is for the owner of the device, not for the server: a hash-chained text file of every task
// started, ended or refused, in which a changed or removed line shows.
type taskLog struct {
	mu   sync.Mutex
	path string
	last logEntry
	size int64
}

func openTaskLog(path string) (*taskLog, error) {
	l := &taskLog{path: path}
	last, size, err := verifyTaskLog(path)
	if errors.Is(err, errTaskLogBroken) {
		// The evidence is kept, and the chain says where it begins anew.
		if err := os.Rename(path, fmt.Sprintf("%s.broken-%d", path, last.N)); err != nil {
			return nil, fmt.Errorf("setting a broken task log aside: %w", err)
		}
		l.last = logEntry{N: last.N, Hash: "broken"}
		return l, nil
	}
	if err != nil {
		return nil, err
	}
	l.last, l.size = last, size
	return l, nil
}

// add appends a line durably.
func (l *taskLog) add(e logEntry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > taskLogLimit {
		if err := os.Rename(l.path, l.path+".1"); err != nil {
			return fmt.Errorf("turning the task log over: %w", err)
		}
		l.size = 0
	}
	e.N, e.Prev = l.last.N+1, l.last.Hash
	var err error
	if e.Hash, err = e.sum(); err != nil {
		return err
	}
	raw, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encoding a line of the task log: %w", err)
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("opening the task log: %w", err)
	}
	raw = append(raw, '\n')
	_, werr := f.WriteAt(raw, l.size)
	if err := errors.Join(werr, f.Truncate(l.size+int64(len(raw))), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing the task log: %w", err)
	}
	l.last, l.size = e, l.size+int64(len(raw))
	return nil
}

var errTaskLogBroken = errors.New("the task log's chain is broken: lines were changed or removed")

// verifyTaskLog walks the chain. A torn last line is a crash and not counted; size is where the next
// line goes.
func verifyTaskLog(path string) (last logEntry, size int64, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return last, 0, nil
	}
	if err != nil {
		return last, 0, fmt.Errorf("opening the task log: %w", err)
	}
	defer f.Close()
	in := bufio.NewReader(f)
	for first := true; ; first = false {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return last, size, nil
		}
		var e logEntry
		if json.Unmarshal(line, &e) != nil {
			return last, size, errTaskLogBroken
		}
		sum, err := e.sum()
		if err != nil || sum != e.Hash || !first && (e.Prev != last.Hash || e.N != last.N+1) {
			return last, size, errTaskLogBroken
		}
		last, size = e, size+int64(len(line))
	}
}
