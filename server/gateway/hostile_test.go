package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"reeve/api/wire"
	"reeve/server/fleet"
	"reeve/server/tasks"
)

// payloads is what an endpoint might say to harm whoever reads it.
var payloads = []string{
	"<script>alert(1)</script>", "'; drop table devices; --", `"},{"x":"`, "=cmd|' /C calc'!A0", "\x00", "a\x00b", "\xff\xfe", "\u202egnp.exe",
	"\x1b[2J\x1b]0;owned\x07", "${jndi:ldap://x}", "../../etc/passwd", "%s%n%x", "{{7*7}}", strings.Repeat("A", 100_000), strings.Repeat("\U0001F4A9", 5000),
	`\ud800`, "NaN", "1e999999999", "-0", "null", "\r\nSet-Cookie: x=y",
}

func TestHostileWordsAreStoredHarmlessly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.enrol(t, w.token(t, 1))
	now := time.Now().UTC()
	for i, p := range payloads {
		reply := e.sync(t, map[string]any{"agent_version": p, "zone": p, "address": p, "boot_id": e.boot, "config_version": p, "goodbye": p,
			"section_hashes": map[string]any{p: p, "os": p},
			"sections": []any{map[string]any{"name": "os", "hash": fmt.Sprintf("%064x", i+1), "collected_at": now,
				"data": map[string]any{"hostname": p, "name": p, "version": p, "arch": p, p: p}},
				map[string]any{"name": "hardware", "hash": fmt.Sprintf("%064x", i+1), "collected_at": now, "data": map[string]any{"serial": p, "model": p, "manufacturer": p, "kind": p}},
				map[string]any{"name": "network", "hash": fmt.Sprintf("%064x", i+1), "collected_at": now, "data": map[string]any{"interfaces": []any{map[string]any{"name": p, "addresses": []any{p, p + "2"}}}}},
				map[string]any{"name": "users", "hash": fmt.Sprintf("%064x", i+1), "collected_at": now, "data": map[string]any{"logged_in": []any{p, map[string]any{"user": p + "3"}}}},
				map[string]any{"name": "software", "hash": fmt.Sprintf("%064x", i+1), "collected_at": now, "data": map[string]any{"packages": []any{
					map[string]any{"name": p, "version": p, "publisher": p, "source": p, "installed_at": p}, map[string]any{"name": p, "version": "2"}, p}}}},
			"events":       []any{map[string]any{"number": i + 1, "at": now, "kind": "x", "title": p, "detail": map[string]any{p: p}}},
			"task_updates": []any{map[string]any{"id": p, "task_id": newID(), "state": "failed", "at": now, "reason": p, "result": map[string]any{p: p}}}})
		if reply.State == "quarantined" || len(reply.Ack.Sections) != 5 {
			t.Fatalf("%q: %+v", p[:min(len(p), 20)], reply.Ack)
		}
	}
	d, err := w.fleet.Device(staff(t), e.id)
	must(t, err)
	for _, s := range append([]string{d.Name, d.Hostname, d.OSName, d.AgentVersion}, d.Addresses...) {
		if strings.ContainsAny(s, "\x00\r\n\x1b") || len(s) > 1100 {
			t.Errorf("stored as it came: %q", s[:min(len(s), 40)])
		}
	}
	// Whatever was said, every query of ours still works on it.
	for _, q := range payloads {
		if _, err := w.fleet.List(staff(t), fleet.Query{Text: &q, WithTotal: true}); err != nil {
			t.Errorf("searching %q: %v", q[:min(len(q), 20)], err)
		}
	}
	for _, fn := range []func() error{
		func() error { _, err := w.fleet.Inventory(staff(t), e.id); return err },
		func() error { _, _, err := w.fleet.Changes(staff(t), e.id, nil, "", 200); return err },
		func() error { _, _, err := w.fleet.Software(staff(t), e.id, nil, "", 200); return err },
		func() error { _, _, err := w.fleet.Timeline(staff(t), e.id, nil, "", 200); return err },
	} {
		must(t, fn())
	}
}

