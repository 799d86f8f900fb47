package tenantdb

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"gorm.io/gorm/logger"
)

// queryLog is GORM's logger on slog. It names slow statements, never their values; errors are returned
// and logged by whoever answers for them.
type queryLog struct {
	log  *slog.Logger
	slow time.Duration
}

func (q *queryLog) LogMode(logger.LogLevel) logger.Interface { return q }

func (q *queryLog) Info(ctx context.Context, msg string, args ...any) {
	q.log.DebugContext(ctx, "gorm", "message", fmt.Sprintf(msg, args...))
}
func (q *queryLog) Warn(ctx context.Context, msg string, args ...any) {
	q.log.WarnContext(ctx, "gorm", "message", fmt.Sprintf(msg, args...))
}
func (q *queryLog) Error(ctx context.Context, msg string, args ...any) {
	q.log.ErrorContext(ctx, "gorm", "message", fmt.Sprintf(msg, args...))
}

func (q *queryLog) Trace(ctx context.Context, begin time.Time, statement func() (string, int64), err error) {
	took := time.Since(begin)
	if took < q.slow {
		return
	}
	text, rows := statement()
	q.log.WarnContext(ctx, "slow query", "sql", text, "rows", rows, "duration", took)
}

// ParamsFilter keeps values out of the log.
func (q *queryLog) ParamsFilter(_ context.Context, sql string, _ ...any) (string, []any) {
	return sql, nil
}
