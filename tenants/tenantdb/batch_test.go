package tenantdb_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/dbtest"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// recorder is a Flush that doubles its items and remembers the batches. Negative items are poison.
type recorder struct {
	mu      sync.Mutex
	batches [][]int
	takes   time.Duration
}

func (r *recorder) flush(_ context.Context, items []int) ([]int, error) {
	r.mu.Lock()
	r.batches = append(r.batches, slices.Clone(items))
	r.mu.Unlock()
	<-time.After(r.takes)
	results := make([]int, len(items))
	for i, item := range items {
		if item == -99 {
			panic("poison")
		}
		if item < 0 {
			return nil, fmt.Errorf("item %d is bad", item)
		}
		results[i] = 2 * item
	}
	return results, nil
}

func (r *recorder) sizes() (sizes []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.batches {
		sizes = append(sizes, len(b))
	}
	return sizes
}

func shutDown(t *testing.T, b *tenantdb.Batcher[int, int]) {
	t.Helper()
	if err := b.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestItemsOfAWindowAreWrittenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		b := tenantdb.NewBatcher(tenantdb.BatchOptions[int, int]{Flush: r.flush, Window: 100 * time.Millisecond})
		defer shutDown(t, b)
		began := time.Now()
		for i := range 10 {
			go func() {
				<-time.After(time.Duration(i) * 10 * time.Millisecond) // the fake clock's
				got, err := b.Do(t.Context(), i)
				if got != 2*i || err != nil || time.Since(began) != 100*time.Millisecond {
					t.Errorf("item %d: %d, %v after %v", i, got, err, time.Since(began))
				}
			}()
		}
		<-time.After(time.Second)
		synctest.Wait()
		if sizes := r.sizes(); !slices.Equal(sizes, []int{10}) {
			t.Errorf("batches of %v", sizes)
		}
	})
}

func TestAFullBatchDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		b := tenantdb.NewBatcher(tenantdb.BatchOptions[int, int]{Flush: r.flush, Window: time.Hour, MaxItems: 3})
		defer shutDown(t, b)
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() { _, _ = b.Do(t.Context(), i) })
		}
		wg.Wait()
		if sizes := r.sizes(); !slices.Equal(sizes, []int{3, 3}) || time.Since(began) != 0 {
			t.Errorf("batches of %v after %v", sizes, time.Since(began))
		}
	})
}

// What arrives during a slow commit goes together with the next, without a second window.
func TestItemsGatherBehindASlowCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{takes: 300 * time.Millisecond}
		b := tenantdb.NewBatcher(tenantdb.BatchOptions[int, int]{Flush: r.flush, Window: 100 * time.Millisecond})
		defer shutDown(t, b)
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				<-time.After(time.Duration(i) * 15 * time.Millisecond)
				_, _ = b.Do(t.Context(), i)
			})
		}
		wg.Wait()
		if sizes := r.sizes(); len(sizes) != 2 || time.Since(began) != 700*time.Millisecond {
			t.Errorf("batches of %v after %v", sizes, time.Since(began))
		}
	})
}

func TestAPoisonItemHarmsOnlyItself(t *testing.T) {
	for _, poison := range []int{-1, -99} {
		synctest.Test(t, func(t *testing.T) {
			r := &recorder{}
			b := tenantdb.NewBatcher(tenantdb.BatchOptions[int, int]{Flush: r.flush})
			defer shutDown(t, b)
			const n = 256
			bad := rand.IntN(n)
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() {
					item := i
					if i == bad {
						item = poison
					}
					got, err := b.Do(t.Context(), item)
					if (err != nil) != (i == bad) || err == nil && got != 2*i {
						t.Errorf("item %d, poison %d: %d, %v", i, bad, got, err)
					}
				})
			}
			wg.Wait()
			if flushes := len(r.sizes()); flushes > 20 {
				t.Errorf("%d flushes for one poison item", flushes)
			}
		})
	}
}

// When the database is away, halving a batch would only multiply the timeouts.
func TestAnOutageFailsTheBatchAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, failure := range map[string]error{"unavailable": fault.New(fault.Unavailable, "away"), "deadline": context.DeadlineExceeded, "miscounted": nil} {
			calls := 0
			b := tenantdb.NewBatcher(tenantdb.BatchOptions[int, int]{Flush: func(context.Context, []int) ([]int, error) {
				calls++
				return nil, failure
			}})
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					_, err := b.Do(t.Context(), i)
					if err == nil || failure != nil && fault.KindOf(err) != fault.Unavailable {
						t.Errorf("%s: %v", name, err)
					}
				})
			}
			wg.Wait()
			if calls != 1 {
				t.Errorf("%s: %d flushes", name, calls)
			}
			shutDown(t, b)
		}
	})
}

func TestAFullQueueRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{takes: time.Second}
		b := tenantdb.NewBatcher(tenantdb.BatchOptions[int, int]{Flush: r.flush, Window: time.Nanosecond, MaxItems: 1, MaxQueue: 2})
		defer shutDown(t, b)
		var mu sync.Mutex
		refused := 0
		for i := range 5 {
			go func() {
				_, err := b.Do(t.Context(), i)
				if fault.KindOf(err) == fault.Unavailable {
					mu.Lock()
					refused++
					mu.Unlock()
				} else if err != nil {
					t.Error(err)
				}
			}()
			synctest.Wait() // the first is being written, two wait
		}
		if b.Queued() != 2 {
			t.Errorf("%d wait", b.Queued())
		}
		<-time.After(10 * time.Second)
		if refused != 2 {
			t.Errorf("%d refused", refused)
		}
	})
}

func TestACallerMayGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		b := tenantdb.NewBatcher(tenantdb.BatchOptions[int, int]{Flush: r.flush, Window: 100 * time.Millisecond})
		defer shutDown(t, b)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		go func() { _, _ = b.Do(t.Context(), 2) }()
		_, err := b.Do(ctx, 1)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		<-time.After(time.Second)
		synctest.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.batches) != 1 || !slices.Equal(r.batches[0], []int{2}) {
			t.Errorf("written: %v", r.batches)
		}
	})
}

func TestCloseWritesWhatWaitsAndTakesNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		b := tenantdb.NewBatcher(tenantdb.BatchOptions[int, int]{Flush: r.flush, Window: time.Hour, Workers: 2})
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				if got, err := b.Do(t.Context(), i); got != 2*i || err != nil {
					t.Errorf("item %d: %d, %v", i, got, err)
				}
			})
		}
		synctest.Wait()
		shutDown(t, b)
		shutDown(t, b) // again does no harm
		wg.Wait()
		if time.Since(began) != 0 {
			t.Errorf("closing took %v", time.Since(began))
		}
		if _, err := b.Do(t.Context(), 1); fault.KindOf(err) != fault.Unavailable {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestCloseGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{takes: time.Hour}
		b := tenantdb.NewBatcher(tenantdb.BatchOptions[int, int]{Flush: r.flush, Window: time.Nanosecond})
		go func() { _, _ = b.Do(t.Context(), 1) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		<-time.After(2 * time.Hour)
	})
}

// The real thing: many callers, one database, some rows that break a constraint.
func TestGroupCommitIntoTheDatabase(t *testing.T) {
	t.Parallel()
	db, ctx := dbtest.New(t), dbtest.System(t)
	b := tenantdb.NewBatcher(tenantdb.BatchOptions[string, int]{Window: 20 * time.Millisecond, Flush: func(_ context.Context, domains []string) (sizes []int, err error) {
		err = db.Tx(ctx, func(tx *gorm.DB) error {
			for _, domain := range domains {
				if err := tx.Exec("insert into settings (tenant_id, domain, spec) values (?, ?, '{}')", uuid.UUID(scope.Provider), domain).Error; err != nil {
					return err
				}
				sizes = append(sizes, len(domains))
			}
			return nil
		})
		return sizes, err
	}})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			domain := fmt.Sprintf("d%d", i)
			if i%50 == 7 {
				domain = "" // the table's check refuses it
			}
			if _, err := b.Do(ctx, domain); fault.KindOf(err) == fault.Invalid != (domain == "") {
				t.Errorf("%q: %v", domain, err)
			}
		})
	}
	wg.Wait()
	if err := b.Close(ctx); err != nil {
		t.Error(err)
	}
	var n int64
	err := db.Tx(ctx, func(tx *gorm.DB) error { return tx.Table("settings").Count(&n).Error })
	if err != nil || n != 196 {
		t.Errorf("%d rows, %v", n, err)
	}
}

func TestAnEagerBatchWaitsOnlyBehindAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var sizes []int
		b := tenantdb.NewBatcher(tenantdb.BatchOptions[int, int]{Window: time.Second, Eager: true, Flush: func(_ context.Context, items []int) ([]int, error) {
			sizes = append(sizes, len(items))
			return items, nil
		}})
		began := time.Now()
		if got, err := b.Do(t.Context(), 1); err != nil || got != 1 || time.Since(began) != 0 {
			t.Errorf("the first: %d, %v after %s", got, err, time.Since(began))
		}
		var crowd sync.WaitGroup
		for range 5 {
			crowd.Go(func() {
				if _, err := b.Do(t.Context(), 2); err != nil {
					t.Error(err)
				}
			})
		}
		crowd.Wait()
		if time.Since(began) != time.Second || !slices.Equal(sizes, []int{1, 5}) {
			t.Errorf("after %s batches of %v", time.Since(began), sizes)
		}
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
