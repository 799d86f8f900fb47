package tenantdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"reeve/api/fault"
)

// ErrRetry is the fault of a transaction that lost against another one; the same call may succeed now.
var ErrRetry = fault.New(fault.Conflict, "another change got in the way; try again")

// Constraint is the name of the constraint or unique index that a statement broke, so that a domain
// can say what is wrong in its own words.
func Constraint(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.ConstraintName
	}
	return ""
}

// dialect is GORM's dialect with our errors: every statement answers with a fault. GORM's own errors
// stay in the chain.
type dialect struct{ *postgres.Dialector }

// Translate implements gorm.ErrorTranslator.
func (dialect) Translate(err error) error { return mapError(err) }

// mapError turns whatever the database, its driver or GORM says into a fault, once.
func mapError(err error) error {
	if err == nil {
		return nil
	}
	if _, done := fault.As(err); done {
		return err
	}
	var pg *pgconn.PgError
	switch {
	case errors.Is(err, gorm.ErrRecordNotFound), errors.Is(err, sql.ErrNoRows):
		return fault.Wrap(fault.NotFound, "not found", err)
	case errors.As(err, &pg):
		return mapServerError(pg, err)
	case errors.Is(err, context.Canceled):
		return fault.Wrap(fault.Unavailable, "the request was cancelled", err)
	case errors.Is(err, context.DeadlineExceeded):
		return unavailable("the database took too long; try again", err)
	case isConnectionError(err):
		return unavailable("the database does not answer; try again", err)
	}
	return err
}

func unavailable(message string, cause error) error {
	return &fault.Error{Kind: fault.Unavailable, Message: message, RetryAfter: 2 * time.Second, Cause: cause}
}

// mapServerError knows PostgreSQL's codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
func mapServerError(pg *pgconn.PgError, err error) error {
	switch pg.Code {
	case "23505":
		return fault.Wrap(fault.Conflict, "it exists already", errors.Join(gorm.ErrDuplicatedKey, err))
	case "23503":
		// The two directions share one code; only the text, whose language the server decides, tells
		// them apart. An unknown language is read as the more common one.
		if strings.Contains(pg.Message, "update or delete on table") {
			return fault.Wrap(fault.Conflict, "it is still in use", errors.Join(gorm.ErrForeignKeyViolated, err))
		}
		return fault.Wrap(fault.NotFound, "something it refers to was not found", errors.Join(gorm.ErrForeignKeyViolated, err))
	case "23001":
		return fault.Wrap(fault.Conflict, "it is still in use", errors.Join(gorm.ErrForeignKeyViolated, err))
	case "23P01":
		return fault.Wrap(fault.Conflict, "it overlaps with another one", err)
	case "23514":
		return fault.Wrap(fault.Invalid, "a value is not allowed", errors.Join(gorm.ErrCheckConstraintViolated, err))
	case "40001", "40P01":
		return &fault.Error{Kind: ErrRetry.Kind, Message: ErrRetry.Message, Cause: err}
	case "55P03":
		return unavailable("another change takes long; try again", err)
	case "57014":
		return unavailable("the database took too long; try again", err)
	case "25006", "53300":
		return unavailable("the database does not take this now; try again", err)
	case "0A000":
		if strings.Contains(pg.Message, "cached plan") { // the schema changed under a prepared statement
			return unavailable("the server is being upgraded; try again", err)
		}
		return err
	case "42501":
		// A row of a foreign tenant and a missing grant share a code. The first is the caller's.
		if pg.Routine == "ExecWithCheckOptions" {
			return fault.Wrap(fault.Forbidden, "this is not yours to change", err)
		}
		return err
	}
	switch pg.Code[:min(2, len(pg.Code))] {
	case "22":
		return fault.Wrap(fault.Invalid, "a value is malformed or out of range", err)
	case "08", "57", "53", "58":
		return unavailable("the database does not answer; try again", err)
	}
	return err
}

func isConnectionError(err error) bool {
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, driver.ErrBadConn) ||
		errors.Is(err, sql.ErrConnDone) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || pgconn.SafeToRetry(err) || strings.Contains(err.Error(), "conn closed")
}
