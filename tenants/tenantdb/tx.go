package tenantdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants/scope"
)

// Tx runs fn in a transaction that sees what the context's scope reaches, and no more. It commits when
// fn returns nil. fn may not open another one: that panics, because the two would wait for each other
// once the pool is empty; compose with functions that take tx instead. Under the context of Once it
// joins that transaction.
func (db *DB) Tx(ctx context.Context, fn func(tx *gorm.DB) error) error {
	return db.run(ctx, scope.From(ctx), sql.TxOptions{}, fn)
}

// System is Tx with the reach of the server itself, keeping who acts. It is for sweeps, ingest and
// signing in, never for answering a person's request for data.
func (db *DB) System(ctx context.Context, fn func(tx *gorm.DB) error) error {
	s := scope.From(ctx)
	s.Reach, s.Tenants = scope.System, nil
	return db.run(ctx, s, sql.TxOptions{}, fn)
}

// Snapshot is Tx for reports: all its statements see the same instant, and none may write.
func (db *DB) Snapshot(ctx context.Context, fn func(tx *gorm.DB) error) error {
	return db.run(ctx, scope.From(ctx), sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, fn)
}

// Now is the transaction's timestamp on the database's clock: one instant for all of its rows.
func Now(tx *gorm.DB) time.Time { return boundTo(tx).now }

// ScopeOf is the scope the transaction was opened with.
func ScopeOf(tx *gorm.DB) scope.Scope { return boundTo(tx).scope }

// AfterCommit runs fn once the transaction has committed and its connection is free again: for
// doorbells and other best-effort signals, whose loss must not matter.
func AfterCommit(tx *gorm.DB, fn func()) {
	b := boundTo(tx)
	b.hooks = append(b.hooks, fn)
}

// bound is a running transaction as GORM's connection. It offers GORM no Commit and no Begin, so that
// tx.Transaction and tx.Begin fail instead of ending or nesting it.
type bound struct {
	*sqlTx
	conn  *pgx.Conn
	scope scope.Scope
	now   time.Time
	hooks []func()
}

// sqlTx is the part of *sql.Tx that GORM may use.
type sqlTx struct{ tx *sql.Tx }

func (t *sqlTx) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	return t.tx.PrepareContext(ctx, query)
}
func (t *sqlTx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return t.tx.ExecContext(ctx, query, args...)
}
func (t *sqlTx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return t.tx.QueryContext(ctx, query, args...)
}
func (t *sqlTx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return t.tx.QueryRowContext(ctx, query, args...)
}

func boundTo(tx *gorm.DB) *bound {
	b, ok := tx.Statement.ConnPool.(*bound)
	if !ok {
		panic("tenantdb: not a transaction of this package")
	}
	return b
}

// identity is how a scope looks to the database.
type identity struct{ role, tenant, tenants, actor string }

func identify(s scope.Scope) (identity, error) {
	var id identity
	if s.Actor.ID != (scope.ID{}) {
		id.actor = uuid.UUID(s.Actor.ID).String()
	}
	for _, t := range s.Tenants {
		if t == (scope.ID{}) {
			return id, fault.New(fault.Internal, "a scope names the zero tenant")
		}
	}
	switch s.Reach {
	case scope.Tenant:
		if len(s.Tenants) != 1 {
			return id, fault.New(fault.Internal, "a tenant's scope must name one tenant")
		}
		id.role, id.tenant = "reeve_tenant", uuid.UUID(s.Tenants[0]).String()
	case scope.Granted:
		var list strings.Builder
		for i, t := range s.Tenants {
			if i > 0 {
				list.WriteByte(',')
			}
			list.WriteString(uuid.UUID(t).String())
		}
		id.role, id.tenants = "reeve_granted", "{"+list.String()+"}"
	case scope.Staff:
		id.role = "reeve_staff"
	case scope.System:
		id.role = "reeve_system"
	default:
		return id, fault.Wrap(fault.Forbidden, "nobody is signed in", fmt.Errorf("scope reaches %q", s.Reach))
	}
	return id, nil
}

func (db *DB) run(ctx context.Context, s scope.Scope, options sql.TxOptions, fn func(tx *gorm.DB) error) error {
	id, err := identify(s)
	if err != nil {
		return err
	}
	if h := joinable(ctx); h != nil {
		return mapError(db.join(ctx, h, s, id, fn))
	}
	hooks, err := db.transact(ctx, s, id, options, fn)
	if err != nil {
		return mapError(err)
	}
	for _, hook := range hooks {
		db.ring(ctx, hook)
	}
	return nil
}

