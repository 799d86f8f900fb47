package tenantdb_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/dbtest"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// makeTenants adds tenants with one row of settings each.
func makeTenants(t testing.TB, db *tenantdb.DB, n int) []scope.ID {
	t.Helper()
	ids := make([]scope.ID, n)
	err := db.Tx(dbtest.System(t), func(tx *gorm.DB) error {
		for i := range ids {
			id := uuid.Must(uuid.NewV7())
			ids[i] = id
			if err := tx.Exec("insert into tenants (id, name, slug) values (?, ?, ?)", id, "Tenant", fmt.Sprintf("t%d", i)).Error; err != nil {
				return err
			}
			if err := tx.Exec("insert into settings (tenant_id, domain, spec) values (?, 'test', '{}')", id).Error; err != nil {
				return err
			}
		}
		return tx.Exec("insert into settings (tenant_id, domain, spec) values (?, 'test', '{}')", uuid.UUID(scope.Provider)).Error
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// visible lists the tenants whose settings a transaction sees.
func visible(tx *gorm.DB) ([]scope.ID, error) {
	var found []uuid.UUID
	err := tx.Raw("select tenant_id from settings order by tenant_id").Scan(&found).Error
	ids := make([]scope.ID, len(found))
	for i, id := range found {
		ids[i] = id
	}
	return ids, err
}

func TestEachReachSeesItsRowsAndTheProviders(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	ids := makeTenants(t, db, 3)
	all := append([]scope.ID{scope.Provider}, ids...)
	for _, c := range []struct {
		name string
		ctx  context.Context
		want []scope.ID
		role string
	}{
		{"tenant", dbtest.Tenant(t, ids[1]), []scope.ID{scope.Provider, ids[1]}, "reeve_tenant"},
		{"granted", dbtest.Granted(t, ids[:2]), []scope.ID{scope.Provider, ids[0], ids[1]}, "reeve_granted"},
		{"granted nothing", dbtest.Granted(t, nil), []scope.ID{scope.Provider}, "reeve_granted"},
		{"staff", dbtest.Staff(t), all, "reeve_staff"},
		{"system", dbtest.System(t), all, "reeve_system"},
	} {
		err := db.Tx(c.ctx, func(tx *gorm.DB) error {
			var role string
			if err := tx.Raw("select current_user").Scan(&role).Error; err != nil || role != c.role {
				t.Errorf("%s: acts as %s, %v", c.name, role, err)
			}
			got, err := visible(tx)
			if !slices.Equal(got, c.want) {
				t.Errorf("%s sees %x, want %x", c.name, got, c.want)
			}
			return err
		})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestNobodyWritesOutsideTheirReach(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	ids := makeTenants(t, db, 2)
	for name, ctx := range map[string]context.Context{"tenant": dbtest.Tenant(t, ids[0]), "granted": dbtest.Granted(t, ids[:1])} {
		for _, foreign := range []scope.ID{ids[1], scope.Provider, uuid.New()} {
			err := db.Tx(ctx, func(tx *gorm.DB) error {
				return tx.Exec("insert into settings (tenant_id, domain, spec) values (?, 'more', '{}')", uuid.UUID(foreign)).Error
			})
			if fault.KindOf(err) != fault.Forbidden {
				t.Errorf("%s inserts for %x: %v", name, foreign, err)
			}
			err = db.Tx(ctx, func(tx *gorm.DB) error {
				done := tx.Exec("update settings set version = 99 where tenant_id = ?", uuid.UUID(foreign))
				if done.RowsAffected != 0 {
					t.Errorf("%s changed a row of %x", name, foreign)
				}
				return done.Error
			})
			if err != nil {
				t.Error(err)
			}
		}
		err := db.Tx(ctx, func(tx *gorm.DB) error {
			return tx.Exec("update settings set tenant_id = ? where tenant_id = ?", uuid.UUID(ids[1]), uuid.UUID(ids[0])).Error
		})
		if fault.KindOf(err) != fault.Forbidden {
			t.Errorf("%s gives a row away: %v", name, err)
		}
	}
}

func TestAnEmptyOrMalformedScopeIsRefused(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	id := scope.ID(uuid.New())
	for name, c := range map[string]struct {
		s    scope.Scope
		want fault.Kind
	}{
		"zero":              {scope.Scope{}, fault.Forbidden},
		"unknown reach":     {scope.Scope{Reach: "everything"}, fault.Forbidden},
		"tenant of none":    {scope.Scope{Reach: scope.Tenant}, fault.Internal},
		"tenant of two":     {scope.Scope{Reach: scope.Tenant, Tenants: []scope.ID{id, id}}, fault.Internal},
		"tenant zero":       {scope.Scope{Reach: scope.Tenant, Tenants: []scope.ID{{}}}, fault.Internal},
		"granted with zero": {scope.Scope{Reach: scope.Granted, Tenants: []scope.ID{id, {}}}, fault.Internal},
	} {
		err := db.Tx(scope.With(t.Context(), c.s), func(*gorm.DB) error {
			t.Errorf("%s: opened", name)
			return nil
		})
		if fault.KindOf(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSystemKeepsTheActor(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	ids := makeTenants(t, db, 1)
	ctx := dbtest.Tenant(t, ids[0])
	err := db.System(ctx, func(tx *gorm.DB) error {
		s := tenantdb.ScopeOf(tx)
		if s.Reach != scope.System || s.Actor != scope.From(ctx).Actor {
			t.Errorf("scope %+v", s)
		}
		var actor uuid.UUID
		if err := tx.Raw("select reeve_actor()").Row().Scan(&actor); err != nil || scope.ID(actor) != s.Actor.ID {
			t.Errorf("the database knows the actor as %s, %v", actor, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestATransactionCommitsOnNilAndOnlyThen(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	ctx, cancel := context.WithCancel(dbtest.System(t))
	defer cancel()
	put := func(tx *gorm.DB, domain string) error {
		return tx.Exec("insert into settings (tenant_id, domain, spec) values (?, ?, '{}')", uuid.UUID(scope.Provider), domain).Error
	}
	sentinel := errors.New("no")
	rung := []string{}

	err := db.Tx(ctx, func(tx *gorm.DB) error {
		tenantdb.AfterCommit(tx, func() { rung = append(rung, "failed") })
		return errors.Join(put(tx, "failed"), sentinel)
	})
	if !errors.Is(err, sentinel) {
		t.Errorf("error: %v", err)
	}
	func() {
		defer func() {
			if p := recover(); p != "boom" {
				t.Errorf("recovered %v", p)
			}
		}()
		_ = db.Tx(ctx, func(tx *gorm.DB) error {
			tenantdb.AfterCommit(tx, func() { rung = append(rung, "panicked") })
			if err := put(tx, "panicked"); err != nil {
				return err
			}
			panic("boom")
		})
	}()
	cancelled, stop := context.WithCancel(ctx)
	err = db.Tx(cancelled, func(tx *gorm.DB) error {
		tenantdb.AfterCommit(tx, func() { rung = append(rung, "cancelled") })
		defer stop()
		return put(tx, "cancelled")
	})
	if fault.KindOf(err) != fault.Unavailable || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before the commit: %v", err)
	}
	err = db.Tx(ctx, func(tx *gorm.DB) error {
		tenantdb.AfterCommit(tx, func() {
			// Hooks run when the transaction is over: they may open their own.
			rung = append(rung, "good")
			if err := db.Tx(ctx, func(tx *gorm.DB) error { return put(tx, "hook") }); err != nil {
				t.Error(err)
			}
		})
		tenantdb.AfterCommit(tx, func() { panic("a hook") })
		return put(tx, "good")
	})
	if err != nil {
		t.Error(err)
	}
	var domains []string
	err = db.Tx(ctx, func(tx *gorm.DB) error {
		return tx.Raw("select domain from settings order by domain").Scan(&domains).Error
	})
	if err != nil || !slices.Equal(domains, []string{"good", "hook"}) || !slices.Equal(rung, []string{"good"}) {
		t.Errorf("committed %q, rung %q, %v", domains, rung, err)
	}
	if s := db.Stats(); s.InUse != 0 {
		t.Errorf("%d connections are still in use", s.InUse)
	}
}

func TestNestingPanicsAndNothingElseEndsATransaction(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	ctx := dbtest.System(t)
	func() {
		defer func() {
			if p, ok := recover().(string); !ok || !strings.Contains(p, "inside a transaction") {
				t.Errorf("recovered %v", p)
			}
		}()
		_ = db.Tx(ctx, func(*gorm.DB) error {
			return db.System(context.Background(), func(*gorm.DB) error { return nil })
		})
	}()
	err := db.Tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Transaction(func(*gorm.DB) error { return nil }); err == nil {
			t.Error("GORM opened a transaction inside")
		}
		if err := tx.Begin().Error; err == nil {
			t.Error("GORM began a transaction inside")
		}
		if err := tx.Commit().Error; err == nil {
			t.Error("GORM committed")
		}
		// Other goroutines are free to have theirs.
		done := make(chan error)
		go func() { done <- db.Tx(ctx, func(*gorm.DB) error { return nil }) }()
		return <-done
	})
	if err != nil {
		t.Error(err)
	}
}

func TestNowIsOneInstantOnTheDatabasesClock(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	err := db.Tx(dbtest.System(t), func(tx *gorm.DB) error {
		var clock time.Time
		if err := tx.Raw("select now()").Scan(&clock).Error; err != nil {
			return err
		}
		if now := tenantdb.Now(tx); !now.Equal(clock) || now.Location() != time.UTC || tx.NowFunc() != now {
			t.Errorf("now %v, the database says %v, GORM %v", now, clock, tx.NowFunc())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestASnapshotStandsStillAndCannotWrite(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	ctx := dbtest.Staff(t)
	count := func(tx *gorm.DB) (n int64) {
		if err := tx.Table("settings").Count(&n).Error; err != nil {
			t.Error(err)
		}
		return n
	}
	err := db.Snapshot(ctx, func(tx *gorm.DB) error {
		before := count(tx)
		written := make(chan struct{})
		go func() {
			defer close(written)
			makeTenants(t, db, 2)
		}()
		<-written
		if after := count(tx); after != before {
			t.Errorf("it saw %d and then %d", before, after)
		}
		return tx.Exec("update settings set version = 2").Error
	})
	if err == nil {
		t.Error("a snapshot wrote")
	}
}

// No transaction may see anything of the one that had its connection before, however that ended.
func TestNothingBleedsThroughAPooledConnection(t *testing.T) {
	t.Parallel()
	const iterations, workers = 10_000, 8
	urls := dbtest.NewURLs(t)
	db, err := tenantdb.Open(t.Context(), tenantdb.Options{URL: urls.App, MaxConns: 3, AcquireTimeout: time.Minute, Log: dbtest.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ids := makeTenants(t, db, workers)
	var wg sync.WaitGroup
	for w := range workers {
		ctx := dbtest.Tenant(t, ids[w])
		want := []scope.ID{scope.Provider, ids[w]}
		wg.Go(func() {
			for i := range iterations / workers {
				if !checkIteration(ctx, t, db, i, want) {
					return
				}
			}
		})
	}
	wg.Wait()
	if s := db.Stats(); s.InUse != 0 {
		t.Errorf("%d connections are still in use", s.InUse)
	}
}

// checkIteration opens a transaction, checks what it sees, and ends it in one of many ways.
func checkIteration(ctx context.Context, t *testing.T, db *tenantdb.DB, i int, want []scope.ID) (ok bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	seen := false
	defer func() {
		if p := recover(); p != nil && p != "boom" {
			panic(p)
		}
		ok = seen && !t.Failed()
	}()
	err := db.Tx(ctx, func(tx *gorm.DB) error {
		got, err := visible(tx)
		if err != nil {
			return err
		}
		seen = true
		if !slices.Equal(got, want) {
			t.Errorf("iteration %d sees %x, want %x", i, got, want)
		}
		switch i % 40 {
		case 1, 11, 21:
			panic("boom")
		case 2:
			cancel() // before the commit
		case 3:
			time.AfterFunc(time.Duration(i%7)*time.Millisecond, cancel)
			return tx.Exec("select pg_sleep(10)").Error // cancelled in the middle of a statement
		case 4:
			return tx.Exec("select 1/0").Error
		case 5:
			return errors.New("no")
		case 6: // somebody who breaks every rule
			tenantdb.AfterCommit(tx, func() {})
			return tx.Exec("commit; set role reeve_staff; set reeve.tenant = '00000000-0000-0000-0000-000000000001'").Error
		case 7:
			return tx.Exec("select set_config('role', 'reeve_system', false), set_config('reeve.tenants', '{}', false)").Error
		case 8:
			return tenantdb.PgxTx(tx).Conn().Close(context.Background()) // the network is gone
		case 9:
			_, err := tx.Raw("select * from settings").Rows() // never closed
			return err
		}
		return nil
	})
	if err != nil && !seen {
		t.Errorf("iteration %d: %v", i, err)
	}
	return seen
}

func TestAnExhaustedPoolSheds(t *testing.T) {
	t.Parallel()
	db, err := tenantdb.Open(t.Context(), tenantdb.Options{URL: dbtest.NewURLs(t).App, MaxConns: 1, AcquireTimeout: 20 * time.Millisecond, Log: dbtest.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx := dbtest.System(t)
	err = db.Tx(ctx, func(*gorm.DB) error {
		done := make(chan error)
		go func() { done <- db.Tx(ctx, func(*gorm.DB) error { return nil }) }()
		err := <-done
		if f, ok := fault.As(err); !ok || f.Kind != fault.Unavailable || f.RetryAfter == 0 {
			t.Errorf("the second one: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestALoginThatIsNotBoundIsRefused(t *testing.T) {
	t.Parallel()
	urls := dbtest.NewURLs(t)
	for name, url := range map[string]string{"superuser": urls.Admin, "migrator": urls.Migrator} {
		db, err := tenantdb.Open(t.Context(), tenantdb.Options{URL: url, Log: dbtest.Log(t)})
		if err == nil {
			t.Errorf("%s may open the database", name)
			db.Close()
		}
	}
}

func TestADatabaseThatIsNotThereIsUnavailable(t *testing.T) {
	t.Parallel()
	_, err := tenantdb.Open(t.Context(), tenantdb.Options{URL: "postgres://reeve_app@127.0.0.1:1/reeve?connect_timeout=2", Log: dbtest.Log(t)})
	if fault.KindOf(err) != fault.Unavailable {
		t.Errorf("%v", err)
	}
}
