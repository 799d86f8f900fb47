package tenantdb

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
)

// PgxTx is the running transaction as pgx sees it, for River and for batches. Its Commit and Rollback
// do nothing: only Tx ends the transaction. Its Begin makes a savepoint.
func PgxTx(tx *gorm.DB) pgx.Tx { return &shim{conn: boundTo(tx).conn} }

// shim is a pgx.Tx over a connection whose transaction somebody else ends. With a depth it is a
// savepoint, which does end by Commit and Rollback.
type shim struct {
	conn  *pgx.Conn
	depth int
	done  bool
}

var _ pgx.Tx = (*shim)(nil)

func (s *shim) savepoint() string { return fmt.Sprintf("reeve_%d", s.depth) }

func (s *shim) Begin(ctx context.Context) (pgx.Tx, error) {
	inner := &shim{conn: s.conn, depth: s.depth + 1}
	if _, err := s.conn.Exec(ctx, "savepoint "+inner.savepoint()); err != nil {
		return nil, err
	}
	return inner, nil
}

func (s *shim) Commit(ctx context.Context) error { return s.end(ctx, "release savepoint ") }

func (s *shim) Rollback(ctx context.Context) error { return s.end(ctx, "rollback to savepoint ") }

func (s *shim) end(ctx context.Context, how string) error {
	if s.depth == 0 {
		return nil
	}
	if s.done {
		return pgx.ErrTxClosed
	}
	s.done = true
	_, err := s.conn.Exec(ctx, how+s.savepoint())
	return err
}

func (s *shim) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	return s.conn.CopyFrom(ctx, table, columns, rows)
}
func (s *shim) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return s.conn.SendBatch(ctx, b)
}
func (s *shim) LargeObjects() pgx.LargeObjects {
	panic("tenantdb: large objects are outside row-level security")
}
func (s *shim) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	return s.conn.Prepare(ctx, name, sql)
}
func (s *shim) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return s.conn.Exec(ctx, sql, args...)
}
func (s *shim) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return s.conn.Query(ctx, sql, args...)
}
func (s *shim) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return s.conn.QueryRow(ctx, sql, args...)
}
func (s *shim) Conn() *pgx.Conn { return s.conn }
