package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// natsPrefix keeps our subjects apart from others' in a shared cluster.
const natsPrefix = "reeve."

// flushTimeout bounds the round trip that makes a subscription effective.
const flushTimeout = 5 * time.Second

// NATS is the bus of several replicas.
type NATS struct {
	conn *nats.Conn
	log  *slog.Logger
	mu   sync.Mutex
	subs map[*natsSubscription]struct{}
}

var _ Bus = (*NATS)(nil)

func dialNATS(ctx context.Context, url string, log *slog.Logger) (*NATS, error) {
	b := &NATS{log: log, subs: map[*natsSubscription]struct{}{}}
	conn, err := nats.Connect(url, nats.Name("reeve-server"),
		nats.MaxReconnects(-1), nats.ReconnectJitter(200*time.Millisecond, time.Second),
		// Live messages are worthless later: nothing is kept for a broken connection.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			log.WarnContext(ctx, "message bus disconnected", "error", err)
		}),
		nats.ReconnectHandler(func(*nats.Conn) { log.InfoContext(ctx, "message bus connected again") }),
		nats.ErrorHandler(b.onError))
	if err != nil {
		return nil, fmt.Errorf("connecting to the message bus: %w", err)
	}
	b.conn = conn
	return b, nil
}

func (b *NATS) onError(_ *nats.Conn, sub *nats.Subscription, err error) {
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	b.log.Warn("message bus error", "subject", subject, "error", err)
}

// Publish implements Bus.
func (b *NATS) Publish(ctx context.Context, subject string, data []byte) error {
	if err := checkMessage(ctx, subject, data); err != nil {
		return err
	}
	err := b.conn.Publish(natsPrefix+subject, data)
	if errors.Is(err, nats.ErrConnectionClosed) {
		return ErrClosed
	}
	return err
}

// Subscribe implements Bus.
func (b *NATS) Subscribe(pattern string, handle func(Message)) (Subscription, error) {
	if err := checkSubscription(pattern, handle); err != nil {
		return nil, err
	}
	sub := &natsSubscription{bus: b, worker: newWorker(handle)}
	inner, err := b.conn.Subscribe(natsPrefix+pattern, func(m *nats.Msg) {
		sub.call(Message{m.Subject[len(natsPrefix):], m.Data})
	})
	if err != nil {
		if errors.Is(err, nats.ErrConnectionClosed) {
			return nil, ErrClosed
		}
		return nil, fmt.Errorf("subscribing to %s: %w", pattern, err)
	}
	sub.inner = inner
	if err := errors.Join(inner.SetPendingLimits(queueLength, queueLength*MaxPayload/8), b.conn.FlushTimeout(flushTimeout)); err != nil {
		return nil, errors.Join(fmt.Errorf("subscribing to %s: %w", pattern, err), inner.Unsubscribe())
	}
	b.mu.Lock()
	b.subs[sub] = struct{}{}
	b.mu.Unlock()
	return sub, nil
}

// Shared implements Bus.
func (b *NATS) Shared() bool { return true }

// Close implements Bus.
func (b *NATS) Close() error {
	b.mu.Lock()
	subs := b.subs
	b.subs = map[*natsSubscription]struct{}{}
	b.mu.Unlock()
	for sub := range subs {
		sub.end()
	}
	b.conn.Close()
	return nil
}

type natsSubscription struct {
	*worker
	bus     *NATS
	inner   *nats.Subscription
	dropped atomic.Uint64 // the final count, once the subscription has ended
}

func (s *natsSubscription) Cancel() {
	s.bus.mu.Lock()
	delete(s.bus.subs, s)
	s.bus.mu.Unlock()
	s.end()
}

func (s *natsSubscription) end() {
	s.stop()
	s.dropped.Store(s.Dropped())
	if err := s.inner.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, nats.ErrBadSubscription) {
		s.bus.log.Warn("ending a subscription", "subject", s.inner.Subject, "error", err)
	}
}

func (s *natsSubscription) Dropped() uint64 {
	n, err := s.inner.Dropped()
	if err != nil { // ended
		return s.dropped.Load()
	}
	return uint64(n)
}
