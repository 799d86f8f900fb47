// Package tenantdb is the only door to PostgreSQL: it opens transactions that see no more than the
// scope of their context, and turns database errors into faults.
package tenantdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"reeve/api/fault"
)

// Options configures a DB. URL and Log are required.
type Options struct {
	URL      string // logs in as reeve_app
	MaxConns int    // 20 when zero
	Log      *slog.Logger
	// AcquireTimeout is how long a transaction waits for a free connection before it is shed with
	// fault.Unavailable; 5 s when zero.
	AcquireTimeout time.Duration
	// SlowQuery is the duration from which a statement is logged; 500 ms when zero.
	SlowQuery time.Duration
}

// The limits that the database enforces on our sessions, so that a lost client or a stuck lock cannot
// hold up others forever.
const (
	idleInTransactionTimeout = "60s"
	lockTimeout              = "10s"
)

// finishTimeout bounds COMMIT and ROLLBACK, which do not end with the caller's context.
const finishTimeout = 30 * time.Second

// DB is the database as a whole. It is safe for concurrent use.
type DB struct {
	pool           *sql.DB
	gorm           *gorm.DB // a template for transactions; it has no connection of its own
	log            *slog.Logger
	acquireTimeout time.Duration
	open           openTransactions
}

// Open prepares a pool of connections and checks that the database answers and that our login is as
// harmless as tenant isolation needs it to be.
func Open(ctx context.Context, o Options) (*DB, error) {
	if o.Log == nil {
		return nil, errors.New("tenantdb: a log is required")
	}
	config, err := pgx.ParseConfig(o.URL)
	if err != nil {
		return nil, fmt.Errorf("reading the database URL: %w", err)
	}
	for name, value := range map[string]string{
		"application_name": "reeve", "timezone": "UTC", "lock_timeout": lockTimeout,
		// Tenants differ in size by orders of magnitude: a plan for the average one is wrong for the large.
		"plan_cache_mode":                     "force_custom_plan",
		"idle_in_transaction_session_timeout": idleInTransactionTimeout,
	} {
		if _, given := config.RuntimeParams[name]; !given {
			config.RuntimeParams[name] = value
		}
	}
	db := &DB{
		pool:           stdlib.OpenDB(*config, stdlib.OptionAfterConnect(readInUTC)),
		log:            o.Log,
		acquireTimeout: orDefault(o.AcquireTimeout, 5*time.Second),
	}
	maxConns := orDefault(o.MaxConns, 20)
	db.pool.SetMaxOpenConns(maxConns)
	db.pool.SetMaxIdleConns(maxConns)
	db.pool.SetConnMaxIdleTime(5 * time.Minute)
	db.pool.SetConnMaxLifetime(time.Hour) // follows a failover or a rotated password in the end
	db.gorm, err = gorm.Open(dialect{postgres.New(postgres.Config{Conn: noConn{}}).(*postgres.Dialector)}, &gorm.Config{
		SkipDefaultTransaction: true,
		TranslateError:         true,
		DisableAutomaticPing:   true,
		Logger:                 &queryLog{log: o.Log, slow: orDefault(o.SlowQuery, 500*time.Millisecond)},
	})
	if err == nil {
		err = db.checkLogin(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the database: %w", err), db.pool.Close())
	}
	return db, nil
}

// readInUTC makes times come out in UTC: the driver would give them the zone of the machine, and what is
// encoded, compared or shown from them would depend on where the server stands.
func readInUTC(_ context.Context, conn *pgx.Conn) error {
	conn.TypeMap().RegisterType(&pgtype.Type{Name: "timestamptz", OID: pgtype.TimestamptzOID,
		Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC}})
	return nil
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// checkLogin refuses a login that row-level security does not bind.
func (db *DB) checkLogin(ctx context.Context) error {
	var name string
	var unbound, owner bool
	err := db.pool.QueryRowContext(ctx, `select session_user, rolsuper or rolbypassrls,
		pg_has_role(session_user, 'reeve_owner', 'member') from pg_roles where rolname = session_user`).Scan(&name, &unbound, &owner)
	if err != nil {
		return mapError(err)
	}
	if unbound || owner {
		return fault.Newf(fault.Internal, "the database login %s is superuser, owner or bypasses row-level security; "+
			"log in as reeve_app", name)
	}
	return nil
}

// Ping asks the database for a sign of life.
func (db *DB) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, db.acquireTimeout)
	defer cancel()
	return mapError(db.pool.PingContext(ctx))
}

// SchemaVersion is the number of the newest migration in the database. An older one than the program's
// must be migrated first; a newer one is what a rolling upgrade looks like from the old replica.
func (db *DB) SchemaVersion(ctx context.Context) (version int64, err error) {
	err = db.System(ctx, func(tx *gorm.DB) error {
		return tx.Raw("select coalesce(max(version_id), 0) from goose_db_version where is_applied").Row().Scan(&version)
	})
	return version, err
}

// Stats describes the pool, for metrics.
func (db *DB) Stats() sql.DBStats { return db.pool.Stats() }

// Close waits for running transactions and closes the pool.
func (db *DB) Close() error { return db.pool.Close() }

// noConn stands where GORM wants a connection outside a transaction: there is none.
type noConn struct{}

var errNoTransaction = errors.New("tenantdb: a statement outside a transaction")

func (noConn) PrepareContext(context.Context, string) (*sql.Stmt, error) {
	return nil, errNoTransaction
}
func (noConn) ExecContext(context.Context, string, ...any) (sql.Result, error) {
	return nil, errNoTransaction
}
func (noConn) QueryContext(context.Context, string, ...any) (*sql.Rows, error) {
	return nil, errNoTransaction
}
func (noConn) QueryRowContext(context.Context, string, ...any) *sql.Row { return nil }
