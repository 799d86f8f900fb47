package privatedb

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
)

// How long, and how often, a cluster is asked that another process is just starting.
const (
	attachTimeout = 30 * time.Second
	attachPoll    = 100 * time.Millisecond
)

// Attach reaches the cluster that another process runs in the folder, and starts it when none does.
// Stop ends what was started, and leaves another process's cluster alone.
func Attach(ctx context.Context, o Options) (*Cluster, error) {
	c, err := Start(ctx, o)
	if !errors.Is(err, ErrInUse) {
		return c, err
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	who, err := chooseAccount()
	if err != nil {
		return nil, err
	}
	c = &Cluster{log: o.Log}
	if c.location, err = locate(dir, who); err != nil {
		return nil, err
	}
	c.Dir, c.BinDir = c.location.dir, c.location.bin
	c.setURLs()
	return c, c.awaitOther(ctx)
}

// awaitOther waits until the other process's cluster answers.
func (c *Cluster) awaitOther(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attachTimeout)
	defer cancel()
	tick := time.NewTicker(attachPoll)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, c.AdminURL)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the private database of the running server does not answer: %w", err)
		}
	}
}
