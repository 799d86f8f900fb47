package rest

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/gofiber/fiber/v2"

	"reeve/api/fault"
	"reeve/tenants"
	"reeve/tenants/scope"
)

func readContract(t testing.TB) ([]byte, *openapi3.T) {
	t.Helper()
	text, err := os.ReadFile("../../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatal(err)
	}
	return text, doc
}

func TestEveryOperationStandsInThePermitTableAndNothingElseDoes(t *testing.T) {
	_, doc := readContract(t)
	known := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		for _, op := range item.Operations() {
			if slices.Contains(op.Tags, "agent") {
				continue // endpoints authenticate by their keys, in server/gateway
			}
			known[op.OperationID] = true
			p, ok := Permits[op.OperationID]
			if !ok {
				t.Errorf("%s (%s) is not in the permit table", op.OperationID, path)
			}
			if public := op.Security != nil && len(*op.Security) == 0; public != (p.Access == Public) {
				t.Errorf("%s: the contract and the permit table disagree on whether a token is needed", op.OperationID)
			}
			if p.Access == Permitted && p.Permission == "" {
				t.Errorf("%s needs no permission and is not marked as Self or Public", op.OperationID)
			}
			if strings.Contains(op.Summary, "step-up") != p.StepUp {
				t.Errorf("%s: the summary and the permit table disagree on step-up", op.OperationID)
			}
		}
	}
	for id := range Permits {
		if !known[id] {
			t.Errorf("%s is in the permit table and not in the contract", id)
		}
	}
}

func TestEveryPermissionIsHeldBySomebodyAndAskedForBySomething(t *testing.T) {
	asked := map[string]bool{tenants.OwnersManage: true} // by the ranking of roles
	for _, p := range Permits {
		asked[p.Permission] = true
	}
	held := map[string]bool{"": true}
	for _, role := range tenants.Roles() {
		for _, p := range role.Permissions {
			held[p] = true
			if !asked[p] && !strings.HasPrefix(p, "own.") {
				t.Errorf("the role %s holds %s, for which no operation asks", role.Name, p)
			}
		}
	}
	for p := range asked {
		if !held[p] {
			t.Errorf("operations ask for %s, which no role holds", p)
		}
	}
}

func TestEveryRouteServedIsInTheContractAndEveryOperationIsServed(t *testing.T) {
	_, doc := readContract(t)
	app := newApp(t, nil)
	served := map[string]bool{}
	for _, r := range app.GetRoutes(true) {
		if r.Method == http.MethodHead {
			continue
		}
		served[r.Method+" "+r.Path] = true
	}
	for _, op := range operations(doc) {
		if !served[op.method+" "+op.fiberPath()] {
			t.Errorf("%s %s is in the contract and not served", op.method, op.template)
		}
		delete(served, op.method+" "+op.fiberPath())
	}
	for route := range served {
		t.Errorf("%s is served and not in the contract", route)
	}
}

func operations(doc *openapi3.T) (list []*operation) {
	for template, item := range doc.Paths.Map() {
		for method, spec := range item.Operations() {
			if !slices.Contains(spec.Tags, "agent") {
				list = append(list, &operation{id: spec.OperationID, method: method, template: template, path: item, spec: spec})
			}
		}
	}
	return list
}

// fakeAuth knows one token per scope.
type fakeAuth map[string]scope.Scope

func (f fakeAuth) Authenticate(_ context.Context, bearer, _ string) (scope.Scope, error) {
	if s, ok := f[bearer]; ok {
		return s, nil
	}
	return scope.Scope{}, fault.New(fault.Unauthenticated, "the token is not valid")
}

// echo answers the operations that these tests reach; anything else would panic on the nil interface.
type echo struct{ StrictServerInterface }

func (echo) GetHealth(context.Context, GetHealthRequestObject) (GetHealthResponseObject, error) {
	return GetHealth200JSONResponse{Status: "ok"}, nil
}

