package app

import (
	"net/http"
	"slices"
	"testing"
)

// pointersOf are the fields that a problem names.
func (r reply) pointersOf(t testing.TB) (list []string) {
	t.Helper()
	raw, _ := r.body["errors"].([]any)
	for _, item := range raw {
		list = append(list, item.(object)["pointer"].(string))
	}
	slices.Sort(list)
	return list
}

// TestEveryFaultOfAScheduleNamesItsField asks over HTTP: what the contract refuses, what schedules
// refuse and what the queue refuses all name the field as it stands in the request.
func TestEveryFaultOfAScheduleNamesItsField(t *testing.T) {
	t.Parallel()
	i := start(t, "off")
	c := i.admin(t)
	tenant, site := c.place(t, "Acme")
	other, _ := c.place(t, "Other")
	with := func(changes object) object {
		body := object{"tenant_id": tenant, "name": "nightly", "zone_mode": "fixed", "zone": "Europe/Berlin", "recurrence": object{"cron": "0 2 * * *"},
			"targets": object{"site_id": site}, "what": object{"kind": "script.run", "payload": bash("true")}}
		for name, value := range changes {
			if body[name] = value; value == nil {
				delete(body, name)
			}
		}
		return body
	}
	payload := func(p object) object { return object{"what": object{"kind": "script.run", "payload": p}} }
	nights := object{"cron": "0 2 * * *"}
	for name, f := range map[string]struct {
		changes object
		want    []string
	}{
		"no zone":                {object{"zone": nil}, []string{"/zone"}},
		"an unknown zone":        {object{"zone": "Mars/Base"}, []string{"/zone"}},
		"a mode as a zone":       {object{"zone": "device"}, []string{"/zone"}},
		"a zone with a mode":     {object{"zone_mode": "site"}, []string{"/zone"}},
		"an unknown mode":        {object{"zone_mode": "moon"}, []string{"/zone_mode"}},
		"no recurrence":          {object{"recurrence": object{}}, []string{"/recurrence"}},
		"two recurrences":        {object{"recurrence": object{"cron": "0 2 * * *", "once": "2030-01-01T00:00"}}, []string{"/recurrence"}},
		"a bad cron":             {object{"recurrence": object{"cron": "99 2 * * *"}}, []string{"/recurrence/cron"}},
		"a bad anchor":           {object{"recurrence": object{"every": object{"n": 1, "unit": "days", "anchor": "2025-02-31T09:00"}}}, []string{"/recurrence/every/anchor"}},
		"a time that is past":    {object{"recurrence": object{"once": "2020-01-01T00:00"}}, []string{"/recurrence"}},
		"a bad window":           {object{"window": object{"recurrence": object{"cron": "99 2 * * *"}, "duration_seconds": 3600}}, []string{"/window/recurrence/cron"}},
		"a window at all hours":  {object{"window": object{"recurrence": object{"cron": "*/5 * * * *"}, "duration_seconds": 3600}}, []string{"/window/recurrence"}},
		"a window too short":     {object{"window": object{"recurrence": nights, "duration_seconds": 10}}, []string{"/window/duration_seconds"}},
		"a jitter out of it":     {object{"jitter_seconds": 7000, "window": object{"recurrence": nights, "duration_seconds": 3600}}, []string{"/jitter_seconds"}},
		"work longer than it":    {object{"window": object{"recurrence": nights, "duration_seconds": 600}, "what": payload(object{"interpreter": "bash", "script": "true", "timeout_seconds": 3600})["what"]}, []string{"/window/duration_seconds"}},
		"no script":              {payload(object{"interpreter": "bash"}), []string{"/what/payload/script"}},
		"an unknown interpreter": {payload(object{"interpreter": "basic", "script": "true"}), []string{"/what/payload/interpreter"}},
		"an unknown field":       {payload(object{"interpreter": "bash", "script": "true", "sudo": true}), []string{"/what/payload/sudo"}},
		"a wrong type":           {payload(object{"interpreter": "bash", "script": 7}), []string{"/what/payload/script"}},
		"an unknown kind":        {object{"what": object{"kind": "format.disk", "payload": object{}}}, []string{"/what/kind"}},
		"no targets":             {object{"targets": object{}}, []string{"/targets"}},
		"all tenants":            {object{"targets": object{"all_tenants": true}}, []string{"/targets/all_tenants"}},
		"another tenant":         {object{"targets": object{"tenant_id": other}}, []string{"/targets/tenant_id"}},
		"another tenant's site":  {object{"tenant_id": other}, []string{"/targets/site_id"}},
		"a policy":               {object{"catch_up": object{"policy": "maybe"}}, []string{"/catch_up/policy"}},
		"no name":                {object{"name": ""}, []string{"/name"}},
		"a name of spaces":       {object{"name": "   "}, []string{"/name"}},
		"an unknown tenant":      {object{"tenant_id": "00000000-0000-0000-0000-000000000009", "targets": object{"tag": "any"}}, nil},
	} {
		r := c.call(t, "POST", "/api/v1/schedules", with(f.changes))
		if got := r.pointersOf(t); f.want != nil && (r.status != http.StatusBadRequest || !slices.Equal(got, f.want)) || f.want == nil && r.status != http.StatusNotFound {
			t.Errorf("%s: %d %v, not %v: %s", name, r.status, got, f.want, r.raw)
		}
	}
	if list := c.ok(t, "GET", "/api/v1/schedules", nil).items(t); len(list) != 0 {
		t.Errorf("%d refused schedules are there", len(list))
	}

	made := c.ok(t, "POST", "/api/v1/schedules", with(object{"window": object{"recurrence": nights, "duration_seconds": 7200}}))
	at := "/api/v1/schedules/" + made.text(t, "id")
	for name, f := range map[string]struct {
		body object
		want []string
	}{
		"both a window and none":  {object{"version": 1, "drop_window": true, "window": object{"recurrence": nights, "duration_seconds": 7200}}, []string{"/drop_window"}},
		"a zone alone":            {object{"version": 1, "zone": "Asia/Tokyo"}, []string{"/zone_mode"}},
		"fixed, without its zone": {object{"version": 1, "zone_mode": "fixed"}, []string{"/zone"}},
		"a payload":               {object{"version": 1, "what": payload(object{"script": "true"})["what"]}, []string{"/what/payload/interpreter"}},
		"never again":             {object{"version": 1, "recurrence": object{"once": "2020-01-01T00:00"}}, []string{"/recurrence"}},
	} {
		if r := c.call(t, "PATCH", at, f.body); r.status != http.StatusBadRequest || !slices.Equal(r.pointersOf(t), f.want) {
			t.Errorf("%s: %d %s", name, r.status, r.raw)
		}
	}
	changed := c.ok(t, "PATCH", at, object{"version": 1, "drop_window": true, "recurrence": object{"once": "2199-01-01T00:00"}, "zone_mode": "tenant"})
	if changed.body["window"] != nil || changed.body["zone"] != nil || changed.text(t, "catch_up", "policy") != "skip" || changed.body["version"] != 2.0 {
		t.Errorf("changed: %s", changed.raw)
	}
	if r := c.call(t, "PATCH", at, object{"version": 1, "name": "late"}); r.status != http.StatusConflict {
		t.Errorf("an old version: %d", r.status)
	}
	if r := c.call(t, "POST", at+"/run", nil); r.status != http.StatusConflict {
		t.Errorf("a run by hand without any device: %d %s", r.status, r.raw)
	}
	once := c.ok(t, "POST", "/api/v1/schedules", with(object{"recurrence": object{"once": "2199-01-01T00:00"}}))
	if once.text(t, "catch_up", "policy") != "run_asap" {
		t.Errorf("one-off work is %s when nobody said", once.text(t, "catch_up", "policy"))
	}
	c.ok(t, "DELETE", at, nil)
	c.ok(t, "GET", at+"/runs", nil)

	for name, f := range map[string]struct {
		body object
		want []string
	}{
		"no times":  {object{}, []string{"/ends_local", "/starts_local"}},
		"backwards": {object{"starts_local": "2030-01-02T00:00", "ends_local": "2030-01-01T00:00"}, []string{"/ends_local"}},
		"often":     {object{"recurrence": object{"cron": "* * * * *"}, "duration_seconds": 60}, []string{"/recurrence"}},
		"zone":      {object{"zone": "device", "starts_local": "2030-01-01T00:00", "ends_local": "2030-01-02T00:00"}, []string{"/zone"}},
	} {
		body := object{"tenant_id": tenant, "name": "Freeze", "zone": "UTC"}
		for field, value := range f.body {
			body[field] = value
		}
		if r := c.call(t, "POST", "/api/v1/blackouts", body); r.status != http.StatusBadRequest || !slices.Equal(r.pointersOf(t), f.want) {
			t.Errorf("blackout, %s: %d %s", name, r.status, r.raw)
		}
	}
}
