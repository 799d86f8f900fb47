package scripts

import "reeve/api/fault"

// What can go wrong with scripts.
var (
	ErrNotFound  = fault.New(fault.NotFound, "script not found")
	ErrNoVersion = fault.New(fault.NotFound, "the script has no such version")
	ErrForbidden = fault.New(fault.Forbidden, "you may not do this with scripts of this tenant")
	ErrNameTaken = fault.New(fault.Conflict, "there is already a script of this name")
	ErrArchived  = fault.New(fault.Conflict, "the script is archived; restore it first")
)
