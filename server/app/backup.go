package app

import (
	"context"
	"errors"
)

func Backup(context.Context, Options, string) error  { return errors.New("not yet") }
func Restore(context.Context, Options, string) error { return errors.New("not yet") }
