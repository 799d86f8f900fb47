package tenantdb_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/dbtest"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

func TestDatabaseErrorsBecomeFaults(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	makeTenants(t, db, 1)
	provider := uuid.UUID(scope.Provider)
	for name, c := range map[string]struct {
		do         func(tx *gorm.DB) error
		want       fault.Kind
		is         error
		constraint string
	}{
		"not found": {func(tx *gorm.DB) error {
			var row struct{ ID uuid.UUID }
			return tx.Table("tenants").Where("slug = 'nobody'").Take(&row).Error
		}, fault.NotFound, gorm.ErrRecordNotFound, ""},
		"no row": {func(tx *gorm.DB) error {
			var id string
			return tx.Raw("select id from tenants where slug = 'nobody'").Row().Scan(&id)
		}, fault.NotFound, nil, ""},
		"duplicate": {func(tx *gorm.DB) error {
			return tx.Exec("insert into tenants (id, name, slug) values (?, 'x', 't0')", uuid.New()).Error
		}, fault.Conflict, gorm.ErrDuplicatedKey, "tenants_slug"},
		"missing reference": {func(tx *gorm.DB) error {
			return tx.Exec("insert into settings (tenant_id, domain, spec) values (?, 'x', '{}')", uuid.New()).Error
		}, fault.NotFound, gorm.ErrForeignKeyViolated, "settings_tenant_id_fkey"},
		"still referred to": {func(tx *gorm.DB) error {
			return tx.Exec("delete from tenants where slug = 't0'").Error
		}, fault.Conflict, gorm.ErrForeignKeyViolated, ""},
		"check": {func(tx *gorm.DB) error {
			return tx.Exec("update tenants set state = 'archived' where id = ?", provider).Error
		}, fault.Invalid, gorm.ErrCheckConstraintViolated, "tenants_provider_active"},
		"out of range":  {func(tx *gorm.DB) error { return tx.Exec("select 1/0").Error }, fault.Invalid, nil, ""},
		"NUL in a text": {func(tx *gorm.DB) error { return tx.Exec("select ?::text", "a\x00b").Error }, fault.Invalid, nil, ""},
		"serialization": {func(tx *gorm.DB) error {
			return tx.Exec("do $$ begin raise exception using errcode = '40001'; end $$").Error
		}, fault.Conflict, tenantdb.ErrRetry, ""},
		"deadlock": {func(tx *gorm.DB) error {
			return tx.Exec("do $$ begin raise exception using errcode = '40P01'; end $$").Error
		}, fault.Conflict, tenantdb.ErrRetry, ""},
		"lock timeout": {func(tx *gorm.DB) error {
			return tx.Exec("do $$ begin raise exception using errcode = '55P03'; end $$").Error
		}, fault.Unavailable, nil, ""},
		"too many connections": {func(tx *gorm.DB) error {
			return tx.Exec("do $$ begin raise exception using errcode = '53300'; end $$").Error
		}, fault.Unavailable, nil, ""},
		"shutdown": {func(tx *gorm.DB) error {
			return tx.Exec("do $$ begin raise exception using errcode = '57P01'; end $$").Error
		}, fault.Unavailable, nil, ""},
		"our defect":                        {func(tx *gorm.DB) error { return tx.Exec("selec").Error }, fault.Internal, nil, ""},
		"a missing right":                   {func(tx *gorm.DB) error { return tx.Exec("truncate tenants").Error }, fault.Internal, nil, ""},
		"a fault stays":                     {func(*gorm.DB) error { return fault.New(fault.Gone, "gone") }, fault.Gone, nil, ""},
		"what is no database's error stays": {func(*gorm.DB) error { return errTest }, fault.Internal, errTest, ""},
	} {
		err := db.Tx(dbtest.System(t), c.do)
		if fault.KindOf(err) != c.want || err == nil {
			t.Errorf("%s: %q: %v", name, fault.KindOf(err), err)
		}
		if c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v is not %v", name, err, c.is)
		}
		if c.constraint != "" && tenantdb.Constraint(err) != c.constraint {
			t.Errorf("%s: broke %q", name, tenantdb.Constraint(err))
		}
		if got := errors.Is(err, tenantdb.ErrRetry); got != (c.is == tenantdb.ErrRetry) {
			t.Errorf("%s: retryable %v", name, got)
		}
		// Statements answer with faults already, so that a domain can look before it returns.
		if f, ok := fault.As(err); ok && f.Kind != fault.Gone && f.Cause == nil {
			t.Errorf("%s: the log learns nothing", name)
		}
	}
}

var errTest = errors.New("a test's own")

func TestARealDeadlockMayBeRetried(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	ids := makeTenants(t, db, 2)
	ctx := dbtest.System(t)
	lock := func(tx *gorm.DB, id scope.ID) error {
		return tx.Exec("update settings set version = version + 1 where tenant_id = ?", uuid.UUID(id)).Error
	}
	ready := [2]chan struct{}{make(chan struct{}), make(chan struct{})}
	results := make(chan error, 2)
	for i := range 2 {
		go func() {
			results <- db.Tx(ctx, func(tx *gorm.DB) error {
				if err := lock(tx, ids[i]); err != nil {
					return err
				}
				close(ready[i])
				<-ready[1-i]
				return lock(tx, ids[1-i])
			})
		}()
	}
	first, second := <-results, <-results
	if (first == nil) == (second == nil) || !errors.Is(errors.Join(first, second), tenantdb.ErrRetry) {
		t.Errorf("one must win and one may retry: %v, %v", first, second)
	}
}

func TestACancelledStatementIsNotOurDefect(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	ctx, cancel := context.WithCancel(dbtest.System(t))
	err := db.Tx(ctx, func(tx *gorm.DB) error {
		cancel()
		return tx.Exec("select pg_sleep(10)").Error
	})
	if fault.KindOf(err) != fault.Unavailable || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
