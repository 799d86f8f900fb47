package tenantdb

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"reeve/api/fault"
)

// BatchOptions configures a Batcher.
type BatchOptions[T, R any] struct {
	// Flush writes the items in one transaction and returns one result for each, in their order. It is
	// called again with fewer items when it fails, down to one, so that a bad item harms only itself:
	// whatever it did must be undone when it returns an error.
	Flush    func(ctx context.Context, items []T) ([]R, error)
	Window   time.Duration // how long the first item waits for company; 100 ms when zero
	MaxItems int           // a batch this big does not wait; 500 when zero
	MaxQueue int           // items waiting beyond this are refused; 20 batches when zero
	Workers  int           // batches written at the same time; 1 when zero
	Timeout  time.Duration // bounds each call of Flush; 30 s when zero
	// Eager batches follow each other at the distance of a window at least, but an item that comes after
	// a quiet window does not wait: what is alone is quick, and a crowd is written together all the same.
	Eager bool
}

// errMiscounted is the error of a Flush that breaks its contract.
var errMiscounted = errors.New("tenantdb: a batch did not return one result for each item")

// Batcher commits the items of many goroutines together (group commit): endpoints report by the
// thousand, and a transaction each would drown the database.
type Batcher[T, R any] struct {
	o       BatchOptions[T, R]
	queue   chan *waiting[T, R]
	workers sync.WaitGroup
	mu      sync.RWMutex // guards closed, and the queue against being closed while somebody sends
	closed  bool
}

// waiting is an item with the caller that waits for its result.
type waiting[T, R any] struct {
	item    T
	caller  context.Context
	arrived time.Time
	result  R
	err     error
	done    chan struct{}
}

// NewBatcher starts a batcher; Close ends it.
func NewBatcher[T, R any](o BatchOptions[T, R]) *Batcher[T, R] {
	o.Window = orDefault(o.Window, 100*time.Millisecond)
	o.MaxItems = orDefault(o.MaxItems, 500)
	o.MaxQueue = orDefault(o.MaxQueue, 20*o.MaxItems)
	o.Workers = orDefault(o.Workers, 1)
	o.Timeout = orDefault(o.Timeout, 30*time.Second)
	b := &Batcher[T, R]{o: o, queue: make(chan *waiting[T, R], o.MaxQueue)}
	for range o.Workers {
		b.workers.Go(b.work)
	}
	return b
}

// Do hands an item over and returns its result after the commit. When ctx ends first the outcome is
// unknown: the item may be written still.
func (b *Batcher[T, R]) Do(ctx context.Context, item T) (R, error) {
	w := &waiting[T, R]{item: item, caller: ctx, arrived: time.Now(), done: make(chan struct{})}
	var none R
	if err := b.enqueue(w); err != nil {
		return none, err
	}
	select {
	case <-w.done:
		return w.result, w.err
	case <-ctx.Done():
		return none, mapError(ctx.Err())
	}
}

func (b *Batcher[T, R]) enqueue(w *waiting[T, R]) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return unavailable("the server is shutting down", nil)
	}
	select {
	case b.queue <- w:
		return nil
	default:
		return unavailable("the server is busy; try again", fmt.Errorf("%d items wait to be written", b.o.MaxQueue))
	}
}

// Queued is how many items wait, for metrics.
func (b *Batcher[T, R]) Queued() int { return len(b.queue) }

// Close takes no more items, writes those that wait, and returns when that is done or ctx ends.
func (b *Batcher[T, R]) Close(ctx context.Context) error {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		close(b.queue)
	}
	b.mu.Unlock()
	finished := make(chan struct{})
	go func() {
		b.workers.Wait()
		close(finished)
	}()
	select {
	case <-finished:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("writing what waits: %w", ctx.Err())
	}
}

func (b *Batcher[T, R]) work() {
	var last time.Time // when the batch before was complete
	for {
		batch := b.collect(last)
		if batch == nil {
			return
		}
		last = time.Now()
		b.write(batch)
	}
}

// collect returns the next batch, and nil when the queue is closed and empty. The window counts from
// the arrival of the first item, so that nobody waits twice behind a slow commit.
func (b *Batcher[T, R]) collect(last time.Time) []*waiting[T, R] {
	first, open := <-b.queue
	if !open {
		return nil
	}
	batch := []*waiting[T, R]{first}
	from := first.arrived
	if b.o.Eager && last.Before(from) {
		from = last
	}
	window := time.NewTimer(time.Until(from.Add(b.o.Window)))
	defer window.Stop()
	for len(batch) < b.o.MaxItems {
		// What is there already comes along even when the window is over.
		select {
		case next, open := <-b.queue:
			if !open {
				return batch
			}
			batch = append(batch, next)
			continue
		default:
		}
		select {
		case next, open := <-b.queue:
			if !open {
				return batch
			}
			batch = append(batch, next)
		case <-window.C:
			return batch
		}
	}
	return batch
}

// write flushes a batch without the items nobody waits for any more.
func (b *Batcher[T, R]) write(batch []*waiting[T, R]) {
	live := batch[:0]
	for _, w := range batch {
		if err := w.caller.Err(); err != nil {
			w.finish(w.result, mapError(err))
			continue
		}
		live = append(live, w)
	}
	if len(live) > 0 {
		b.divide(live)
	}
}

// divide flushes the items, and after an error each half by itself: one bad item among n costs about
// 2·log n more flushes, and only its own caller sees the error.
func (b *Batcher[T, R]) divide(batch []*waiting[T, R]) {
	results, err := b.flush(batch)
	switch {
	case err == nil:
		for i, w := range batch {
			w.finish(results[i], nil)
		}
	case len(batch) == 1, errors.Is(err, errMiscounted), fault.KindOf(err) == fault.Unavailable:
		// When the database does not answer, halves would fail alike, after the same timeout each; and
		// what was miscounted is committed.
		for _, w := range batch {
			w.finish(w.result, err)
		}
	default:
		b.divide(batch[:len(batch)/2])
		b.divide(batch[len(batch)/2:])
	}
}

func (b *Batcher[T, R]) flush(batch []*waiting[T, R]) (results []R, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("tenantdb: a batch panicked: %v", p)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), b.o.Timeout)
	defer cancel()
	items := make([]T, len(batch))
	for i, w := range batch {
		items[i] = w.item
	}
	if results, err = b.o.Flush(ctx, items); err != nil {
		return nil, mapError(err)
	}
	if len(results) != len(items) {
		return nil, errMiscounted
	}
	return results, nil
}

func (w *waiting[T, R]) finish(result R, err error) {
	w.result, w.err = result, err
	close(w.done)
}
