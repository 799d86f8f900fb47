package gateway

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/contrib/websocket"
	"github.com/google/uuid"

	"reeve/api/wire"
	"reeve/server/fleet"
)

// hub knows the sockets of this replica, one for each device.
type hub struct {
	log    *slog.Logger
	now    func() time.Time
	limits Limits
	mu     sync.RWMutex
	byID   map[uuid.UUID]*socket
	live   sync.WaitGroup
	writes chan func() // writes that nobody waits for, so that one slow socket delays no other
	done   chan struct{}
}

// writers bounds how many slow sockets can be written to at once.
const writers = 16

func newHub(log *slog.Logger, now func() time.Time, l Limits) *hub {
	h := &hub{log: log, now: now, limits: l, byID: map[uuid.UUID]*socket{}, writes: make(chan func(), 8192), done: make(chan struct{})}
	for range writers {
		go h.write()
	}
	return h
}

func (h *hub) write() {
	for {
		select {
		case act := <-h.writes:
			act()
		case <-h.done:
			return
		}
	}
}

// later writes in the background; false when too much is waiting already.
func (h *hub) later(act func()) bool {
	select {
	case h.writes <- act:
		return true
	default:
		return false
	}
}

// surely is later for what must happen even then.
func (h *hub) surely(act func()) {
	if !h.later(act) {
		go act()
	}
}

// socket is the open connection of a device.
type socket struct {
	device  *Device
	conn    *websocket.Conn
	write   sync.Mutex // the library allows one writer at a time
	heard   atomic.Int64
	pinged  atomic.Int64
	ringing atomic.Bool
	syncing atomic.Bool
	closed  atomic.Bool
	state   atomic.Value // fleet.State, as the watch last saw it
}

// writeWait is how long a write may take before the socket counts as dead.
const writeWait = 10 * time.Second

func (k *socket) send(f wire.Frame) error {
	k.write.Lock()
	defer k.write.Unlock()
	if k.closed.Load() {
		return websocket.ErrCloseSent
	}
	_ = k.conn.SetWriteDeadline(time.Now().Add(writeWait)) // the write tells
	return k.conn.WriteMessage(websocket.BinaryMessage, f.Bytes())
}

// end closes the connection; the reader then returns.
func (k *socket) end(code int, reason string) {
	k.write.Lock()
	defer k.write.Unlock()
	if k.closed.Swap(true) {
		return
	}
	_ = k.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(time.Second))
	k.shut()
}

// shut has the reader return, whatever the other side does. The connection was taken over from the
// framework, which makes closing it do nothing until then.
func (k *socket) shut() {
	_ = k.conn.SetReadDeadline(time.Unix(1, 0))
	_ = k.conn.Close()
}

// release marks the connection as no longer ours: the library takes it back when its reader returns.
func (k *socket) release() {
	k.write.Lock()
	defer k.write.Unlock()
	if !k.closed.Swap(true) {
		k.shut()
	}
}

// add registers a socket; the one that the device had before is closed: it is the same machine, on a
// new network or after a broken connection that this side has not noticed yet.
func (h *hub) add(k *socket) {
	h.mu.Lock()
	old := h.byID[k.device.id]
	h.byID[k.device.id] = k
	h.live.Add(1)
	h.mu.Unlock()
	k.heard.Store(h.now().UnixNano())
	k.state.Store(k.device.state)
	if old != nil {
		h.surely(func() { old.end(websocket.CloseNormalClosure, "replaced by a newer connection") })
	}
}

func (h *hub) remove(k *socket) {
	h.mu.Lock()
	if h.byID[k.device.id] == k {
		delete(h.byID, k.device.id)
	}
	h.mu.Unlock()
	k.release()
	h.live.Done()
}

func (h *hub) find(id uuid.UUID) *socket {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.byID[id]
}

func (h *hub) count() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.byID)
}

// ring tells a device to sync, once however often it is asked to before that is written.
func (h *hub) ring(id uuid.UUID) bool {
	k := h.find(id)
	if k == nil {
		return false
	}
	if k.ringing.Swap(true) {
		return true
	}
	h.surely(func() {
		k.ringing.Store(false)
		if err := k.send(wire.Frame{Type: wire.FrameRing}); err != nil {
			k.end(websocket.CloseGoingAway, "")
		}
	})
	return true
}

// changed sees to the socket of a device whose state may have changed.
func (h *hub) changed(id uuid.UUID, to fleet.State) {
	k := h.find(id)
	if k == nil {
		return
	}
	if to == fleet.Retired {
		h.surely(func() { k.end(websocket.ClosePolicyViolation, ErrRetired.Message) })
		return
	}
	if before := k.state.Swap(to); before != nil && before != to {
		h.ring(id)
	}
}

// patrol asks silent sockets for a sign of life and closes those that gave none: a connection that is
// open only on this side looks alive until somebody asks.
func (h *hub) patrol() {
	now := h.now()
	h.mu.RLock()
	var silent, dead []*socket
	for _, k := range h.byID {
		switch silence := now.Sub(time.Unix(0, k.heard.Load())); {
		case silence >= h.limits.DeadAfter:
			dead = append(dead, k)
		case silence >= h.limits.PingAfter && now.Sub(time.Unix(0, k.pinged.Load())) >= h.limits.PingAfter:
			silent = append(silent, k)
		}
	}
	h.mu.RUnlock()
	for _, k := range silent {
		k.pinged.Store(now.UnixNano())
		h.later(func() {
			if err := k.send(wire.Frame{Type: wire.FramePing, Number: uint64(now.UnixNano())}); err != nil {
				k.end(websocket.CloseGoingAway, "")
			}
		})
	}
	for _, k := range dead {
		h.surely(func() { k.end(websocket.CloseGoingAway, "no sign of life") })
	}
}

// stop closes all sockets and waits for their readers. Hijacked connections are not the framework's to
// close.
func (h *hub) stop(ctx context.Context) error {
	h.mu.RLock()
	all := make([]*socket, 0, len(h.byID))
	for _, k := range h.byID {
		all = append(all, k)
	}
	h.mu.RUnlock()
	for _, k := range all {
		h.surely(func() { k.end(websocket.CloseServiceRestart, "the server restarts") })
	}
	gone := make(chan struct{})
	go func() {
		h.live.Wait()
		close(gone)
	}()
	defer close(h.done)
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
