package agent

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"

	"reeve/api"
	"reeve/api/wire"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func mustJournal(t testing.TB, path string) *journal {
	t.Helper()
	j, damaged, err := openJournal(path)
	if err != nil || damaged != 0 {
		t.Fatalf("opening the journal: %v, %d damaged", err, damaged)
	}
	t.Cleanup(func() { _ = j.close() })
	return j
}

func mustBegin(t testing.TB, j *journal, id uuid.UUID) {
	t.Helper()
	fresh, err := j.begin(wire.Payload{ID: id, Kind: "script.run", ExpiresAt: noon.Add(time.Hour)}, noon, noon)
	if err != nil || !fresh {
		t.Fatalf("begin: %v %v", fresh, err)
	}
}

func finalOf(id uuid.UUID) api.AgentTaskUpdate {
	return api.AgentTaskUpdate{ID: "u-" + id.String(), TaskID: id, State: api.AgentTaskUpdateStateSucceeded, At: noon}
}

func TestJournalSurvivesARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := mustJournal(t, path)
	a, b, c := uuid.New(), uuid.New(), uuid.New()
	for _, id := range []uuid.UUID{a, b, c} {
		mustBegin(t, j, id)
	}
	for _, id := range []uuid.UUID{a, b} {
		if err := j.end(finalOf(id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.ack(a); err != nil {
		t.Fatal(err)
	}
	if err := j.noteTime(noon.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	before := j.state()
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	j = mustJournal(t, path)
	if !reflect.DeepEqual(j.state(), before) || before.LastEntry != 7 {
		t.Errorf("state %+v became %+v", before, j.state())
	}
	running, unsent := j.unfinished()
	if len(running) != 1 || running[0] != c || len(unsent) != 1 || unsent[0] != b {
		t.Errorf("running %v, unsent %v", running, unsent)
	}
	if !j.floor().Equal(noon.Add(time.Hour)) {
		t.Errorf("trusted time fell back to %s", j.floor())
	}
	for _, id := range []uuid.UUID{a, b, c} {
		if fresh, err := j.begin(wire.Payload{ID: id}, noon, noon); fresh || err != nil {
			t.Errorf("task %s may run again (%v)", id, err)
		}
	}
}

// A kill leaves any prefix of the file. Whatever the prefix: it opens, whatever had been promised
// to be on disk is known, and the journal goes on.
func TestJournalKilledAtEveryByte(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "journal")
	j := mustJournal(t, path)
	type promise struct {
		size int64 // once this much is on disk
		id   uuid.UUID
		last int64
	}
	var promises []promise
	for range 3 {
		id := uuid.New()
		mustBegin(t, j, id)
		promises = append(promises, promise{j.file.size, id, j.state().LastEntry})
		if err := j.end(finalOf(id)); err != nil {
			t.Fatal(err)
		}
	}
	all, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	torn := filepath.Join(dir, "torn")
	for n := range len(all) + 1 {
		if err := os.WriteFile(torn, all[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		k, damaged, err := openJournal(torn)
		if err != nil || damaged != 0 {
			t.Fatalf("cut at %d: %v, %d damaged", n, err, damaged)
		}
		for _, p := range promises {
			if _, known := k.find(p.id); known != (int64(n) >= p.size) {
				t.Errorf("cut at %d: task known is %v", n, known)
			}
			if int64(n) >= p.size && k.state().LastEntry < p.last {
				t.Errorf("cut at %d: the last entry fell to %d", n, k.state().LastEntry)
			}
		}
		if n%5 != 0 && n != len(all) { // going on costs several writes to disk
			if err := k.close(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		extra := uuid.New()
		if fresh, err := k.begin(wire.Payload{ID: extra}, noon, noon); !fresh || err != nil {
			t.Fatalf("cut at %d: going on: %v", n, err)
		}
		if err := k.close(); err != nil {
			t.Fatal(err)
		}
		again, damaged, err := openJournal(torn)
		if err != nil || damaged != 0 {
			t.Fatalf("cut at %d, second opening: %v, %d damaged", n, err, damaged)
		}
		if _, known := again.find(extra); !known {
			t.Errorf("cut at %d: what was journalled after the crash is lost", n)
		}
		if err := again.close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestJournalDamagedInTheMiddleKeepsTheRest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := mustJournal(t, path)
	ids := []uuid.UUID{uuid.New(), uuid.New(), uuid.New()}
	for _, id := range ids {
		mustBegin(t, j, id)
	}
	all, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(all, []byte("\n"))
	lines[2][20] ^= 1 // the second task
	if err := os.WriteFile(path, bytes.Join(lines, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	k, damaged, err := openJournal(path)
	if err != nil || damaged != 1 {
		t.Fatalf("%v, %d damaged", err, damaged)
	}
	defer k.close()
	for i, id := range ids {
		if _, known := k.find(id); known != (i != 1) {
			t.Errorf("task %d known is %v", i, known)
		}
	}
	if k.state().LastEntry != 3 {
		t.Errorf("last entry %d", k.state().LastEntry)
	}
}

func TestCompactionForgetsOnlyWhatCannotComeBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := mustJournal(t, path)
	old, unsent, young := uuid.New(), uuid.New(), uuid.New()
	for _, id := range []uuid.UUID{old, unsent} {
		mustBegin(t, j, id)
		if err := j.end(finalOf(id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.ack(old); err != nil {
		t.Fatal(err)
	}
	if fresh, err := j.begin(wire.Payload{ID: young, ExpiresAt: noon.Add(30 * 24 * time.Hour)}, noon, noon.Add(time.Hour+keepIDs+time.Second)); !fresh || err != nil {
		t.Fatal(err)
	}
	before := j.state()
	j.mu.Lock()
	err := j.compact()
	j.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	k := mustJournal(t, path)
	if !reflect.DeepEqual(k.state(), before) {
		t.Errorf("state %+v became %+v", before, k.state())
	}
	for id, want := range map[uuid.UUID]bool{old: false, unsent: true, young: true} {
		if _, known := k.find(id); known != want {
			t.Errorf("known %v, want %v", known, want)
		}
	}
	mustBegin(t, k, uuid.New())
	if k.state().LastEntry != before.LastEntry+1 {
		t.Errorf("numbers did not go on: %d", k.state().LastEntry)
	}
}

func FuzzJournal(f *testing.F) {
	good, _ := encodeRecord(record{N: 1, What: "begin", Task: uuid.New()})
	f.Add(append(good, "00000000 {}\nx"...))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "journal")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		j, _, err := openJournal(path)
		if err != nil {
			t.Fatal(err)
		}
		defer j.close()
		if fresh, err := j.begin(wire.Payload{ID: uuid.New()}, noon, noon); !fresh || err != nil {
			t.Fatal(fresh, err)
		}
	})
}

func TestARecordThatFailsToWriteLeavesTheFileAsItWas(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	r, _, err := openRecords(path, func(json.RawMessage) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := r.append(map[string]int{"a": 1}); err != nil {
		t.Fatal(err)
	}
	if err := r.append(func() {}); err == nil {
		t.Error("a function was encoded")
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	if err := r.append(1); err == nil {
		t.Error("a closed file was written")
	}
	text, err := os.ReadFile(path)
	if err != nil || int64(len(text)) != r.size {
		t.Errorf("%d bytes, %d counted (%v)", len(text), r.size, err)
	}
	if len(text) == 0 {
		t.Error("the first record is gone")
	}
}
