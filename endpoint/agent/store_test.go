package agent

import (
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"reeve/api"
	"reeve/api/wire"
)

func TestEventsAreBoundedAndTheLossIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	e, err := openEvents(path, func() time.Time { return noon })
	if err != nil {
		t.Fatal(err)
	}
	for range maxEvents + 1 {
		if err := e.add("test", "x", map[string]any{"n": 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.add("test", "large", map[string]any{"n": strings.Repeat("x", 1<<20)}); err != nil {
		t.Fatal(err)
	}
	if err := e.close(); err != nil {
		t.Fatal(err)
	}
	if e, err = openEvents(path, func() time.Time { return noon }); err != nil {
		t.Fatal(err)
	}
	defer e.close()
	batch, _ := e.next(1 << 20)
	if len(batch) == 0 || len(batch) > eventBatch {
		t.Fatalf("%d events in a batch", len(batch))
	}
	dropped := int64(maxEvents + 2 - e.waiting())
	if got, ok := (*batch[0].Detail)["dropped_before"].(int64); !ok || got != dropped || batch[0].Number != dropped+1 {
		t.Errorf("dropped %v, want %d; the first has number %d", (*batch[0].Detail)["dropped_before"], dropped, batch[0].Number)
	}
	if err := e.acked(batch[len(batch)-1].Number); err != nil {
		t.Fatal(err)
	}
	for e.waiting() > 0 {
		batch, _ = e.next(1 << 20)
		if err := e.acked(batch[len(batch)-1].Number); err != nil {
			t.Fatal(err)
		}
	}
	if last := batch[len(batch)-1]; (*last.Detail)["left_out"] == nil {
		t.Errorf("a huge detail was kept: %d", last.Number)
	}
	// Numbers go on, also when nothing is left.
	if err := e.add("test", "x", nil); err != nil {
		t.Fatal(err)
	}
	if batch, _ = e.next(1 << 20); batch[0].Number != maxEvents+3 || batch[0].Detail != nil {
		t.Errorf("got %+v", batch[0])
	}
}

func TestTheTaskLogShowsEveryChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.log")
	l, err := openTaskLog(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := l.add(logEntry{At: noon, Event: "started", Task: uuid.New(), Kind: "script.run"}); err != nil {
			t.Fatal(err)
		}
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(string(good), "\n"), "\n")
	lines[4] += "\n"
	for name, text := range map[string]string{
		"edited":    strings.Replace(string(good), "script.run", "script.ran", 1),
		"deleted":   lines[0] + lines[1] + lines[3] + lines[4],
		"reordered": lines[0] + lines[2] + lines[1] + lines[3] + lines[4],
		"inserted":  lines[0] + lines[0] + lines[1],
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := verifyTaskLog(path); !errors.Is(err, errTaskLogBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A crash in the middle of a line is none of these, and the log goes on.
	if err := os.WriteFile(path, good[:len(good)-10], 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err = openTaskLog(path); err != nil {
		t.Fatal(err)
	}
	if err := l.add(logEntry{Event: "ended"}); err != nil {
		t.Fatal(err)
	}
	if last, _, err := verifyTaskLog(path); err != nil || last.N != 5 || last.Event != "ended" {
		t.Errorf("%+v %v", last, err)
	}
}

func TestTaskKeysNeedTheWordOfAPinnedOne(t *testing.T) {
	public1, key1, _ := ed25519.GenerateKey(nil)
	public2, key2, _ := ed25519.GenerateKey(nil)
	public3, _, _ := ed25519.GenerateKey(nil)
	vouch := func(kid string, public ed25519.PublicKey, by string, key ed25519.PrivateKey) api.TaskKey {
		sig := ed25519.Sign(key, wire.ServerKey{KeyID: kid, Public: public}.Statement(taskPurpose))
		return api.TaskKey{Kid: kid, PublicKey: public, SignedBy: &by, Signature: &sig}
	}
	dev := device{TaskKeys: map[string]ed25519.PublicKey{"k1": public1}}
	added, refused := dev.adoptKeys([]api.TaskKey{
		{Kid: "k1", PublicKey: public3},        // known already, and stays what it was
		{Kid: "evil", PublicKey: public3},      // nobody's word
		vouch("evil", public3, "k1", key2),     // a forged word
		vouch("evil", public3, "nobody", key1), // the word of a stranger
		vouch("k2", public2, "k1", key1),
		vouch("k3", public3, "k2", key2), // a chain
	})
	if added != 2 || refused != 3 || len(dev.TaskKeys) != 3 || !dev.TaskKeys["k1"].Equal(public1) || dev.TaskKeys["evil"] != nil {
		t.Errorf("added %d, refused %d: %v", added, refused, dev.TaskKeys)
	}
}

// A task must not begin when its beginning cannot be made durable; the device stays present.
func TestAJournalThatCannotBeWrittenStopsTasksNotPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dir := newFakeServer(t), Dir(t.TempDir())
		s.enrolled(dir, serverName)
		var runs atomic.Int32
		dev, err := dir.load()
		if err != nil {
			t.Fatal(err)
		}
		a, err := newAgent(s.options(dir, counted(&runs, nil)), dev)
		if err != nil {
			t.Fatal(err)
		}
		defer a.store.events.close()
		if err := a.store.journal.close(); err != nil { // writes fail from here on
			t.Fatal(err)
		}
		id, e := s.task("test.run", map[string]any{})
		s.give(e)
		for range 3 {
			if _, err := a.syncOnce(t.Context(), ""); err != nil {
				t.Errorf("the sync failed: %v", err)
			}
		}
		synctest.Wait()
		if runs.Load() != 0 || len(s.finals[id]) != 0 || len(s.requests) != 3 {
			t.Errorf("it ran %d times, %d syncs", runs.Load(), len(s.requests))
		}
	})
}

func TestDamagedTaskLogIsSetAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.log")
	if err := os.WriteFile(path, []byte("{\"n\":7}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := openTaskLog(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.add(logEntry{Event: "started"}); err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob(path + ".broken-*"); len(files) != 1 {
		t.Errorf("the evidence is gone: %v", files)
	}
}