// ring runs a hook; the commit stands whatever becomes of it.
func (db *DB) ring(ctx context.Context, hook func()) {
	defer func() {
		if p := recover(); p != nil {
			db.log.ErrorContext(ctx, "a hook after commit panicked", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	hook()
}

func (db *DB) transact(ctx context.Context, s scope.Scope, id identity, options sql.TxOptions, fn func(tx *gorm.DB) error) ([]func(), error) {
	defer db.open.enter()()
	conn, err := db.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer db.giveBack(conn)

	// The transaction's own context outlives the caller's: database/sql would otherwise roll back from
	// another goroutine while PgxTx uses the connection. Statements still end with the caller's context.
	txCtx, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	tx, err := beginTx(ctx, txCtx, conn, options, abandon)
	if err != nil {
		return nil, err
	}
	committed := false
	defer func() {
		if !committed { // an error, or a panic that goes on after this
			defer time.AfterFunc(finishTimeout, abandon).Stop()
			_ = tx.Rollback() // giveBack looks at the result
		}
	}()

	b := &bound{sqlTx: &sqlTx{tx}, scope: s}
	if err := b.become(ctx, conn, id); err != nil {
		return nil, err
	}
	if err := fn(db.session(ctx, b)); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	committed = true
	defer time.AfterFunc(finishTimeout, abandon).Stop()
	if err := tx.Commit(); err != nil {
		return nil, fmt.Errorf("committing: %w", err)
	}
	return b.hooks, nil
}

// beginTx begins under txCtx, but gives up when the caller does.
func beginTx(ctx, txCtx context.Context, conn *sql.Conn, options sql.TxOptions, abandon func()) (*sql.Tx, error) {
	stop := context.AfterFunc(ctx, abandon)
	tx, err := conn.BeginTx(txCtx, &options)
	if !stop() && err == nil {
		return nil, errors.Join(context.Cause(ctx), tx.Rollback())
	}
	return tx, err
}

// become makes the transaction see what it may, and reads its clock.
func (b *bound) become(ctx context.Context, conn *sql.Conn, id identity) error {
	if err := b.enter(ctx, id); err != nil {
		return err
	}
	return conn.Raw(func(c any) error {
		b.conn = c.(*stdlib.Conn).Conn()
		return nil
	})
}

// enter makes the running transaction see what the identity may, and no more, in one round trip. Every
// setting is written every time, so that nothing depends on what was there before.
func (b *bound) enter(ctx context.Context, id identity) error {
	var role, tenant, tenants, actor string
	err := b.tx.QueryRowContext(ctx, `select now(), set_config('role', $1, true), set_config('reeve.tenant', $2, true),
		set_config('reeve.tenants', $3, true), set_config('reeve.actor', $4, true)`,
		id.role, id.tenant, id.tenants, id.actor).Scan(&b.now, &role, &tenant, &tenants, &actor)
	b.now = b.now.UTC()
	return err
}

func (db *DB) session(ctx context.Context, b *bound) *gorm.DB {
	tx := db.gorm.Session(&gorm.Session{NewDB: true, Context: ctx, NowFunc: func() time.Time { return b.now }})
	tx.Statement.ConnPool = b
	return tx
}

// acquire waits a bounded time for a connection, so that an exhausted pool sheds load.
func (db *DB) acquire(ctx context.Context) (*sql.Conn, error) {
	waiting, cancel := context.WithTimeout(ctx, db.acquireTimeout)
	defer cancel()
	conn, err := db.pool.Conn(waiting)
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return nil, &fault.Error{Kind: fault.Unavailable, Message: "the server is busy; try again", RetryAfter: 2 * time.Second,
			Cause: fmt.Errorf("no free database connection within %s", db.acquireTimeout)}
	}
	return conn, err
}

// giveBack returns a connection to the pool only when its transaction has ended: the role and the
// tenant are settings of the transaction, and nothing of them must reach the next one.
func (db *DB) giveBack(conn *sql.Conn) {
	err := conn.Raw(func(c any) error {
		if raw := c.(*stdlib.Conn).Conn(); raw.IsClosed() || raw.PgConn().TxStatus() != 'I' {
			return driver.ErrBadConn
		}
		return nil
	})
	if err != nil && !errors.Is(err, driver.ErrBadConn) && !errors.Is(err, sql.ErrConnDone) {
		db.log.Warn("a database connection could not be inspected", "error", err)
	}
	_ = conn.Close() // only says that it is closed already
}
