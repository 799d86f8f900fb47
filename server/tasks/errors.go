package tasks

import "reeve/api/fault"

// What can go wrong with jobs and tasks.
var (
	ErrJobNotFound  = fault.New(fault.NotFound, "job not found")
	ErrTaskNotFound = fault.New(fault.NotFound, "task not found")
	ErrForbidden    = fault.New(fault.Forbidden, "you may not do this with devices of this tenant")
	ErrNoDevices    = fault.New(fault.Conflict, "no active device is among the targets")
	ErrJobOver      = fault.New(fault.Conflict, "the job is over already")
	ErrTaskOver     = fault.New(fault.Conflict, "the task is over already")
	ErrNothingToTry = fault.New(fault.Conflict, "no task of this job failed, timed out or expired")
	ErrRetryTooSoon = fault.New(fault.Conflict, "the job has not finished; cancel it or wait for its end")
)
