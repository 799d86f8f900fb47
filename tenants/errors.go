package tenants

import "reeve/api/fault"

// What can go wrong with tenants and sites.
var (
	ErrTenantNotFound  = fault.New(fault.NotFound, "tenant not found")
	ErrSiteNotFound    = fault.New(fault.NotFound, "site not found")
	ErrSlugTaken       = fault.New(fault.Conflict, "another tenant has this slug")
	ErrSiteNameTaken   = fault.New(fault.Conflict, "the tenant already has a site of this name")
	ErrProviderState   = fault.New(fault.Conflict, "the provider itself cannot be suspended or archived")
	ErrProviderProfile = fault.New(fault.Conflict, "change the provider's name, zone and locale in the provider settings")
	ErrTenantArchived  = fault.New(fault.Conflict, "the tenant is archived")
	ErrTenantInUse     = fault.New(fault.Conflict, "the tenant still has devices; retire them first")
	ErrSiteInUse       = fault.New(fault.Conflict, "the site still has devices; move or retire them first")
	ErrSiteArchived    = fault.New(fault.Conflict, "the site is archived; restore it first")
	ErrNotPermitted    = fault.New(fault.Forbidden, "you may not do this here")
)

// What can go wrong with approvals.
var (
	ErrApprovalNotFound  = fault.New(fault.NotFound, "approval not found")
	ErrApprovalOpen      = fault.New(fault.Conflict, "this already waits for a second person")
	ErrApprovalDecided   = fault.New(fault.Conflict, "this was already decided")
	ErrApprovalExpired   = fault.New(fault.Conflict, "this expired before anybody decided; ask again")
	ErrOwnRequest        = fault.New(fault.Forbidden, "a second person must decide this: you asked for it yourself")
	ErrNotYourRequest    = fault.New(fault.Forbidden, "only who asked for this may withdraw it")
	ErrPeopleDecide      = fault.New(fault.Forbidden, "only a person may decide this, not an API key")
	ErrEmergencyDecision = fault.New(fault.Forbidden, "emergency access does not replace a second person")
)

// What can go wrong with custom fields.
var (
	ErrFieldNotFound  = fault.New(fault.NotFound, "custom field not found")
	ErrFieldKeyTaken  = fault.New(fault.Conflict, "there is already a custom field of this key")
	ErrObjectNotFound = fault.New(fault.NotFound, "the object was not found")
)
