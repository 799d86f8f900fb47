package agent

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"

	"reeve/api"
	"reeve/api/wire"
	"reeve/endpoint/runner"
)

// tlsServer serves the fake with a certificate that no system trusts, and gives the fingerprint that
// an enrolment token would carry.
func tlsServer(t *testing.T, s *fakeServer) (server *httptest.Server, fingerprint []byte) {
	t.Helper()
	mux := http.NewServeMux()
	server = httptest.NewUnstartedServer(mux)
	mux.Handle("/", s)
	mux.HandleFunc(wire.PathCA, func(w http.ResponseWriter, _ *http.Request) {
		_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	})
	server.StartTLS()
	t.Cleanup(server.Close)
	sum := sha256.Sum256(server.Certificate().Raw)
	return server, sum[:]
}

func enrolment(t *testing.T, server, token string) Enrolment {
	t.Helper()
	return Enrolment{Dir: Dir(t.TempDir()), Server: server, Token: token, Version: "test", Host: Host{Hostname: "pc-1", OSName: strings.Repeat("ü", 200)}}
}

func TestFromEnrollingToAResultOverTLS(t *testing.T) {
	s := newFakeServer(t)
	server, fingerprint := tlsServer(t, s)
	e := enrolment(t, server.URL, "reeve_enrol_secret."+base64.RawURLEncoding.EncodeToString(fingerprint))
	enrolled, err := Enrol(t.Context(), e, quiet())
	if err != nil {
		t.Fatal(err)
	}
	if enrolled.DeviceID != s.device {
		t.Errorf("joined as %s, the server says %s", enrolled.DeviceID, s.device)
	}
	for _, name := range []string{e.Dir.keyFile(), e.Dir.deviceFile()} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if _, err := Enrol(t.Context(), e, quiet()); !errors.Is(err, ErrEnrolled) {
		t.Errorf("joining twice: %v", err)
	}
	id, task := s.task(wire.KindScript, wire.Script{Interpreter: "sh", Script: `echo "hello $REEVE_PARAM_WHO"; echo oops >&2; exit 4`, Parameters: map[string]string{"who": "<you>"}})
	s.give(task)
	o := s.options(e.Dir, nil)
	o.transport = nil
	stop := start(t, o)
	defer stop()
	final := s.final(id)
	if final.State != api.AgentTaskUpdateStateFailed || *final.ExitCode != 4 {
		t.Errorf("got %+v", final)
	}
	s.mu.Lock()
	if out, bad := string(s.output[id]["stdout"]), string(s.output[id]["stderr"]); out != "hello <you>\n" || bad != "oops\n" {
		t.Errorf("%q %q", out, bad)
	}
	s.mu.Unlock()

	// The bell: long before the next sync is due.
	ws := s.socket(t)
	second, task := s.task(wire.KindScript, wire.Script{Interpreter: "sh", Script: "exit 0"})
	s.give(task)
	if err := ws.Write(t.Context(), websocket.MessageBinary, wire.Frame{Type: wire.FrameRing}.Bytes()); err != nil {
		t.Fatal(err)
	}
	if final := s.final(second); final.State != api.AgentTaskUpdateStateSucceeded {
		t.Errorf("got %+v", final)
	}
	stop()
	if last := s.requests[len(s.requests)-1]; last.Goodbye == nil {
		t.Error("it went without a goodbye")
	}
}

// socket waits for the endpoint's WebSocket.
func (s *fakeServer) socket(t *testing.T) *websocket.Conn {
	t.Helper()
	for {
		s.mu.Lock()
		n := len(s.sockets)
		var ws *websocket.Conn
		if n > 0 {
			ws = s.sockets[n-1]
		}
		s.mu.Unlock()
		if ws != nil {
			return ws
		}
		select {
		case <-s.heard:
		case <-t.Context().Done():
			t.Fatal("no WebSocket came")
		}
	}
}

