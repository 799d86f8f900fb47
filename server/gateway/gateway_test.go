package gateway

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api"
	"reeve/api/fault"
	"reeve/api/wire"
	"reeve/server/auth"
	"reeve/server/bus"
	"reeve/server/dbtest"
	"reeve/server/fleet"
	"reeve/server/policy"
	"reeve/server/tasks"
	"reeve/tenants"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// world is a gateway with the real parts around it, listening.
type world struct {
	*Service
	fleet        *fleet.Service
	tasks        *tasks.Service
	db           *tenantdb.DB
	statements   atomic.Int64 // by GORM, all transactions
	tenant, site uuid.UUID
	address      string
}

// counter counts the statements that GORM reports as slow, with every statement being slow.
type counter struct {
	slog.Handler
	n *atomic.Int64
}

func (c counter) Enabled(context.Context, slog.Level) bool { return true }
func (c counter) Handle(_ context.Context, r slog.Record) error {
	if r.Message != "slow query" {
		return nil
	}
	watching := false
	r.Attrs(func(a slog.Attr) bool {
		watching = watching || a.Key == "sql" && strings.Contains(a.Value.String(), "state_changed_at >")
		return true
	})
	if !watching {
		c.n.Add(1)
	}
	return nil
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{tenant: newID(), site: newID()}
	var err error
	w.db, err = tenantdb.Open(t.Context(), tenantdb.Options{URL: dbtest.NewURLs(t).App, MaxConns: 10, SlowQuery: time.Nanosecond,
		Log: slog.New(counter{slog.DiscardHandler, &w.statements})})
	must(t, err)
	t.Cleanup(func() { must(t, w.db.Close()) })
	policies := policy.New(w.db)
	w.fleet = fleet.New(fleet.Options{DB: w.db, Log: dbtest.Log(t), DevicesChanged: policies.RecomputeTx,
		Listening:    func() fleet.Listening { return fleet.Listening{Since: time.Now().Add(-time.Hour)} },
		StateChanged: func(ids []uuid.UUID) { w.StateChanged(ids) },
		Tokens: fleet.TokenFormat{New: func() (string, [32]byte) { return auth.NewEnrolmentToken("") },
			Read: func(token string) ([32]byte, error) {
				stored, _, err := auth.ParseEnrolmentToken(token)
				return stored, err
			}}})
	public, private, err := ed25519.GenerateKey(nil)
	must(t, err)
	w.tasks, err = tasks.New(tasks.Options{DB: w.db, Log: dbtest.Log(t), Fleet: w.fleet,
		Signer:          func(context.Context) (string, ed25519.PrivateKey, error) { return "k1", private, nil },
		Brakes:          tenants.NewSettings(w.db, nil).JobsOf,
		RequestApproval: tenants.NewApprovals(w.db, nil).RequestTx,
		Doorbell:        func(ids []uuid.UUID) { w.Ring(ids) }})
	must(t, err)
	w.Service, err = New(Options{DB: w.db, Fleet: w.fleet, Tasks: w.tasks, Bus: bus.NewLocal(), Log: dbtest.Log(t), Now: time.Now,
		TaskKeys: func(context.Context) ([]api.TaskKey, error) {
			return []api.TaskKey{{Kid: "k1", PublicKey: public}}, nil
		},
		Limits: Limits{Window: 5 * time.Millisecond, WatchEvery: 200 * time.Millisecond}})
	must(t, err)
	w.listen(t)
	w.exec(t, "insert into tenants (id, name, slug) values (?, 'Acme', 'acme')", w.tenant)
	w.exec(t, "insert into sites (tenant_id, id, name) values (?, ?, 'Office')", w.tenant, w.site)
	return w
}

