package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/dbtest"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// bench is a database with two tenants and a superuser's connection to attack it with.
type bench struct {
	db    *tenantdb.DB
	admin *pgx.Conn
	a, b  scope.ID
}

func newBench(t *testing.T) *bench {
	t.Helper()
	urls := dbtest.NewURLs(t)
	admin, err := pgx.Connect(t.Context(), urls.Admin)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close(context.Background()) })
	w := &bench{db: dbtest.Open(t, urls.App), admin: admin, a: uuid.Must(uuid.NewV7()), b: uuid.Must(uuid.NewV7())}
	for slug, id := range map[string]scope.ID{"a": w.a, "b": w.b} {
		w.attack(t, "INSERT INTO tenants (id, name, slug) VALUES ($1, $2, $2)", uuid.UUID(id), slug)
	}
	return w
}

func (w *bench) attack(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := w.admin.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// disarm is what a superuser does first.
func (w *bench) disarm(t *testing.T) {
	w.attack(t, "ALTER TABLE audit_entries DISABLE TRIGGER ALL")
}

func (w *bench) write(t *testing.T, ctx context.Context, tenant scope.ID, n int) {
	t.Helper()
	for i := range n {
		err := w.db.Tx(ctx, func(tx *gorm.DB) error {
			return WriteTx(tx, Entry{TenantID: tenant, Action: "thing.changed", ObjectType: "thing", ObjectID: fmt.Sprint(i), ObjectName: "Thing",
				Before: map[string]any{"name": "old", "n": i}, After: map[string]any{"name": "new <&>", "n": i}})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (w *bench) verify(t *testing.T, known Checkpoints) Report {
	t.Helper()
	report, err := Verify(dbtest.System(t), w.db, w.a, known)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestWrittenChainIsIntactAndReadsBack(t *testing.T) {
	w := newBench(t)
	ctx := dbtest.Tenant(t, w.a, PermRead)
	s := scope.From(ctx)
	s.Actor.RequestID, s.Actor.SessionID, s.Emergency = "req-1", uuid.Must(uuid.NewV7()), "the server room burns"
	ctx = scope.With(ctx, s)
	w.write(t, ctx, w.a, 3)
	if r := w.verify(t, nil); !r.Intact() || r.Entries != 3 {
		t.Fatalf("%+v", r)
	}
	page, err := List(ctx, w.db, Filter{})
	if err != nil || len(page.Records) != 3 || page.Next != "" {
		t.Fatalf("%d records, next %q, %v", len(page.Records), page.Next, err)
	}
	got := page.Records[0]
	if got.Number != 3 || got.TenantID != w.a || *got.ActorID != s.Actor.ID || *got.SessionID != s.Actor.SessionID || got.ActorName != s.Actor.Name ||
		got.Address != s.Actor.Address || got.RequestID != "req-1" || got.Emergency != s.Emergency || string(got.Detail) != "{}" ||
		!json.Valid(got.Before) || !strings.Contains(string(got.After), `"n":2`) || got.At.Location() != time.UTC {
		t.Errorf("%+v", got)
	}
}

func TestOneTransactionOneFate(t *testing.T) {
	w := newBench(t)
	boom := errors.New("boom")
	err := w.db.Tx(dbtest.Staff(t, PermRead), func(tx *gorm.DB) error {
		if err := WriteTx(tx, Entry{TenantID: w.a, Action: "x.y", ObjectType: "x"}); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if r := w.verify(t, nil); !r.Intact() || r.Entries != 0 {
		t.Fatalf("an undone act is in the log: %+v", r)
	}
	// The other way round: an act whose entry cannot be written does not happen.
	err = w.db.Tx(dbtest.Staff(t, PermRead), func(tx *gorm.DB) error {
		if err := tx.Exec("UPDATE tenants SET name = 'renamed' WHERE id = ?", uuid.UUID(w.a)).Error; err != nil {
			return err
		}
		return WriteTx(tx, Entry{TenantID: uuid.Must(uuid.NewV7()), Action: "x.y", ObjectType: "x"}) // no such tenant
	})
	if err == nil {
		t.Fatal("an entry for an unknown tenant was written")
	}
	var name string
	if err := w.admin.QueryRow(t.Context(), "SELECT name FROM tenants WHERE id = $1", uuid.UUID(w.a)).Scan(&name); err != nil || name != "a" {
		t.Fatalf("the act stands without its entry: %q %v", name, err)
	}
}

func TestAuditSinkBrokenStopsTheAct(t *testing.T) {
	w := newBench(t)
	w.attack(t, "REVOKE INSERT ON audit_entries FROM reeve_staff")
	err := w.db.Tx(dbtest.Staff(t, PermRead), func(tx *gorm.DB) error {
		if err := tx.Exec("UPDATE tenants SET name = 'renamed' WHERE id = ?", uuid.UUID(w.a)).Error; err != nil {
			return err
		}
		return WriteTx(tx, Entry{TenantID: w.a, Action: "x.y", ObjectType: "x"})
	})
	var name string
	if scanErr := w.admin.QueryRow(t.Context(), "SELECT name FROM tenants WHERE id = $1", uuid.UUID(w.a)).Scan(&name); err == nil || scanErr != nil || name != "a" {
		t.Fatalf("err %v, name %q, %v", err, name, scanErr)
	}
}

func TestConcurrentWritersKeepOneChain(t *testing.T) {
	w := newBench(t)
	const writers, each = 6, 20
	failed := make(chan error, writers)
	for i := range writers {
		go func() {
			failed <- func() error {
				for range each {
					err := w.db.Tx(dbtest.Staff(t, PermRead), func(tx *gorm.DB) error {
						// Named in either order, locked in one: no deadlock.
						entries := []Entry{{TenantID: w.a, Action: "x.y", ObjectType: "x"}, {TenantID: w.b, Action: "x.y", ObjectType: "x"}}
						if i%2 == 0 {
							entries[0], entries[1] = entries[1], entries[0]
						}
						return WriteTx(tx, entries...)
					})
					if err != nil {
						return err
					}
				}
				return nil
			}()
		}()
	}
	for range writers {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
	reports, err := VerifyAll(dbtest.System(t), w.db, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range reports {
		if !r.Intact() || (r.TenantID != scope.Provider && r.Entries != writers*each) {
			t.Errorf("%+v", r)
		}
	}
}

func TestTheApplicationCannotChangeTheLog(t *testing.T) {
	w := newBench(t)
	w.write(t, dbtest.Staff(t, PermRead), w.a, 2)
	for name, ctx := range map[string]context.Context{"tenant": dbtest.Tenant(t, w.a, PermRead), "granted": dbtest.Granted(t, []scope.ID{w.a}, PermRead),
		"staff": dbtest.Staff(t, PermRead), "system": dbtest.System(t)} {
		for _, sql := range []string{"UPDATE audit_entries SET action = 'x'", "DELETE FROM audit_entries", "TRUNCATE audit_entries", "DELETE FROM audit_heads"} {
			if err := w.db.Tx(ctx, func(tx *gorm.DB) error { return tx.Exec(sql).Error }); err == nil {
				t.Errorf("%s may %s", name, sql)
			}
		}
	}
	// Not even the owner of the table can without disarming it first.
	for _, sql := range []string{"UPDATE audit_entries SET action = 'x'", "DELETE FROM audit_entries", "TRUNCATE audit_entries"} {
		if _, err := w.admin.Exec(t.Context(), sql); err == nil {
			t.Errorf("a superuser may %s without disarming the table", sql)
		}
	}
}

func TestACustomerSeesTheirTenantOnly(t *testing.T) {
	w := newBench(t)
	w.write(t, dbtest.Staff(t, PermRead), w.a, 2)
	w.write(t, dbtest.Staff(t, PermRead), w.b, 3)
	w.write(t, dbtest.Staff(t, PermRead), scope.Provider, 4)
	for _, c := range []struct {
		name   string
		ctx    context.Context
		filter Filter
		want   int
	}{
		{"customer", dbtest.Tenant(t, w.a, PermRead), Filter{}, 2},
		{"customer asks for another tenant", dbtest.Tenant(t, w.a, PermRead), Filter{TenantID: w.b}, 0},
		{"named tenants", dbtest.Granted(t, []scope.ID{w.b}, PermRead), Filter{}, 3},
		{"staff", dbtest.Staff(t, PermRead), Filter{}, 9},
		{"customer without the permission", dbtest.Tenant(t, w.a), Filter{}, 0},
		{"staff, one tenant", dbtest.Staff(t, PermRead), Filter{TenantID: w.b}, 3},
	} {
		page, err := List(c.ctx, w.db, c.filter)
		if err != nil || len(page.Records) != c.want {
			t.Errorf("%s: %d records, %v", c.name, len(page.Records), err)
		}
	}
	for name, ctx := range map[string]context.Context{"without the permission": dbtest.Tenant(t, w.b), "of another tenant": dbtest.Tenant(t, w.a, PermRead)} {
		if _, err := Verify(ctx, w.db, w.b, nil); fault.KindOf(err) != fault.NotFound {
			t.Errorf("somebody %s verifies the log: %v", name, err)
		}
	}
	err := w.db.Tx(dbtest.Tenant(t, w.a, PermRead), func(tx *gorm.DB) error {
		return WriteTx(tx, Entry{TenantID: w.b, Action: "x.y", ObjectType: "x"})
	})
	if err == nil {
		t.Error("a customer wrote into another tenant's log")
	}
}

func TestListFiltersAndPages(t *testing.T) {
	w := newBench(t)
	w.write(t, dbtest.Staff(t, PermRead), w.a, 25)
	w.write(t, dbtest.System(t), w.b, 5)
	staff := dbtest.Staff(t, PermRead)
	var got []int64
	for cursor, pages := "", 0; ; pages++ {
		page, err := List(staff, w.db, Filter{TenantID: w.a, Limit: 10, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Records {
			got = append(got, r.Number)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	for i, n := range got {
		if n != int64(25-i) {
			t.Fatalf("out of order at %d: %v", i, got)
		}
	}
	if len(got) != 25 {
		t.Fatalf("%d entries over all pages", len(got))
	}
	all, err := List(staff, w.db, Filter{Limit: 500})
	if err != nil {
		t.Fatal(err)
	}
	middle := all.Records[15]
	for _, c := range []struct {
		name   string
		filter Filter
		want   int
	}{
		{"actor name", Filter{ActorName: "test"}, 5},
		{"actor", Filter{ActorID: *all.Records[29].ActorID}, 25},
		{"action", Filter{Action: "thing.changed"}, 30},
		{"other action", Filter{Action: "thing.created"}, 0},
		{"object", Filter{ObjectType: "thing", ObjectID: "3"}, 2},
		{"from", Filter{From: middle.At}, 16},
		{"to", Filter{To: middle.At}, 14},
	} {
		page, err := List(staff, w.db, c.filter)
		if err != nil || len(page.Records) != c.want {
			t.Errorf("%s: %d, want %d, %v", c.name, len(page.Records), c.want, err)
		}
	}
	for _, f := range []Filter{{Cursor: "x"}, {Cursor: strings.Repeat("A", 32)}, {Limit: 1001}, {Limit: -1}} {
		if _, err := List(staff, w.db, f); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

// TestAttacks alters the log as a superuser of the database could, and expects to be told.
func TestAttacks(t *testing.T) {
	swap := `WITH two AS (SELECT * FROM audit_entries WHERE tenant_id = $1 AND number IN (4, 5))
		UPDATE audit_entries e SET id = o.id, action = o.action, object_id = o.object_id, before = o.before, after = o.after, at = o.at
		FROM two o WHERE e.tenant_id = $1 AND e.number IN (4, 5) AND o.number = 9 - e.number`
	for _, c := range []struct {
		name   string
		attack []string
		want   FindingKind
	}{
		{"edit a text", []string{"UPDATE audit_entries SET object_name = 'Other' WHERE tenant_id = $1 AND number = 4"}, Edited},
		{"edit a document", []string{`UPDATE audit_entries SET after = '{"n":9}' WHERE tenant_id = $1 AND number = 4`}, Edited},
		{"edit a document's spelling only", []string{`UPDATE audit_entries SET detail = '{ }' WHERE tenant_id = $1 AND number = 4`}, Edited},
		{"blame somebody else", []string{"UPDATE audit_entries SET actor_id = gen_random_uuid() WHERE tenant_id = $1 AND number = 4"}, Edited},
		{"move the time", []string{"UPDATE audit_entries SET at = at - interval '1 microsecond' WHERE tenant_id = $1 AND number = 4"}, Edited},
		{"delete one", []string{"DELETE FROM audit_entries WHERE tenant_id = $1 AND number = 4"}, Missing},
		{"delete the first", []string{"DELETE FROM audit_entries WHERE tenant_id = $1 AND number = 1"}, Missing},
		{"delete one and close the gap", []string{"DELETE FROM audit_entries WHERE tenant_id = $1 AND number = 4",
			"UPDATE audit_entries SET number = number - 1 WHERE tenant_id = $1 AND number > 4",
			"UPDATE audit_heads SET number = number - 1 WHERE tenant_id = $1"}, Broken},
		{"insert one between", []string{"UPDATE audit_entries SET number = number + 100 WHERE tenant_id = $1 AND number > 4",
			"UPDATE audit_entries SET number = number - 99 WHERE tenant_id = $1 AND number > 100",
			"INSERT INTO audit_entries SELECT * FROM (SELECT (jsonb_populate_record(e, jsonb_build_object('number', 5, 'id', gen_random_uuid()))).* FROM audit_entries e WHERE tenant_id = $1 AND number = 4) s",
			"UPDATE audit_heads SET number = number + 1 WHERE tenant_id = $1"}, Broken},
		{"append one", []string{"INSERT INTO audit_entries SELECT (jsonb_populate_record(e, jsonb_build_object('number', number + 1, 'id', gen_random_uuid()))).* FROM audit_entries e WHERE tenant_id = $1 AND number = 8"}, Appended},
		{"reorder two", []string{swap}, Edited},
		{"cut the tail", []string{"DELETE FROM audit_entries WHERE tenant_id = $1 AND number > 6"}, Truncated},
		{"cut everything", []string{"DELETE FROM audit_entries WHERE tenant_id = $1"}, Truncated},
		{"remove the head", []string{"DELETE FROM audit_heads WHERE tenant_id = $1"}, Truncated},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newBench(t)
			w.write(t, dbtest.Staff(t, PermRead), w.a, 8)
			w.disarm(t)
			for _, sql := range c.attack {
				w.attack(t, sql, uuid.UUID(w.a))
			}
			found := false
			report := w.verify(t, nil)
			for _, f := range report.Findings {
				found = found || f.Kind == c.want
			}
			if !found {
				t.Errorf("want %s, found %+v", c.want, report.Findings)
			}
		})
	}
}

// notary is a checkpointer with its key and file.
type notary struct {
	*Checkpointer
	path   string
	public ed25519.PublicKey
}

func newNotary(t *testing.T, db *tenantdb.DB) *notary {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	n := &notary{path: filepath.Join(t.TempDir(), "audit", "checkpoints.jsonl"), public: public}
	signer := func(context.Context) (string, ed25519.PrivateKey, error) { return "k1", private, nil }
	n.Checkpointer = NewCheckpointer(db, n.path, signer, time.Now)
	return n
}

func (n *notary) read(t *testing.T) (Checkpoints, error) {
	t.Helper()
	raw, err := os.ReadFile(n.path)
	if err != nil {
		t.Fatal(err)
	}
	return ReadCheckpoints(bytes.NewReader(raw), n.key)
}

func (n *notary) key(kid string) (ed25519.PublicKey, error) {
	if kid != "k1" {
		return nil, errors.New("unknown key")
	}
	return n.public, nil
}

func (n *notary) sweep(t *testing.T, want int) {
	t.Helper()
	if got, err := n.Sweep(t.Context()); err != nil || got != want {
		t.Fatalf("swept %d, want %d: %v", got, want, err)
	}
}

// forge rewrites a chain so that it agrees with itself, as only the checkpoints can tell.
func (w *bench) forge(t *testing.T, keep int64, change func(r *Record)) {
	t.Helper()
	var records []Record
	err := w.db.Tx(dbtest.System(t), func(tx *gorm.DB) error {
		var err error
		records, err = scan(tx.Table("audit_entries").Select(columns).Where("tenant_id = ? AND number <= ?", uuid.UUID(w.a), keep).Order("number"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w.disarm(t)
	w.attack(t, "DELETE FROM audit_entries WHERE tenant_id = $1", uuid.UUID(w.a))
	previous := []byte{}
	for i := range records {
		change(&records[i])
		records[i].Previous = previous
		records[i].Hash = computeHash(&records[i])
		previous = records[i].Hash
	}
	if err := w.db.Tx(dbtest.System(t), func(tx *gorm.DB) error { return insert(tx, records) }); err != nil {
		t.Fatal(err)
	}
	w.attack(t, "UPDATE audit_heads SET number = $2, hash = $3 WHERE tenant_id = $1", uuid.UUID(w.a), keep, previous)
}

func TestCheckpointsCatchAPerfectForger(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(t *testing.T, w *bench)
		want FindingKind
	}{
		{"replace everything", func(t *testing.T, w *bench) {
			w.forge(t, 8, func(r *Record) { r.ActorName = "innocent" })
		}, Replaced},
		{"cut the tail and the head with it", func(t *testing.T, w *bench) { w.forge(t, 3, func(*Record) {}) }, Truncated},
		{"cut the tail and write on", func(t *testing.T, w *bench) {
			w.forge(t, 3, func(*Record) {})
			w.write(t, dbtest.Staff(t, PermRead), w.a, 7)
		}, Replaced},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newBench(t)
			n := newNotary(t, w.db)
			w.write(t, dbtest.Staff(t, PermRead), w.a, 4)
			n.sweep(t, 1)
			n.sweep(t, 0)
			w.write(t, dbtest.Staff(t, PermRead), w.a, 2)
			n.sweep(t, 1)
			w.write(t, dbtest.Staff(t, PermRead), w.a, 2)
			known, err := n.read(t)
			if err != nil {
				t.Fatal(err)
			}
			if r := w.verify(t, known); !r.Intact() {
				t.Fatalf("before the attack: %+v", r)
			}
			c.do(t, w)
			if r := w.verify(t, nil); !r.Intact() {
				t.Fatalf("the forger was clumsy: %+v", r)
			}
			found := false
			report := w.verify(t, known)
			for _, f := range report.Findings {
				found = found || f.Kind == c.want
			}
			if !found {
				t.Errorf("want %s, found %+v", c.want, report.Findings)
			}
			if _, err := n.Sweep(t.Context()); !errors.Is(err, ErrRewritten) {
				t.Errorf("the next sweep says %v", err)
			}
		})
	}
}

func TestCheckpointFileIsChainedSignedAndSurvivesACrash(t *testing.T) {
	w := newBench(t)
	n := newNotary(t, w.db)
	for range 3 {
		w.write(t, dbtest.Staff(t, PermRead), w.a, 1)
		n.sweep(t, 1)
	}
	good, err := os.ReadFile(n.path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(n.path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	lines := bytes.SplitAfter(good, []byte("\n"))
	for name, raw := range map[string][]byte{
		"line dropped":  append(bytes.Clone(lines[0]), lines[2]...),
		"line edited":   bytes.Replace(good, []byte(`"number":2`), []byte(`"number":1`), 1),
		"unknown key":   bytes.ReplaceAll(good, []byte(`"kid":"k1"`), []byte(`"kid":"k2"`)),
		"lines swapped": append(append(bytes.Clone(lines[1]), lines[0]...), lines[2]...),
		"garbage":       []byte("{}\n"),
	} {
		if _, err := ReadCheckpoints(bytes.NewReader(raw), n.key); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// A crash in the middle of a line: the next start drops it and continues the chain of lines.
	if err := os.WriteFile(n.path, append(bytes.Clone(good), `{"at":"2026`...), 0o600); err != nil {
		t.Fatal(err)
	}
	again := &notary{Checkpointer: NewCheckpointer(w.db, n.path, n.signer, time.Now), path: n.path, public: n.public}
	again.sweep(t, 0)
	w.write(t, dbtest.Staff(t, PermRead), w.a, 1)
	again.sweep(t, 1)
	known, err := again.read(t)
	if err != nil || len(known[w.a]) != 4 {
		t.Fatalf("%d checkpoints: %v", len(known[w.a]), err)
	}
}

func TestVerifyRecordsNeedsNoDatabase(t *testing.T) {
	w := newBench(t)
	w.write(t, dbtest.Staff(t, PermRead), w.a, 3)
	page, err := List(dbtest.Staff(t, PermRead), w.db, Filter{TenantID: w.a})
	if err != nil {
		t.Fatal(err)
	}
	records := []Record{page.Records[2], page.Records[1], page.Records[0]}
	head := &Head{w.a, 3, records[2].Hash}
	if r := VerifyRecords(w.a, records, head, nil); !r.Intact() {
		t.Errorf("%+v", r)
	}
	records[1].At = records[1].At.Add(-time.Hour)
	records[1].Hash = computeHash(&records[1])
	kinds := map[FindingKind]bool{}
	for _, f := range VerifyRecords(w.a, records, head, nil).Findings {
		kinds[f.Kind] = true
	}
	if !kinds[ClockBack] || !kinds[Broken] {
		t.Errorf("%v", kinds)
	}
}
