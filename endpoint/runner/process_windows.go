package runner

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/windows"
)

var systemPath = []string{
	filepath.Join(os.Getenv("SystemRoot"), "System32"),
	filepath.Join(os.Getenv("SystemRoot"), "System32", "WindowsPowerShell", "v1.0"),
	filepath.Join(os.Getenv("ProgramFiles"), "PowerShell", "7"),
	filepath.Join(os.Getenv("ProgramFiles"), "Git", "bin"),
}

func programs(interpreter string) []string {
	if interpreter == "python3" {
		return []string{"python3.exe", "python.exe", "py.exe"}
	}
	return []string{interpreter + ".exe"}
}

// platformAccount is a user's token.
type platformAccount struct{ token windows.Token }

func (a *account) close() { _ = a.token.Close() }

// temp is the user's own folder: what lies in the system's they may not read.
func (a *account) temp() string {
	for _, e := range a.env {
		if name, value, _ := strings.Cut(e, "="); strings.EqualFold(name, "TEMP") {
			return value
		}
	}
	return os.TempDir()
}

// own needs no act: files in the user's folder inherit its permissions.
func (a *account) own(string) error { return nil }

const noSession = 0xFFFFFFFF

// loggedInUser is the user of the console session.
func loggedInUser() (*account, error) {
	session := windows.WTSGetActiveConsoleSessionId()
	if session == noSession {
		return nil, errors.New("nobody is logged in")
	}
	var token windows.Token
	if err := windows.WTSQueryUserToken(session, &token); err != nil {
		if errors.Is(err, windows.ERROR_NO_TOKEN) {
			return nil, errors.New("nobody is logged in")
		}
		return nil, fmt.Errorf("asking for the logged-in user: %w", err)
	}
	a := &account{platformAccount: platformAccount{token: token}}
	if err := a.describe(); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *account) describe() error {
	owner, err := a.token.GetTokenUser()
	if err != nil {
		return fmt.Errorf("naming the logged-in user: %w", err)
	}
	name, domain, _, err := owner.User.Sid.LookupAccount("")
	if err != nil {
		return fmt.Errorf("naming the logged-in user: %w", err)
	}
	a.name = domain + `\` + name
	if a.env, err = a.token.Environ(false); err != nil {
		return fmt.Errorf("reading the environment of %s: %w", a.name, err)
	}
	return nil
}

// group is the job object of a script: whatever it starts belongs to it, also when its parent ends.
type group struct {
	cmd *exec.Cmd
	job windows.Handle
}

func newGroup(cmd *exec.Cmd, who *account, _ string) (*group, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return nil, fmt.Errorf("making a job object: %w", err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP | windows.CREATE_NO_WINDOW, HideWindow: true}
	if who != nil {
		cmd.SysProcAttr.Token = syscall.Token(who.token)
	}
	return &group{cmd: cmd, job: job}, nil
}

// started puts the process into the job. What it starts in the instants before is found by kill.
func (g *group) started() error {
	process, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, uint32(g.cmd.Process.Pid))
	if err != nil {
		if errors.Is(err, windows.ERROR_INVALID_PARAMETER) {
			return nil // it has ended already
		}
		return err
	}
	defer windows.CloseHandle(process)
	return windows.AssignProcessToJobObject(g.job, process)
}

// terminate ends all at once: consoles without a window cannot be asked.
func (g *group) terminate() error {
	g.kill()
	return nil
}

func (g *group) kill() {
	pid := strconv.Itoa(g.cmd.Process.Pid)
	_ = exec.Command(filepath.Join(os.Getenv("SystemRoot"), "System32", "taskkill.exe"), "/T", "/F", "/PID", pid).Run()
	_ = windows.TerminateJobObject(g.job, 1)
}

func (g *group) close() { _ = windows.CloseHandle(g.job) }

// Leftovers is unknown on Windows.
func Leftovers(string) int { return 0 }

func exitCode(s *os.ProcessState) int { return s.ExitCode() }

func signalName(*os.ProcessState) string { return "" }