func (w *world) listen(t testing.TB) {
	t.Helper()
	app := fiber.New(fiber.Config{Immutable: true, StreamRequestBody: true, DisableStartupMessage: true,
		ErrorHandler: func(c *fiber.Ctx, err error) error {
			status := http.StatusInternalServerError
			if f, ok := fault.As(err); ok && statuses[f.Kind] != 0 {
				status = statuses[f.Kind]
			} else if ok && f.Kind == fault.ClockSkew {
				status = http.StatusUnauthorized
			} else if ok && (f.Kind == fault.NotFound || f.Kind == fault.Gone) {
				status = http.StatusGone
			} else if ok && f.Kind == fault.UnsupportedMedia {
				status = http.StatusUnsupportedMediaType
			}
			return c.Status(status).SendString(err.Error())
		}})
	w.Mount(app)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	w.address = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- app.Listener(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		must(t, w.Stop(ctx))
		must(t, app.ShutdownWithContext(ctx))
		must(t, <-served)
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

func (w *world) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	must(t, w.db.Tx(dbtest.System(t), func(tx *gorm.DB) error { return tx.Exec(sql, args...).Error }))
}

func (w *world) query(t testing.TB, into any, sql string, args ...any) {
	t.Helper()
	must(t, w.db.Tx(dbtest.System(t), func(tx *gorm.DB) error { return tx.Raw(sql, args...).Scan(into).Error }))
}

func staff(t testing.TB) context.Context {
	return dbtest.Staff(t, "devices.read", "devices.manage", "devices.approve", "devices.enrol", "jobs.read", "jobs.run", "jobs.cancel")
}

// endpoint is a device as the test plays it.
type endpoint struct {
	w     *world
	id    uuid.UUID
	key   ed25519.PrivateKey
	batch int
	boot  string
	entry int64
	at    time.Time // of its clock; now when zero
}

func (w *world) token(t testing.TB, uses int) string {
	t.Helper()
	_, token, _, err := w.fleet.CreateToken(staff(t), fleet.NewToken{TenantID: w.tenant, SiteID: w.site, MaxUses: uses})
	must(t, err)
	return token
}

func (w *world) enrol(t testing.TB, token string) *endpoint {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	must(t, err)
	status, body := w.post(t, wire.PathEnrol, "", map[string]any{"protocol": 1, "token": token, "public_key": []byte(public),
		"proof": ed25519.Sign(private, []byte(token)), "hostname": "pc-1", "os_family": "linux", "arch": "amd64", "agent_version": "1.0", "from_the_future": true})
	if status != http.StatusCreated {
		t.Fatalf("enrolling: %d %s", status, body)
	}
	var reply api.EnrolReply
	must(t, json.Unmarshal(body, &reply))
	return &endpoint{w: w, id: reply.DeviceID, key: private, boot: "boot-1"}
}

func (w *world) post(t testing.TB, path, bearer string, body any) (int, []byte) {
	t.Helper()
	raw, isRaw := body.([]byte)
	if !isRaw {
		var err error
		raw, err = json.Marshal(body)
		must(t, err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+w.address+path, bytes.NewReader(raw))
	must(t, err)
	req.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, answer
}

func (e *endpoint) claim(t testing.TB) string {
	t.Helper()
	now := e.at
	if now.IsZero() {
		now = time.Now()
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.RegisteredClaims{Issuer: e.id.String(), Subject: e.id.String(),
		Audience: jwt.ClaimStrings{wire.Audience}, IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(time.Minute))})
	token.Header["kid"], token.Header["typ"] = e.id.String(), wire.TokenType
	signed, err := token.SignedString(e.key)
	must(t, err)
	return signed
}

// message is a sync that says nothing but that it is there; more is added by extra.
func (e *endpoint) message(extra map[string]any) map[string]any {
	e.batch++
	m := map[string]any{"protocol": 1, "batch_id": fmt.Sprintf("batch-%d", e.batch), "sent_at": time.Now().UTC().Format(time.RFC3339Nano),
		"agent_version": "1.0", "boot_id": e.boot, "journal": map[string]any{"id": "journal-1", "last_entry": e.entry}, "ready": true}
	for name, value := range extra {
		m[name] = value
	}
	return m
}

func (e *endpoint) sync(t testing.TB, extra map[string]any) api.SyncReply {
	t.Helper()
	status, body := e.w.post(t, wire.PathSync, e.claim(t), e.message(extra))
	if status != http.StatusOK {
		t.Fatalf("sync: %d %s", status, body)
	}
	var reply api.SyncReply
	must(t, json.Unmarshal(body, &reply))
	return reply
}

func TestFromJoiningToAResult(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.enrol(t, w.token(t, 1))
	reply := e.sync(t, nil)
	if reply.State != api.DeviceStateActive || reply.BatchID != "batch-1" || reply.IntervalSeconds != 60 || reply.Config == nil || len(reply.Tasks) != 0 {
		t.Fatalf("%+v", reply)
	}
	if again := e.sync(t, map[string]any{"config_version": reply.ConfigVersion}); again.Config != nil {
		t.Errorf("the configuration is sent only when it differs: %v", again.Config)
	}
	d, err := w.fleet.Device(staff(t), e.id)
	must(t, err)
	if d.Presence != fleet.Online {
		t.Errorf("presence %s", d.Presence)
	}
	job, err := w.tasks.CreateJob(staff(t), tasks.NewJob{Kind: "script.run", Targets: fleet.Selector{DeviceIDs: []uuid.UUID{e.id}},
		Payload: json.RawMessage(`{"interpreter": "bash", "script": "echo hi", "timeout_seconds": 30}`)})
	must(t, err)
	got := e.sync(t, nil)
	if len(got.Tasks) != 1 {
		t.Fatalf("tasks: %+v", got.Tasks)
	}
	var payload wire.Payload
	must(t, json.Unmarshal(got.Tasks[0].PayloadB64, &payload))
	e.entry++
	done := e.sync(t, map[string]any{"task_updates": []any{
		map[string]any{"id": "u1", "task_id": payload.ID, "state": "running", "at": time.Now().UTC()},
		map[string]any{"id": "u2", "task_id": payload.ID, "state": "succeeded", "at": time.Now().UTC(), "exit_code": 0,
			"output": []any{map[string]any{"stream": "stdout", "offset": 0, "data": base64.StdEncoding.EncodeToString([]byte("hi\n"))}}},
		map[string]any{"id": "bad", "task_id": "nonsense", "state": "succeeded", "at": time.Now().UTC()},
	}})
	if strings.Join(done.Ack.TaskUpdates, ",") != "u1,u2" || len(done.Ack.Rejected) != 1 || done.Ack.Rejected[0].ID != "bad" {
		t.Errorf("%+v", done.Ack)
	}
	j, err := w.tasks.GetJob(staff(t), job.ID)
	must(t, err)
	if j.Counts[tasks.Succeeded] != 1 {
		t.Errorf("%+v", j.Counts)
	}
	e.sync(t, map[string]any{"goodbye": "the machine shuts down"})
	if d, err = w.fleet.Device(staff(t), e.id); err != nil || d.Presence != fleet.Offline {
		t.Errorf("after a goodbye: %s, %v", d.Presence, err)
	}
}

func TestPartsAreTakenOneByOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.enrol(t, w.token(t, 1))
	hash := func(c string) string { return strings.Repeat(c, 64) }
	now := time.Now().UTC()
	section := func(name, hash string, data any) map[string]any {
		return map[string]any{"name": name, "hash": hash, "collected_at": now, "data": data}
	}
	reply := e.sync(t, map[string]any{
		"section_hashes": map[string]any{"os": hash("a"), "disks": hash("b"), "BAD NAME": 1, "software": hash("c")},
		"sections": []any{section("os", hash("a"), map[string]any{"name": "Debian\x00", "version": "12", "hostname": "renamed"}),
			section("Bad", hash("d"), nil), section("disks", "short", nil), 17, "x", nil},
		"events": []any{map[string]any{"number": 2, "at": now, "kind": "agent.started", "title": "Started"},
			map[string]any{"number": 1, "at": now, "kind": "agent.stopped", "title": "Stopped\x00\u202e"},
			map[string]any{"number": 3, "at": "yesterday", "kind": "x", "title": "y"}, map[string]any{"number": "4"}},
		"running_task_ids": []any{"nonsense", 5, newID()}, "zone": "Mars/Phobos", "boot_at": "never",
	})
	if reply.Ack.EventsThrough == nil || *reply.Ack.EventsThrough != 3 || len(reply.Ack.Sections) != 1 || len(reply.Ack.Rejected) != 7 {
		t.Errorf("%+v through %v", reply.Ack, reply.Ack.EventsThrough)
	}
	if strings.Join(reply.WantedSections, ",") != "disks,software" {
		t.Errorf("wanted: %v", reply.WantedSections)
	}
	again := e.sync(t, map[string]any{"events": []any{map[string]any{"number": 2, "at": now, "kind": "agent.started", "title": "Started"}}})
	if *again.Ack.EventsThrough != 3 {
		t.Errorf("a repeated event is acknowledged again: %v", *again.Ack.EventsThrough)
	}
	events, _, err := w.fleet.Timeline(staff(t), e.id, nil, "", 50)
	must(t, err)
	count := 0
	for _, v := range events {
		if strings.HasPrefix(v.Kind, "endpoint.") {
			count++
		}
	}
	if count != 2 {
		t.Errorf("%d events stored: %+v", count, events)
	}
	d, err := w.fleet.Device(staff(t), e.id)
	must(t, err)
	if d.Name != "renamed" || d.OSName != "Debian" || d.Zone != nil {
		t.Errorf("%+v", d)
	}
}

