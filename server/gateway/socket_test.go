package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"reeve/api"
	"reeve/api/wire"
	"reeve/server/fleet"
	"reeve/server/tasks"
)

// dial opens the device's WebSocket.
func (e *endpoint) dial(t testing.TB, header http.Header) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	if header == nil {
		header = http.Header{}
	}
	header.Set("Authorization", "Bearer "+e.claim(t))
	conn, resp, err := websocket.Dial(t.Context(), "ws://"+e.w.address+wire.PathConnect, &websocket.DialOptions{HTTPHeader: header})
	if err == nil {
		conn.SetReadLimit(wire.MaxFrameBytes)
		t.Cleanup(func() { _ = conn.CloseNow() })
	}
	return conn, resp, err
}

func (e *endpoint) connect(t testing.TB) *websocket.Conn {
	t.Helper()
	before := e.w.hub.find(e.id)
	conn, _, err := e.dial(t, nil)
	must(t, err)
	waitFor(t, func() bool { k := e.w.hub.find(e.id); return k != nil && k != before })
	return conn
}

// waitFor polls what another goroutine brings about.
func waitFor(t testing.TB, met func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !met() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it did not come to pass within ten seconds")
		}
	}
}

func read(t testing.TB, conn *websocket.Conn) wire.Frame {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, raw, err := conn.Read(ctx)
	must(t, err)
	f, err := wire.ParseFrame(raw)
	must(t, err)
	return f
}

func write(t testing.TB, conn *websocket.Conn, f wire.Frame) {
	t.Helper()
	must(t, conn.Write(t.Context(), websocket.MessageBinary, f.Bytes()))
}

func TestTheSocketCarriesSyncsAndRings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.enrol(t, w.token(t, 1))
	conn := e.connect(t)
	body, err := json.Marshal(e.message(nil))
	must(t, err)
	write(t, conn, wire.Frame{Type: wire.FrameSyncRequest, Number: 7, Payload: body})
	f := read(t, conn)
	var reply api.SyncReply
	must(t, json.Unmarshal(f.Payload, &reply))
	if f.Type != wire.FrameSyncResponse || f.Number != 7 || reply.BatchID != "batch-1" {
		t.Fatalf("%+v %s", f, f.Payload)
	}
	write(t, conn, wire.Frame{Type: wire.FrameSyncRequest, Number: 8, Payload: []byte(`{"protocol":1}`)})
	if f = read(t, conn); f.Type != wire.FrameSyncProblem || f.Number != 8 || !strings.Contains(string(f.Payload), "/batch_id") {
		t.Fatalf("%+v %s", f, f.Payload)
	}
	write(t, conn, wire.Frame{Type: wire.FramePing, Number: 9})
	if f = read(t, conn); f.Type != wire.FramePong || f.Number != 9 {
		t.Fatalf("%+v", f)
	}
	write(t, conn, wire.Frame{Type: wire.FrameLiveData, Channel: 3, Number: 1, Payload: []byte("x")})
	if f = read(t, conn); f.Type != wire.FrameLiveClose || f.Channel != 3 {
		t.Fatalf("%+v", f)
	}
	_, err = w.tasks.CreateJob(staff(t), tasks.NewJob{Kind: "script.run", Targets: fleet.Selector{DeviceIDs: []uuid.UUID{e.id}},
		Payload: json.RawMessage(`{"interpreter": "bash", "script": "true", "timeout_seconds": 30}`)})
	must(t, err)
	if f = read(t, conn); f.Type != wire.FrameRing {
		t.Fatalf("a new task must ring: %+v", f)
	}
}

func TestBrowsersAndStrangersGetNoSocket(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.enrol(t, w.token(t, 1))
	_, resp, err := e.dial(t, http.Header{"Origin": {"https://evil.example"}})
	if err == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("with an origin: %v", err)
	}
	stranger := *e
	stranger.id = newID()
	if _, resp, err = stranger.dial(t, nil); err == nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stranger: %v", err)
	}
}

func TestANewerConnectionReplacesTheOlder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.enrol(t, w.token(t, 1))
	first := e.connect(t)
	second := e.connect(t)
	if _, _, err := first.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("the older connection: %v", err)
	}
	waitFor(t, func() bool { return w.hub.count() == 1 })
	w.Ring([]uuid.UUID{e.id, newID()})
	if f := read(t, second); f.Type != wire.FrameRing {
		t.Errorf("%+v", f)
	}
}

func TestRevocationReachesOpenSockets(t *testing.T) {
	t.Parallel()
	for name, silent := range map[string]bool{"by message": false, "by looking, when no message came": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			e := w.enrol(t, w.token(t, 1))
			conn := e.connect(t)
			if silent {
				w.changes.Cancel()
			}
			_, err := w.fleet.Retire(staff(t), e.id, fleet.Move{Version: 1})
			must(t, err)
			patient, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if _, _, err = conn.Read(patient); err == nil || patient.Err() != nil {
				t.Errorf("the socket of a retired device stays open: %v", err)
			}
			waitFor(t, func() bool {
				_, resp, err := e.dial(t, nil)
				return err != nil && resp != nil && resp.StatusCode == http.StatusForbidden
			})
		})
	}
}

func TestSilentSocketsAreAskedAndThenClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.enrol(t, w.token(t, 1))
	conn := e.connect(t)
	k := w.hub.find(e.id)
	k.heard.Store(time.Now().Add(-w.o.Limits.PingAfter).UnixNano())
	if f := read(t, conn); f.Type != wire.FramePing {
		t.Fatalf("%+v", f)
	}
	k.heard.Store(time.Now().Add(-w.o.Limits.DeadAfter).UnixNano())
	if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("a dead connection: %v", err)
	}
	waitFor(t, func() bool { return w.hub.count() == 0 })
}

func TestGarbageEndsTheSocketOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.enrol(t, w.token(t, 1))
	conn := e.connect(t)
	must(t, conn.Write(t.Context(), websocket.MessageText, []byte("hello")))
	if _, _, err := conn.Read(t.Context()); err == nil {
		t.Error("garbage must end the connection")
	}
	if r := e.sync(t, nil); r.State != api.DeviceStateActive {
		t.Errorf("%+v", r)
	}
}
