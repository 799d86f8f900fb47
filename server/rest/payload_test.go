package rest

import (
	"testing"

	"github.com/google/uuid"

	"reeve/tenants"
	"reeve/tenants/scope"
)

func TestCustomersSeeThatAScriptRanAndNotWhatItSays(t *testing.T) {
	a, b := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	staff := func(role tenants.RoleName, tenant uuid.UUID) scope.Scope {
		return tenants.ScopeOf(scope.Provider, []tenants.Grant{{Role: role, TenantID: tenant}}, nil)
	}
	for name, c := range map[string]struct {
		who  scope.Scope
		sees bool
	}{
		"a customer's manager":            {tenants.ScopeOf(a, []tenants.Grant{{Role: tenants.CustomerManager, TenantID: a}}, nil), false},
		"a customer's administrator":      {tenants.ScopeOf(a, []tenants.Grant{{Role: tenants.CustomerAdministrator, TenantID: a}}, nil), false},
		"a technician":                    {staff(tenants.Technician, a), true},
		"a dispatcher":                    {staff(tenants.Dispatcher, a), true},
		"a technician of another tenant":  {staff(tenants.Technician, b), false},
		"a key that runs jobs":            {scope.Scope{Grants: []scope.Grant{{TenantID: a, Permissions: []string{"jobs.run"}}}}, true},
		"a key that only reads jobs here": {scope.Scope{Grants: []scope.Grant{{TenantID: a, Permissions: []string{"jobs.read"}}}}, false},
	} {
		payload := map[string]any{"interpreter": "bash", "script": "curl -u admin:secret", "parameters": map[string]any{"PASSWORD": "x"},
			"arguments": []any{"x"}, "run_as": "system", "script_name": "Tidy up"}
		seen := payloadFor(scope.With(t.Context(), c.who), payload, []uuid.UUID{a})
		_, script := seen["script"]
		_, parameters := seen["parameters"]
		_, arguments := seen["arguments"]
		if script != c.sees || parameters != c.sees || arguments != c.sees || seen["script_name"] == nil {
			t.Errorf("%s sees %v", name, seen)
		}
	}
}
