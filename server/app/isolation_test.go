package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// attempt is one way to call an operation, with placeholders for the objects it names.
type attempt struct {
	op    *contractOp
	path  string
	body  object
	slots []string
}

// attempts makes all ways to call an operation from the contract and the shapes.
func attempts(t *testing.T, op *contractOp) (list []attempt) {
	t.Helper()
	paths := []string{op.template}
	for _, name := range op.names {
		paths = fillParameter(t, op, paths, name)
	}
	bodies := shapes[op.spec.OperationID]
	if op.spec.RequestBody == nil {
		bodies = []object{nil}
	}
	queries := queryShapes(t, op)
	for _, path := range paths {
		for _, body := range bodies {
			for _, query := range queries {
				a := attempt{op: op, path: path + query, body: body}
				if a.slots = slotsOf(a.path, body); len(a.slots) > 0 {
					list = append(list, a)
				}
			}
		}
	}
	return list
}

func fillParameter(t *testing.T, op *contractOp, paths []string, name string) (out []string) {
	t.Helper()
	for _, path := range paths {
		switch prefix, _, _ := strings.Cut(strings.TrimPrefix(path, "/api/v1/"), "/{"); {
		case name == "object_type":
			for _, kind := range []string{"tenant", "site", "device"} {
				out = append(out, strings.NewReplacer("{object_type}", kind, "{object_id}", "$"+kind).Replace(path))
			}
		case strings.Contains(path, "{"+name+"}") && kindOfPath[prefix] != "":
			out = append(out, strings.Replace(path, "{"+name+"}", "$"+kindOfPath[prefix], 1))
		case strings.Contains(path, "{"+name+"}"):
			t.Errorf("%s: nobody knows what kind of object {%s} is in %s", op.spec.OperationID, name, path)
		default:
			out = append(out, path)
		}
	}
	return out
}

// queryShapes are: no parameter, each that names an object, and all of those together.
func queryShapes(t *testing.T, op *contractOp) []string {
	t.Helper()
	list, all := []string{""}, ""
	for _, p := range op.spec.Parameters {
		if p.Value.In != openapi3.ParameterInQuery || !strings.HasSuffix(p.Value.Name, "_id") {
			continue
		}
		kind := kindOfName[p.Value.Name]
		if kind == "" {
			t.Errorf("%s: nobody knows what kind of object ?%s is", op.spec.OperationID, p.Value.Name)
			continue
		}
		one := p.Value.Name + "=$" + kind
		list = append(list, "?"+one)
		all += "&" + one
	}
	if len(list) > 2 {
		list = append(list, "?"+all[1:])
	}
	return list
}

// slotsOf lists the placeholders of a request.
func slotsOf(path string, body object) (slots []string) {
	raw, _ := json.Marshal(body) // of texts and numbers
	for _, part := range strings.FieldsFunc(path+" "+string(raw), func(r rune) bool {
		return r != '$' && r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9')
	}) {
		if name, found := strings.CutPrefix(part, "$"); found && name != "soon" && name != "own" && !slices.Contains(slots, name) {
			slots = append(slots, name)
		}
	}
	return slots
}

// fill puts objects in the place of the placeholders.
func (a attempt) fill(own world, foreign map[string]string) (path string, body any) {
	replace := []string{"$soon", time.Now().AddDate(0, 0, 2).UTC().Format(time.RFC3339), "$own", own["tenant"]}
	names := slices.Clone(a.slots)
	slices.SortFunc(names, func(x, y string) int { return len(y) - len(x) }) // $site2 before $site
	for _, name := range names {
		id := own[name]
		if other, is := foreign[name]; is {
			id = other
		}
		replace = append(replace, "$"+name, id)
	}
	r := strings.NewReplacer(replace...)
	if a.body != nil {
		raw, _ := json.Marshal(a.body)
		body = json.RawMessage(r.Replace(string(raw)))
	}
	return r.Replace(a.path), body
}

// subsets are all choices of at least one slot.
func subsets(slots []string) (list [][]string) {
	for mask := 1; mask < 1<<len(slots); mask++ {
		var some []string
		for i, s := range slots {
			if mask&(1<<i) != 0 {
				some = append(some, s)
			}
		}
		list = append(list, some)
	}
	return list
}

