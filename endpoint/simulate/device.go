package main

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"reeve/api"
	"reeve/api/wire"
	"reeve/endpoint/agent"
)

// device is one virtual endpoint.
type device struct {
	fleet  *fleet
	number int
	random *rand.Rand
	key    ed25519.PrivateKey
	id     uuid.UUID
	keys   map[string]ed25519.PublicKey

	interval time.Duration
	failures int
	greeted  bool
	sent     [][]byte // the last batches, for repetitions

	ring chan struct{} // the server rings, or a task ended
	work journal
}

func newDevice(f *fleet, number int) *device {
	return &device{fleet: f, number: number, random: f.random(number), keys: map[string]ed25519.PublicKey{}, ring: make(chan struct{}, 1),
		work: journal{id: uuid.NewString(), entries: map[uuid.UUID]*entry{}}}
}

func (d *device) wake() {
	select {
	case d.ring <- struct{}{}:
	default:
	}
}

var systems = []struct{ family, name, version string }{
	{"windows", "Windows 11 Pro", "10.0.26100"}, {"windows", "Windows Server 2022", "10.0.20348"},
	{"linux", "Debian GNU/Linux", "12"}, {"linux", "Ubuntu", "24.04"}, {"darwin", "macOS", "15.5"},
}

// join enrols, as often as the server asks to come again.
func (d *device) join(ctx context.Context) bool {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		d.fleet.log.Error("a device has no key", "error", err)
		return false
	}
	d.key = key
	token := d.fleet.o.tokens[d.number%len(d.fleet.o.tokens)]
	system, simulated := systems[d.random.IntN(len(systems))], true
	body, err := json.Marshal(api.EnrolRequest{Protocol: wire.Protocol, Token: token, PublicKey: public, Proof: ed25519.Sign(key, []byte(token)),
		Hostname: fmt.Sprintf("sim-%d-%06d", d.fleet.o.seed, d.number), OsFamily: system.family, OsName: &system.name, OsVersion: &system.version,
		Arch: "amd64", AgentVersion: "simulated", Simulated: &simulated})
	for failures := 0; err == nil; failures++ {
		var answer []byte
		answer, err = d.fleet.post(ctx, wire.PathEnrol, "", body, http.StatusCreated)
		if err == nil {
			return d.joined(answer)
		}
		var r *refusal
		if errors.As(err, &r) && r.Status < 500 && r.Status != http.StatusTooManyRequests {
			break
		}
		if !sleep(ctx, wait(err, failures, d.random)) {
			return false
		}
		err = nil
	}
	d.fleet.log.Error("a device cannot join", "device", d.number, "error", err)
	return false
}

func (d *device) joined(answer []byte) bool {
	var reply api.EnrolReply
	if err := json.Unmarshal(answer, &reply); err != nil {
		d.fleet.log.Error("the answer to joining cannot be read", "error", err)
		return false
	}
	d.id = reply.DeviceID
	for _, k := range reply.TaskKeys {
		d.keys[k.Kid] = k.PublicKey
	}
	d.interval = time.Duration(reply.IntervalSeconds) * time.Second
	return true
}

func (d *device) token() (string, error) { return agent.DeviceToken(d.id, d.key, time.Now()) }

// live syncs until the context ends, over a socket that is made again whenever it is lost.
func (d *device) live(ctx context.Context) {
	for ctx.Err() == nil {
		err := d.connected(ctx)
		if ctx.Err() != nil {
			break
		}
		d.failures++
		if !sleep(ctx, wait(err, d.failures, d.random)) {
			break
		}
	}
	d.goodbye()
}

