package portal_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"reeve/endpoint/agent"
	"reeve/server/app"
	"reeve/server/dbtest"
	"reeve/server/portal"
	"reeve/tenants/scope"
)

const (
	email    = "browser@reeve.example"
	password = "violet-harbour-sextant-41"
	patience = 30 * time.Second
)

// TestInTheBrowser walks the portal in headless Chromium against the real server with a real endpoint.
// The walks themselves are in web/e2e.
func TestInTheBrowser(t *testing.T) {
	if !portal.Built() {
		t.Fatal("the portal is not built: run make portal")
	}
	s := serve(t)
	s.signIn(t)
	s.joinDevice(t)

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	run := exec.CommandContext(ctx, "npm", "run", "--silent", "e2e")
	run.Dir = "web"
	run.Env = append(os.Environ(), "REEVE_E2E_URL="+s.url, "REEVE_E2E_EMAIL="+email, "REEVE_E2E_PASSWORD="+password, "NO_COLOR=1")
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// server is a running server and the administrator's session with it.
type server struct {
	url   string
	token string
}

func serve(t *testing.T) *server {
	t.Helper()
	urls := dbtest.NewURLs(t)
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.Close() })
	a, err := app.Start(scope.AsSystem(context.Background(), "server"), app.Options{
		Listen: "127.0.0.1:0", DataDir: t.TempDir(), DatabaseURL: urls.App, MigrationURL: urls.Migrator, TLS: "off",
		AdminEmail: email, AdminPassword: password, Log: dbtest.Log(t), Out: out,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := a.Stop(ctx); err != nil {
			t.Errorf("stopping the server: %v", err)
		}
	})
	return &server{url: a.URL()}
}

func (s *server) signIn(t *testing.T) {
	t.Helper()
	s.token = s.do(t, "POST", "/api/v1/auth/login", map[string]any{"email": email, "password": password})["access_token"].(string)
}

// joinDevice enrols an endpoint that runs in this process, and waits until the server sees it.
func (s *server) joinDevice(t *testing.T) {
	t.Helper()
	tenant := s.do(t, "POST", "/api/v1/tenants", map[string]any{"name": "Harbour Dental"})["id"]
	site := s.do(t, "POST", "/api/v1/sites", map[string]any{"tenant_id": tenant, "name": "Quay"})["id"]
	token := s.do(t, "POST", "/api/v1/enrolment-tokens", map[string]any{"tenant_id": tenant, "site_id": site})["token"].(string)

	dir := agent.Dir(t.TempDir())
	device, err := agent.Enrol(t.Context(), agent.Enrolment{Dir: dir, Server: s.url, Token: token, Version: "test",
		Host: agent.Host{Hostname: "front-desk", OSName: "Test Linux"}}, dbtest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- agent.Run(ctx, agent.Options{Dir: dir, Version: "test", Log: dbtest.Log(t), Now: time.Now})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the endpoint ended with %v", err)
		}
	})
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for s.do(t, "GET", "/api/v1/devices/"+device.DeviceID.String(), nil)["presence"] != "online" {
		select {
		case <-deadline.C:
			t.Fatal("the device does not come online")
		case <-tick.C:
		}
	}
}

func (s *server) do(t *testing.T, method, path string, body any) map[string]any {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(raw)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, s.url+path, content)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if s.token != "" {
		request.Header.Set("Authorization", "Bearer "+s.token)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var result map[string]any
	if err := json.NewDecoder(answer.Body).Decode(&result); err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode >= 300 {
		t.Fatalf("%s %s: %d %v", method, path, answer.StatusCode, result)
	}
	return result
}