func TestMalformedSyncsAreRefusedByName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.enrol(t, w.token(t, 1))
	deep := strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000)
	for name, c := range map[string]struct {
		body   string
		status int
		text   string
	}{
		"empty": {"", 400, "object"}, "no JSON": {"hello", 400, "object"}, "a list": {"[]", 400, "object"}, "null": {"null", 400, "object"},
		"deep": {deep, 400, "nested"}, "nothing said": {"{}", 400, "/protocol"},
		"wrong types":    {`{"protocol":"1","batch_id":7,"sent_at":1,"journal":[],"agent_version":{}}`, 400, "/journal/last_entry"},
		"negative entry": {`{"protocol":1,"batch_id":"b","sent_at":"2025-01-01T00:00:00Z","journal":{"id":"j","last_entry":-1}}`, 400, "/journal/last_entry"},
		"a distant year": {`{"protocol":1,"batch_id":"b","sent_at":"9999-12-31T00:00:00Z","journal":{"id":"j","last_entry":1}}`, 400, "/sent_at"},
		"wrong everywhere else": {`{"protocol":1,"batch_id":"b","sent_at":"2025-01-01T00:00:00Z","journal":{"id":"j","last_entry":1},
			"sections":7,"events":{},"task_updates":"x","running_task_ids":[[]],"section_hashes":[1],"ready":"yes","boot_at":{},"zone":[]}`, 200, "batch_id"},
	} {
		status, body := w.post(t, wire.PathSync, e.claim(t), []byte(c.body))
		if status != c.status || !strings.Contains(string(body), c.text) {
			t.Errorf("%s: %d %.200s", name, status, body)
		}
	}
	large := append([]byte(`{"x":"`), bytes.Repeat([]byte("a"), wire.MaxSyncBytes)...)
	w.refusesUnread(t, "", large, http.StatusUnauthorized)
	w.refusesUnread(t, e.claim(t), large, http.StatusRequestEntityTooLarge)
}

// refusesUnread holds that a body is not read and its connection ends, with or without the answer having
// arrived before that.
func (w *world) refusesUnread(t testing.TB, bearer string, body []byte, status int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+w.address+wire.PathSync, bytes.NewReader(body))
	must(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+bearer)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return
	}
	if resp.StatusCode != status || !resp.Close {
		t.Errorf("%d instead of %d, closed %v", resp.StatusCode, status, resp.Close)
	}
	must(t, resp.Body.Close())
}

func TestMalformedEnrolmentsAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, body := range []string{"", "[]", "{}", `{"protocol":1,"token":"x","public_key":"AAAA","hostname":"h","os_family":"linux","arch":"a","agent_version":"1"}`} {
		if status, answer := w.post(t, wire.PathEnrol, "", []byte(body)); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
	// A key that the sender does not hold.
	token := w.token(t, 1)
	status, answer := w.post(t, wire.PathEnrol, "", map[string]any{"protocol": 1, "token": token, "public_key": make([]byte, 32), "proof": make([]byte, 64),
		"hostname": "h", "os_family": "linux", "arch": "a", "agent_version": "1"})
	if status != http.StatusBadRequest || !strings.Contains(string(answer), "/proof") {
		t.Errorf("%d %s", status, answer)
	}
}

func TestOneDevicesFloodIsItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.token(t, 2)
	loud, quiet := w.enrol(t, token), w.enrol(t, token)
	refused := 0
	for range w.o.Limits.DeviceBurst + 20 {
		if status, _ := w.post(t, wire.PathSync, loud.claim(t), loud.message(nil)); status == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused == 0 {
		t.Error("a flood must be refused")
	}
	quiet.sync(t, nil)
}