// intruder is somebody of tenant B who tries what belongs to tenant A.
type intruder struct {
	*caller
	role string
	own  world
}

// isolation is two tenants with one of everything, and those of B who try.
type isolation struct {
	*instance
	admin     *caller
	a, b      world
	intruders []*intruder
	database  *pgx.Conn
}

const (
	canaryA = "canary-alpha-7731"
	canaryB = "canary-bravo-2204"
)

func newIsolation(t *testing.T) *isolation {
	t.Helper()
	s := &isolation{instance: start(t, "off")}
	s.admin = s.instance.admin(t)
	s.a, s.b = settle(t, s.admin, canaryA), settle(t, s.admin, canaryB)
	named := object{"all_tenants": false, "tenant_ids": []string{s.b["tenant"]}}
	grant := func(role string) object {
		g := object{"role": role}
		for k, v := range named {
			g[k] = v
		}
		return g
	}
	const provider = "01900000-0000-7000-8000-000000000001"
	granted := s.admin.user(t, provider, "granted@msp.example", grant("administrator"))
	s.intruders = []*intruder{
		{granted, "technician of another tenant", s.b},
		{s.admin.user(t, s.b["tenant"], "boss@bravo.example", grant("customer_administrator")), "administrator of another tenant", s.b},
		{s.admin.user(t, s.b["tenant"], "user@bravo.example", grant("customer_user")), "user of another tenant", s.b},
	}
	key := granted.ok(t, "POST", "/api/v1/api-keys", object{"name": "bravo", "tenant_ids": []string{s.b["tenant"]}, "expires_at": time.Now().AddDate(0, 0, 2).UTC().Format(time.RFC3339),
		"permissions": []string{"tenants.read", "tenants.manage", "sites.read", "sites.manage", "devices.read", "devices.manage", "devices.enrol", "devices.approve",
			"jobs.read", "jobs.run", "jobs.cancel", "schedules.read", "schedules.manage", "scripts.read", "scripts.manage", "policies.read", "policies.manage",
			"audit.read", "users.read", "api_keys.read", "settings.read", "settings.manage", "custom_fields.read", "custom_fields.manage", "custom_fields.write",
			"approvals.read", "approvals.decide"}})
	s.intruders = append(s.intruders, &intruder{&caller{site: s.site, name: "key", token: key.text(t, "secret")}, "API key of another tenant", s.b})
	var err error
	if s.database, err = pgx.Connect(t.Context(), s.urls.Admin); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.database.Close(t.Context()) })
	return s
}

// fingerprint is a checksum over every row of a tenant in every table, but for when the server's own
// sweeps last looked at it.
func (s *isolation) fingerprint(t *testing.T, tenant string) map[string]string {
	t.Helper()
	const tables = `SELECT format('SELECT %L::text, coalesce(md5(string_agg(r.row, '''' ORDER BY r.row)), '''') FROM %I x, LATERAL (SELECT md5((to_jsonb(x) - ARRAY[''checked_at'', ''zones_checked_at''])::text) AS row) r WHERE %I = $1',
			c.relname, c.relname, CASE c.relname WHEN 'tenants' THEN 'id' ELSE 'tenant_id' END)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND (c.relname = 'tenants' OR EXISTS (
			SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped))`
	rows, err := s.database.Query(t.Context(), tables)
	if err != nil {
		t.Fatal(err)
	}
	queries, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(queries) < 20 {
		t.Fatalf("%d tables of tenants, %v", len(queries), err)
	}
	rows, err = s.database.Query(t.Context(), strings.Join(queries, " UNION ALL "), tenant)
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]string{}
	for rows.Next() {
		var table, sum string
		if err := rows.Scan(&table, &sum); err != nil {
			t.Fatal(err)
		}
		sums[table] = sum
	}
	if rows.Err() != nil {
		t.Fatal(rows.Err())
	}
	return sums
}

// patient asks again when it was asked to slow down.
func (s *site) patient(t *testing.T, token, method, path string, body any) (r reply) {
	t.Helper()
	until(t, "the server takes another request", func() bool {
		r = s.send(t, token, method, path, body)
		return r.status != http.StatusTooManyRequests
	})
	return r
}

