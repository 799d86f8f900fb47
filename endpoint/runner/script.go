package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"reeve/api"
	"reeve/api/wire"
)

const (
	// taskEnv marks every process of a task, so that those which left its group are found too.
	taskEnv = "REEVE_TASK_ID"
	// scriptGrace is how long a script may tidy up between being asked to end and being killed, and
	// how long output is awaited that a process left in the background may still write.
	scriptGrace = 3 * time.Second
)

// scripts runs script.run tasks.
type scripts struct {
	dir   string // where scripts lie while they run; only we can enter it
	grace time.Duration
	user  func() (*account, error)
}

// Scripts is the handler of script.run. dir is made when missing and cleared of what a killed
// endpoint left there.
func Scripts(dir string) (Handler, error) {
	if err := os.RemoveAll(dir); err != nil {
		return Handler{}, fmt.Errorf("clearing the folder of scripts: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Handler{}, fmt.Errorf("making the folder of scripts: %w", err)
	}
	s := &scripts{dir: dir, grace: scriptGrace, user: loggedInUser}
	return Handler{Run: s.run}, nil
}

func (s *scripts) run(ctx context.Context, task wire.Payload, out Output) Result {
	var spec wire.Script
	if err := decodeBody(task.Body, &spec); err != nil {
		return Failed("%v", err)
	}
	if err := spec.Validate(); err != nil {
		return Failed("%v", err)
	}
	if spec.RunAs != "" && spec.RunAs != task.RunAs {
		return Failed("the task says to run as %s, its script says %s", task.RunAs, spec.RunAs)
	}
	command, err := interpreter(spec)
	if err != nil {
		return Failed("%v", err)
	}
	var who *account
	if task.RunAs == wire.RunAsLoggedInUser {
		if who, err = s.user(); err != nil {
			return Result{State: api.AgentTaskUpdateStateSkipped, Reason: err.Error()}
		}
		defer who.close()
	}
	folder, file, err := s.place(spec, who)
	if folder != "" {
		defer os.RemoveAll(folder)
	}
	if err != nil {
		return Failed("%v", err)
	}
	timeout := time.Duration(spec.TimeoutSeconds) * time.Second
	if timeout == 0 {
		timeout = wire.DefaultTimeout * time.Second
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, ErrTimeout)
	defer cancel()
	argv := append(command.arguments(file), spec.Arguments...)
	cmd := exec.CommandContext(ctx, command.program, argv...)
	cmd.Dir, cmd.Env = folder, environment(task, spec, who)
	return s.execute(ctx, cmd, task, spec, who, out)
}

// execute starts the command in a group of its own and waits for its end, or ends all of it.
func (s *scripts) execute(ctx context.Context, cmd *exec.Cmd, task wire.Payload, spec wire.Script, who *account, out Output) Result {
	var secrets []string
	for _, name := range spec.Secrets {
		secrets = append(secrets, spec.Parameters[name])
	}
	to := &capture{out: out, limit: wire.MaxOutputBytes}
	stdout, stderr := to.stream(Stdout, secrets), to.stream(Stderr, secrets)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = stdout, stderr, s.grace
	procs, err := newGroup(cmd, who, task.ID.String())
	if err != nil {
		return Failed("preparing the script: %v", err)
	}
	defer procs.close()
	stopped := false
	cmd.Cancel = func() error {
		stopped = true
		return procs.terminate()
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return Failed("starting %s: %v", filepath.Base(cmd.Path), err)
	}
	if err := procs.started(); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return Failed("taking hold of the script's processes: %v", err)
	}
	err = cmd.Wait()
	if stopped {
		procs.kill()
	}
	stdout.flush()
	stderr.flush()
	result := verdict(ctx, cmd, err, stopped)
	result.StdoutTruncated, result.StderrTruncated = stdout.truncated, stderr.truncated
	result.Value = wire.ScriptResult{DurationMS: time.Since(began).Milliseconds(), Signal: signalName(cmd.ProcessState), User: who.userName()}
	return result
}

// verdict tells the ways a script can end apart. A process left in the background that keeps the
// output open (ErrWaitDelay) does not change how the script itself ended.
func verdict(ctx context.Context, cmd *exec.Cmd, err error, stopped bool) Result {
	if stopped {
		return ended(ctx)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return Failed("waiting for the script: %v", err)
	}
	code := exitCode(cmd.ProcessState)
	if code == 0 {
		return Result{State: api.AgentTaskUpdateStateSucceeded, ExitCode: &code}
	}
	reason := fmt.Sprintf("the script ended with exit code %d", code)
	if s := signalName(cmd.ProcessState); s != "" {
		reason = "the script was ended by signal " + s
	}
	return Result{State: api.AgentTaskUpdateStateFailed, Reason: reason, ExitCode: &code}
}

