package app

import (
	"fmt"
	"testing"
	"time"

	"reeve/api"
)

// world is one object of every kind that belongs to a tenant; each text in it carries the canary.
type world map[string]string

// kinds of objects, by the first part of the address that names one.
var kindOfPath = map[string]string{
	"tenants": "tenant", "sites": "site", "users": "user", "api-keys": "api_key", "custom-fields": "custom_field",
	"approvals": "approval", "enrolment-tokens": "enrolment_token", "devices": "device", "saved-filters": "saved_filter",
	"policies": "policy", "scripts": "script", "jobs": "job", "tasks": "task", "schedules": "schedule", "blackouts": "blackout",
	"auth/sessions": "session",
}

// kinds of objects, by the name of the field or parameter.
var kindOfName = map[string]string{
	"tenant_id": "tenant", "site_id": "site", "device_id": "device", "job_id": "job", "schedule_id": "schedule",
	"filter_id": "saved_filter", "actor_id": "user", "object_id": "device",
}

// settle makes a tenant with one of everything.
func settle(t testing.TB, c *caller, canary string) world {
	t.Helper()
	w := world{}
	text := func(what string) string { return canary + " " + what }
	w["tenant"] = c.ok(t, "POST", "/api/v1/tenants", object{"name": text("tenant"), "notes": text("notes")}).text(t, "id")
	mine := func(fields object) object {
		fields["tenant_id"] = w["tenant"]
		return fields
	}
	for _, name := range []string{"site", "site2"} {
		w[name] = c.ok(t, "POST", "/api/v1/sites", mine(object{"name": text(name), "notes": text("notes"), "address": text("address")})).text(t, "id")
	}
	person := c.user(t, w["tenant"], canary+"@"+canary+".example", object{"role": "customer_administrator", "all_tenants": false})
	w["user"] = person.ok(t, "GET", "/api/v1/auth/me", nil).text(t, "id")
	w["session"] = person.ok(t, "GET", "/api/v1/auth/sessions", nil).items(t)[0]["id"].(string)
	w["saved_filter"] = person.ok(t, "POST", "/api/v1/saved-filters", object{"name": text("filter"), "shared": true,
		"filter": object{"all": []object{{"field": "name", "op": "prefix", "value": canary}}}}).text(t, "id")
	w["api_key"] = c.ok(t, "POST", "/api/v1/api-keys", object{"name": text("key"), "permissions": []string{"devices.read"}, "tenant_ids": []string{w["tenant"]},
		"expires_at": time.Now().AddDate(0, 1, 0).UTC().Format(time.RFC3339)}).text(t, "api_key", "id")
	w["custom_field"] = c.ok(t, "POST", "/api/v1/custom-fields", mine(object{"key": "rack", "label": text("field"), "applies_to": "device", "type": "text"})).text(t, "id")
	token := c.ok(t, "POST", "/api/v1/enrolment-tokens", mine(object{"site_id": w["site"], "label": text("token"), "tags": []string{canary + "-tag"}, "max_uses": 10}))
	w["enrolment_token"] = token.text(t, "enrolment_token", "id")
	first := settleDevices(t, c, w, token.text(t, "token"), canary)
	settleWork(t, c, w, first, canary)
	return w
}

// settleDevices makes devices that have told of themselves.
func settleDevices(t testing.TB, c *caller, w world, token, canary string) *virtual {
	t.Helper()
	var first *virtual
	for _, name := range []string{"device", "device2"} {
		v := c.enrol(t, token, canary+"-"+name)
		w[name] = v.id.String()
		if first == nil {
			first = v
		}
		section := inventory(t, "software", []object{{"name": canary + " software", "version": "1", "source": "dpkg"}})
		v.sync(t, func(r *api.SyncRequest) {
			r.SectionHashes = &map[string]string{section.Name: section.Hash}
			r.Sections = &[]api.AgentSection{section}
			r.Events = &[]api.AgentEvent{{Number: 1, At: time.Now(), Kind: "endpoint.started", Title: canary + " event"}}
		})
	}
	c.ok(t, "PUT", "/api/v1/custom-field-values/device/"+w["device"], object{"values": object{"rack": canary + " value"}})
	return first
}

// settleWork makes jobs, schedules and what governs them.
func settleWork(t testing.TB, c *caller, w world, v *virtual, canary string) {
	t.Helper()
	text := func(what string) string { return canary + " " + what }
	mine := func(fields object) object {
		fields["tenant_id"] = w["tenant"]
		return fields
	}
	w["script"] = c.ok(t, "POST", "/api/v1/scripts", mine(object{"name": text("script"), "description": text("script"), "platforms": []string{"linux"},
		"interpreter": "bash", "body": "echo " + canary})).text(t, "id")
	w["policy"] = c.ok(t, "POST", "/api/v1/policies", mine(object{"kind": "endpoint", "name": text("policy"), "scope": "site", "scope_id": w["site"],
		"spec": object{"sync_interval_seconds": 90}})).text(t, "id")
	w["blackout"] = c.ok(t, "POST", "/api/v1/blackouts", mine(object{"name": text("blackout"), "reason": text("reason"), "zone": "UTC",
		"starts_local": "2031-01-01T00:00", "ends_local": "2031-01-02T00:00"})).text(t, "id")
	w["schedule"] = c.ok(t, "POST", "/api/v1/schedules", mine(object{"name": text("schedule"), "zone_mode": "fixed", "zone": "UTC",
		"recurrence": object{"cron": "0 3 1 1 *"}, "targets": object{"device_ids": []string{w["device"]}},
		"what": object{"kind": "script.run", "payload": bash("echo " + canary)}})).text(t, "id")
	w["job"], w["task"] = order(t, c, w["device"], canary)
	v.work(t, canary+" output")
	until(t, "the job is finished", func() bool { return c.ok(t, "GET", "/api/v1/jobs/"+w["job"], nil).body["state"] == "finished" })
	settings := c.ok(t, "GET", "/api/v1/settings/jobs?tenant_id="+w["tenant"], nil)
	c.ok(t, "PUT", "/api/v1/settings/jobs?tenant_id="+w["tenant"], object{"version": settings.body["version"],
		"value": object{"max_devices": 1, "max_tenants": 1, "canary_percent": 0, "stop_failure_percent": 0}})
	w["approval"] = c.ok(t, "POST", "/api/v1/jobs", object{"kind": "script.run", "name": text("job"), "reason": text("reason"),
		"targets": object{"device_ids": []string{w["device"], w["device2"]}}, "payload": bash("echo " + canary)}).text(t, "approval_id")
}

func order(t testing.TB, c *caller, device, canary string) (job, task string) {
	t.Helper()
	job = c.ok(t, "POST", "/api/v1/jobs", object{"kind": "script.run", "name": canary + " job", "targets": object{"device_ids": []string{device}},
		"payload": bash("echo " + canary)}).text(t, "id")
	return job, fmt.Sprint(c.ok(t, "GET", "/api/v1/tasks?job_id="+job, nil).items(t)[0]["id"])
}
