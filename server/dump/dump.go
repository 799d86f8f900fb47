// Package dump copies a whole database into a file and back with PostgreSQL's own programs.
package dump

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// owner is the role that every table belongs to; a login that is no superuser becomes it.
const owner = "reeve_owner"

// masterLock is what the keeper of secrets holds while the file of the master keys changes.
const masterLock = "hashtext('reeve_master')"

// ErrNotEmpty is the error of restoring into a database that holds something.
var ErrNotEmpty = errors.New("the database is not empty")

// Summary says what a dump holds.
type Summary struct {
	PostgreSQL int              `json:"postgresql"` // major version of the server it was taken from
	Schema     int64            `json:"schema"`     // number of the newest migration
	Queue      int64            `json:"queue"`      // the same of the background jobs' schema
	Rows       map[string]int64 `json:"rows"`       // by table
}

// Write dumps the database at url into file, as of one moment, and counts its rows as of the same one.
// programs is the folder of PostgreSQL's programs; it is searched for when empty. atMoment is called
// while the master keys that the dump needs cannot leave their file.
func Write(ctx context.Context, url, programs string, file *os.File, atMoment func() error) (s Summary, err error) {
	conn, bypass, err := connect(ctx, url)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	if !bypass {
		if err := nothingHidden(ctx, conn); err != nil {
			return s, err
		}
	}
	// Before the snapshot, not in it: a key that is dropped between the two would be missing.
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock_shared("+masterLock+")"); err != nil {
		return s, fmt.Errorf("holding the master keys: %w", err)
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return s, fmt.Errorf("taking a snapshot: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // it only reads
	if s, err = summarise(ctx, tx); err != nil {
		return s, err
	}
	if err := atMoment(); err != nil {
		return s, err
	}
	var snapshot string
	if err := tx.QueryRow(ctx, "SELECT pg_export_snapshot()").Scan(&snapshot); err != nil {
		return s, fmt.Errorf("taking a snapshot: %w", err)
	}
	p, err := find(programs, s.PostgreSQL)
	if err != nil {
		return s, err
	}
	args := []string{"--format=custom", "--snapshot=" + snapshot, "--no-password"}
	if !bypass {
		args = append(args, "--role="+owner, "--enable-row-security")
	}
	return s, p.run(ctx, "pg_dump", url, file, args...)
}

// Read restores a dump of Write into the empty database at url, in one transaction.
func Read(ctx context.Context, url, programs, path string) error {
	conn, _, err := connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := Empty(ctx, url); err != nil {
		return err
	}
	major, err := serverVersion(ctx, conn)
	if err != nil {
		return err
	}
	p, err := find(programs, major)
	if err != nil {
		return err
	}
	contents, err := p.contents(ctx, path)
	if err != nil {
		return err
	}
	defer os.Remove(contents)
	err = p.run(ctx, "pg_restore", url, nil, "--single-transaction", "--exit-on-error", "--no-password", "--role="+owner,
		"--use-list="+contents, path)
	if err != nil {
		return err
	}
	// So that the planner knows the tables before the first question is asked. It is no fault of what was
	// restored when that does not work: PostgreSQL does it by itself in a while.
	_, _ = conn.Exec(ctx, "SET ROLE "+owner+"; ANALYZE")
	return nil
}

// Count counts the rows of every table.
func Count(ctx context.Context, url string) (map[string]int64, error) {
	conn, bypass, err := connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if !bypass {
		if err := nothingHidden(ctx, conn); err != nil {
			return nil, err
		}
	}
	return count(ctx, conn)
}

// Empty is ErrNotEmpty unless the database holds no table.
func Empty(ctx context.Context, url string) error {
	conn, _, err := connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	names, err := tables(ctx, conn)
	if err != nil || len(names) == 0 {
		return err
	}
	return fmt.Errorf("%w: it holds %d tables, %s among them", ErrNotEmpty, len(names), names[0])
}

// Clear drops what Read made, where a later step failed.
func Clear(ctx context.Context, url string) error {
	conn, _, err := connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, `SET ROLE `+owner+`;
DO $$
DECLARE
    thing text;
BEGIN
    DROP SCHEMA IF EXISTS river CASCADE;
    FOR thing IN SELECT oid::regclass::text FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition AND relowner = '`+owner+`'::regrole
    LOOP
        EXECUTE 'DROP TABLE IF EXISTS ' || thing || ' CASCADE';
    END LOOP;
    FOR thing IN SELECT oid::regprocedure::text FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND proowner = '`+owner+`'::regrole
    LOOP
        EXECUTE 'DROP FUNCTION IF EXISTS ' || thing || ' CASCADE';
    END LOOP;
END
$$`)
	if err != nil {
		return fmt.Errorf("emptying the database again: %w", err)
	}
	return nil
}

