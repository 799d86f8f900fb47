package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"reeve/server/dbtest"
	"reeve/tenants/scope"
)

const (
	adminEmail    = "admin@reeve.example"
	adminPassword = "violet-harbour-sextant-41"
	// patience bounds every wait of a test; nothing waits longer than what it waits for.
	patience = 2 * time.Minute
)

type object = map[string]any

// site is a server of the real wiring and those who talk to it.
type site struct {
	url      string
	http     *http.Client
	contract *contract
}

// instance is a server that runs in this process.
type instance struct {
	*site
	app  *App
	o    Options
	urls dbtest.URLs
}

// start brings up a server on an empty database. mode is what REEVE_TLS says.
func start(t *testing.T, mode string) *instance {
	t.Helper()
	urls := dbtest.NewURLs(t)
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.Close() })
	o := Options{Listen: "127.0.0.1:0", DataDir: t.TempDir(), DatabaseURL: urls.App, MigrationURL: urls.Migrator, TLS: mode,
		AdminEmail: adminEmail, AdminPassword: adminPassword, Log: dbtest.Log(t), Out: out}
	return startWith(t, o, urls)
}

func startWith(t *testing.T, o Options, urls dbtest.URLs) *instance {
	t.Helper()
	a, err := Start(scope.AsSystem(context.Background(), "server"), o)
	if err != nil {
		t.Fatal(err)
	}
	i := &instance{site: newSite(t, a.URL(), o.DataDir), app: a, o: o, urls: urls}
	t.Cleanup(func() { i.stop(t) })
	return i
}

// stop puts the server down; a second call does nothing.
func (i *instance) stop(t *testing.T) {
	t.Helper()
	if i.app == nil {
		return
	}
	i.http.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := i.app.Stop(ctx); err != nil {
		t.Errorf("stopping the server: %v", err)
	}
	i.app = nil
}

// newSite trusts the private authority in the data folder, where there is one.
func newSite(t testing.TB, url, dataDir string) *site {
	t.Helper()
	roots := x509.NewCertPool()
	if ca, err := os.ReadFile(filepath.Join(dataDir, "tls", "ca.pem")); err == nil && !roots.AppendCertsFromPEM(ca) {
		t.Fatal("the authority of the server cannot be read")
	}
	return &site{url: url, contract: readContract(t), http: &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: 32}}}
}

// caller is somebody with a session.
type caller struct {
	*site
	name, password string
	token          string
}

type reply struct {
	status int
	header http.Header
	raw    []byte
	body   object
}

// text is a field of the answer, by its names from the outside in.
func (r reply) text(t testing.TB, names ...string) string {
	t.Helper()
	var value any = r.body
	for _, name := range names {
		inner, _ := value.(object)
		value = inner[name]
	}
	s, ok := value.(string)
	if !ok {
		t.Fatalf("%v is no text in %s", names, r.raw)
	}
	return s
}

func (r reply) items(t testing.TB) (list []object) {
	t.Helper()
	raw, ok := r.body["items"].([]any)
	if !ok {
		t.Fatalf("no list: %d %s", r.status, r.raw)
	}
	for _, item := range raw {
		list = append(list, item.(object))
	}
	return list
}

// send asks and holds the answer against the contract.
func (s *site) send(t testing.TB, token, method, path string, body any) reply {
	t.Helper()
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	request, err := http.NewRequestWithContext(context.Background(), method, s.url+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := s.http.Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	r := reply{status: response.StatusCode, header: response.Header}
	if r.raw, err = io.ReadAll(response.Body); err != nil {
		t.Fatal(err)
	}
	_ = json.Unmarshal(r.raw, &r.body) // the contract says what must be an object
	s.contract.check(t, method, request.URL, r.status, r.header, r.raw)
	if r.status >= 500 && r.status != http.StatusServiceUnavailable {
		t.Errorf("%s %s: %d %s", method, path, r.status, r.raw)
	}
	return r
}

// signIn opens a session, and confirms the identity where acts will need it.
func (s *site) signIn(t testing.TB, email, password string) *caller {
	t.Helper()
	r := s.send(t, "", "POST", "/api/v1/auth/login", object{"email": email, "password": password})
	if r.status != http.StatusOK {
		t.Fatalf("%s cannot sign in: %d %s", email, r.status, r.raw)
	}
	c := &caller{site: s, name: email, password: password, token: r.text(t, "access_token")}
	r = s.send(t, c.token, "POST", "/api/v1/auth/step-up", object{"password": password})
	if r.status != http.StatusOK {
		t.Fatalf("%s cannot confirm: %d %s", email, r.status, r.raw)
	}
	c.token = r.text(t, "access_token")
	return c
}

func (s *site) admin(t testing.TB) *caller {
	t.Helper()
	return s.signIn(t, adminEmail, adminPassword)
}

func (c *caller) call(t testing.TB, method, path string, body any) reply {
	t.Helper()
	return c.send(t, c.token, method, path, body)
}

// ok asks for what must succeed.
func (c *caller) ok(t testing.TB, method, path string, body any) reply {
	t.Helper()
	r := c.call(t, method, path, body)
	if r.status >= 300 {
		t.Fatalf("%s %s by %s: %d %s", method, path, c.name, r.status, r.raw)
	}
	return r
}

// place makes a tenant with one site.
func (c *caller) place(t testing.TB, name string) (tenant, site string) {
	t.Helper()
	tenant = c.ok(t, "POST", "/api/v1/tenants", object{"name": name}).text(t, "id")
	return tenant, c.ok(t, "POST", "/api/v1/sites", object{"tenant_id": tenant, "name": name + " site"}).text(t, "id")
}

func (c *caller) enrolmentToken(t testing.TB, tenant, site string, uses int) string {
	t.Helper()
	return c.ok(t, "POST", "/api/v1/enrolment-tokens", object{"tenant_id": tenant, "site_id": site, "max_uses": uses}).text(t, "token")
}

// user invites somebody and sets the password by the one-time link.
func (c *caller) user(t testing.TB, tenant, email string, grants ...object) *caller {
	t.Helper()
	r := c.ok(t, "POST", "/api/v1/users", object{"tenant_id": tenant, "email": email, "name": email, "grants": grants})
	link := r.text(t, "link", "url")
	const password = "walnut-ferry-quartz-17"
	token := link[strings.LastIndexAny(link, "=/#")+1:]
	done := c.send(t, "", "POST", "/api/v1/auth/password-reset/complete", object{"token": token, "new_password": password})
	if done.status != http.StatusNoContent {
		t.Fatalf("%s cannot set a password with %s: %d %s", email, link, done.status, done.raw)
	}
	return c.signIn(t, email, password)
}

// until asks again and again, a bounded time, for what must come to pass.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	untilWithin(t, patience, what, holds)
}

func untilWithin(t testing.TB, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	end := time.NewTimer(limit)
	defer end.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-end.C:
			t.Fatalf("after %s still not: %s", limit, what)
		case <-tick.C:
		}
	}
}

// row is a machine-readable line of a report.
func row(t testing.TB, fields object) {
	t.Helper()
	raw, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(string(raw))
}
