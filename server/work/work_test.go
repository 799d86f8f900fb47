package work_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"gorm.io/gorm"

	"reeve/server/dbtest"
	"reeve/server/work"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

type noteArgs struct {
	TenantID string `json:"tenant_id"`
	Text     string `json:"text"`
}

func (noteArgs) Kind() string     { return "test_note" }
func (a noteArgs) Tenant() string { return a.TenantID }

// noter hands every note to the test.
type noter struct {
	river.WorkerDefaults[noteArgs]
	notes chan string
}

func (n *noter) Work(_ context.Context, job *river.Job[noteArgs]) error {
	if job.Args.Text == "panic" && job.Attempt == 1 {
		panic("on purpose")
	}
	n.notes <- job.Args.Text
	return nil
}

func (n *noter) NextRetry(*river.Job[noteArgs]) time.Time { return time.Now() }

func newQueue(t *testing.T) (*work.Queue, *noter, *tenantdb.DB, string) {
	t.Helper()
	urls := dbtest.NewURLs(t)
	q, err := work.NewQueue(dbtest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	n := &noter{notes: make(chan string, 10)}
	work.Register(q, n)
	return q, n, dbtest.Open(t, urls.App), urls.App
}

func start(t *testing.T, q *work.Queue, url string) {
	t.Helper()
	if err := q.Start(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func receive(t *testing.T, n *noter) string {
	t.Helper()
	select {
	case text := <-n.notes:
		return text
	case <-time.After(20 * time.Second):
		t.Fatal("no job ran")
		return ""
	}
}

func TestAJobRunsOnlyIfItsTransactionCommits(t *testing.T) {
	t.Parallel()
	q, n, db, url := newQueue(t)
	start(t, q, url)
	provider := uuid.UUID(scope.Provider).String()
	enqueue := func(text string, end error) error {
		return db.Tx(dbtest.Staff(t), func(tx *gorm.DB) error {
			return errors.Join(q.EnqueueTx(tx, noteArgs{provider, text}, nil), end)
		})
	}
	undone := errors.New("undone")
	if err := enqueue("rolled back", undone); !errors.Is(err, undone) {
		t.Fatal(err)
	}
	for _, text := range []string{"panic", "kept"} {
		if err := enqueue(text, nil); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]bool{receive(t, n): true, receive(t, n): true}
	if !got["kept"] || !got["panic"] {
		t.Errorf("ran %v", got)
	}
	select {
	case text := <-n.notes:
		t.Errorf("%q ran too", text)
	default:
	}
}

func TestATenantEnqueuesOnlyForItself(t *testing.T) {
	t.Parallel()
	q, _, db, _ := newQueue(t)
	mine, theirs := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	if err := db.Tx(dbtest.System(t), func(tx *gorm.DB) error {
		return tx.Exec("INSERT INTO tenants (id, name, slug) VALUES (?, 'a', 'a'), (?, 'b', 'b')", mine, theirs).Error
	}); err != nil {
		t.Fatal(err)
	}
	for name, ctx := range map[string]context.Context{"tenant": dbtest.Tenant(t, mine), "granted": dbtest.Granted(t, []scope.ID{mine})} {
		for tenant, allowed := range map[string]bool{mine.String(): true, theirs.String(): false, "": false} {
			err := db.Tx(ctx, func(tx *gorm.DB) error { return q.EnqueueTx(tx, noteArgs{tenant, "x"}, nil) })
			if (err == nil) != allowed {
				t.Errorf("%s for %q: %v", name, tenant, err)
			}
		}
	}
}
