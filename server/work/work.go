// Package work runs deliveries that are not endpoint tasks (mail, webhooks, reports) in the background:
// a job is enqueued in the transaction of the change that causes it, and is there if and only if that
// commits.
package work

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
	"gorm.io/gorm"

	"reeve/tenants/tenantdb"
)

// schema is where the jobs live; server/migrations makes it.
const schema = "river"

// The limits of the workers of one replica.
const (
	maxWorkers   = 5
	maxConns     = 4 // fetching, completing, listening, leading
	jobTimeout   = time.Minute
	stuckAfter   = 10 * time.Minute // a worker that died with its replica is taken over
	pollInterval = 2 * time.Second  // when a notification got lost
	softStop     = 15 * time.Second // a job that runs may finish
)

// How long jobs are kept when they are over: what succeeded only takes space, what failed is evidence.
const (
	keepCompleted = time.Hour
	keepFailed    = 7 * 24 * time.Hour
)

// Queue takes jobs and, once started, runs them.
type Queue struct {
	log     *slog.Logger
	workers *river.Workers
	inserts *river.Client[pgx.Tx]
	running *river.Client[pgx.Tx]
	pool    *pgxpool.Pool
}

// NewQueue makes a queue that takes jobs. Nothing runs before Start.
func NewQueue(log *slog.Logger) (*Queue, error) {
	inserts, err := river.NewClient(riverpgxv5.New(nil), &river.Config{Schema: schema, Logger: log})
	if err != nil {
		return nil, fmt.Errorf("preparing the job queue: %w", err)
	}
	return &Queue{log: log, workers: river.NewWorkers(), inserts: inserts}, nil
}

// Register names who works on jobs of the worker's kind, before Start.
func Register[T river.JobArgs](q *Queue, worker river.Worker[T]) { river.AddWorker(q.workers, worker) }

// TenantArgs are arguments that say which tenant a job belongs to. Row-level security reads it from
// their JSON, under the name tenant_id: a transaction can only enqueue for tenants within its reach.
type TenantArgs interface {
	river.JobArgs
	Tenant() string
}

// EnqueueTx adds a job in the caller's transaction.
func (q *Queue) EnqueueTx(tx *gorm.DB, args TenantArgs, opts *river.InsertOpts) error {
	if args.Tenant() == "" {
		return fmt.Errorf("enqueuing %s: a job belongs to a tenant", args.Kind())
	}
	if _, err := q.inserts.InsertTx(tx.Statement.Context, tenantdb.PgxTx(tx), args, opts); err != nil {
		return fmt.Errorf("enqueuing %s: %w", args.Kind(), err)
	}
	return nil
}

// Start begins to work. url logs in as reeve_app; the workers' connections become the system.
func (q *Queue) Start(ctx context.Context, url string) error {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return fmt.Errorf("reading the database URL: %w", err)
	}
	config.MaxConns = maxConns
	config.ConnConfig.RuntimeParams["application_name"] = "reeve-work"
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SET ROLE reeve_system")
		return err
	}
	if q.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return fmt.Errorf("connecting the job queue: %w", err)
	}
	q.running, err = river.NewClient(riverpgxv5.New(q.pool), q.config())
	if err == nil {
		err = q.running.Start(ctx)
	}
	if err != nil {
		q.pool.Close()
		return fmt.Errorf("starting the job queue: %w", err)
	}
	return nil
}

func (q *Queue) config() *river.Config {
	return &river.Config{
		Schema: schema, Logger: q.log, Workers: q.workers, ErrorHandler: &reporter{q.log},
		Queues:     map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: maxWorkers}},
		JobTimeout: jobTimeout, RescueStuckJobsAfter: stuckAfter, FetchPollInterval: pollInterval, SoftStopTimeout: softStop,
		CompletedJobRetentionPeriod: keepCompleted, CancelledJobRetentionPeriod: keepFailed, DiscardedJobRetentionPeriod: keepFailed,
		// Rebuilding an index needs its owner; that is maintenance of the database, not of the server.
		ReindexerIndexNames: []string{},
	}
}

// Stop lets running jobs finish, up to a limit, and takes no more. It is a no-op before Start.
func (q *Queue) Stop(ctx context.Context) error {
	if q.running == nil {
		return nil
	}
	defer q.pool.Close()
	if err := q.running.Stop(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("stopping the job queue: %w", err)
	}
	return nil
}

// reporter logs what went wrong; a job that panics harms only itself.
type reporter struct{ log *slog.Logger }

func (r *reporter) HandleError(ctx context.Context, job *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	level := slog.LevelWarn // it will be tried again
	if job.Attempt >= job.MaxAttempts {
		level = slog.LevelError
	}
	r.log.Log(ctx, level, "background job failed", "kind", job.Kind, "job_id", job.ID, "attempt", job.Attempt,
		"max_attempts", job.MaxAttempts, "error", err)
	return nil
}

func (r *reporter) HandlePanic(ctx context.Context, job *rivertype.JobRow, value any, trace string) *river.ErrorHandlerResult {
	r.log.ErrorContext(ctx, "background job panicked", "kind", job.Kind, "job_id", job.ID, "attempt", job.Attempt,
		"panic", value, "stack", trace)
	return nil
}