func newApp(t testing.TB, auth fakeAuth) *fiber.App {
	t.Helper()
	text, _ := readContract(t)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	app := fiber.New(fiber.Config{ErrorHandler: ErrorHandler(log, time.Now), Immutable: true, StrictRouting: true, CaseSensitive: true,
		DisableStartupMessage: true})
	if err := Mount(app, Config{Contract: text, Auth: auth, Server: echo{}, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	return app
}

func TestBadRequestsGetAProblemThatNamesTheFault(t *testing.T) {
	staff := scope.Scope{Reach: scope.Staff, Actor: scope.Actor{Kind: scope.User, ID: scope.ID{1}, TenantID: scope.Provider},
		Grants: []scope.Grant{{AllTenants: true, Permissions: []string{"tenants.manage", "tenants.read"}}}}
	setup := staff
	setup.SetupOnly = true
	key := staff
	key.Actor.Kind = scope.APIKey
	app := newApp(t, fakeAuth{"staff": staff, "setup": setup, "key": key})
	deep := strings.Repeat("[", 60) + strings.Repeat("]", 60)
	for name, c := range map[string]struct {
		method, path, token, body, contentType string
		status                                 int
		mentions                               string
	}{
		"no such route":          {path: "/api/v1/nothing", token: "staff", status: 404, mentions: "/problems/not-found"},
		"upper case route":       {path: "/API/v1/tenants", token: "staff", status: 404},
		"trailing slash":         {path: "/api/v1/tenants/", token: "staff", status: 404},
		"double slash":           {path: "/api//v1/tenants", token: "staff", status: 404},
		"encoded slash":          {path: "/api/v1%2Ftenants", token: "staff", status: 404},
		"wrong method":           {method: "DELETE", path: "/api/v1/tenants", token: "staff", status: 405},
		"no token":               {path: "/api/v1/tenants", status: 401, mentions: "/problems/unauthenticated"},
		"unknown token":          {path: "/api/v1/tenants", token: "nobody", status: 401},
		"no permission":          {path: "/api/v1/devices", token: "staff", status: 403, mentions: "devices.read"},
		"second factor missing":  {path: "/api/v1/tenants", token: "setup", status: 403, mentions: "second factor"},
		"a key acts as a person": {method: "POST", path: "/api/v1/auth/logout", token: "key", status: 403, mentions: "API keys"},
		"step-up missing":        {method: "POST", path: "/api/v1/tenants/01920000-0000-7000-8000-000000000000/archive", token: "staff", body: `{"version":1}`, status: 403, mentions: "step-up-required"},
		"not JSON":               {method: "POST", path: "/api/v1/tenants", token: "staff", body: `{"name":`, status: 400},
		"wrong media type":       {method: "POST", path: "/api/v1/tenants", token: "staff", body: `name=a`, contentType: "application/x-www-form-urlencoded", status: 415},
		"missing field":          {method: "POST", path: "/api/v1/tenants", token: "staff", body: `{}`, status: 400, mentions: "name"},
		"unknown field":          {method: "POST", path: "/api/v1/tenants", token: "staff", body: `{"name":"a","colour":"red"}`, status: 400, mentions: "colour"},
		"wrong type":             {method: "POST", path: "/api/v1/tenants", token: "staff", body: `{"name":7}`, status: 400, mentions: `"/name"`},
		"same name in capitals":  {method: "POST", path: "/api/v1/tenants", token: "staff", body: `{"name":"ok","Name":""}`, status: 400, mentions: "Name"},
		"too deep":               {method: "POST", path: "/api/v1/tenants", token: "staff", body: `{"name":` + deep + `}`, status: 400, mentions: "deeper"},
		"too large":              {method: "POST", path: "/api/v1/tenants", token: "staff", body: `{"name":"` + strings.Repeat("a", 100_000) + `"}`, status: 413},
		"bad id":                 {path: "/api/v1/tenants/42", token: "staff", status: 400, mentions: "UUID"},
		"bad limit":              {path: "/api/v1/tenants?limit=100000", token: "staff", status: 400, mentions: `"?limit"`},
		"unknown parameter":      {path: "/api/v1/tenants?order=name", token: "staff", status: 400, mentions: `"?order"`},
		"bad enum":               {path: "/api/v1/tenants?state=gone", token: "staff", status: 400, mentions: `"?state"`},
		"body where none goes":   {method: "POST", path: "/api/v1/auth/logout", token: "staff", body: `{"a":1}`, status: 400},
	} {
		t.Run(name, func(t *testing.T) {
			method := c.method
			if method == "" {
				method = "GET"
			}
			req := httptest.NewRequest(method, c.path, strings.NewReader(c.body))
			if c.body != "" {
				req.Header.Set("Content-Type", "application/json")
			}
			if c.contentType != "" {
				req.Header.Set("Content-Type", c.contentType)
			}
			if c.token != "" {
				req.Header.Set("Authorization", "Bearer "+c.token)
			}
			res, err := app.Test(req, -1)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			if res.StatusCode != c.status || res.Header.Get("Content-Type") != ProblemJSON {
				t.Fatalf("%d %s: %s", res.StatusCode, res.Header.Get("Content-Type"), body)
			}
			if !strings.Contains(string(body), c.mentions) {
				t.Errorf("the problem does not mention %s: %s", c.mentions, body)
			}
			if c.status == 405 && res.Header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
			if c.status == 401 && res.Header.Get("WWW-Authenticate") == "" {
				t.Error("401 without WWW-Authenticate")
			}
		})
	}
}

func TestOneAddressCannotFloodTheServer(t *testing.T) {
	now := time.Unix(0, 0)
	f := newFloodGuard(func() time.Time { return now })
	for range burstAddress {
		if err := f.allowAddress("192.0.2.1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.allowAddress("192.0.2.1"); fault.KindOf(err) != fault.RateLimited {
		t.Fatalf("after the burst: %v", err)
	}
	if err := f.allowAddress("192.0.2.2"); err != nil {
		t.Fatalf("somebody else: %v", err)
	}
	now = now.Add(time.Second)
	if err := f.allowAddress("192.0.2.1"); err != nil {
		t.Fatalf("a second later: %v", err)
	}
}
