package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
)

// cleanups is a stack of named steps that undo a start, last in first out.
type cleanups struct {
	log   *slog.Logger
	steps []cleanup
}

type cleanup struct {
	name string
	run  func(context.Context) error
}

func (c *cleanups) add(name string, run func(context.Context) error) {
	c.steps = append(c.steps, cleanup{name, run})
}

// unwind runs every step, whatever the others answer.
func (c *cleanups) unwind(ctx context.Context) error {
	var errs []error
	for i := len(c.steps) - 1; i >= 0; i-- {
		s := c.steps[i]
		c.log.DebugContext(ctx, "stopping", "part", s.name)
		if err := s.run(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stopping %s: %w", s.name, err))
		}
	}
	c.steps = nil
	return errors.Join(errs...)
}
