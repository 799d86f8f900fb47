package runner

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// errNobody is why a task for the logged-in user was skipped.
var errNobody = errors.New("nobody is logged in")

// killMarked does nothing here: macOS shows a process's environment to nobody else.
func killMarked(string) {}

// Leftovers is unknown on macOS.
func Leftovers(string) int { return 0 }

// loggedInUser is the owner of the console, which macOS gives to whoever sits at the screen.
func loggedInUser() (*account, error) {
	info, err := os.Stat("/dev/console")
	if err != nil {
		return nil, fmt.Errorf("finding the logged-in user: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Uid == 0 {
		return nil, errNobody
	}
	return accountOf(stat.Uid)
}
