package app

import "syscall"

// diesWithParent ends a child when this process dies without being able to say so, and keeps a Ctrl-C
// of the terminal from reaching it before we do.
func diesWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
