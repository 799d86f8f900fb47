package tenantdb_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/server/dbtest"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

func once(ctx context.Context, db *tenantdb.DB, name, body string, act func(ctx context.Context) ([]byte, error)) ([]byte, bool, error) {
	k := tenantdb.Key{ActorID: scope.From(ctx).Actor.ID, Operation: "test", Key: name, BodyHash: []byte(body)}
	return db.Once(ctx, k, act)
}

func addTenant(ctx context.Context, db *tenantdb.DB, slug string) error {
	return db.Tx(ctx, func(tx *gorm.DB) error {
		return tx.Exec("INSERT INTO tenants (id, name, slug) VALUES (?, ?, ?)", uuid.Must(uuid.NewV7()), slug, slug).Error
	})
}

func countTenants(t *testing.T, ctx context.Context, db *tenantdb.DB, slug string) (n int64) {
	t.Helper()
	if err := db.Tx(ctx, func(tx *gorm.DB) error {
		return tx.Table("tenants").Where("slug = ?", slug).Count(&n).Error
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestOnceJoinsTheTransactionsOfTheAct(t *testing.T) {
	t.Parallel()
	db, ctx := dbtest.New(t), dbtest.Staff(t)
	acts, rung := 0, false
	act := func(ctx context.Context) ([]byte, error) {
		acts++
		if err := addTenant(ctx, db, "first"); err != nil {
			return nil, err
		}
		// A failure that the act survives is undone alone, and leaves the transaction usable.
		if err := addTenant(ctx, db, "first"); err == nil {
			t.Error("the second transaction does not see the first")
		}
		err := db.System(ctx, func(tx *gorm.DB) error {
			tenantdb.AfterCommit(tx, func() { rung = addTenant(ctx, db, "after") == nil })
			var role string
			if err := tx.Raw("SELECT current_user").Scan(&role).Error; err != nil || role != "reeve_system" {
				t.Errorf("joined as %s, %v", role, err)
			}
			return nil
		})
		return []byte("made"), err
	}
	for range 3 {
		result, _, err := once(ctx, db, "k", "body", act)
		if err != nil || string(result) != "made" {
			t.Fatalf("%q, %v", result, err)
		}
	}
	if acts != 1 || !rung || countTenants(t, ctx, db, "first") != 1 || countTenants(t, ctx, db, "after") != 1 {
		t.Errorf("acts %d, rung %v", acts, rung)
	}
	if _, _, err := once(ctx, db, "k", "another body", act); !errors.Is(err, tenantdb.ErrKeyReused) {
		t.Errorf("another body: %v", err)
	}
}

func TestOnceForgetsAnActThatFailed(t *testing.T) {
	t.Parallel()
	db, ctx := dbtest.New(t), dbtest.Staff(t)
	broken := errors.New("broken")
	act := func(fail error) func(context.Context) ([]byte, error) {
		return func(ctx context.Context) ([]byte, error) { return nil, errors.Join(addTenant(ctx, db, "one"), fail) }
	}
	if _, _, err := once(ctx, db, "k", "body", act(broken)); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if n := countTenants(t, ctx, db, "one"); n != 0 {
		t.Fatalf("%d rows of an act that failed", n)
	}
	if _, repeated, err := once(ctx, db, "k", "body", act(nil)); err != nil || repeated {
		t.Fatal(repeated, err)
	}
}

func TestOnceBelongsToItsActor(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	for range 2 {
		_, repeated, err := once(dbtest.Staff(t), db, "k", "body", func(context.Context) ([]byte, error) { return []byte("x"), nil })
		if err != nil || repeated {
			t.Fatal(repeated, err)
		}
	}
}

func TestOnceKeepsTheReachOfTheJoiner(t *testing.T) {
	t.Parallel()
	db, ctx := dbtest.New(t), dbtest.Staff(t)
	_, _, err := once(ctx, db, "k", "body", func(ctx context.Context) ([]byte, error) {
		narrow := scope.With(ctx, scope.From(ctx).ForTenant(uuid.Must(uuid.NewV7())))
		if err := addTenant(narrow, db, "mine"); err == nil {
			t.Error("a tenant's transaction created a tenant")
		}
		return nil, addTenant(ctx, db, "wide")
	})
	if err != nil || countTenants(t, ctx, db, "wide") != 1 {
		t.Error(err)
	}
}

func TestOnceRefusesNesting(t *testing.T) {
	t.Parallel()
	db, ctx := dbtest.New(t), dbtest.Staff(t)
	defer func() {
		if recover() == nil {
			t.Error("a transaction inside a joined one did not panic")
		}
	}()
	_, _, _ = once(ctx, db, "k", "body", func(ctx context.Context) ([]byte, error) {
		return nil, db.Tx(ctx, func(*gorm.DB) error { return addTenant(ctx, db, "nested") })
	})
}

func TestOnceWithManyAtATime(t *testing.T) {
	t.Parallel()
	db, ctx := dbtest.New(t), dbtest.Staff(t)
	const n = 8
	results := make(chan error, n)
	for range n {
		go func() {
			_, _, err := once(ctx, db, "k", "body", func(ctx context.Context) ([]byte, error) {
				return []byte("x"), addTenant(ctx, db, "raced")
			})
			results <- err
		}()
	}
	for range n {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if got := countTenants(t, ctx, db, "raced"); got != 1 {
		t.Errorf("acted %d times", got)
	}
}