// sameAnswer is an answer without what differs from request to request.
func sameAnswer(r reply, ids map[string]string) string {
	body := object{}
	if json.Unmarshal(r.raw, &body) == nil {
		for _, name := range []string{"request_id", "instance", "server_time", "checked_at", "generated_at", "created_at", "updated_at", "now"} {
			delete(body, name)
		}
	}
	raw, _ := json.Marshal(body)
	text := string(raw)
	for name, id := range ids {
		text = strings.ReplaceAll(text, id, "$"+name)
	}
	return fmt.Sprint(r.status, " ", text)
}

// try is one cell: the foreign objects are answered exactly as if they did not exist.
func (s *isolation) try(t *testing.T, who *intruder, a attempt, some []string) {
	t.Helper()
	foreign, nobody := map[string]string{}, map[string]string{}
	for _, slot := range some {
		foreign[slot], nobody[slot] = s.a[slot], uuid.Must(uuid.NewV7()).String()
	}
	id := a.op.spec.OperationID
	path, body := a.fill(who.own, foreign)
	got := s.patient(t, who.token, a.op.method, path, body)
	where := fmt.Sprintf("%s by the %s, %v of tenant A, %s %v", id, who.role, some, a.path, a.body)
	if strings.Contains(string(got.raw), canaryA) {
		t.Errorf("%s: leaks %s", where, got.raw)
	}
	inPath := strings.Contains(strings.SplitN(path, "?", 2)[0], "/") && slices.ContainsFunc(some, func(slot string) bool {
		return slices.Contains(slotsOf(strings.SplitN(a.path, "?", 2)[0], nil), slot)
	})
	if inPath && got.status != http.StatusNotFound && got.status != http.StatusForbidden {
		t.Errorf("%s: answered %d %s", where, got.status, got.raw)
	}
	inBody := a.body != nil && slices.ContainsFunc(some, func(slot string) bool { return slices.Contains(slotsOf("", a.body), slot) })
	if inBody && got.status < 300 && lenient[id] == "" {
		t.Errorf("%s: answered %d %s", where, got.status, got.raw)
	}
	if got.status < 300 && a.op.method != "GET" && inBody {
		return // it made something of its own: two of these differ
	}
	path, body = a.fill(who.own, nobody)
	unknown := s.patient(t, who.token, a.op.method, path, body)
	if one, other := sameAnswer(got, foreign), sameAnswer(unknown, nobody); one != other {
		t.Errorf("%s: an object of tenant A is told from one that does not exist:\n%s\n%s", where, one, other)
	}
}

// TestNobodyReachesAnotherTenant calls every operation of the contract that names objects with those
// of another tenant, alone and mixed with the caller's own. The answer must be the one for what does
// not exist, show nothing of the other tenant and change nothing there.
func TestNobodyReachesAnotherTenant(t *testing.T) {
	t.Parallel()
	s := newIsolation(t)
	tested, possible := 0, 0
	var named []*contractOp
	before := s.fingerprint(t, s.a["tenant"])
	for _, op := range s.contract.ops {
		if strings.HasPrefix(op.template, "/agent/") {
			continue // a device names no object there: its tenant comes from its key
		}
		list := attempts(t, op)
		if covered(t, op) || len(list) > 0 {
			possible += len(s.intruders)
		}
		if len(list) == 0 {
			if op.method == "GET" {
				s.crawl(t, op)
			}
			continue
		}
		named = append(named, op)
		for n, who := range s.intruders {
			tested++
			if n == 0 && meantToReach[op.spec.OperationID] != "" {
				continue
			}
			for _, a := range list {
				for _, some := range subsets(a.slots) {
					s.try(t, who, a, some)
				}
			}
		}
		after := s.fingerprint(t, s.a["tenant"])
		for table, sum := range after {
			if before[table] != sum {
				t.Errorf("%s changed %s of tenant A", op.spec.OperationID, table)
			}
		}
		before = after
	}
	s.control(t, named)
	row(t, object{"check": "tenant isolation", "cells_tested": tested, "cells_possible": possible, "operations": len(named)})
	if tested < possible || tested < 200 {
		t.Errorf("%d of %d cells were tested", tested, possible)
	}
}

// crawl looks for tenant A in what names no object.
func (s *isolation) crawl(t *testing.T, op *contractOp) {
	t.Helper()
	for _, who := range s.intruders {
		if r := s.patient(t, who.token, op.method, op.template, nil); strings.Contains(string(r.raw), canaryA) {
			t.Errorf("%s by the %s leaks %s", op.spec.OperationID, who.role, r.raw)
		}
	}
}

