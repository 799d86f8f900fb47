package scripts_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"pgregory.net/rapid"

	"reeve/api/fault"
	"reeve/api/wire"
	"reeve/server/dbtest"
	"reeve/server/scripts"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

var all = []string{"scripts.read", "scripts.manage", "audit.read"}

func ptr[T any](v T) *T { return &v }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func addTenant(t testing.TB, db *tenantdb.DB) uuid.UUID {
	t.Helper()
	id := uuid.Must(uuid.NewV7())
	must(t, db.Tx(dbtest.Staff(t), func(tx *gorm.DB) error {
		return tx.Exec("INSERT INTO tenants (id, name, slug) VALUES (?, ?, ?)", id, id.String(), id.String()).Error
	}))
	return id
}

func hello(tenant uuid.UUID, name string) scripts.NewScript {
	return scripts.NewScript{TenantID: tenant, Name: name, Text: scripts.Text{Interpreter: "bash", Body: "echo hello"}}
}

func wantFault(t *testing.T, err error, kind fault.Kind, words string) {
	t.Helper()
	if fault.KindOf(err) != kind || !strings.Contains(err.Error(), words) {
		t.Errorf("got %v, want a fault %s that says %q", err, kind, words)
	}
}

func TestAScriptKeepsEveryVersion(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	s, staff := scripts.New(db), dbtest.Staff(t, all...)
	made, err := s.Create(staff, hello(uuid.Nil, "Hello"))
	must(t, err)
	if made.TenantID != scope.Provider || made.Number != 1 || made.TimeoutSeconds != 3600 || made.RunAs != "system" {
		t.Errorf("%+v", made)
	}
	// A new name is no new text.
	renamed, err := s.Update(staff, made.ID, scripts.Change{Version: 1, Name: ptr("Greeting"), Platforms: ptr([]string{"linux"})})
	must(t, err)
	changed, err := s.Update(staff, made.ID, scripts.Change{Version: 2, Body: ptr("echo bye"), Note: "politer",
		Parameters: ptr([]scripts.Parameter{{Name: "who", Type: scripts.Choice, Options: []string{"me", "you"}}})})
	must(t, err)
	if renamed.Number != 1 || changed.Number != 2 || changed.Version != 3 {
		t.Errorf("%+v %+v", renamed, changed)
	}
	_, err = s.Update(staff, made.ID, scripts.Change{Version: 2, Body: ptr("echo lost")})
	wantFault(t, err, fault.Conflict, "")
	versions, next, err := s.Versions(staff, made.ID, "", 1)
	must(t, err)
	if len(versions) != 1 || versions[0].Body != "echo bye" || versions[0].Note != "politer" || next == "" {
		t.Errorf("%+v %q", versions, next)
	}
	versions, _, err = s.Versions(staff, made.ID, next, 1)
	if err != nil || len(versions) != 1 || versions[0].Body != "echo hello" {
		t.Errorf("%+v %v", versions, err)
	}
	resolve := func(number int) (got scripts.Script, err error) {
		err = db.Tx(staff, func(tx *gorm.DB) error {
			got, err = scripts.ResolveTx(tx, made.ID, number)
			return err
		})
		return got, err
	}
	for number, body := range map[int]string{0: "echo bye", 1: "echo hello", 2: "echo bye"} {
		if got, err := resolve(number); err != nil || got.Body != body {
			t.Errorf("version %d: %q %v", number, got.Body, err)
		}
	}
	_, err = resolve(3)
	wantFault(t, err, fault.NotFound, "no such version")

	_, err = s.Update(staff, made.ID, scripts.Change{Version: 3, Archived: ptr(true)})
	must(t, err)
	_, err = resolve(0)
	wantFault(t, err, fault.Conflict, "archived")
	if _, err := resolve(1); err != nil {
		t.Errorf("a pinned version of an archived script: %v", err)
	}
	_, err = s.Update(staff, made.ID, scripts.Change{Version: 4, Body: ptr("echo no")})
	wantFault(t, err, fault.Conflict, "archived")
	if _, err := s.Create(staff, hello(uuid.Nil, "greeting")); err != nil {
		t.Errorf("the name of an archived script is free: %v", err)
	}
	_, err = s.Update(staff, made.ID, scripts.Change{Version: 4, Archived: ptr(false)})
	wantFault(t, err, fault.Conflict, "of this name")
	page, err := audit.List(staff, db, audit.Filter{TenantID: scope.Provider, ObjectType: "script"})
	if err != nil || len(page.Records) != 5 {
		t.Errorf("%d audit entries: %v", len(page.Records), err)
	}
}

