package tenantdb_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/dbtest"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

func TestIdempotentRunsOnceAndReplays(t *testing.T) {
	t.Parallel()
	db, ctx := dbtest.New(t), dbtest.Staff(t)
	runs := 0
	try := func(k tenantdb.Key, answer string, failure error) (result string, replayed bool, err error) {
		err = db.Tx(ctx, func(tx *gorm.DB) error {
			text, again, err := tenantdb.Idempotent(tx, k, func() ([]byte, error) {
				runs++
				return []byte(answer), failure
			})
			result, replayed = string(text), again
			return err
		})
		return result, replayed, err
	}
	k := tenantdb.Key{ActorID: scope.From(ctx).Actor.ID, Operation: "createThing", Key: "k1", BodyHash: []byte("one")}

	if _, _, err := try(k, "", errTest); !errors.Is(err, errTest) || runs != 1 {
		t.Errorf("a failing first try: %d runs, %v", runs, err)
	}
	if got, replayed, err := try(k, "first", nil); got != "first" || replayed || err != nil || runs != 2 {
		t.Errorf("the first success: %q, %v, %v", got, replayed, err)
	}
	if got, replayed, err := try(k, "second", nil); got != "first" || !replayed || err != nil || runs != 2 {
		t.Errorf("a repetition: %q, %v, %v", got, replayed, err)
	}
	other := k
	other.BodyHash = []byte("two")
	if _, _, err := try(other, "x", nil); !errors.Is(err, tenantdb.ErrKeyReused) || runs != 2 {
		t.Errorf("another request under the key: %v", err)
	}
	other.Operation = "createOther"
	if got, replayed, err := try(other, "other", nil); got != "other" || replayed || err != nil {
		t.Errorf("the key at another operation: %q, %v, %v", got, replayed, err)
	}
	if got, replayed, err := try(tenantdb.Key{}, "plain", nil); got != "plain" || replayed || err != nil {
		t.Errorf("no key: %q, %v, %v", got, replayed, err)
	}
	long := k
	long.Key = strings.Repeat("x", 256)
	if _, _, err := try(long, "", nil); fault.KindOf(err) != fault.Invalid {
		t.Errorf("a long key: %v", err)
	}
	foreign := k
	foreign.ActorID = scope.ID{1}
	if _, _, err := try(foreign, "", nil); err == nil {
		t.Error("a key of somebody else was taken")
	}
}

func TestConcurrentRepetitionsWaitForTheFirst(t *testing.T) {
	t.Parallel()
	db, ctx := dbtest.New(t), dbtest.Staff(t)
	k := tenantdb.Key{ActorID: scope.From(ctx).Actor.ID, Operation: "createThing", Key: "k", BodyHash: []byte("b")}
	var runs, replays atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			err := db.Tx(ctx, func(tx *gorm.DB) error {
				result, replayed, err := tenantdb.Idempotent(tx, k, func() ([]byte, error) {
					runs.Add(1)
					return []byte("made"), tx.Exec("select pg_sleep(0.05)").Error
				})
				if replayed {
					replays.Add(1)
				}
				if err == nil && string(result) != "made" {
					t.Errorf("result %q", result)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if runs.Load() != 1 || replays.Load() != 7 {
		t.Errorf("%d runs, %d replays", runs.Load(), replays.Load())
	}
}

func TestOldKeysAreForgotten(t *testing.T) {
	t.Parallel()
	db, ctx := dbtest.New(t), dbtest.Staff(t)
	err := db.Tx(ctx, func(tx *gorm.DB) error {
		for _, key := range []string{"a", "b", "c"} {
			k := tenantdb.Key{ActorID: scope.From(ctx).Actor.ID, Operation: "op", Key: key, BodyHash: []byte("b")}
			if _, _, err := tenantdb.Idempotent(tx, k, func() ([]byte, error) { return nil, nil }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		age  time.Duration
		want int64
	}{{time.Hour, 0}, {-time.Hour, 2}, {-time.Hour, 1}, {-time.Hour, 0}} {
		err := db.Tx(dbtest.System(t), func(tx *gorm.DB) error {
			n, err := tenantdb.ForgetKeys(tx, tenantdb.Now(tx).Add(-c.age), 2)
			if n != c.want {
				t.Errorf("forgot %d, want %d", n, c.want)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestUpdateVersion(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	ids := makeTenants(t, db, 1)
	update := func(tx *gorm.DB, tenant any, version int64) error {
		q := tx.Table("settings").Where("tenant_id = ? and domain = 'test'", tenant)
		return tenantdb.UpdateVersion(q, version, map[string]any{"spec": `{"a": 1}`})
	}
	for _, c := range []struct {
		name    string
		tenant  scope.ID
		version int64
		want    fault.Kind
	}{
		{"fresh", ids[0], 1, ""},
		{"stale", ids[0], 1, fault.Conflict},
		{"from the future", ids[0], 7, fault.Conflict},
		{"fresh again", ids[0], 2, ""},
		{"nowhere", scope.ID{1}, 1, fault.NotFound},
		{"the provider's", scope.Provider, 1, fault.Forbidden},
	} {
		err := db.Tx(dbtest.Tenant(t, ids[0]), func(tx *gorm.DB) error { return update(tx, asUUID(c.tenant), c.version) })
		if fault.KindOf(err) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	var row struct {
		Version int64
		Spec    string
	}
	err := db.Tx(dbtest.System(t), func(tx *gorm.DB) error {
		return tx.Table("settings").Where("tenant_id = ?", asUUID(ids[0])).Take(&row).Error
	})
	if err != nil || row.Version != 3 || row.Spec != `{"a": 1}` {
		t.Errorf("%+v, %v", row, err)
	}
}
