package auth

import "reeve/api/fault"

// What a caller can be told. Sign-in failures are deliberately one sentence: which part was wrong
// is nobody's business but the log's.
var (
	ErrUnauthenticated = fault.New(fault.Unauthenticated, "the credential is missing, expired or not valid")
	ErrBadLogin        = fault.New(fault.Unauthenticated, "e-mail address, password or code is wrong")
	ErrSecondFactor    = fault.New(fault.Unauthenticated, "a one-time code is required")
	ErrRefreshReused   = fault.New(fault.Unauthenticated, "this sign-in was ended because its refresh token was used twice")
	ErrStepUpRequired  = fault.New(fault.StepUp, "confirm your identity again to do this")
	ErrCredentialByKey = fault.New(fault.Forbidden, "an API key cannot manage credentials")
	ErrRestricted      = fault.New(fault.Forbidden, "this sign-in may only set up a second factor")
	ErrTOTPNotPending  = fault.New(fault.Conflict, "no second factor is waiting to be confirmed")
	ErrTOTPActive      = fault.New(fault.Conflict, "a second factor is already set up; disable it first")
	ErrTOTPMandatory   = fault.New(fault.Conflict, "a second factor is mandatory for your role")
	ErrWrongCode       = fault.New(fault.Invalid, "the one-time code is wrong or was used before")
	ErrLinkSpent       = fault.New(fault.Gone, "this link has expired or was used before")
	ErrBootstrapped    = fault.New(fault.Conflict, "a user exists already; the first administrator can be made only once")
	ErrNotFound        = fault.New(fault.NotFound, "no such object")
	ErrKeyTooStrong    = fault.New(fault.Forbidden, "a key cannot hold permissions that its maker does not hold")
)