func TestEnrollingTrustsOnlyTheFingerprint(t *testing.T) {
	s := newFakeServer(t)
	server, fingerprint := tlsServer(t, s)
	other := sha256.Sum256([]byte("another authority"))
	for name, c := range map[string]struct{ token, want string }{
		"another fingerprint":   {"reeve_enrol_secret." + hex.EncodeToString(other[:]), "is not the one that the enrolment token names"},
		"no fingerprint":        {"reeve_enrol_secret", "certificate"},
		"a damaged fingerprint": {"reeve_enrol_secret.abc", "the enrolment token is damaged"},
	} {
		e := enrolment(t, server.URL, c.token)
		if _, err := Enrol(t.Context(), e, quiet()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := e.Dir.load(); !errors.Is(err, ErrNotEnrolled) {
			t.Errorf("%s: something was kept: %v", name, err)
		}
	}
	e := enrolment(t, server.URL, "reeve_enrol_secret."+hex.EncodeToString(fingerprint))
	if _, err := Enrol(t.Context(), e, quiet()); err != nil {
		t.Errorf("hex: %v", err)
	}
}

func TestALostAnswerToEnrollingIsNoSecondDevice(t *testing.T) {
	s := newFakeServer(t)
	server, fingerprint := tlsServer(t, s)
	e := enrolment(t, server.URL, "reeve_enrol_secret."+hex.EncodeToString(fingerprint))
	s.refuse = func(string, *http.Request) error { return problem(503, "unavailable", nil) }
	if _, err := Enrol(t.Context(), e, quiet()); err == nil || !strings.Contains(err.Error(), "503") {
		t.Fatalf("got %v", err)
	}
	first, err := loadOrMakeKey(e.Dir.keyFile())
	if err != nil {
		t.Fatal(err)
	}
	s.refuse = nil
	if _, err := Enrol(t.Context(), e, quiet()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first[ed25519.SeedSize:], s.public) {
		t.Error("another key was made for the second try")
	}
}

func TestPlainHTTPOnlyToThisMachineOrWhenToldSo(t *testing.T) {
	for server, c := range map[string]struct{ insecure, ok bool }{
		"http://127.0.0.1:8480": {false, true}, "http://localhost:8480/": {false, true}, "http://[::1]:1": {false, true},
		"http://reeve.example": {false, false}, "HTTP://10.0.0.1": {true, true}, "https://reeve.example/base": {false, true},
		"ftp://reeve.example": {true, false}, "reeve.example": {true, false}, "https://user:pw@reeve.example": {true, false}, "https://x?y": {false, false}, "": {false, false},
	} {
		if _, err := serverURL(server, c.insecure); (err == nil) != c.ok {
			t.Errorf("%q: %v", server, err)
		}
	}
}

func TestTheSameBatchTakesTheOtherWay(t *testing.T) {
	s := newFakeServer(t)
	server := httptest.NewServer(s)
	defer server.Close()
	dir := Dir(t.TempDir())
	s.enrolled(dir, server.URL)
	var dropped atomic.Bool
	s.refuse = func(carrier string, _ *http.Request) error {
		if carrier == "socket" {
			dropped.Store(true)
			return errors.New("the line drops")
		}
		return nil
	}
	o := s.options(dir, runner.Registry{})
	o.transport = nil
	stop := start(t, o)
	ws := s.socket(t)
	// Ring until a sync went over the socket and failed there.
	for !dropped.Load() {
		if err := ws.Write(t.Context(), websocket.MessageBinary, wire.Frame{Type: wire.FrameRing}.Bytes()); err != nil {
			break
		}
		select {
		case <-s.heard:
		case <-t.Context().Done():
			t.Fatal("no sync took the socket")
		}
	}
	stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, body := range s.bodies[:len(s.bodies)-1] {
		if bytes.Equal(body, s.bodies[i+1]) {
			return
		}
	}
	t.Error("no batch came again as it was")
}

func TestThroughAProxy(t *testing.T) {
	s := newFakeServer(t)
	server, fingerprint := tlsServer(t, s)
	backend := server.Listener.Addr().String()
	var tunnels atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || !strings.HasPrefix(r.Host, "example.com:") {
			http.Error(w, "only tunnels", http.StatusForbidden)
			return
		}
		tunnels.Add(1)
		there, err := net.Dial("tcp", backend)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusOK)
		here, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		go func() {
			_, _ = io.Copy(there, buffered)
			there.Close()
		}()
		go func() {
			_, _ = io.Copy(here, there)
			here.Close()
		}()
	}))
	defer proxy.Close()
	t.Setenv("HTTPS_PROXY", proxy.URL)
	t.Setenv("NO_PROXY", "")
	e := enrolment(t, "https://example.com:8480", "reeve_enrol_secret."+hex.EncodeToString(fingerprint))
	if _, err := Enrol(t.Context(), e, quiet()); err != nil {
		t.Fatal(err)
	}
	id, task := s.task("test.run", map[string]any{})
	s.give(task)
	o := s.options(e.Dir, counted(new(atomic.Int32), nil))
	o.transport = nil
	stop := start(t, o)
	s.final(id)
	s.socket(t)
	stop()
	if tunnels.Load() < 3 { // authority, joining, syncs and socket
		t.Errorf("%d tunnels", tunnels.Load())
	}
}

