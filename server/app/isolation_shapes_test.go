package app

// shapes are the request bodies of every operation that takes one beside an object of its address or
// that names objects in it. A text "$kind" stands for an object of that kind; "$kind:other" for a
// second one. An operation that is new to the contract fails the test until it has a shape.
var shapes = map[string][]object{
	"breakGlass":    {{"tenant_id": "$tenant", "reason": "looking after an outage", "minutes": 5}},
	"updateTenant":  {{"version": 1, "notes": "x"}},
	"suspendTenant": {{"version": 1}}, "resumeTenant": {{"version": 1}}, "archiveTenant": {{"version": 1}},
	"createSite": {{"tenant_id": "$tenant", "name": "a site"}},
	"updateSite": {{"version": 1, "notes": "x"}},
	"createUser": {
		{"tenant_id": "$tenant", "email": "someone@new.example", "name": "x", "grants": []any{}},
		{"tenant_id": "$tenant", "email": "sometwo@new.example", "name": "x", "grants": []any{object{"role": "customer_user", "all_tenants": false, "tenant_ids": []any{"$tenant"}}}},
	},
	"updateUser":    {{"version": 1, "name": "x"}},
	"setUserGrants": {{"version": 1, "grants": []any{object{"role": "customer_user", "all_tenants": false, "tenant_ids": []any{"$tenant"}}}}},
	"createApiKey": {{"name": "k", "permissions": []any{"devices.read"}, "tenant_ids": []any{"$tenant"}, "expires_at": "$soon"},
		{"name": "k", "permissions": []any{"devices.read"}, "tenant_ids": []any{"$own", "$tenant"}, "expires_at": "$soon"}},
	"putJobSettings":       {{"version": 1, "value": object{"max_devices": 5, "max_tenants": 1, "canary_percent": 0, "stop_failure_percent": 0}}},
	"createCustomField":    {{"tenant_id": "$tenant", "key": "shelf", "label": "x", "applies_to": "site", "type": "text"}},
	"updateCustomField":    {{"version": 1, "label": "x"}},
	"setCustomFieldValues": {{"values": object{}}},
	"approveApproval":      {{}}, "rejectApproval": {{}}, "withdrawApproval": {{}},
	"createEnrolmentToken": {{"tenant_id": "$tenant", "site_id": "$site"}},
	"updateDevice":         {{"version": 1, "notes": "x"}, {"version": 1, "site_id": "$site"}},
	"approveDevice":        {{"version": 1}}, "rejectDevice": {{"version": 1}}, "quarantineDevice": {{"version": 1}},
	"releaseDevice": {{"version": 1}}, "retireDevice": {{"version": 1}},
	"tagDevice":         {{"add": []any{"x"}}},
	"tagDevices":        {{"device_ids": []any{"$device"}, "add": []any{"x"}}, {"device_ids": []any{"$device", "$device2"}, "add": []any{"x"}}},
	"createSavedFilter": {{"name": "f", "filter": object{"all": []any{object{"field": "site_id", "op": "eq", "value": "$site"}}}}},
	"updateSavedFilter": {{"version": 1, "name": "x"}},
	"createPolicy": {
		{"tenant_id": "$tenant", "kind": "endpoint", "name": "one", "scope": "site", "scope_id": "$site2", "spec": object{"sync_interval_seconds": 60}},
		{"tenant_id": "$tenant", "kind": "endpoint", "name": "two", "scope": "device", "scope_id": "$device2", "spec": object{"sync_interval_seconds": 60}},
		{"tenant_id": "$tenant", "kind": "endpoint", "name": "three", "scope": "tenant", "spec": object{"sync_interval_seconds": 60}},
		{"tenant_id": "$tenant", "kind": "endpoint", "name": "four", "scope": "tag", "tag": "x", "spec": object{"sync_interval_seconds": 60}},
	},
	"updatePolicy": {{"version": 1, "name": "x"}},
	"createScript": {{"tenant_id": "$tenant", "name": "s", "platforms": []any{"linux"}, "interpreter": "bash", "body": "true"}},
	"updateScript": {{"version": 1, "description": "x"}},
	"createJob":    jobShapes(), "previewJob": jobShapes(),
	"createSchedule": scheduleShapes(object{"tenant_id": "$tenant", "name": "s", "zone_mode": "fixed", "zone": "UTC", "recurrence": object{"cron": "0 4 1 1 *"}}),
	"updateSchedule": append(scheduleShapes(object{"version": 1}), object{"version": 1, "name": "x"}),
	"createBlackout": {{"tenant_id": "$tenant", "name": "b", "zone": "UTC", "starts_local": "2032-01-01T00:00", "ends_local": "2032-01-02T00:00"}},
}

// targetShapes are all ways to name devices.
func targetShapes() []object {
	filter := object{"all": []any{object{"field": "site_id", "op": "eq", "value": "$site"}}}
	return []object{
		{"device_ids": []any{"$device"}}, {"device_ids": []any{"$device", "$device2"}}, {"site_id": "$site"}, {"tenant_id": "$tenant"},
		{"tenant_id": "$tenant", "tag": "x"}, {"tenant_id": "$tenant", "filter": filter}, {"filter": filter},
	}
}

func jobShapes() (list []object) {
	plain := object{"interpreter": "bash", "script": "true"}
	for _, targets := range targetShapes() {
		list = append(list, object{"kind": "script.run", "targets": targets, "payload": plain})
	}
	return append(list, object{"kind": "script.run", "targets": object{"device_ids": []any{"$device"}}, "payload": object{"script_id": "$script"}})
}

func scheduleShapes(base object) (list []object) {
	with := func(targets, payload object) {
		shape := object{"targets": targets, "what": object{"kind": "script.run", "payload": payload}}
		for name, value := range base {
			shape[name] = value
		}
		list = append(list, shape)
	}
	for _, targets := range targetShapes() {
		with(targets, object{"interpreter": "bash", "script": "true"})
	}
	with(object{"device_ids": []any{"$device"}}, object{"script_id": "$script"})
	return list
}

// lenient are requests that may name what the caller cannot reach, because they only narrow what it
// reaches anyway: such a name finds nothing, as an unknown one does.
var lenient = map[string]string{
	"createSavedFilter": "a filter is kept as it was written and finds nothing",
	"createJob":         "a filter over what cannot be reached finds nothing",
	"previewJob":        "a filter over what cannot be reached finds nothing",
	"createSchedule":    "targets are resolved within the tenant when it fires",
	"updateSchedule":    "targets are resolved within the tenant when it fires",
}

// notByTenant are operations that a technician of some tenants may not do even to them.
var notByTenant = map[string]string{
	"suspendTenant": "the life of a tenant is the whole provider's business",
	"resumeTenant":  "the life of a tenant is the whole provider's business",
	"archiveTenant": "the life of a tenant is the whole provider's business",
}

// meantToReach are operations by which a technician comes to a tenant that he was not given.
var meantToReach = map[string]string{
	"breakGlass": "emergency access is for exactly that: it needs a reason, is announced and is recorded with the tenant",
}