func TestWhoSeesAndChangesScripts(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	s, staff := scripts.New(db), dbtest.Staff(t, all...)
	mine, theirs := addTenant(t, db), addTenant(t, db)
	shared, err := s.Create(staff, hello(uuid.Nil, "Shared"))
	must(t, err)
	foreign, err := s.Create(staff, hello(theirs, "Foreign"))
	must(t, err)
	me := dbtest.Tenant(t, mine, all...)
	own, err := s.Create(me, hello(mine, "Own"))
	must(t, err)

	if got, err := s.Get(me, shared.ID); err != nil || got.Body != "echo hello" {
		t.Errorf("the provider's script: %v", err)
	}
	_, err = s.Update(me, shared.ID, scripts.Change{Version: 1, Body: ptr("rm -rf /")})
	wantFault(t, err, fault.Forbidden, "")
	_, err = s.Get(me, foreign.ID)
	wantFault(t, err, fault.NotFound, "")
	_, _, err = s.Versions(me, foreign.ID, "", 10)
	wantFault(t, err, fault.NotFound, "")
	_, err = s.Update(me, foreign.ID, scripts.Change{Version: 1, Name: ptr("x")})
	wantFault(t, err, fault.NotFound, "")
	_, err = s.Create(me, hello(theirs, "Intruder"))
	wantFault(t, err, fault.Forbidden, "")
	_, err = s.Create(me, hello(uuid.Nil, "Intruder"))
	wantFault(t, err, fault.Forbidden, "")
	_, err = s.Get(dbtest.Tenant(t, mine), shared.ID)
	wantFault(t, err, fault.Forbidden, "")
	page, _, err := s.List(me, scripts.Filter{}, "", 10)
	if err != nil || len(page) != 2 || page[0].ID != own.ID || page[1].ID != shared.ID {
		t.Errorf("%+v %v", page, err)
	}
}