func TestStatesDecideWhatADeviceGets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.enrol(t, w.token(t, 1))
	e.sync(t, nil)
	_, err := w.tasks.CreateJob(staff(t), tasks.NewJob{Kind: "script.run", Targets: fleet.Selector{DeviceIDs: []uuid.UUID{e.id}},
		Payload: json.RawMessage(`{"interpreter": "bash", "script": "true", "timeout_seconds": 30}`)})
	must(t, err)
	w.exec(t, "update tenants set state = 'suspended' where id = ?", w.tenant)
	if r := e.sync(t, nil); r.State != api.DeviceStateQuarantined || len(r.Tasks) != 0 {
		t.Errorf("suspended tenant: %s, %d tasks", r.State, len(r.Tasks))
	}
	w.exec(t, "update tenants set state = 'active' where id = ?", w.tenant)
	d, err := w.fleet.Device(staff(t), e.id)
	must(t, err)
	d, err = w.fleet.Quarantine(staff(t), e.id, fleet.Move{Version: d.Version})
	must(t, err)
	if r := e.sync(t, nil); r.State != api.DeviceStateQuarantined || len(r.Tasks) != 0 {
		t.Errorf("quarantined: %s, %d tasks", r.State, len(r.Tasks))
	}
	d, err = w.fleet.Release(staff(t), e.id, fleet.Move{Version: d.Version})
	must(t, err)
	if r := e.sync(t, nil); r.State != api.DeviceStateActive || len(r.Tasks) != 1 {
		t.Errorf("released: %s, %d tasks", r.State, len(r.Tasks))
	}
	_, err = w.fleet.Retire(staff(t), e.id, fleet.Move{Version: d.Version})
	must(t, err)
	if status, body := w.post(t, wire.PathSync, e.claim(t), e.message(nil)); status != http.StatusForbidden {
		t.Errorf("retired: %d %s", status, body)
	}
}