// connected is the life of one connection; without sockets it lasts for ever.
func (d *device) connected(ctx context.Context) error {
	if d.fleet.o.carrier != "websocket" {
		return d.loop(ctx, httpsCarrier{d}, nil)
	}
	token, err := d.token()
	if err != nil {
		return err
	}
	conn, response, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(d.fleet.o.server, "http")+wire.PathConnect,
		&websocket.DialOptions{HTTPClient: d.fleet.client, HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
	if err != nil {
		if response != nil {
			return errors.Join(err, problem(nil, response.StatusCode))
		}
		return err
	}
	d.fleet.figures.count(&d.fleet.figures.connects)
	conn.SetReadLimit(wire.MaxFrameBytes)
	s := &socket{conn: conn, answers: make(chan wire.Frame, 1), gone: make(chan struct{})}
	defer func() {
		_ = conn.CloseNow()
		<-s.gone
	}()
	go s.read(d.wake)
	err = d.loop(ctx, s, s.gone)
	if ctx.Err() == nil {
		d.fleet.figures.count(&d.fleet.figures.lost)
	}
	return err
}

// loop syncs when it is time and when there is reason to.
func (d *device) loop(ctx context.Context, c carrier, gone <-chan struct{}) error {
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-gone:
			return errors.New("the connection is gone")
		case <-due.C:
		case <-d.ring:
		}
		again, err := d.sync(ctx, c, "")
		if err != nil {
			if ctx.Err() == nil {
				d.fleet.figures.count(&d.fleet.figures.failed)
			}
			var r *refusal
			if !errors.As(err, &r) {
				return err
			}
			d.failures++
			due.Reset(wait(err, d.failures, d.random))
			continue
		}
		if !d.greeted {
			d.greeted = true
			d.fleet.synced.Add(1)
		}
		d.failures = 0
		if again {
			due.Reset(0)
			continue
		}
		due.Reset(d.period())
	}
}

// period is the time to the next sync, spread so that a fleet does not fall into step. The first is
// somewhere within the interval.
func (d *device) period() time.Duration {
	every := d.interval
	if d.fleet.o.interval > 0 {
		every = d.fleet.o.interval
	}
	if every <= 0 {
		every = time.Minute
	}
	if len(d.sent) <= 1 {
		return time.Duration(d.random.Int64N(int64(every)))
	}
	return every*9/10 + time.Duration(d.random.Int64N(int64(every/5)+1))
}

// goodbye tells that the silence to come is meant.
func (d *device) goodbye() {
	if !d.greeted {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, _ = d.sync(ctx, httpsCarrier{d}, "the simulation ended") // a courtesy
}

// carrier takes one batch to the server.
type carrier interface {
	carry(ctx context.Context, body []byte) ([]byte, error)
}

type httpsCarrier struct{ d *device }

func (h httpsCarrier) carry(ctx context.Context, body []byte) ([]byte, error) {
	token, err := h.d.token()
	if err != nil {
		return nil, err
	}
	return h.d.fleet.post(ctx, wire.PathSync, token, body, http.StatusOK)
}

// socket is a WebSocket to the server.
type socket struct {
	conn    *websocket.Conn
	answers chan wire.Frame
	gone    chan struct{}
	write   sync.Mutex
	number  uint64
}

func (s *socket) send(f wire.Frame) error {
	s.write.Lock()
	defer s.write.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return s.conn.Write(ctx, websocket.MessageBinary, f.Bytes())
}

func (s *socket) read(ring func()) {
	defer close(s.gone)
	for {
		_, message, err := s.conn.Read(context.Background())
		if err != nil {
			return
		}
		f, err := wire.ParseFrame(message)
		if err != nil {
			return
		}
		switch f.Type {
		case wire.FrameRing:
			ring()
		case wire.FramePing:
			if s.send(wire.Frame{Type: wire.FramePong, Number: f.Number}) != nil {
				return
			}
		case wire.FrameSyncResponse, wire.FrameSyncProblem:
			select {
			case s.answers <- f:
			default: // to a batch that was given up
			}
		}
	}
}

func (s *socket) carry(ctx context.Context, body []byte) ([]byte, error) {
	s.number++
	if err := s.send(wire.Frame{Type: wire.FrameSyncRequest, Number: s.number, Payload: body}); err != nil {
		return nil, err
	}
	late := time.NewTimer(60 * time.Second)
	defer late.Stop()
	for {
		select {
		case f := <-s.answers:
			if f.Number != s.number {
				continue
			}
			if f.Type == wire.FrameSyncProblem {
				return nil, problem(f.Payload, http.StatusInternalServerError)
			}
			return f.Payload, nil
		case <-s.gone:
			return nil, errors.New("the connection is gone")
		case <-late.C:
			return nil, errors.New("no answer")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
