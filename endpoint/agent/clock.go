package agent

import (
	"sync"
	"time"
)

// clock knows three times: the device's own, which is reported as it is; the server's, as far as
// the last answer told; and the trusted one, which never runs backwards and decides whether a task
// is still in its window.
type clock struct {
	now func() time.Time

	mu     sync.Mutex
	server time.Time // what the server last said
	heard  time.Time // when, on our own (monotonic) clock
	floor  time.Time // the highest server time that the journal holds
}

func newClock(now func() time.Time, floor time.Time) *clock { return &clock{now: now, floor: floor} }

// adopt takes the server's time over. roundTrip is how long the answer that carried it took.
func (c *clock) adopt(server time.Time, roundTrip time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.server, c.heard = server.Add(roundTrip/2), c.now()
	if server.After(c.floor) {
		c.floor = server
	}
}

// serverNow is what tokens are dated with: a server whose own clock was set back must be followed,
// so the floor does not count here.
func (c *clock) serverNow() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.estimate()
}

// estimate lets the server's time run on. The difference is taken on the monotonic clock, so setting
// the device's clock changes nothing; a device that slept finds out with its next answer.
func (c *clock) estimate() time.Time {
	if c.server.IsZero() {
		return c.now().UTC()
	}
	return c.server.Add(c.now().Sub(c.heard)).UTC()
}

// trusted is the time that decides about windows.
func (c *clock) trusted() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.estimate(); t.After(c.floor) {
		return t
	}
	return c.floor.UTC()
}

// highest is the server time to journal.
func (c *clock) highest() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.floor
}

// skew is how far the device's clock is ahead of the server's.
func (c *clock) skew() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server.IsZero() {
		return 0
	}
	return c.now().Round(0).Sub(c.estimate())
}
