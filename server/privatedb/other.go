//go:build !linux

package privatedb

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"syscall"
)

// errPlatform is all that other systems get: the supervision leans on Linux's death signal and /proc.
var errPlatform = errors.New("a private database needs Linux; point REEVE_DATABASE_URL at a PostgreSQL")

type account struct{ name string }

func chooseAccount() (account, error)                                 { return account{}, errPlatform }
func (account) attributes() *syscall.SysProcAttr                      { return nil }
func (account) environment() []string                                 { return nil }
func (account) reaches(string, string) bool                           { return false }
func (a account) adopt(string) (account, error)                       { return a, errPlatform }
func (account) own(string) error                                      { return errPlatform }
func (account) socketFolder(string) (string, error)                   { return "", errPlatform }
func lockFolder(string) (*os.File, error)                             { return nil, errPlatform }
func (location) clearPredecessor(context.Context, *slog.Logger) error { return errPlatform }

type keeper struct{}

func startKeeper(context.Context, location, *slog.Logger) (*keeper, error) { return nil, errPlatform }
func (*keeper) pid() int                                                   { return 0 }
func (*keeper) stop(context.Context) error                                 { return nil }
