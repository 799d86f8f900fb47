package auth

import "reeve/api/fault"

// What a caller can be told. Sign-in failures are deliberately one sentence: which part was wrong is
// nobody's business but the log's.
var (
	ErrUnauthenticated = fault.New(fault.Unauthenticated, "the credential is missing, expired or not valid")
	ErrBadLogin        = fault.New(fault.Unauthenticated, "e-mail address, password or code is wrong")
	ErrSecondFactor    = fault.New(fault.OTPRequired, "a one-time code of your second factor is required")
	ErrRefreshReused   = fault.New(fault.Unauthenticated, "this sign-in was ended because its refresh token was used twice")
	ErrStepUpRequired  = fault.New(fault.StepUp, "confirm your identity first")
	ErrNotPermitted    = fault.New(fault.Forbidden, "you may not do this here")
	ErrCredentialByKey = fault.New(fault.Forbidden, "only a person may manage credentials, not an API key")
	ErrKeyTooStrong    = fault.New(fault.Forbidden, "a key cannot hold what its maker does not hold")
	ErrLinkSpent       = fault.New(fault.Gone, "this link has expired or was used before")
	ErrBootstrapped    = fault.New(fault.Conflict, "a user exists already; the first administrator can be made only once")

	ErrTOTPNotPending = fault.New(fault.Conflict, "no second factor is waiting to be confirmed")
	ErrTOTPActive     = fault.New(fault.Conflict, "a second factor is set up already; switch it off first")
	ErrTOTPNotActive  = fault.New(fault.Conflict, "no second factor is set up")
	ErrTOTPMandatory  = fault.New(fault.Conflict, "your role requires a second factor")

	ErrSessionNotFound = fault.New(fault.NotFound, "session not found")
	ErrKeyNotFound     = fault.New(fault.NotFound, "API key not found")
	ErrTenantNotFound  = fault.New(fault.NotFound, "tenant not found")

	ErrWrongPassword = &fault.Error{Kind: fault.Invalid, Message: "the current password is wrong",
		Fields: []fault.Field{{Pointer: "/current_password", Detail: "is not your password"}}}
	ErrWrongCode = &fault.Error{Kind: fault.Invalid, Message: "the one-time code is wrong or was used before",
		Fields: []fault.Field{{Pointer: "/otp", Detail: "is wrong or was used before"}}}
)