func TestTheListIsFilteredAndPaged(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	s, staff := scripts.New(db), dbtest.Staff(t, all...)
	for _, name := range []string{"delta", "Alpha", "charlie", "Bravo", "echo"} {
		n := hello(uuid.Nil, name)
		if name == "delta" {
			n.Platforms = []string{"windows"}
		}
		_, err := s.Create(staff, n)
		must(t, err)
	}
	var names []string
	for cursor, first := "", true; first || cursor != ""; first = false {
		page, next, err := s.List(staff, scripts.Filter{}, cursor, 2)
		must(t, err)
		for _, x := range page {
			names = append(names, x.Name)
		}
		cursor = next
	}
	if got := strings.Join(names, " "); got != "Alpha Bravo charlie delta echo" {
		t.Errorf("%s", got)
	}
	for want, f := range map[string]scripts.Filter{
		"charlie":                  {Text: ptr("HARL")},
		"Alpha Bravo charlie echo": {Platform: ptr("linux")},
		"":                         {Archived: true},
	} {
		page, _, err := s.List(staff, f, "", 0)
		must(t, err)
		names = nil
		for _, x := range page {
			names = append(names, x.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%+v: %q", f, got)
		}
	}
}

func TestFaultsOfScriptsNameTheirField(t *testing.T) {
	t.Parallel()
	good := hello(uuid.Nil, "x")
	good.TimeoutSeconds, good.RunAs = 60, "system"
	must(t, good.Validate())
	for pointer, change := range map[string]func(*scripts.NewScript){
		"/name":              func(n *scripts.NewScript) { n.Name = " " },
		"/platforms/1":       func(n *scripts.NewScript) { n.Platforms = []string{"linux", "linux"} },
		"/interpreter":       func(n *scripts.NewScript) { n.Interpreter = "perl" },
		"/body":              func(n *scripts.NewScript) { n.Body = "a\x00" },
		"/timeout_seconds":   func(n *scripts.NewScript) { n.TimeoutSeconds = 100_000 },
		"/run_as":            func(n *scripts.NewScript) { n.RunAs = "root" },
		"/parameters/0/name": func(n *scripts.NewScript) { n.Parameters = []scripts.Parameter{{Name: "a-b", Type: "text"}} },
		"/parameters/1/name": func(n *scripts.NewScript) {
			n.Parameters = []scripts.Parameter{{Name: "a", Type: "text"}, {Name: "A", Type: "text"}}
		},
		"/parameters/0/type":    func(n *scripts.NewScript) { n.Parameters = []scripts.Parameter{{Name: "a", Type: "date"}} },
		"/parameters/0/options": func(n *scripts.NewScript) { n.Parameters = []scripts.Parameter{{Name: "a", Type: "choice"}} },
		"/parameters/0/options/1": func(n *scripts.NewScript) {
			n.Parameters = []scripts.Parameter{{Name: "a", Type: "choice", Options: []string{"x", "x"}}}
		},
		"/parameters/0/default": func(n *scripts.NewScript) {
			n.Parameters = []scripts.Parameter{{Name: "a", Type: "number", Default: "many"}}
		},
		"/note": func(n *scripts.NewScript) { n.Note = strings.Repeat("x", 501) },
	} {
		n := good
		change(&n)
		if err := n.Validate(); err == nil || !strings.Contains(err.Error(), "["+pointer+":") {
			t.Errorf("%s: %v", pointer, err)
		}
	}
	secret := good
	secret.Parameters = []scripts.Parameter{{Name: "password", Type: scripts.Secret, Default: "hunter2"}}
	wantFault(t, secret.Validate(), fault.Invalid, "a secret has no default")
}

func TestArguments(t *testing.T) {
	t.Parallel()
	params := []scripts.Parameter{{Name: "n", Type: scripts.Number, Default: "5"}, {Name: "must", Type: scripts.Plain, Required: true},
		{Name: "yes", Type: scripts.Boolean}, {Name: "pick", Type: scripts.Choice, Options: []string{"a", "b"}}, {Name: "pw", Type: scripts.Secret}}
	for _, c := range []struct {
		given map[string]string
		fault string
	}{
		{map[string]string{"must": "x"}, ""},
		{map[string]string{"must": "x", "n": "-1.5", "yes": "true", "pick": "b", "pw": "s"}, ""},
		{map[string]string{}, "/p/must"},
		{map[string]string{"must": "x", "n": "1e9"}, "/p/n"},
		{map[string]string{"must": "x", "yes": "yes"}, "/p/yes"},
		{map[string]string{"must": "x", "pick": "c"}, "/p/pick"},
		{map[string]string{"must": "x", "other/one": "1"}, "/p/other~1one"},
		{map[string]string{"must": "a\x00b"}, "/p/must"},
	} {
		var f fault.Fields
		values, _ := scripts.Arguments(params, c.given, "/p", &f)
		err := f.Err()
		if (c.fault == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), "["+c.fault+":") {
			t.Errorf("%v: %v", c.given, err)
		}
		if err == nil && (values["must"] != "x" || values["n"] == "") {
			t.Errorf("%v became %v", c.given, values)
		}
	}
}

// What the library accepts is what an endpoint accepts.
func TestTheLibraryAndTheWireAgree(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := scripts.Text{Interpreter: rapid.SampledFrom(append([]string{"perl", ""}, scripts.Interpreters...)).Draw(t, "interpreter"),
			Body: rapid.SampledFrom([]string{"", "echo", "a\x00"}).Draw(t, "body"), TimeoutSeconds: rapid.SampledFrom([]int{1, 60, 86400, 86401}).Draw(t, "timeout"),
			RunAs: rapid.SampledFrom([]string{"system", "logged_in_user", "root"}).Draw(t, "run as")}
		library := scripts.NewScript{Name: "x", Text: text}.Validate()
		endpoint := wire.Script{Interpreter: text.Interpreter, Script: text.Body, TimeoutSeconds: text.TimeoutSeconds, RunAs: text.RunAs}.Validate()
		if (library == nil) != (endpoint == nil) {
			t.Fatalf("%+v: the library says %v, the endpoint %v", text, library, endpoint)
		}
	})
}