func TestLiveSessionCarriesAMegabyteBothWays(t *testing.T) {
	s := newFakeServer(t)
	conns := make(chan *websocket.Conn, 1)
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != wire.PathConnect {
			s.ServeHTTP(w, r)
			return
		}
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		ws.SetReadLimit(wire.MaxFrameBytes)
		select {
		case conns <- ws:
			<-release
		default:
		}
		ws.CloseNow()
	}))
	defer server.Close()
	dir := Dir(t.TempDir())
	s.enrolled(dir, server.URL)
	o := s.options(dir, runner.Registry{})
	o.transport, o.Live = nil, map[string]LiveHandler{"echo": Echo}
	stop := start(t, o)
	defer stop()
	defer close(release)
	ws := <-conns
	talk := &liveClient{t: t, ws: ws}
	talk.send(wire.Frame{Type: wire.FrameLiveOpen, Channel: 1, Payload: []byte(`{"kind":"mystery"}`)})
	if f := talk.next(wire.FrameLiveClose); !strings.Contains(string(f.Payload), "does not know") {
		t.Errorf("an unknown kind: %s", f.Payload)
	}
	talk.send(wire.Frame{Type: wire.FrameLiveOpen, Channel: 7, Payload: []byte(`{"kind":"echo"}`)})
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	got := talk.echo(7, want)
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back", len(got))
	}
	talk.send(wire.Frame{Type: wire.FrameLiveData, Number: 1 << 40, Channel: 7, Payload: []byte("x")})
	if f := talk.next(wire.FrameLiveClose); f.Channel != 7 || !strings.Contains(string(f.Payload), wire.ErrGap.Error()) {
		t.Errorf("a gap: %s", f.Payload)
	}
	talk.send(wire.Frame{Type: wire.FramePing, Number: 42})
	if f := talk.next(wire.FramePong); f.Number != 42 {
		t.Errorf("pong %d", f.Number)
	}
}

// liveClient is the server's side of a live session.
type liveClient struct {
	t  *testing.T
	ws *websocket.Conn
}

func (c *liveClient) send(f wire.Frame) {
	c.t.Helper()
	if err := c.ws.Write(c.t.Context(), websocket.MessageBinary, f.Bytes()); err != nil {
		c.t.Fatal(err)
	}
}

// next waits for a frame of a type. Syncs in between are not answered: they take the other way.
func (c *liveClient) next(want wire.FrameType) wire.Frame {
	c.t.Helper()
	for {
		_, message, err := c.ws.Read(c.t.Context())
		if err != nil {
			c.t.Fatal(err)
		}
		f, err := wire.ParseFrame(message)
		if err != nil {
			c.t.Fatal(err)
		}
		if f.Type == want {
			return f
		}
	}
}

// echo sends bytes as credit allows and collects what comes back.
func (c *liveClient) echo(channel uint32, want []byte) []byte {
	flow := wire.NewFlow()
	sent := 0
	var got []byte
	for len(got) < len(want) {
		for sent < len(want) {
			n := flow.Sendable(len(want) - sent)
			if n == 0 {
				break
			}
			number, err := flow.Send(n)
			if err != nil {
				c.t.Fatal(err)
			}
			c.send(wire.Frame{Type: wire.FrameLiveData, Number: number, Channel: channel, Payload: want[sent : sent+n]})
			sent += n
		}
		_, message, err := c.ws.Read(c.t.Context())
		if err != nil {
			c.t.Fatal(err)
		}
		f, err := wire.ParseFrame(message)
		if err != nil {
			c.t.Fatal(err)
		}
		switch f.Type {
		case wire.FrameLiveCredit:
			err = flow.Credited(f.Number)
		case wire.FrameLiveData:
			if err = flow.Receive(f.Number, len(f.Payload)); err == nil {
				got = append(got, f.Payload...)
				if credit := flow.Consumed(len(f.Payload)); credit > 0 {
					c.send(wire.Frame{Type: wire.FrameLiveCredit, Number: credit, Channel: channel})
				}
			}
		case wire.FrameLiveClose:
			c.t.Fatalf("closed: %s", f.Payload)
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
	return got
}

func TestTheWholeInventoryOfThisMachineArrives(t *testing.T) {
	s := newFakeServer(t)
	server := httptest.NewServer(s)
	defer server.Close()
	dir := Dir(t.TempDir())
	s.enrolled(dir, server.URL)
	o := s.options(dir, nil)
	o.transport, o.collector = nil, nil
	id, task := s.task(wire.KindInventory, wire.Collect{})
	s.give(task)
	stop := start(t, o)
	defer stop()
	final := s.final(id)
	raw, err := json.Marshal(final.Result)
	if err != nil {
		t.Fatal(err)
	}
	var result wire.CollectResult
	if err := json.Unmarshal(raw, &result); err != nil || len(result.Hashes) < 9 {
		t.Fatalf("result %s (%v), %v", raw, err, final.Reason)
	}
	for {
		s.mu.Lock()
		all := true
		for name, hash := range result.Hashes {
			all = all && s.sections[name].Hash == hash
		}
		s.mu.Unlock()
		if all {
			return
		}
		select {
		case <-s.heard:
		case <-t.Context().Done():
			t.Fatal("sections are missing")
		}
	}
}
