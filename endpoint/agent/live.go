package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"

	"reeve/api/wire"
)

const maxSessions = 16

// LiveHandler serves one kind of live session until it returns; its error is the reason that the
// other side is told.
type LiveHandler func(ctx context.Context, open wire.LiveOpen, s *Session) error

// Echo is the live session that sends back what it gets: it measures the way to a device.
func Echo(ctx context.Context, _ wire.LiveOpen, s *Session) error {
	buf := make([]byte, wire.MaxLiveData)
	for {
		n, err := s.Read(buf)
		if err != nil {
			return err
		}
		if _, err := s.Write(buf[:n]); err != nil {
			return err
		}
	}
}

// Session is one live stream. It reads and writes like a connection; the credit of its window keeps
// either side from being flooded, and a lost piece ends it.
type Session struct {
	channel uint32
	send    func(context.Context, wire.Frame) error
	ctx     context.Context // ends with the session; a Session lives exactly as long as one handler call
	cancel  context.CancelCauseFunc

	writing sync.Mutex // held over a whole Write, so that numbers leave in order

	mu      sync.Mutex
	flow    *wire.Flow
	inbox   []byte
	changed *sync.Cond
}

// Read takes what has arrived, and waits for something.
func (s *Session) Read(p []byte) (int, error) {
	s.mu.Lock()
	for len(s.inbox) == 0 && s.ctx.Err() == nil {
		s.changed.Wait()
	}
	if len(s.inbox) == 0 {
		s.mu.Unlock()
		return 0, s.reason()
	}
	n := copy(p, s.inbox)
	s.inbox = s.inbox[n:]
	credit := s.flow.Consumed(n)
	s.mu.Unlock()
	if credit > 0 {
		if err := s.send(s.ctx, wire.Frame{Type: wire.FrameLiveCredit, Number: credit, Channel: s.channel}); err != nil {
			return n, err
		}
	}
	return n, nil
}

// Write sends all of p as credit allows.
func (s *Session) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	written := 0
	for written < len(p) {
		number, n, err := s.take(len(p) - written)
		if err != nil {
			return written, err
		}
		if err := s.send(s.ctx, wire.Frame{Type: wire.FrameLiveData, Number: number, Channel: s.channel, Payload: p[written : written+n]}); err != nil {
			return written, err
		}
		written += n
	}
	return written, nil
}

// take waits for credit and uses it for up to n bytes.
func (s *Session) take(n int) (number uint64, taken int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.flow.Sendable(1) == 0 && s.ctx.Err() == nil {
		s.changed.Wait()
	}
	if s.ctx.Err() != nil {
		return 0, 0, s.reason()
	}
	taken = s.flow.Sendable(n)
	number, err = s.flow.Send(taken)
	return number, taken, err
}

func (s *Session) reason() error {
	if cause := context.Cause(s.ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return io.EOF
}

func (s *Session) end(cause error) {
	s.cancel(cause)
	s.mu.Lock()
	s.changed.Broadcast()
	s.mu.Unlock()
}

// sessions are those of one connection.
type sessions struct {
	ctx      context.Context // of the connection
	send     func(context.Context, wire.Frame) error
	handlers map[string]LiveHandler

	mu   sync.Mutex
	open map[uint32]*Session
	wg   sync.WaitGroup
}

func newSessions(ctx context.Context, send func(context.Context, wire.Frame) error, handlers map[string]LiveHandler) *sessions {
	return &sessions{ctx: ctx, send: send, handlers: handlers, open: map[uint32]*Session{}}
}

// handle serves a frame; its error ends the connection.
func (m *sessions) handle(ctx context.Context, f wire.Frame) error {
	if f.Type == wire.FrameLiveOpen {
		return m.start(ctx, f)
	}
	m.mu.Lock()
	s := m.open[f.Channel]
	m.mu.Unlock()
	if s == nil {
		return nil // it ended here while this was on its way
	}
	var fault error
	s.mu.Lock()
	switch f.Type {
	case wire.FrameLiveData:
		if fault = s.flow.Receive(f.Number, len(f.Payload)); fault == nil {
			s.inbox = append(s.inbox, f.Payload...)
		}
	case wire.FrameLiveCredit:
		fault = s.flow.Credited(f.Number)
	case wire.FrameLiveClose:
		fault = io.EOF
	}
	s.changed.Broadcast()
	s.mu.Unlock()
	if fault != nil {
		s.end(fault)
	}
	return nil
}

func (m *sessions) start(ctx context.Context, f wire.Frame) error {
	var open wire.LiveOpen
	if err := json.Unmarshal(f.Payload, &open); err != nil {
		return m.sendClose(ctx, f.Channel, "the request is malformed")
	}
	handler := m.handlers[open.Kind]
	m.mu.Lock()
	_, taken := m.open[f.Channel]
	full := len(m.open) >= maxSessions
	var s *Session
	if handler != nil && !taken && !full {
		s = &Session{channel: f.Channel, send: m.send, flow: wire.NewFlow()}
		s.ctx, s.cancel = context.WithCancelCause(m.ctx)
		s.changed = sync.NewCond(&s.mu)
		m.open[f.Channel] = s
		m.wg.Add(1)
	}
	m.mu.Unlock()
	switch {
	case handler == nil:
		return m.sendClose(ctx, f.Channel, "this endpoint does not know live sessions of this kind")
	case taken:
		return m.sendClose(ctx, f.Channel, "the channel is in use")
	case full:
		return m.sendClose(ctx, f.Channel, "too many live sessions")
	}
	go m.serve(open, handler, s)
	return nil
}

func (m *sessions) serve(open wire.LiveOpen, handler LiveHandler, s *Session) {
	defer m.wg.Done()
	err := handler(s.ctx, open, s)
	if cause := context.Cause(s.ctx); cause != nil {
		err = cause
	}
	s.end(err)
	m.mu.Lock()
	delete(m.open, s.channel)
	m.mu.Unlock()
	reason := ""
	if err != nil && !errors.Is(err, io.EOF) {
		reason = err.Error()
	}
	_ = m.sendClose(m.ctx, s.channel, reason) // without a connection it is closed anyway
}

func (m *sessions) sendClose(ctx context.Context, channel uint32, reason string) error {
	payload, err := json.Marshal(wire.LiveClose{Reason: wire.Clip(reason, 300)})
	if err != nil {
		return err
	}
	return m.send(ctx, wire.Frame{Type: wire.FrameLiveClose, Channel: channel, Payload: payload})
}

func (m *sessions) closeAll() {
	m.mu.Lock()
	for _, s := range m.open {
		go s.end(errCarrier)
	}
	m.mu.Unlock()
	m.wg.Wait()
}
