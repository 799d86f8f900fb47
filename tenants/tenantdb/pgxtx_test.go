package tenantdb_test

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"gorm.io/gorm"

	"reeve/server/dbtest"
	"reeve/server/migrations"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

type testJob struct {
	TenantID uuid.UUID `json:"tenant_id"`
}

func (testJob) Kind() string { return "test_job" }

func queue(t *testing.T) *river.Client[pgx.Tx] {
	t.Helper()
	client, err := river.NewClient(riverpgxv5.New(nil), &river.Config{Schema: migrations.RiverSchema})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func countJobs(t *testing.T, db *tenantdb.DB, ctx context.Context) (n int64) {
	t.Helper()
	err := db.Tx(ctx, func(tx *gorm.DB) error { return tx.Table("river.river_job").Count(&n).Error })
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A job exists if and only if the transaction that caused it commits.
func TestAJobIsEnqueuedInTheTransactionOfItsCause(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	ids := makeTenants(t, db, 2)
	client := queue(t)
	for name, c := range map[string]struct{ ctx context.Context }{
		"tenant": {dbtest.Tenant(t, ids[0])}, "granted": {dbtest.Granted(t, ids[:1])}, "staff": {dbtest.Staff(t)}, "system": {dbtest.System(t)},
	} {
		ctx := c.ctx
		before := countJobs(t, db, dbtest.System(t))
		insert := func(tx *gorm.DB, tenant scope.ID) error {
			ptx := tenantdb.PgxTx(tx)
			if _, err := client.InsertTx(ctx, ptx, testJob{TenantID: tenant}, nil); err != nil {
				return err
			}
			_, err := client.InsertManyTx(ctx, ptx, []river.InsertManyParams{{Args: testJob{TenantID: tenant}}, {Args: testJob{TenantID: tenant}}})
			return err
		}
		err := db.Tx(ctx, func(tx *gorm.DB) error {
			if err := insert(tx, ids[0]); err != nil {
				return err
			}
			return errTest
		})
		if err != errTest || countJobs(t, db, dbtest.System(t)) != before {
			t.Errorf("%s: a rolled back job: %v", name, err)
		}
		if err := db.Tx(ctx, func(tx *gorm.DB) error { return insert(tx, ids[0]) }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := countJobs(t, db, dbtest.System(t)) - before; n != 3 {
			t.Errorf("%s: %d jobs of 3", name, n)
		}
	}
	if n := countJobs(t, db, dbtest.Tenant(t, ids[1])); n != 0 {
		t.Errorf("another tenant sees %d jobs", n)
	}
	ctx := dbtest.Tenant(t, ids[0])
	err := db.Tx(ctx, func(tx *gorm.DB) error {
		_, err := client.InsertTx(ctx, tenantdb.PgxTx(tx), testJob{TenantID: ids[1]}, nil)
		return err
	})
	if err == nil {
		t.Error("a tenant enqueued a job of another")
	}
}

func TestTheShimNeverEndsTheTransaction(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	ctx := dbtest.System(t)
	put := func(tx pgx.Tx, domain string) {
		if _, err := tx.Exec(ctx, "insert into settings (tenant_id, domain, spec) values ($1, $2, '{}')", uuid.UUID(scope.Provider), domain); err != nil {
			t.Error(err)
		}
	}
	check := func(what string, err error) {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	err := db.Tx(ctx, func(tx *gorm.DB) error {
		outer := tenantdb.PgxTx(tx)
		put(outer, "outer")
		check("commit", outer.Commit(ctx))
		check("rollback", outer.Rollback(ctx))

		kept, err := outer.Begin(ctx)
		check("begin", err)
		put(kept, "kept")
		lost, err := kept.Begin(ctx)
		check("begin inside", err)
		put(lost, "lost")
		if _, err := lost.Exec(ctx, "select 1/0"); err == nil {
			t.Error("1/0")
		}
		check("rollback inside", lost.Rollback(ctx))
		check("commit of a savepoint", kept.Commit(ctx))
		if kept.Commit(ctx) != pgx.ErrTxClosed {
			t.Error("a savepoint ended twice")
		}
		var n int
		check("query", outer.QueryRow(ctx, "select count(*) from settings").Scan(&n))
		batch := &pgx.Batch{}
		batch.Queue("select 1")
		batch.Queue("select 2")
		check("batch", outer.SendBatch(ctx, batch).Close())
		if n != 2 {
			t.Errorf("%d rows", n)
		}
		return errTest
	})
	var left int64
	if err != errTest {
		t.Error(err)
	}
	check("counting", db.Tx(ctx, func(tx *gorm.DB) error { return tx.Table("settings").Count(&left).Error }))
	if left != 0 {
		t.Errorf("%d rows survived the rollback", left)
	}
}
