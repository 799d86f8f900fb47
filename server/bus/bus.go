// Package bus carries live messages between replicas of the server: doorbells and terminal streams.
//
// Delivery is at most once and only to who listens now. Whatever must not be lost is a row in the
// database; a message only says that it is worth looking.
package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
)

// MaxPayload bounds a message; longer content travels as a reference.
const MaxPayload = 512 * 1024

// queueLength is how many messages wait for a subscriber before the newest are dropped.
const queueLength = 4096

// Errors of publishing and subscribing.
var (
	ErrClosed     = errors.New("the bus is closed")
	ErrSubject    = errors.New("a subject is tokens of letters, digits, - and _ joined by dots")
	ErrTooLarge   = fmt.Errorf("a message may have at most %d bytes", MaxPayload)
	errNilHandler = errors.New("a subscription needs a handler")
)

// Message is one delivery. Data belongs to the receiver.
type Message struct {
	Subject string
	Data    []byte
}

// Bus is live publish and subscribe. Messages of one publisher arrive at a subscriber in order. A
// subscription's handler is called by one goroutine; a subscriber that does not keep up loses
// messages and never slows a publisher down.
type Bus interface {
	// Publish sends to all current subscribers of the subject.
	Publish(ctx context.Context, subject string, data []byte) error
	// Subscribe calls handle for each message whose subject matches the pattern: the subject itself,
	// with "*" for any one token and a final ">" for one or more. It is effective on return.
	Subscribe(pattern string, handle func(Message)) (Subscription, error)
	// Shared tells whether other replicas are reached too.
	Shared() bool
	// Close ends all subscriptions.
	Close() error
}

// Subscription is a standing interest in a pattern.
type Subscription interface {
	// Cancel ends it: no call of the handler starts after Cancel returned. A call that is running is
	// not waited for, because it may be the handler itself that cancels.
	Cancel()
	// Dropped counts the messages lost because the handler was too slow.
	Dropped() uint64
}

// New connects to the NATS cluster at url, or without one serves this process alone.
func New(ctx context.Context, url string, log *slog.Logger) (Bus, error) {
	if url == "" {
		return NewLocal(), nil
	}
	return dialNATS(ctx, url, log)
}

// Local is the bus of a single process.
type Local struct {
	mu     sync.RWMutex
	subs   map[*localSubscription]struct{}
	closed bool
}

var _ Bus = (*Local)(nil)

// NewLocal returns a bus within this process.
func NewLocal() *Local { return &Local{subs: map[*localSubscription]struct{}{}} }

// Publish implements Bus.
func (b *Local) Publish(ctx context.Context, subject string, data []byte) error {
	if err := checkMessage(ctx, subject, data); err != nil {
		return err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return ErrClosed
	}
	for sub := range b.subs {
		if matches(sub.pattern, subject) {
			sub.offer(Message{subject, append([]byte(nil), data...)})
		}
	}
	return nil
}

// Subscribe implements Bus.
func (b *Local) Subscribe(pattern string, handle func(Message)) (Subscription, error) {
	if err := checkSubscription(pattern, handle); err != nil {
		return nil, err
	}
	sub := &localSubscription{bus: b, pattern: strings.Split(pattern, "."), queue: make(chan Message, queueLength), worker: newWorker(handle)}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, ErrClosed
	}
	b.subs[sub] = struct{}{}
	go sub.run(sub.queue)
	return sub, nil
}

// Shared implements Bus.
func (b *Local) Shared() bool { return false }

// Close implements Bus.
func (b *Local) Close() error {
	b.mu.Lock()
	b.closed = true
	subs := b.subs
	b.subs = map[*localSubscription]struct{}{}
	b.mu.Unlock()
	for sub := range subs {
		sub.stop()
	}
	return nil
}

type localSubscription struct {
	*worker
	bus     *Local
	pattern []string
	queue   chan Message
	dropped atomic.Uint64
}

func (s *localSubscription) offer(m Message) {
	select {
	case s.queue <- m:
	default:
		s.dropped.Add(1)
	}
}

func (s *localSubscription) Cancel() {
	s.bus.mu.Lock()
	delete(s.bus.subs, s)
	s.bus.mu.Unlock()
	s.stop()
}

func (s *localSubscription) Dropped() uint64 { return s.dropped.Load() }

// worker calls a handler one message at a time until it is stopped.
type worker struct {
	handle  func(Message)
	quit    chan struct{}
	mu      sync.Mutex // guards stopped and the decision to start a call
	stopped bool
}

func newWorker(handle func(Message)) *worker {
	return &worker{handle: handle, quit: make(chan struct{})}
}

func (w *worker) run(queue <-chan Message) {
	for {
		select {
		case <-w.quit:
			return
		case m := <-queue:
			w.call(m)
		}
	}
}

func (w *worker) call(m Message) {
	w.mu.Lock()
	stopped := w.stopped
	w.mu.Unlock()
	if !stopped {
		w.handle(m)
	}
}

func (w *worker) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.stopped = true
		close(w.quit)
	}
}

func checkMessage(ctx context.Context, subject string, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(data) > MaxPayload {
		return ErrTooLarge
	}
	if !validSubject(subject, false) {
		return fmt.Errorf("%q: %w", subject, ErrSubject)
	}
	return nil
}

func checkSubscription(pattern string, handle func(Message)) error {
	if handle == nil {
		return errNilHandler
	}
	if !validSubject(pattern, true) {
		return fmt.Errorf("%q: %w", pattern, ErrSubject)
	}
	return nil
}

func validSubject(subject string, wildcards bool) bool {
	if len(subject) > 255 {
		return false
	}
	tokens := strings.Split(subject, ".")
	for i, token := range tokens {
		if wildcards && (token == "*" || token == ">" && i == len(tokens)-1) {
			continue
		}
		if token == "" || strings.ContainsFunc(token, notSubjectRune) {
			return false
		}
	}
	return true
}

func notSubjectRune(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
}

func matches(pattern []string, subject string) bool {
	for i, want := range pattern {
		if want == ">" {
			return subject != ""
		}
		token, rest, more := strings.Cut(subject, ".")
		if subject == "" || want != "*" && want != token {
			return false
		}
		if subject = rest; !more && i < len(pattern)-1 {
			return false
		}
	}
	return subject == ""
}
