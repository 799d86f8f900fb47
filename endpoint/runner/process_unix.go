//go:build unix

package runner

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

var systemPath = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/opt/homebrew/bin"}

func programs(interpreter string) []string {
	switch interpreter {
	case "cmd", "powershell":
		return nil // Windows only; pwsh is its own interpreter
	}
	return []string{interpreter}
}

// platformAccount is a user's numbers.
type platformAccount struct {
	uid, gid uint32
	groups   []uint32
}

func (a *account) close() {}

// temp is where a script for the user lies; ours is closed to them.
func (a *account) temp() string { return os.TempDir() }

func (a *account) own(path string) error { return os.Lchown(path, int(a.uid), int(a.gid)) }

// accountOf looks a user up by its number.
func accountOf(uid uint32) (*account, error) {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return nil, fmt.Errorf("the logged-in user with number %d is unknown: %w", uid, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("the group of %s: %w", u.Username, err)
	}
	a := &account{name: u.Username, platformAccount: platformAccount{uid: uid, gid: uint32(gid)}}
	a.env = []string{"HOME=" + u.HomeDir, "USER=" + u.Username, "LOGNAME=" + u.Username}
	for _, name := range []string{"LANG", "TZ"} {
		if v := os.Getenv(name); v != "" {
			a.env = append(a.env, name+"="+v)
		}
	}
	ids, _ := u.GroupIds() // without them the user merely has fewer groups
	for _, id := range ids {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil {
			a.groups = append(a.groups, uint32(n))
		}
	}
	return a, nil
}

// group is the process group of a script.
type group struct {
	cmd    *exec.Cmd
	marked string // the value of taskEnv in each of its processes
}

func newGroup(cmd *exec.Cmd, who *account, marked string) (*group, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if who != nil && uint32(os.Geteuid()) != who.uid {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: who.uid, Gid: who.gid, Groups: who.groups}
	}
	return &group{cmd: cmd, marked: marked}, nil
}

func (g *group) started() error { return nil }

// terminate asks; kill follows after the grace.
func (g *group) terminate() error {
	if err := syscall.Kill(-g.cmd.Process.Pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

func (g *group) kill() {
	_ = syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL)
	killMarked(g.marked)
}

func (g *group) close() {}

func exitCode(s *os.ProcessState) int {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal()) // as shells count
	}
	return s.ExitCode()
}

func signalName(s *os.ProcessState) string {
	if s == nil {
		return ""
	}
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return w.Signal().String()
	}
	return ""
}
