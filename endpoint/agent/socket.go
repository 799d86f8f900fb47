package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"reeve/api"
	"reeve/api/wire"
)

const (
	pingEvery      = 45 * time.Second
	pingTimeout    = 20 * time.Second
	socketBackoff  = 2 * time.Second
	socketLongest  = 5 * time.Minute
	socketStable   = time.Minute // a connection that lasted this long resets the backoff
	socketSyncWait = 30 * time.Second
)

// errCarrier says that the way to the server failed, not that the server refused: the same request
// may go another way.
var errCarrier = errors.New("the connection failed")

// socket keeps the WebSocket up: a doorbell, a faster way for syncs, and the way of live sessions.
// Losing it delays and loses nothing.
type socket struct {
	url       string
	transport http.RoundTripper
	token     func() (string, error)
	onProblem func(*problemError) // told why the server refused to connect
	ring      func()
	live      map[string]LiveHandler
	log       *slog.Logger

	mu   sync.Mutex
	conn *socketConn // nil while there is none
}

// run connects, serves and connects again until ctx ends.
func (s *socket) run(ctx context.Context) {
	backoff := socketBackoff
	for ctx.Err() == nil {
		began := time.Now()
		err := s.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > socketStable {
			backoff = socketBackoff
		}
		wait := jitter(backoff)
		backoff = min(2*backoff, socketLongest)
		var p *problemError
		if errors.As(err, &p) {
			s.onProblem(p)
			wait = max(wait, p.retryAfter())
		}
		s.log.DebugContext(ctx, "the WebSocket is down", "error", err, "retry_in", wait)
		if !sleep(ctx, wait) {
			return
		}
	}
}

// current is the carrier while the socket is up.
func (s *socket) current() *socketConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

func (s *socket) set(c *socketConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = c
}

// once is the life of one connection.
func (s *socket) once(ctx context.Context) error {
	token, err := s.token()
	if err != nil {
		return err
	}
	dialCtx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	ws, resp, err := websocket.Dial(dialCtx, s.url, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: s.transport, CheckRedirect: noRedirects},
		HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
	})
	cancel()
	if err != nil {
		if resp != nil && resp.Body != nil {
			body, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblemBytes))
			return parseProblem(resp.StatusCode, resp.Header.Get("Content-Type"), body)
		}
		return fmt.Errorf("connecting the WebSocket: %w", err)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	ws.SetReadLimit(wire.MaxFrameBytes)
	c := &socketConn{ws: ws, pending: map[uint64]chan answer{}, done: ctx.Done(), log: s.log}
	c.sessions = newSessions(ctx, c.send, s.live)
	s.set(c)
	defer s.set(nil)
	defer c.sessions.closeAll()
	go c.keepAlive(ctx, stop)
	s.ring() // what rang while there was no bell was not heard
	// Reading must not end with ctx itself, which would tear the connection: the other side sees an
	// ordinary goodbye when we go, and the end of the line when we lost it.
	detach := context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), context.Canceled) {
			_ = ws.Close(websocket.StatusGoingAway, "the endpoint stops")
			return
		}
		_ = ws.CloseNow()
	})
	defer detach()
	err = c.read(context.WithoutCancel(ctx), s.ring)
	_ = ws.CloseNow()
	return err
}

// answer is what came back for a sync.
type answer struct {
	reply []byte
	err   error
}

// socketConn is one connection.
type socketConn struct {
	ws       *websocket.Conn
	sessions *sessions
	done     <-chan struct{}
	log      *slog.Logger

	mu      sync.Mutex
	number  uint64
	pending map[uint64]chan answer
}

var _ carrier = (*socketConn)(nil)

// Sync sends one request and waits for its answer.
func (c *socketConn) Sync(ctx context.Context, request []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, socketSyncWait)
	defer cancel()
	c.mu.Lock()
	c.number++
	number, back := c.number, make(chan answer, 1)
	c.pending[number] = back
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pending, number)
		c.mu.Unlock()
	}()
	if err := c.send(ctx, wire.Frame{Type: wire.FrameSyncRequest, Number: number, Payload: request}); err != nil {
		return nil, err
	}
	select {
	case a := <-back:
		return a.reply, a.err
	case <-c.done:
		return nil, errCarrier
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", errCarrier, ctx.Err())
	}
}

func (c *socketConn) send(ctx context.Context, f wire.Frame) error {
	if err := c.ws.Write(ctx, websocket.MessageBinary, f.Bytes()); err != nil {
		return fmt.Errorf("%w: %w", errCarrier, err)
	}
	return nil
}

// read serves frames until the connection ends.
func (c *socketConn) read(ctx context.Context, ring func()) error {
	for {
		kind, message, err := c.ws.Read(ctx)
		if err != nil {
			return fmt.Errorf("%w: %w", errCarrier, err)
		}
		if kind != websocket.MessageBinary {
			return fmt.Errorf("%w: text", wire.ErrFrame)
		}
		f, err := wire.ParseFrame(message)
		if err != nil {
			return err
		}
		if err := c.handle(ctx, f, ring); err != nil {
			return err
		}
	}
}

func (c *socketConn) handle(ctx context.Context, f wire.Frame, ring func()) error {
	switch f.Type {
	case wire.FrameRing:
		ring()
	case wire.FrameSyncResponse:
		c.deliver(f.Number, answer{reply: f.Payload})
	case wire.FrameSyncProblem:
		p := &problemError{}
		if json.Unmarshal(f.Payload, &p.Problem) != nil {
			p.Problem = api.Problem{Status: http.StatusInternalServerError, Title: "an answer that cannot be read"}
		}
		c.deliver(f.Number, answer{err: p})
	case wire.FramePing:
		return c.send(ctx, wire.Frame{Type: wire.FramePong, Number: f.Number})
	case wire.FrameLiveOpen, wire.FrameLiveData, wire.FrameLiveCredit, wire.FrameLiveClose:
		return c.sessions.handle(ctx, f)
	}
	return nil // newer servers may say more
}

func (c *socketConn) deliver(number uint64, a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if back := c.pending[number]; back != nil {
		back <- a
		delete(c.pending, number)
	}
}

// keepAlive finds out about connections that are only half there.
func (c *socketConn) keepAlive(ctx context.Context, stop context.CancelCauseFunc) {
	for sleep(ctx, jitter(pingEvery)) {
		pingCtx, cancel := context.WithTimeout(ctx, pingTimeout)
		err := c.ws.Ping(pingCtx)
		cancel()
		if err != nil {
			stop(fmt.Errorf("%w: no answer to a ping", errCarrier))
			return
		}
	}
}

// socketURL turns the server's address into that of the WebSocket.
func socketURL(server string) string {
	return "ws" + strings.TrimPrefix(server, "http") + wire.PathConnect
}

// jitter spreads a wait between three quarters and five quarters of it.
func jitter(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2+1)
}

// sleep waits and is false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