// control does the same with the caller's own objects, which must be allowed: otherwise the refusals
// above would prove nothing. What destroys comes last.
func (s *isolation) control(t *testing.T, ops []*contractOp) {
	t.Helper()
	who := s.intruders[0]
	extra := s.signIn(t, who.name, who.password)
	who.own["session"] = extra.ok(t, "GET", "/api/v1/auth/sessions", nil).items(t)[0]["id"].(string)
	// These belong to a person, not only to a tenant.
	who.own["saved_filter"] = who.ok(t, "POST", "/api/v1/saved-filters", object{"name": "mine", "filter": object{"all": []object{{"field": "name", "op": "prefix", "value": "x"}}}}).text(t, "id")
	who.own["api_key"] = who.ok(t, "POST", "/api/v1/api-keys", object{"name": "mine", "permissions": []string{"devices.read"}, "tenant_ids": []string{who.own["tenant"]},
		"expires_at": time.Now().AddDate(0, 0, 2).UTC().Format(time.RFC3339)}).text(t, "api_key", "id")
	order := func(op *contractOp) int {
		switch id := op.spec.OperationID; {
		case meantToReach[id] != "":
			return 3
		case op.method == "GET":
			return 0
		case op.method == "DELETE":
			return 2
		case strings.HasPrefix(id, "retire"), strings.HasPrefix(id, "quarantine"), strings.HasPrefix(id, "reject"), strings.HasPrefix(id, "logout"):
			return 1
		}
		return 0
	}
	slices.SortStableFunc(ops, func(a, b *contractOp) int { return order(a) - order(b) })
	for _, op := range ops {
		for _, a := range attempts(t, op) {
			path, body := a.fill(who.own, nil)
			r := s.patient(t, who.token, op.method, path, body)
			refused := r.status >= 400 && r.status != http.StatusConflict
			switch why := notByTenant[op.spec.OperationID]; {
			case refused && why == "":
				t.Errorf("%s with own objects, %s %v: %d %s", op.spec.OperationID, path, a.body, r.status, r.raw)
			case !refused && why != "":
				t.Errorf("%s is possible although %s", op.spec.OperationID, why)
			}
		}
	}
}

// covered tells whether an operation names objects, and fails the test when a field that does has no
// shape.
func covered(t *testing.T, op *contractOp) bool {
	t.Helper()
	names := len(op.names) > 0
	for _, p := range op.spec.Parameters {
		names = names || p.Value.In == openapi3.ParameterInQuery && strings.HasSuffix(p.Value.Name, "_id")
	}
	if op.spec.RequestBody == nil {
		return names
	}
	schema := op.spec.RequestBody.Value.Content.Get("application/json").Schema.Value
	fields := idFields(schema, "", 0)
	list := shapes[op.spec.OperationID]
	if len(fields) > 0 || names {
		if len(list) == 0 {
			t.Errorf("%s names objects and has no shape in this test", op.spec.OperationID)
		}
	}
	for _, field := range fields {
		if !slices.ContainsFunc(list, func(shape object) bool { return places(shape, strings.Split(field[1:], "/")) }) {
			t.Errorf("%s: no shape gives %s", op.spec.OperationID, field)
		}
	}
	return names || len(fields) > 0
}

// idFields lists the fields of a schema that hold ids.
func idFields(s *openapi3.Schema, at string, depth int) (list []string) {
	if depth > 6 {
		return nil // filters nest in themselves
	}
	if s.Format == "uuid" {
		return []string{at}
	}
	if s.Items != nil {
		list = append(list, idFields(s.Items.Value, at, depth+1)...)
	}
	for name, property := range s.Properties {
		list = append(list, idFields(property.Value, at+"/"+name, depth+1)...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// places tells whether a shape has a placeholder at a field, through lists.
func places(value any, field []string) bool {
	switch v := value.(type) {
	case []any:
		return slices.ContainsFunc(v, func(item any) bool { return places(item, field) })
	case object:
		return len(field) > 0 && places(v[field[0]], field[1:])
	case string:
		return len(field) == 0 && strings.HasPrefix(v, "$")
	}
	return false
}
