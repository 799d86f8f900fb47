package runner

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// killMarked ends the processes of a task that left its group (setsid, a daemon): they still carry
// its mark in their environment. New ones may be born meanwhile, hence the rounds.
func killMarked(id string) {
	for range 20 {
		pids := marked(id)
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// Leftovers counts the processes of a task that outlived the endpoint which started it.
func Leftovers(id string) int { return len(marked(id)) }

func marked(id string) []int {
	mark := []byte(taskEnv + "=" + id)
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", d.Name(), "environ"))
		if err != nil || len(env) == 0 { // gone, or a zombie
			continue
		}
		for e := range bytes.SplitSeq(env, []byte{0}) {
			if bytes.Equal(e, mark) {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids
}

// errNobody is why a task for the logged-in user was skipped.
var errNobody = errors.New("nobody is logged in")

// loggedInUser is the user of the active session, preferably the one at the seat.
func loggedInUser() (*account, error) {
	uid, ok := sessionUser(os.DirFS("/run/systemd/sessions"))
	if !ok {
		return nil, errNobody
	}
	a, err := accountOf(uid)
	if err != nil {
		return nil, err
	}
	runtime := fmt.Sprintf("/run/user/%d", uid)
	if _, err := os.Stat(runtime); err == nil {
		a.env = append(a.env, "XDG_RUNTIME_DIR="+runtime, "DBUS_SESSION_BUS_ADDRESS=unix:path="+runtime+"/bus")
	}
	return a, nil
}
