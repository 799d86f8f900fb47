package agent

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"reeve/api"
	"reeve/api/wire"
	"reeve/endpoint/runner"
)

// fakeServer speaks the endpoint protocol as the contract says it, and keeps what it hears.
type fakeServer struct {
	t   testing.TB
	key ed25519.PrivateKey // signs tasks, as kid k1
	now func() time.Time

	mu       sync.Mutex
	device   uuid.UUID
	public   ed25519.PublicKey
	requests []api.SyncRequest
	bodies   [][]byte
	finals   map[uuid.UUID][]api.AgentTaskUpdate
	states   map[uuid.UUID][]api.AgentTaskUpdateState
	output   map[uuid.UUID]map[string][]byte
	events   []api.AgentEvent
	sections map[string]api.AgentSection
	tasks    []api.TaskEnvelope // handed out with the next reply
	cancel   []uuid.UUID
	change   func(*api.SyncRequest, *api.SyncReply)      // changes a reply
	refuse   func(carrier string, r *http.Request) error // an error refuses; a *problemError in its words
	heard    chan struct{}                               // one signal per sync
	sockets  []*websocket.Conn
}

func newFakeServer(t testing.TB) *fakeServer {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeServer{t: t, key: key, now: time.Now, finals: map[uuid.UUID][]api.AgentTaskUpdate{}, states: map[uuid.UUID][]api.AgentTaskUpdateState{},
		output: map[uuid.UUID]map[string][]byte{}, sections: map[string]api.AgentSection{}, heard: make(chan struct{}, 1000)}
}

func (s *fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case wire.PathEnrol:
		s.enrol(w, r)
	case wire.PathSync:
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = s.refused("https", r)
		}
		s.answer(w, r, body, err)
	case wire.PathConnect:
		s.connect(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (s *fakeServer) refused(carrier string, r *http.Request) error {
	s.mu.Lock()
	refuse := s.refuse
	s.mu.Unlock()
	if refuse != nil {
		if err := refuse(carrier, r); err != nil {
			return err
		}
	}
	return s.authenticate(r)
}

// authenticate is the server's rule for device tokens.
func (s *fakeServer) authenticate(r *http.Request) error {
	raw, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	var claims jwt.RegisteredClaims
	_, err := jwt.ParseWithClaims(raw, &claims, func(tok *jwt.Token) (any, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if tok.Header["kid"] != s.device.String() || tok.Header["typ"] != wire.TokenType {
			s.t.Errorf("token header %v", tok.Header)
		}
		return s.public, nil
	}, jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithoutClaimsValidation())
	if err != nil {
		return problem(401, "unauthenticated", nil)
	}
	if life := claims.ExpiresAt.Sub(claims.IssuedAt.Time); life > wire.MaxTokenLife || claims.Audience[0] != wire.Audience || claims.Issuer != claims.Subject {
		s.t.Errorf("claims %+v", claims)
	}
	now := s.now()
	if now.Before(claims.IssuedAt.Add(-30*time.Second)) || now.After(claims.ExpiresAt.Add(30*time.Second)) {
		return problem(401, "clock-skew", &now)
	}
	return nil
}

func problem(status int, kind string, now *time.Time) *problemError {
	return &problemError{api.Problem{Status: status, Type: "/problems/" + kind, Title: kind, ServerTime: now}}
}

func (s *fakeServer) answer(w http.ResponseWriter, r *http.Request, body []byte, err error) {
	var reply []byte
	if err == nil {
		reply, err = s.sync(body)
	}
	if err == nil {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(reply)
		return
	}
	p, ok := err.(*problemError)
	if !ok {
		p = problem(503, "unavailable", nil)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p.Problem)
}

// sync takes what a device says and gives what waits for it.
func (s *fakeServer) sync(body []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var req api.SyncRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, problem(400, "invalid", nil)
	}
	s.requests, s.bodies = append(s.requests, req), append(s.bodies, bytes.Clone(body))
	reply := api.SyncReply{BatchID: req.BatchID, ServerTime: s.now().UTC(), IntervalSeconds: 60, State: "active", Tasks: s.tasks,
		CancelTaskIds: s.cancel, WantedSections: []string{}, Ack: api.AgentAck{TaskUpdates: []string{}, Sections: []string{}, Rejected: []api.AgentRejection{}}}
	s.tasks, s.cancel = nil, nil
	for _, u := range deref(req.TaskUpdates) {
		s.take(u)
		reply.Ack.TaskUpdates = append(reply.Ack.TaskUpdates, u.ID)
	}
	if events := deref(req.Events); len(events) > 0 {
		s.events = append(s.events, events...)
		reply.Ack.EventsThrough = &events[len(events)-1].Number
	}
	for _, sec := range deref(req.Sections) {
		s.sections[sec.Name] = sec
		reply.Ack.Sections = append(reply.Ack.Sections, sec.Hash)
	}
	if req.SectionHashes != nil {
		for name, hash := range *req.SectionHashes {
			if s.sections[name].Hash != hash {
				reply.WantedSections = append(reply.WantedSections, name)
			}
		}
		slices.Sort(reply.WantedSections)
	}
	if s.change != nil {
		s.change(&req, &reply)
	}
	select {
	case s.heard <- struct{}{}:
	default:
	}
	return json.Marshal(reply)
}

func (s *fakeServer) take(u api.AgentTaskUpdate) {
	s.states[u.TaskID] = append(s.states[u.TaskID], u.State)
	for _, o := range deref(u.Output) {
		if s.output[u.TaskID] == nil {
			s.output[u.TaskID] = map[string][]byte{}
		}
		have := s.output[u.TaskID][string(o.Stream)]
		if int(o.Offset) > len(have) {
			s.t.Errorf("a gap in the output: %d after %d bytes", o.Offset, len(have))
			continue
		}
		s.output[u.TaskID][string(o.Stream)] = append(have[:o.Offset:o.Offset], o.Data...)
	}
	if u.State != api.AgentTaskUpdateStateRunning {
		s.finals[u.TaskID] = append(s.finals[u.TaskID], u)
	}
}

