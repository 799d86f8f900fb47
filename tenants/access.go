package tenants

import (
	"github.com/google/uuid"

	"reeve/api/fault"
	"reeve/tenants/scope"
)

// The permissions that this package's verbs ask for, over the tenant of the object at hand.
const (
	permTenantsRead     = "tenants.read"
	permTenantsManage   = "tenants.manage"
	permSitesRead       = "sites.read"
	permSitesManage     = "sites.manage"
	permSettingsRead    = "settings.read"
	permSettingsManage  = "settings.manage"
	permFieldsRead      = "custom_fields.read"
	permFieldsManage    = "custom_fields.manage"
	permFieldsWrite     = "custom_fields.write"
	permApprovalsRead   = "approvals.read"
	permApprovalsDecide = "approvals.decide"
)

// need refuses an actor without a permission over a tenant that it otherwise sees.
func need(s scope.Scope, permission string, tenant uuid.UUID) error {
	if !s.May(permission, tenant) {
		return ErrNotPermitted
	}
	return nil
}

func checkReason(reason string) error {
	var f fault.Fields
	checkText(&f, "/reason", reason, maxReason)
	return f.Err()
}