func TestARolledBackJournalQuarantines(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.enrol(t, w.token(t, 1))
	e.entry = 10
	e.sync(t, nil)
	e.entry = 9
	if r := e.sync(t, nil); r.State != api.DeviceStateQuarantined {
		t.Errorf("state %s", r.State)
	}
	var n int
	w.query(t, &n, "select count(*) from audit_entries where action = 'device.quarantined' and object_id = ?", e.id.String())
	if n != 1 {
		t.Errorf("%d audit rows", n)
	}
	if r := e.sync(t, nil); r.State != api.DeviceStateQuarantined {
		t.Errorf("it must stay in quarantine: %s", r.State)
	}
}

func TestClaims(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.enrol(t, w.token(t, 1))
	other := *e
	_, other.key, _ = ed25519.GenerateKey(nil)
	stranger := *e
	stranger.id = newID()
	late := *e
	late.at = time.Now().Add(-time.Hour)
	for name, c := range map[string]struct {
		token  string
		status int
		text   string
	}{
		"another key": {other.claim(t), 401, "credential"}, "unknown device": {stranger.claim(t), 401, "credential"},
		"wrong clock": {late.claim(t), 401, "clock"}, "nothing": {"", 401, "credential"}, "garbage": {"a.b.c", 401, "credential"},
		"good": {e.claim(t), 200, "batch_id"},
	} {
		status, body := w.post(t, wire.PathSync, c.token, e.message(nil))
		if status != c.status || !strings.Contains(string(body), c.text) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
}

func TestIdleSyncsShareTheirStatements(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const n = 60
	token := w.token(t, n)
	var list []*report
	for range n {
		e := w.enrol(t, token)
		reply := e.sync(t, nil)
		body, err := json.Marshal(e.message(map[string]any{"config_version": reply.ConfigVersion}))
		must(t, err)
		r, err := decode(&Device{id: e.id, tenant: w.tenant}, body, time.Now())
		must(t, err)
		list = append(list, r)
	}
	before := w.statements.Load()
	answers, err := w.flush(scope.AsSystem(t.Context(), "test"), list)
	must(t, err)
	if got := w.statements.Load() - before; got > 2 {
		t.Errorf("%d idle syncs took %d statements", n, got)
	}
	for _, a := range answers {
		if a.err != nil || a.state != fleet.Active {
			t.Fatalf("%+v", a)
		}
	}
}