func deref[T any](list *[]T) []T {
	if list == nil {
		return nil
	}
	return *list
}

func (s *fakeServer) enrol(w http.ResponseWriter, r *http.Request) {
	var req api.EnrolRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil || !ed25519.Verify(req.PublicKey, []byte(req.Token), req.Proof) {
		s.answer(w, r, nil, problem(401, "unauthenticated", nil))
		return
	}
	if err := s.refusedEnrol(r); err != nil {
		s.answer(w, r, nil, err)
		return
	}
	s.mu.Lock()
	s.device, s.public = uuid.Must(uuid.NewV7()), req.PublicKey
	reply := api.EnrolReply{DeviceID: s.device, TenantID: uuid.Must(uuid.NewV7()), State: "active", ServerTime: s.now(), IntervalSeconds: 60,
		TaskKeys: []api.TaskKey{{Kid: "k1", PublicKey: s.key.Public().(ed25519.PublicKey)}}}
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(reply)
}

func (s *fakeServer) refusedEnrol(r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return s.refuse("enrol", r)
	}
	return nil
}

// connect serves a WebSocket: syncs are answered, all else is left to the test.
func (s *fakeServer) connect(w http.ResponseWriter, r *http.Request) {
	if err := s.refused("connect", r); err != nil {
		s.answer(w, r, nil, err)
		return
	}
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer ws.CloseNow()
	ws.SetReadLimit(wire.MaxFrameBytes)
	s.mu.Lock()
	s.sockets = append(s.sockets, ws)
	s.mu.Unlock()
	for {
		_, message, err := ws.Read(r.Context())
		if err != nil {
			return
		}
		f, err := wire.ParseFrame(message)
		if err != nil || f.Type != wire.FrameSyncRequest {
			continue
		}
		if s.refused("socket", r) != nil {
			s.mu.Lock()
			s.bodies = append(s.bodies, bytes.Clone(f.Payload))
			s.mu.Unlock()
			return // the line drops in the middle
		}
		reply, err := s.sync(f.Payload)
		if err != nil {
			return
		}
		if ws.Write(r.Context(), websocket.MessageBinary, wire.Frame{Type: wire.FrameSyncResponse, Number: f.Number, Payload: reply}.Bytes()) != nil {
			return
		}
	}
}

// task signs a task for the device.
func (s *fakeServer) task(kind string, body any) (uuid.UUID, api.TaskEnvelope) {
	raw, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	p := wire.Payload{ID: uuid.Must(uuid.NewV7()), DeviceID: s.device, TenantID: uuid.New(), Kind: kind, IssuedAt: now, NotBefore: now, ExpiresAt: now.Add(time.Hour), Body: raw}
	e, err := wire.Sign(p, "k1", s.key)
	if err != nil {
		s.t.Fatal(err)
	}
	return p.ID, envelopeOf(e)
}

func envelopeOf(e wire.Envelope) api.TaskEnvelope {
	out := api.TaskEnvelope{PayloadB64: e.Payload}
	for _, sig := range e.Signatures {
		out.Signatures = append(out.Signatures, api.TaskSignature{Kid: sig.KID, Sig: sig.Sig})
	}
	return out
}

// give puts tasks on the next reply.
func (s *fakeServer) give(tasks ...api.TaskEnvelope) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tasks = append(s.tasks, tasks...)
}

// final waits for the final update of a task.
func (s *fakeServer) final(task uuid.UUID) api.AgentTaskUpdate {
	s.t.Helper()
	for {
		s.mu.Lock()
		list := s.finals[task]
		s.mu.Unlock()
		if len(list) > 0 {
			return list[0]
		}
		select {
		case <-s.heard:
		case <-s.t.Context().Done():
			s.t.Fatal("the test ended without the final update")
		}
	}
}

// RoundTrip lets an agent talk to the server without a network, so that time can be synthetic.
func (s *fakeServer) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == wire.PathConnect {
		return &http.Response{StatusCode: 404, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, r)
	return rec.Result(), nil
}

// enrolled prepares a data folder as enrolling would.
func (s *fakeServer) enrolled(dir Dir, server string) {
	s.t.Helper()
	if err := dir.Make(); err != nil {
		s.t.Fatal(err)
	}
	key, err := loadOrMakeKey(dir.keyFile())
	if err != nil {
		s.t.Fatal(err)
	}
	if s.device == uuid.Nil {
		s.device = uuid.Must(uuid.NewV7())
	}
	s.public = key.Public().(ed25519.PublicKey)
	dev := device{Server: server, ID: s.device, TenantID: uuid.New(), Interval: 60, TaskKeys: map[string]ed25519.PublicKey{"k1": s.key.Public().(ed25519.PublicKey)}}
	if err := dir.save(dev); err != nil {
		s.t.Fatal(err)
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// options are those of an agent without network, inventory and real scripts.
func (s *fakeServer) options(dir Dir, registry runner.Registry) Options {
	return Options{Dir: dir, Version: "test", Log: quiet(), Now: time.Now, transport: s, registry: registry, collector: &runner.Collector{}}
}

// start runs an agent; the function it gives stops it and waits.
func start(t testing.TB, o Options) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, o) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the agent ended with %v", err)
		}
	})
}

// elapse lets synthetic time pass and everything that follows from it happen; it is used inside
// synctest only.
func elapse(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