// place writes the script where only the account that runs it can read it.
func (s *scripts) place(spec wire.Script, who *account) (folder, file string, err error) {
	parent := s.dir
	if who != nil {
		parent = who.temp()
	}
	if folder, err = os.MkdirTemp(parent, "reeve-task-"); err != nil {
		return "", "", fmt.Errorf("making a folder for the script: %w", err)
	}
	file = filepath.Join(folder, "script"+suffixes[spec.Interpreter])
	if err = os.WriteFile(file, scriptText(spec), 0o700); err != nil {
		return folder, file, fmt.Errorf("writing the script: %w", err)
	}
	if who != nil {
		// The folder last: once it is theirs, the name in it may be anything.
		if err = errors.Join(who.own(file), who.own(folder)); err != nil {
			return folder, file, fmt.Errorf("handing the script to %s: %w", who.name, err)
		}
	}
	return folder, file, nil
}

var suffixes = map[string]string{"sh": ".sh", "bash": ".sh", "python3": ".py", "powershell": ".ps1", "pwsh": ".ps1", "cmd": ".cmd"}

// scriptText is the file's content: Windows PowerShell takes a file for UTF-8 only with a byte order
// mark, and cmd loses its place in files with bare line feeds.
func scriptText(spec wire.Script) []byte {
	switch spec.Interpreter {
	case "powershell":
		return []byte("\ufeff" + spec.Script)
	case "cmd":
		return []byte(strings.ReplaceAll(strings.ReplaceAll(spec.Script, "\r\n", "\n"), "\n", "\r\n"))
	}
	return []byte(spec.Script)
}

// command is an interpreter found on this device.
type command struct {
	program string
	before  []string // arguments in front of the file
}

func (c command) arguments(file string) []string { return append(slices.Clone(c.before), file) }

var powershellArguments = []string{"-NoLogo", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File"}

// interpreter finds what runs the script, or says plainly that it is not there.
func interpreter(spec wire.Script) (command, error) {
	var before []string
	switch spec.Interpreter {
	case "powershell", "pwsh":
		before = powershellArguments
	case "cmd":
		before = []string{"/d", "/c"}
		// cmd reads its command line as text again, where these would become commands.
		for _, a := range spec.Arguments {
			if strings.ContainsAny(a, "\"%!&|<>^()\r\n") {
				return command{}, errors.New(`an argument for cmd may not contain any of " % ! & | < > ^ ( ) or a line break; pass it as a parameter`)
			}
		}
	}
	for _, name := range programs(spec.Interpreter) {
		if path, err := lookPath(name); err == nil {
			return command{program: path, before: before}, nil
		}
	}
	return command{}, fmt.Errorf("the interpreter %s is not installed on this device", spec.Interpreter)
}

// lookPath searches the service's PATH and, since a service manager may give a bare one, the usual
// places of the system.
func lookPath(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range systemPath {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}

// environment is what the script sees: the service's own environment without what is ours, or that
// of the user, and the parameters.
func environment(task wire.Payload, spec wire.Script, who *account) []string {
	var env []string
	base := os.Environ()
	if who != nil {
		base = who.env
	}
	for _, e := range base {
		if name, _, _ := strings.Cut(e, "="); !strings.HasPrefix(strings.ToUpper(name), "REEVE_") {
			env = append(env, e)
		}
	}
	if !slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(strings.ToUpper(e), "PATH=") }) {
		env = append(env, "PATH="+strings.Join(systemPath, string(os.PathListSeparator)))
	}
	env = append(env, taskEnv+"="+task.ID.String(), "REEVE_DEVICE_ID="+task.DeviceID.String())
	for _, name := range slices.Sorted(maps.Keys(spec.Parameters)) {
		env = append(env, wire.ParameterEnv(name)+"="+spec.Parameters[name])
	}
	return env
}

// account is a user a script may run as; what it holds differs by platform.
type account struct {
	name string
	env  []string
	platformAccount
}

func (a *account) userName() string {
	if a == nil {
		return ""
	}
	return a.name
}
