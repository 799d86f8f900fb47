package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"

	fastws "github.com/fasthttp/websocket"
	"github.com/gofiber/contrib/websocket"
	"github.com/gofiber/fiber/v2"

	"reeve/api"
	"reeve/api/fault"
	"reeve/api/wire"
)

const (
	deviceLocal  = "reeve.device"
	addressLocal = "reeve.address"
)

// serveConnect upgrades to the WebSocket. Everything is decided before the upgrade, so that a refusal
// is an ordinary answer.
func (s *Service) serveConnect() fiber.Handler {
	// One pool of write buffers for all sockets: an idle one holds none.
	var buffers fastws.BufferPool = &sync.Pool{}
	upgrade := websocket.New(s.converse, websocket.Config{ReadBufferSize: 512, WriteBufferSize: 4096, WriteBufferPool: buffers,
		RecoverHandler: s.recovered})
	return func(c *fiber.Ctx) error {
		if err := s.mayConnect(c); err != nil {
			return err
		}
		return upgrade(c)
	}
}

func (s *Service) mayConnect(c *fiber.Ctx) error {
	if !websocket.IsWebSocketUpgrade(c) {
		return fault.New(fault.Invalid, "this address speaks WebSocket")
	}
	if c.Get(fiber.HeaderOrigin) != "" {
		return fault.New(fault.Forbidden, "browsers have no business here")
	}
	if err := s.limits.connect(); err != nil || s.hub.count() >= s.o.Limits.Sockets {
		return s.busy(errTooMany)
	}
	token, err := bearer(c)
	if err != nil {
		return err
	}
	d, err := s.authenticate(c.UserContext(), token)
	if err != nil {
		return err
	}
	c.Locals(deviceLocal, d)
	c.Locals(addressLocal, strings.Clone(c.IP()))
	return nil
}

// recovered ends a conversation that panicked, and only that one.
func (s *Service) recovered(*websocket.Conn) {
	if p := recover(); p != nil {
		s.o.Log.Error("a conversation with an endpoint panicked", "panic", p)
	}
}

// converse reads the frames of one device until the connection ends. Nothing of the connection may be
// used after it returns, so it waits for the sync under way.
func (s *Service) converse(conn *websocket.Conn) {
	d, _ := conn.Locals(deviceLocal).(*Device)
	address, _ := conn.Locals(addressLocal).(string)
	if d == nil {
		return
	}
	k := &socket{device: d, conn: conn}
	conn.SetReadLimit(wire.MaxFrameBytes)
	conn.SetPingHandler(func(text string) error {
		k.heard.Store(s.o.Now().UnixNano())
		_ = conn.WriteControl(websocket.PongMessage, []byte(text), time.Now().Add(time.Second)) // the reader notices a dead connection
		return nil
	})
	s.hub.add(k)
	ctx, cancel := context.WithCancel(context.Background())
	var syncs sync.WaitGroup
	defer func() {
		cancel()
		s.hub.remove(k)
		syncs.Wait()
	}()
	if s.stopping.Load() {
		k.end(websocket.CloseServiceRestart, "the server restarts")
	}
	for {
		kind, raw, err := conn.ReadMessage()
		if err != nil {
			return
		}
		k.heard.Store(s.o.Now().UnixNano())
		frame, err := wire.ParseFrame(raw)
		if err != nil || kind != websocket.BinaryMessage {
			k.end(websocket.CloseUnsupportedData, "not a frame")
			return
		}
		s.handle(ctx, k, address, frame, &syncs)
	}
}

// handle acts on one frame. A sync runs beside the reader, one at a time.
func (s *Service) handle(ctx context.Context, k *socket, address string, f wire.Frame, syncs *sync.WaitGroup) {
	switch f.Type {
	case wire.FrameSyncRequest:
		if k.syncing.Swap(true) {
			s.answer(k, f.Number, nil, fault.New(fault.RateLimited, "one sync at a time"))
			return
		}
		syncs.Go(func() {
			start := s.o.Now()
			reply, err := s.guarded(ctx, k.device, address, f.Payload)
			s.observe("websocket", start, err)
			k.syncing.Store(false) // before the answer: the endpoint may go on at once
			s.answer(k, f.Number, reply, err)
		})
	case wire.FramePing:
		_ = k.send(wire.Frame{Type: wire.FramePong, Number: f.Number}) // the reader notices a dead connection
	case wire.FrameLiveData, wire.FrameLiveCredit:
		reason, _ := json.Marshal(wire.LiveClose{Reason: "there is no such session"}) // a struct of one text
		_ = k.send(wire.Frame{Type: wire.FrameLiveClose, Channel: f.Channel, Payload: reason})
	}
	// Everything else is of a newer protocol, or a pong: that it was heard is all there is to it.
}

// guarded is Sync where no framework catches a panic.
func (s *Service) guarded(ctx context.Context, d *Device, address string, body []byte) (reply []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a sync panicked: %v", p)
		}
	}()
	return s.Sync(ctx, d, address, body)
}

func (s *Service) answer(k *socket, number uint64, reply []byte, err error) {
	frame := wire.Frame{Type: wire.FrameSyncResponse, Number: number, Payload: reply}
	if err != nil {
		frame.Type, frame.Payload = wire.FrameSyncProblem, s.problem(err)
	}
	switch sent := k.send(frame); {
	case sent != nil:
		k.end(websocket.CloseGoingAway, "")
	case errors.Is(err, ErrRetired):
		k.end(websocket.ClosePolicyViolation, ErrRetired.Message)
	}
}

// statuses are those of the faults that a sync can end in; the socket has no status line, but its
// problems read like those of the other carrier.
var statuses = map[fault.Kind]int{
	fault.Invalid: http.StatusBadRequest, fault.Unauthenticated: http.StatusUnauthorized, fault.Forbidden: http.StatusForbidden,
	fault.TooLarge: http.StatusRequestEntityTooLarge, fault.RateLimited: http.StatusTooManyRequests,
	fault.Conflict: http.StatusConflict, fault.Unavailable: http.StatusServiceUnavailable,
}

func (s *Service) problem(err error) []byte {
	f, ok := fault.As(err)
	status, known := http.StatusInternalServerError, false
	if ok {
		status, known = statuses[f.Kind]
	}
	if !known {
		s.o.Log.Error("a sync failed", "error", err)
		f, status = fault.New(fault.Internal, "something went wrong on the server"), http.StatusInternalServerError
	}
	now := s.o.Now().UTC()
	p := api.Problem{Type: "/problems/" + string(f.Kind), Title: http.StatusText(status), Status: status, Detail: &f.Message, ServerTime: &now}
	if f.RetryAfter > 0 {
		seconds := int(math.Ceil(f.RetryAfter.Seconds()))
		p.RetryAfterSeconds = &seconds
	}
	if len(f.Fields) > 0 {
		fields := make([]api.ProblemField, len(f.Fields))
		for i, x := range f.Fields {
			fields[i] = api.ProblemField{Pointer: x.Pointer, Detail: x.Detail}
		}
		p.Errors = &fields
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return []byte("{}") // unreachable: it is made of texts and numbers
	}
	return raw
}
