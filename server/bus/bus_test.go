package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// TestContract runs the same promises against both implementations.
func TestContract(t *testing.T) {
	t.Run("local", func(t *testing.T) {
		contract(t, func(t *testing.T) (Bus, Bus) {
			b := NewLocal()
			t.Cleanup(func() { _ = b.Close() })
			return b, b
		})
	})
	t.Run("nats", func(t *testing.T) {
		url := startNATS(t)
		contract(t, func(t *testing.T) (Bus, Bus) { return dial(t, url), dial(t, url) })
	})
}

func startNATS(t *testing.T) string {
	t.Helper()
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	go srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	return srv.ClientURL()
}

func dial(t *testing.T, url string) Bus {
	t.Helper()
	b, err := New(t.Context(), url, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// contract gets two buses that should hear each other: two replicas, or the same process twice.
func contract(t *testing.T, open func(t *testing.T) (here, there Bus)) {
	t.Run("a subscriber hears a publisher, in order", func(t *testing.T) {
		here, there := open(t)
		got := listen(t, there, "device.7.ring")
		for i := range 1000 {
			publish(t, here, "device.7.ring", fmt.Sprint(i))
		}
		for i := range 1000 {
			if m := receive(t, got); string(m.Data) != fmt.Sprint(i) || m.Subject != "device.7.ring" {
				t.Fatalf("message %d is %s on %s", i, m.Data, m.Subject)
			}
		}
	})
	t.Run("every subscriber hears, also the publisher's own", func(t *testing.T) {
		here, there := open(t)
		a, b, c := listen(t, here, "x"), listen(t, there, "x"), listen(t, there, "x")
		publish(t, here, "x", "1")
		for _, got := range []<-chan Message{a, b, c} {
			if m := receive(t, got); string(m.Data) != "1" {
				t.Fatalf("got %q", m.Data)
			}
		}
	})
	t.Run("patterns", func(t *testing.T) {
		here, there := open(t)
		for _, c := range []struct {
			pattern, hears, ignores string
		}{
			{"a.b", "a.b", "a.b.c"}, {"a.*", "a.zz", "a"}, {"a.*.c", "a.q.c", "a.q.d"}, {"a.>", "a.b.c", "a"}, {">", "anything", ""}, {"a.b.>", "a.b.c", "a.b"},
		} {
			got := listen(t, there, c.pattern)
			if c.ignores != "" {
				publish(t, here, c.ignores, "ignored")
			}
			publish(t, here, c.hears, "heard")
			if m := receive(t, got); string(m.Data) != "heard" {
				t.Errorf("%s heard %s", c.pattern, m.Subject)
			}
		}
	})
	t.Run("bad subjects and handlers are refused", func(t *testing.T) {
		here, _ := open(t)
		for _, subject := range []string{"", ".", "a.", ".a", "a..b", "a b", "a.*", "a.>", "a\n", "ä"} {
			if err := here.Publish(t.Context(), subject, nil); !errors.Is(err, ErrSubject) {
				t.Errorf("publish %q: %v", subject, err)
			}
		}
		for _, pattern := range []string{"", "a..b", ">.a", "a.>.b", "a*"} {
			if _, err := here.Subscribe(pattern, func(Message) {}); !errors.Is(err, ErrSubject) {
				t.Errorf("subscribe %q: %v", pattern, err)
			}
		}
		if _, err := here.Subscribe("a", nil); err == nil {
			t.Error("a subscription without a handler")
		}
		if err := here.Publish(t.Context(), "a", make([]byte, MaxPayload+1)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("oversized: %v", err)
		}
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		if err := here.Publish(cancelled, "a", nil); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
	t.Run("the receiver owns what it gets", func(t *testing.T) {
		here, there := open(t)
		a, b := listen(t, there, "own"), listen(t, there, "own")
		data := []byte("abc")
		if err := here.Publish(t.Context(), "own", data); err != nil {
			t.Fatal(err)
		}
		data[0] = 'X'
		first := receive(t, a)
		first.Data[1] = 'Y'
		if m := receive(t, b); string(m.Data) != "abc" {
			t.Errorf("got %q", m.Data)
		}
	})
	t.Run("the largest payload passes", func(t *testing.T) {
		here, there := open(t)
		got := listen(t, there, "big")
		publish(t, here, "big", string(make([]byte, MaxPayload)))
		if m := receive(t, got); len(m.Data) != MaxPayload {
			t.Errorf("%d bytes", len(m.Data))
		}
	})
	t.Run("a cancelled subscription hears nothing, also when its handler cancels", func(t *testing.T) {
		here, there := open(t)
		var calls atomic.Int32
		var sub Subscription
		ready, done := make(chan struct{}), make(chan struct{})
		sub, err := there.Subscribe("once", func(Message) {
			<-ready
			sub.Cancel()
			if calls.Add(1) == 1 {
				close(done)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		close(ready)
		after := listen(t, there, "once")
		for range 3 {
			publish(t, here, "once", "x")
		}
		<-done
		for range 3 {
			receive(t, after)
		}
		sub.Cancel() // a second time does no harm
		if n := calls.Load(); n != 1 {
			t.Errorf("the handler was called %d times", n)
		}
	})
	t.Run("a slow subscriber loses messages and slows nobody", func(t *testing.T) {
		here, there := open(t)
		release := make(chan struct{})
		slow, err := there.Subscribe("flood", func(Message) { <-release })
		if err != nil {
			t.Fatal(err)
		}
		defer close(release)
		quick := listen(t, there, "after")
		for range queueLength * 2 {
			publish(t, here, "flood", "x")
		}
		publish(t, here, "after", "done")
		receive(t, quick)
		waitFor(t, func() bool { return slow.Dropped() > 0 })
	})
	t.Run("closed", func(t *testing.T) {
		here, _ := open(t)
		sub, err := here.Subscribe("a", func(Message) {})
		if err != nil {
			t.Fatal(err)
		}
		if err := here.Close(); err != nil {
			t.Fatal(err)
		}
		if err := here.Publish(t.Context(), "a", nil); !errors.Is(err, ErrClosed) {
			t.Errorf("publish: %v", err)
		}
		if _, err := here.Subscribe("a", func(Message) {}); !errors.Is(err, ErrClosed) {
			t.Errorf("subscribe: %v", err)
		}
		sub.Cancel()
		if err := here.Close(); err != nil {
			t.Errorf("a second close: %v", err)
		}
	})
	t.Run("many at once", func(t *testing.T) {
		here, there := open(t)
		var heard atomic.Int64
		var group sync.WaitGroup
		for i := range 8 {
			sub, err := there.Subscribe(fmt.Sprintf("many.%d", i), func(Message) { heard.Add(1) })
			if err != nil {
				t.Fatal(err)
			}
			defer sub.Cancel()
			group.Go(func() {
				for range 200 {
					publish(t, here, fmt.Sprintf("many.%d", i), "x")
				}
			})
		}
		group.Wait()
		waitFor(t, func() bool { return heard.Load() == 8*200 })
	})
}

func TestOnlyNATSIsShared(t *testing.T) {
	if NewLocal().Shared() || !dial(t, startNATS(t)).Shared() {
		t.Error("a bus lies about whom it reaches")
	}
	if _, err := New(t.Context(), "nats://127.0.0.1:1", slog.New(slog.DiscardHandler)); err == nil {
		t.Error("an unreachable cluster was accepted")
	}
}

func listen(t *testing.T, b Bus, pattern string) <-chan Message {
	t.Helper()
	got := make(chan Message, queueLength)
	sub, err := b.Subscribe(pattern, func(m Message) { got <- m })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Cancel)
	return got
}

func publish(t *testing.T, b Bus, subject, data string) {
	t.Helper()
	if err := b.Publish(t.Context(), subject, []byte(data)); err != nil {
		t.Error(err)
	}
}

func receive(t *testing.T, got <-chan Message) Message {
	t.Helper()
	select {
	case m := <-got:
		return m
	case <-time.After(10 * time.Second):
		t.Fatal("no message")
		return Message{}
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("it did not happen")
		}
	}
}