// connect logs in. bypass tells that row-level security does not apply to the login; any other
// becomes the owner.
func connect(ctx context.Context, url string) (conn *pgx.Conn, bypass bool, err error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, false, fmt.Errorf("reading the database URL: %w", err)
	}
	config.RuntimeParams["application_name"] = "reeve backup"
	config.RuntimeParams["idle_in_transaction_session_timeout"] = "0"
	if conn, err = pgx.ConnectConfig(ctx, config); err != nil {
		return nil, false, fmt.Errorf("connecting: %w", err)
	}
	err = conn.QueryRow(ctx, "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = session_user").Scan(&bypass)
	if err == nil && !bypass {
		_, err = conn.Exec(ctx, "SET ROLE "+owner)
	}
	if err != nil {
		return nil, false, errors.Join(fmt.Errorf("becoming %s (the login for migrations may): %w", owner, err), conn.Close(ctx))
	}
	return conn, bypass, nil
}

// nothingHidden fails when a policy could keep a row from the owner: a backup that lacks rows in
// silence is worse than none.
func nothingHidden(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `SELECT c.oid::regclass::text FROM pg_class c
		WHERE c.relrowsecurity AND (
			NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polpermissive AND p.polcmd = '*'
				AND '`+owner+`'::regrole = ANY (p.polroles) AND pg_get_expr(p.polqual, p.polrelid) = 'true')
			OR EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND NOT p.polpermissive))`)
	if err != nil {
		return fmt.Errorf("reading the policies: %w", err)
	}
	hidden, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("reading the policies: %w", err)
	}
	if len(hidden) > 0 {
		return fmt.Errorf("row-level security may hide rows of %s from %s", strings.Join(hidden, ", "), owner)
	}
	return nil
}

// querier is a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func summarise(ctx context.Context, q querier) (s Summary, err error) {
	if s.PostgreSQL, err = serverVersion(ctx, q); err != nil {
		return s, err
	}
	if s.Rows, err = count(ctx, q); err != nil {
		return s, err
	}
	if _, migrated := s.Rows["goose_db_version"]; !migrated {
		return s, errors.New("the database holds no schema: no server has used it yet")
	}
	if err := q.QueryRow(ctx, "SELECT max(version_id) FROM goose_db_version WHERE is_applied").Scan(&s.Schema); err != nil {
		return s, fmt.Errorf("reading the schema's version: %w", err)
	}
	if _, queued := s.Rows["river.river_migration"]; !queued {
		return s, nil
	}
	if err := q.QueryRow(ctx, "SELECT max(version) FROM river.river_migration").Scan(&s.Queue); err != nil {
		return s, fmt.Errorf("reading the job queue's version: %w", err)
	}
	return s, nil
}

func serverVersion(ctx context.Context, q querier) (major int, err error) {
	var text string
	if err := q.QueryRow(ctx, "SELECT current_setting('server_version_num')").Scan(&text); err != nil {
		return 0, fmt.Errorf("asking the database for its version: %w", err)
	}
	n, err := strconv.Atoi(text)
	return n / 10_000, err
}

// tables are all that hold rows: partitions, but not their parents.
func tables(ctx context.Context, q querier) ([]string, error) {
	rows, err := q.Query(ctx, `SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
		AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') ORDER BY 1`)
	if err != nil {
		return nil, fmt.Errorf("listing the tables: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func count(ctx context.Context, q querier) (map[string]int64, error) {
	names, err := tables(ctx, q)
	if err != nil {
		return nil, err
	}
	counts := make(map[string]int64, len(names))
	for _, name := range names { // regclass has quoted them
		var n int64
		if err := q.QueryRow(ctx, "SELECT count(*) FROM ONLY "+name).Scan(&n); err != nil {
			return nil, fmt.Errorf("counting %s: %w", name, err)
		}
		counts[name] = n
	}
	return counts, nil
}