// FuzzDecode holds that no message panics, costs more than its size allows, or yields a part that is not
// the device's own.
func FuzzDecode(f *testing.F) {
	d := &Device{id: newID(), tenant: newID()}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	head := `{"protocol":1,"batch_id":"b","sent_at":"2026-01-02T03:04:05Z","agent_version":"1","journal":{"id":"j","last_entry":1}`
	for _, p := range payloads {
		text, _ := json.Marshal(p[:min(len(p), 200)])
		f.Add([]byte(head + `,"sections":[{"name":"os","hash":"` + strings.Repeat("a", 64) + `","collected_at":"2026-01-02T03:04:05Z","data":` + string(text) + `}]}`))
		f.Add([]byte(head + `,"events":[{"number":1,"at":"2026-01-02T03:04:05Z","kind":"x","title":` + string(text) + `,"detail":{"a":` + string(text) + `}}]}`))
		f.Add([]byte(head + `,"task_updates":[{"id":` + string(text) + `,"task_id":"` + uuid.NewString() + `","state":"running","at":"2026-01-02T03:04:05Z","output":[{"stream":"stdout","offset":0,"data":"AA=="}]}]}`))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := decode(d, body, at)
		if err != nil {
			return
		}
		if len(r.sections) > fleet.MaxSections || len(r.events) > maxEvents || len(r.updates) > maxUpdates || len(r.running) > maxRunning {
			t.Fatal("more parts than allowed")
		}
		for _, s := range r.sections {
			if s.TenantID != d.tenant || s.DeviceID != d.id {
				t.Fatal("a section of somebody else")
			}
			text, err := json.Marshal(s.Data)
			if err != nil || bytes.Contains(text, []byte(`\u0000`)) && !bytes.Contains(text, []byte(`\\u0000`)) {
				t.Fatalf("data that cannot be stored: %v", err)
			}
		}
		for _, u := range r.updates {
			if u.TenantID != d.tenant || u.DeviceID != d.id || u.ID == "" {
				t.Fatal("an update of somebody else")
			}
		}
		for _, e := range r.events {
			if e.event.Kind != "" && (!strings.HasPrefix(e.event.Kind, "endpoint.") || e.event.TenantID != d.tenant) {
				t.Fatalf("an event that passes for ours: %+v", e.event)
			}
		}
		text := r.seen.AgentVersion + r.seen.Zone + r.seen.ConfigVersion + r.seen.Journal.ID + r.seen.Journal.BatchID + r.seen.Journal.BootID
		if strings.ContainsAny(text, "\x00\n\r\x1b") {
			t.Fatalf("%q", text)
		}
	})
}

// TestADeviceSpeaksForItselfOnly has a device report about the task of another tenant's device, and name
// that tenant as its own.
func TestADeviceSpeaksForItselfOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	victim := w.enrol(t, w.token(t, 1))
	_, err := w.tasks.CreateJob(staff(t), tasks.NewJob{Kind: "script.run", Targets: fleet.Selector{DeviceIDs: []uuid.UUID{victim.id}},
		Payload: json.RawMessage(`{"interpreter": "bash", "script": "true", "timeout_seconds": 30}`)})
	must(t, err)
	given := victim.sync(t, nil)
	var payload wire.Payload
	must(t, json.Unmarshal(given.Tasks[0].PayloadB64, &payload))

	owner := w.tenant
	w.tenant, w.site = newID(), newID()
	w.exec(t, "insert into tenants (id, name, slug) values (?, 'Other', 'other')", w.tenant)
	w.exec(t, "insert into sites (tenant_id, id, name) values (?, ?, 'Office')", w.tenant, w.site)
	stranger := w.enrol(t, w.token(t, 1))
	reply := stranger.sync(t, map[string]any{"tenant_id": owner, "device_id": victim.id, "running_task_ids": []any{payload.ID},
		"task_updates": []any{map[string]any{"id": "x", "task_id": payload.ID, "tenant_id": owner, "device_id": victim.id, "state": "failed", "at": time.Now()}}})
	if len(reply.Tasks) != 0 || len(reply.CancelTaskIds) != 0 {
		t.Errorf("%+v", reply)
	}
	var states []string
	w.query(t, &states, "select state from tasks")
	if len(states) != 1 || states[0] != "leased" {
		t.Errorf("the victim's task is %v", states)
	}
	var n int
	w.query(t, &n, "select count(*) from device_timeline where device_id = ? and tenant_id <> ?", stranger.id, w.tenant)
	if n != 0 {
		t.Error("an event in another tenant's timeline")
	}
}

func TestAStormIsSpread(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.enrol(t, w.token(t, 1))
	w.limits.connects.SetBurst(1)
	w.limits.connects.SetLimit(0.001)
	e.connect(t)
	_, resp, err := e.dial(t, nil)
	if err == nil || resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("beyond what is accepted: %v", err)
	}
	seen := map[time.Duration]bool{}
	for range 50 {
		again := jitter(w.o.Limits.RetryLeast, w.o.Limits.RetryMost)
		if again < w.o.Limits.RetryLeast || again > w.o.Limits.RetryMost {
			t.Errorf("%s", again)
		}
		seen[again] = true
	}
	if len(seen) < 40 {
		t.Error("all are asked to come back together")
	}
}
