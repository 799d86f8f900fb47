package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/dbtest"
	"reeve/server/notify"
	"reeve/server/work"
	"reeve/tenants"
	"reeve/tenants/scope"
	"reeve/tenants/secrets"
	"reeve/tenants/tenantdb"
)

// badge lets a test act as anybody: the token is the name of a scope.
type badge map[string]scope.Scope

func (b badge) Authenticate(_ context.Context, token, _ string) (scope.Scope, error) {
	s, ok := b[token]
	if !ok {
		return s, fault.New(fault.Unauthenticated, "unknown")
	}
	s.SteppedUp = true
	return s, nil
}

// tenancy serves the operations of this file's domains over a real database.
type tenancy struct {
	app    *fiber.App
	routes *routes
	db     *tenantdb.DB
	badges badge
}

type unserved struct{ StrictServerInterface }

type tenancyServer struct {
	unserved
	tenantHandlers
	settingsHandlers
	approvalHandlers
}

func newTenancy(t *testing.T) *tenancy {
	t.Helper()
	contract, doc := readContract(t)
	db := dbtest.New(t)
	master, err := secrets.OpenMaster(filepath.Join(t.TempDir(), "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	keeper := secrets.NewKeeper(db, master, time.Now)
	queue, err := work.NewQueue(dbtest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	settings := tenants.NewSettings(db, keeper)
	w := &tenancy{app: fiber.New(fiber.Config{Immutable: true, ErrorHandler: ErrorHandler(dbtest.Log(t), time.Now)}),
		routes: newRoutes(doc, Permits), db: db, badges: badge{}}
	w.badges["staff"] = scope.From(dbtest.Staff(t, "tenants.read", "tenants.manage", "sites.read", "sites.manage", "settings.read",
		"settings.manage", "custom_fields.read", "custom_fields.manage", "custom_fields.write", "approvals.read", "approvals.decide"))
	err = Mount(w.app, Config{Contract: contract, Auth: w.badges, Once: Once(db, keeper), Now: time.Now, Server: tenancyServer{
		tenantHandlers: tenantHandlers{tenants.NewService(db)},
		settingsHandlers: settingsHandlers{settings, tenants.NewCustomFields(db, keeper), notify.New(notify.Config{
			DB: db, Settings: settings, Keeper: keeper, Queue: queue, Log: dbtest.Log(t), Now: time.Now})},
		approvalHandlers: approvalHandlers{tenants.NewApprovals(db, map[string]tenants.DecidedFunc{
			"job": func(context.Context, *gorm.DB, tenants.Approval) error { return nil }})},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

type reply struct {
	status int
	header http.Header
	raw    []byte
	body   map[string]any
}

func (r reply) text(t *testing.T, field string) string {
	t.Helper()
	s, ok := r.body[field].(string)
	if !ok {
		t.Fatalf("%s is no text in %s", field, r.raw)
	}
	return s
}

// call sends a request and holds the answer against the contract.
func (w *tenancy) call(t *testing.T, who, method, path string, body any, key string) reply {
	t.Helper()
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	request := httptest.NewRequest(method, path, bytes.NewReader(text))
	request.Header.Set("Authorization", "Bearer "+who)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	response, err := w.app.Test(request, 30_000)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	r := reply{status: response.StatusCode, header: response.Header}
	if r.raw, err = io.ReadAll(response.Body); err != nil {
		t.Fatal(err)
	}
	if len(r.raw) == 0 {
		return r
	}
	if err := json.Unmarshal(r.raw, &r.body); err != nil {
		t.Fatalf("%s %s: %s: %v", method, path, r.raw, err)
	}
	w.conforms(t, method, path, r)
	return r
}

func (w *tenancy) conforms(t *testing.T, method, path string, r reply) {
	t.Helper()
	op, _, _ := w.routes.find(method, strings.SplitN(path, "?", 2)[0])
	promised := op.spec.Responses.Status(r.status)
	if promised == nil {
		promised = op.spec.Responses.Default()
	}
	media := strings.SplitN(r.header.Get("Content-Type"), ";", 2)[0]
	content := promised.Value.Content[media]
	if content == nil {
		t.Fatalf("%s %s: the contract promises no %s with %d", method, path, media, r.status)
	}
	if err := content.Schema.Value.VisitJSON(r.body, openapi3.VisitAsResponse()); err != nil {
		t.Errorf("%s %s: %s breaks the contract: %v", method, path, r.raw, err)
	}
}

func (w *tenancy) ok(t *testing.T, method, path string, body any) reply {
	t.Helper()
	r := w.call(t, "staff", method, path, body, "")
	if r.status >= 300 {
		t.Fatalf("%s %s: %d %s", method, path, r.status, r.raw)
	}
	return r
}

type object = map[string]any

func TestARepeatedRequestActsOnce(t *testing.T) {
	t.Parallel()
	w := newTenancy(t)
	acme := object{"name": "Acme", "first_site": "Berlin"}
	first := w.call(t, "staff", "POST", "/api/v1/tenants", acme, "key-1")
	if first.status != http.StatusCreated || first.header.Get(ReplayedHeader) != "" {
		t.Fatalf("first: %d %s", first.status, first.raw)
	}
	again := w.call(t, "staff", "POST", "/api/v1/tenants", object{"first_site": "Berlin", "name": "Acme"}, "key-1")
	if again.status != http.StatusCreated || !bytes.Equal(again.raw, first.raw) || again.header.Get(ReplayedHeader) != "true" {
		t.Errorf("again: %d %s", again.status, again.raw)
	}
	if other := w.call(t, "staff", "POST", "/api/v1/tenants", object{"name": "Other"}, "key-1"); other.status != http.StatusConflict {
		t.Errorf("another body: %d %s", other.status, other.raw)
	}
	// A request that failed may be mended and sent under the same key.
	bad := object{"name": "Bad", "zone": "Mars/Olympus"}
	if r := w.call(t, "staff", "POST", "/api/v1/tenants", bad, "key-2"); r.status != http.StatusBadRequest {
		t.Errorf("bad: %d %s", r.status, r.raw)
	}
	if r := w.call(t, "staff", "POST", "/api/v1/tenants", object{"name": "Good"}, "key-2"); r.status != http.StatusCreated {
		t.Errorf("mended: %d %s", r.status, r.raw)
	}
	// Keys belong to their actor.
	w.badges["colleague"] = scope.From(dbtest.Staff(t, "tenants.read", "tenants.manage"))
	if r := w.call(t, "colleague", "POST", "/api/v1/tenants", acme, "key-1"); r.status != http.StatusCreated || r.body["slug"] != "acme-2" {
		t.Errorf("a colleague: %d %s", r.status, r.raw)
	}
	if list := w.ok(t, "GET", "/api/v1/tenants", nil); len(list.body["items"].([]any)) != 4 {
		t.Errorf("listed %s", list.raw)
	}
	var stored []byte
	if err := w.db.Tx(dbtest.System(t), func(tx *gorm.DB) error {
		return tx.Raw("SELECT string_agg(result, ''::bytea) FROM idempotency_keys").Row().Scan(&stored)
	}); err != nil || bytes.Contains(stored, []byte("Acme")) || len(stored) == 0 {
		t.Errorf("stored in clear: %q, %v", stored, err)
	}
}

func TestRequestsRepeatedAtTheSameTimeActOnce(t *testing.T) {
	t.Parallel()
	w := newTenancy(t)
	var group sync.WaitGroup
	bodies := make([]string, 6)
	for i := range bodies {
		group.Go(func() {
			r := w.call(t, "staff", "POST", "/api/v1/tenants", object{"name": "Raced"}, "key")
			bodies[i] = fmt.Sprint(r.status, " ", string(r.raw))
		})
	}
	group.Wait()
	for _, b := range bodies {
		if b != bodies[0] || !strings.HasPrefix(b, "201 ") {
			t.Errorf("%s\n%s", b, bodies[0])
		}
	}
}

func TestTenantsOverREST(t *testing.T) {
	t.Parallel()
	w := newTenancy(t)
	acme := w.ok(t, "POST", "/api/v1/tenants", object{"name": "Acme"})
	id := acme.text(t, "id")
	path := "/api/v1/tenants/" + id
	w.ok(t, "PATCH", path, object{"version": 1, "zone": "Europe/Berlin"})
	if r := w.call(t, "staff", "PATCH", path, object{"version": 1, "notes": "late"}, ""); r.status != http.StatusConflict {
		t.Errorf("an old version: %d %s", r.status, r.raw)
	}
	site := w.ok(t, "POST", "/api/v1/sites", object{"tenant_id": id, "name": "Hall", "zone": "Asia/Tokyo"})
	sitePath := "/api/v1/sites/" + site.text(t, "id")
	if r := w.ok(t, "PATCH", sitePath, object{"version": 1, "notes": "x"}); r.body["zone"] != "Asia/Tokyo" {
		t.Errorf("a field that was left out changed: %s", r.raw)
	}
	if r := w.ok(t, "PATCH", sitePath, object{"version": 2, "zone": nil}); r.body["zone"] != nil || r.body["effective_zone"] != "Europe/Berlin" {
		t.Errorf("null does not clear: %s", r.raw)
	}
	w.ok(t, "PATCH", sitePath, object{"version": 3, "archived": true})
	for query, want := range map[string]int{"": 1, "?archived=false": 0, "?archived=true": 1, "?q=HAL": 1, "?tenant_id=" + uuid.NewString(): 0} {
		if r := w.ok(t, "GET", "/api/v1/sites"+query, nil); len(r.body["items"].([]any)) != want {
			t.Errorf("%q: %s", query, r.raw)
		}
	}
	w.ok(t, "POST", path+"/suspend", object{"version": 2, "reason": "unpaid"})
	w.ok(t, "POST", path+"/resume", object{"version": 3})
	if r := w.ok(t, "POST", path+"/archive", object{"version": 4}); r.body["state"] != "archived" {
		t.Errorf("archived: %s", r.raw)
	}
}

func TestSettingsOverREST(t *testing.T) {
	t.Parallel()
	w := newTenancy(t)
	for _, domain := range []string{"provider", "security", "mail", "jobs"} {
		path := "/api/v1/settings/" + domain
		read := w.ok(t, "GET", path, nil)
		delete(read.body, "inherited")
		delete(read.body["value"].(object), "password_set") // read only
		if put := w.ok(t, "PUT", path, read.body); put.body["version"] != 1.0 {
			t.Errorf("%s: %s", domain, put.raw)
		}
		if put := w.call(t, "staff", "PUT", path, read.body, ""); put.status != http.StatusConflict {
			t.Errorf("%s: an old version: %d %s", domain, put.status, put.raw)
		}
	}
	mail := object{"host": "mail.example", "port": 587, "security": "starttls", "username": "u", "password": "canary-4411", "from": "a@b.example"}
	if r := w.ok(t, "PUT", "/api/v1/settings/mail", object{"version": 1, "value": mail}); bytes.Contains(r.raw, []byte("canary")) ||
		r.body["value"].(object)["password_set"] != true {
		t.Errorf("mail: %s", r.raw)
	}
	if r := w.ok(t, "GET", "/api/v1/settings/mail", nil); bytes.Contains(r.raw, []byte("canary")) || bytes.Contains(r.raw, []byte("sealed")) {
		t.Errorf("mail: %s", r.raw)
	}
	acme := w.ok(t, "POST", "/api/v1/tenants", object{"name": "Acme"}).text(t, "id")
	if r := w.ok(t, "GET", "/api/v1/settings/jobs?tenant_id="+acme, nil); r.body["inherited"] != true {
		t.Errorf("jobs: %s", r.raw)
	}
	if r := w.call(t, "staff", "GET", "/api/v1/settings/jobs?tenant_id="+uuid.NewString(), nil, ""); r.status != http.StatusNotFound {
		t.Errorf("jobs of nobody: %d %s", r.status, r.raw)
	}
}

func TestCustomFieldsOverREST(t *testing.T) {
	t.Parallel()
	w := newTenancy(t)
	acme := w.ok(t, "POST", "/api/v1/tenants", object{"name": "Acme"}).text(t, "id")
	for key, kind := range map[string]string{"seats": "number", "vip": "boolean", "wifi": "secret"} {
		w.ok(t, "POST", "/api/v1/custom-fields", object{"key": key, "label": key, "applies_to": "tenant", "type": kind})
	}
	tier := w.ok(t, "POST", "/api/v1/custom-fields", object{"tenant_id": acme, "key": "tier", "label": "Tier", "applies_to": "tenant", "type": "choice", "options": []string{"a"}})
	values := "/api/v1/custom-field-values/tenant/" + acme
	r := w.ok(t, "PUT", values, object{"values": object{"seats": 12.5, "vip": false, "wifi": "canary-77", "tier": "a"}})
	if bytes.Contains(r.raw, []byte("canary")) || !bytes.Contains(r.raw, []byte(`"value":12.5`)) || !bytes.Contains(r.raw, []byte(`"value":false`)) {
		t.Errorf("values %s", r.raw)
	}
	bad := w.call(t, "staff", "PUT", values, object{"values": object{"seats": "many", "unknown": 1}}, "")
	if bad.status != http.StatusBadRequest || !bytes.Contains(bad.raw, []byte("/values/seats")) || !bytes.Contains(bad.raw, []byte("/values/unknown")) {
		t.Errorf("bad: %s", bad.raw)
	}
	path := "/api/v1/custom-fields/" + tier.text(t, "id")
	w.ok(t, "PATCH", path, object{"version": 1, "options": []string{"b"}})
	w.ok(t, "DELETE", path, nil)
	if r := w.call(t, "staff", "DELETE", path, nil, ""); r.status != http.StatusNotFound {
		t.Errorf("deleted twice: %d", r.status)
	}
	if r := w.ok(t, "GET", "/api/v1/custom-fields?applies_to=tenant&limit=2", nil); len(r.body["items"].([]any)) != 2 || r.body["next_cursor"] == nil {
		t.Errorf("listed %s", r.raw)
	}
}

func TestApprovalsOverREST(t *testing.T) {
	t.Parallel()
	w := newTenancy(t)
	w.badges["asker"] = scope.From(dbtest.Staff(t, "approvals.read", "approvals.decide"))
	approvals := tenants.NewApprovals(w.db, map[string]tenants.DecidedFunc{"job": func(context.Context, *gorm.DB, tenants.Approval) error { return nil }})
	ask := func() string {
		var a tenants.Approval
		if err := w.db.Tx(scope.With(t.Context(), w.badges["asker"]), func(tx *gorm.DB) (err error) {
			a, err = approvals.RequestTx(tx, tenants.ApprovalRequest{TenantID: scope.Provider, Kind: tenants.BlastRadius, Summary: "x",
				SubjectType: "job", SubjectID: uuid.Must(uuid.NewV7())})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return "/api/v1/approvals/" + a.ID.String()
	}
	one := ask()
	if r := w.call(t, "asker", "POST", one+"/approve", object{}, ""); r.status != http.StatusForbidden {
		t.Errorf("own request: %d %s", r.status, r.raw)
	}
	if r := w.ok(t, "POST", one+"/approve", object{"reason": "fine"}); r.body["state"] != "approved" {
		t.Errorf("approved: %s", r.raw)
	}
	if r := w.ok(t, "POST", ask()+"/reject", object{}); r.body["state"] != "rejected" {
		t.Errorf("rejected: %s", r.raw)
	}
	if r := w.call(t, "asker", "POST", ask()+"/withdraw", object{}, ""); r.body["state"] != "withdrawn" {
		t.Errorf("withdrawn: %s", r.raw)
	}
	w.ok(t, "GET", one, nil)
	if r := w.ok(t, "GET", "/api/v1/approvals?state=rejected", nil); len(r.body["items"].([]any)) != 1 {
		t.Errorf("listed %s", r.raw)
	}
}
