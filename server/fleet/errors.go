package fleet

import "reeve/api/fault"

// What can go wrong, in the words of its reader.
var (
	ErrNotFound       = fault.New(fault.NotFound, "the device was not found")
	ErrRetired        = fault.New(fault.Conflict, "the device is retired; enrol it again instead")
	ErrStale          = fault.New(fault.Conflict, "somebody else changed it meanwhile; read it again")
	ErrForbidden      = fault.New(fault.Forbidden, "your role does not allow this for the tenant")
	ErrTokenNotFound  = fault.New(fault.NotFound, "the enrolment token was not found")
	ErrTokenInvalid   = fault.New(fault.Unauthenticated, "the enrolment token is not valid")
	ErrTokenSpent     = fault.New(fault.Gone, "the enrolment token is used up, expired or revoked; ask for a new one")
	ErrKeyKnown       = fault.New(fault.Conflict, "a device with this key is enrolled already; make a new key")
	ErrSite           = fault.New(fault.NotFound, "the site was not found")
	ErrTenantClosed   = fault.New(fault.Conflict, "the tenant is not active")
	ErrFilterNotFound = fault.New(fault.NotFound, "the saved filter was not found")
	ErrFilterName     = fault.New(fault.Conflict, "you have a saved filter of this name already")
)
