//go:build unix

package runner

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"reeve/api"
	"reeve/api/wire"
)

// recorder collects output and checks what every receiver relies on: pieces are bounded and follow
// one another without gap.
type recorder struct {
	t      *testing.T
	mu     sync.Mutex
	text   map[Stream]string
	pieces map[Stream]int
	seen   chan struct{} // closed at the first output
}

func newRecorder(t *testing.T) *recorder {
	return &recorder{t: t, text: map[Stream]string{}, pieces: map[Stream]int{}, seen: make(chan struct{})}
}

func (r *recorder) output(s Stream, offset int64, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.text) == 0 {
		close(r.seen)
	}
	if int(offset) != len(r.text[s]) || len(data) == 0 || len(data) > wire.MaxOutputChunk {
		r.t.Errorf("%s: %d bytes at %d after %d bytes", s, len(data), offset, len(r.text[s]))
	}
	r.text[s] += string(data)
	r.pieces[s]++
}

func testScripts(t *testing.T) *scripts {
	t.Helper()
	return &scripts{dir: t.TempDir(), grace: 300 * time.Millisecond, user: loggedInUser}
}

func taskOf(t *testing.T, spec wire.Script) wire.Payload {
	t.Helper()
	body, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	return wire.Payload{ID: uuid.New(), DeviceID: uuid.New(), Kind: wire.KindScript, RunAs: wire.RunAsSystem, Body: body}
}

func runScript(t *testing.T, spec wire.Script) (Result, *recorder) {
	t.Helper()
	r := newRecorder(t)
	s := testScripts(t)
	result := s.run(t.Context(), taskOf(t, spec), r.output)
	if left, err := os.ReadDir(s.dir); err != nil || len(left) != 0 {
		t.Errorf("the script left %v behind (%v)", left, err)
	}
	return result, r
}

func TestScriptsInEveryInterpreterOfThisMachine(t *testing.T) {
	for name, text := range map[string]string{
		"sh":      `echo "$REEVE_PARAM_NAME $1"; echo bad >&2; exit 3`,
		"bash":    `[[ -n $BASH_VERSION ]] && echo "$REEVE_PARAM_NAME $1"; echo bad >&2; exit 3`,
		"python3": "import os, sys\nprint(os.environ['REEVE_PARAM_NAME'], sys.argv[1])\nprint('bad', file=sys.stderr)\nsys.exit(3)",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hostile := "a b; $(touch /tmp/x) `id` \"'\n\\"
			result, r := runScript(t, wire.Script{Interpreter: name, Script: text, Parameters: map[string]string{"name": hostile}, Arguments: []string{"$HOME *"}})
			if result.State != api.AgentTaskUpdateStateFailed || result.ExitCode == nil || *result.ExitCode != 3 {
				t.Errorf("got %+v", result)
			}
			if want := hostile + " $HOME *\n"; r.text[Stdout] != want {
				t.Errorf("stdout %q, want %q", r.text[Stdout], want)
			}
			if r.text[Stderr] != "bad\n" {
				t.Errorf("stderr %q", r.text[Stderr])
			}
		})
	}
}

func TestSuccessHasExitCodeZeroAndNoReason(t *testing.T) {
	result, _ := runScript(t, wire.Script{Interpreter: "sh", Script: "exit 0"})
	if result.State != api.AgentTaskUpdateStateSucceeded || *result.ExitCode != 0 || result.Reason != "" {
		t.Errorf("got %+v", result)
	}
}

func TestScriptIsReadableByItsAccountOnly(t *testing.T) {
	_, r := runScript(t, wire.Script{Interpreter: "sh", Script: `ls -ld "$0" "$(dirname "$0")"`})
	for line := range strings.Lines(r.text[Stdout]) {
		if !strings.HasPrefix(line, "-rwx------") && !strings.HasPrefix(line, "drwx------") {
			t.Errorf("permissions: %s", line)
		}
	}
}

func TestOurOwnEnvironmentStaysOurs(t *testing.T) {
	t.Setenv("REEVE_MASTER_KEY_FILE", "x")
	_, r := runScript(t, wire.Script{Interpreter: "sh", Script: "env"})
	if strings.Contains(r.text[Stdout], "REEVE_MASTER_KEY_FILE") {
		t.Error("the script sees the service's settings")
	}
	if !strings.Contains(r.text[Stdout], "REEVE_TASK_ID=") {
		t.Error("the script does not know its task")
	}
}

func TestMissingInterpreterIsSaidPlainly(t *testing.T) {
	result, _ := runScript(t, wire.Script{Interpreter: "cmd", Script: "ver"})
	if result.State != api.AgentTaskUpdateStateFailed || result.Reason != "the interpreter cmd is not installed on this device" {
		t.Errorf("got %+v", result)
	}
}

func TestTimeoutEndsEveryProcessOfTheScript(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// A child in the group, one in a session of its own, and a leader that ignores being asked.
	result, r := runScript(t, wire.Script{Interpreter: "sh", TimeoutSeconds: 1, Parameters: map[string]string{"dir": dir}, Script: `
		trap '' TERM
		sleep 600 & echo $! > "$REEVE_PARAM_DIR/a"
		setsid sleep 600 & echo $! > "$REEVE_PARAM_DIR/b"
		echo started
		while :; do sleep 600; done`})
	if result.State != api.AgentTaskUpdateStateTimedOut || result.ExitCode != nil {
		t.Errorf("got %+v", result)
	}
	if r.text[Stdout] != "started\n" {
		t.Errorf("output before the end is lost: %q", r.text[Stdout])
	}
	for _, name := range []string{"a", "b"} {
		if pid := readPid(t, filepath.Join(dir, name)); alive(pid) {
			t.Errorf("process %s (%d) survived", name, pid)
		}
	}
}

func readPid(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// alive takes a zombie for dead: who reaps orphans is not ours to say.
func alive(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func TestCancelAndStop(t *testing.T) {
	for _, c := range []struct {
		cause error
		state api.AgentTaskUpdateState
	}{{ErrCancelled, api.AgentTaskUpdateStateCancelled}, {ErrStopping, api.AgentTaskUpdateStateFailed}} {
		ctx, cancel := context.WithCancelCause(t.Context())
		r := newRecorder(t)
		done := make(chan Result)
		go func() {
			done <- testScripts(t).run(ctx, taskOf(t, wire.Script{Interpreter: "sh", Script: "echo on; sleep 600"}), r.output)
		}()
		<-r.seen
		cancel(c.cause)
		if result := <-done; result.State != c.state || !strings.Contains(result.Reason, c.cause.Error()) {
			t.Errorf("%v: %+v", c.cause, result)
		}
	}
}

func TestOutputIsCappedAndTheCutIsFlagged(t *testing.T) {
	result, r := runScript(t, wire.Script{Interpreter: "python3", Script: "import sys\nsys.stdout.write('x'*(3<<20))\nsys.stderr.write('y'*1000)\nprint('end')"})
	if result.State != api.AgentTaskUpdateStateSucceeded || !result.StdoutTruncated || result.StderrTruncated {
		t.Errorf("got %+v", result)
	}
	if len(r.text[Stdout]) != wire.MaxOutputBytes || len(r.text[Stderr]) != 1000 {
		t.Errorf("kept %d and %d bytes", len(r.text[Stdout]), len(r.text[Stderr]))
	}
}

func TestABackgroundProcessDoesNotKeepTheTaskOpen(t *testing.T) {
	dir := t.TempDir()
	result, r := runScript(t, wire.Script{Interpreter: "sh", Script: `sleep 600 & echo $! > "$REEVE_PARAM_DIR/p"; echo done`, Parameters: map[string]string{"dir": dir}})
	if result.State != api.AgentTaskUpdateStateSucceeded || r.text[Stdout] != "done\n" {
		t.Errorf("got %+v, %q", result, r.text[Stdout])
	}
	pid := readPid(t, filepath.Join(dir, "p"))
	if !alive(pid) {
		t.Error("a service that the script started was ended")
	}
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Kill()
	}
}

func TestSignalsAreNamed(t *testing.T) {
	result, _ := runScript(t, wire.Script{Interpreter: "sh", Script: `kill -9 $$`})
	if result.State != api.AgentTaskUpdateStateFailed || *result.ExitCode != 137 || result.Value.(wire.ScriptResult).Signal != "killed" {
		t.Errorf("got %+v", result)
	}
}

func TestSecretsAreStruckFromTheOutput(t *testing.T) {
	result, r := runScript(t, wire.Script{Interpreter: "sh", Secrets: []string{"pw"}, Parameters: map[string]string{"pw": "hunter2", "plain": "x"},
		Script: `echo "pw=$REEVE_PARAM_PW"; printf hun; printf ter2; echo "$REEVE_PARAM_PW" >&2; printf hunt`})
	if result.State != api.AgentTaskUpdateStateSucceeded {
		t.Fatalf("got %+v", result)
	}
	if r.text[Stdout] != "pw=[secret]\n[secret]hunt" || r.text[Stderr] != "[secret]\n" {
		t.Errorf("%q %q", r.text[Stdout], r.text[Stderr])
	}
}

func TestBodiesThatAreRefused(t *testing.T) {
	s := testScripts(t)
	for _, body := range []string{`{}`, `{"interpreter":"sh","script":"id","as_root":true}`, `{"interpreter":"sh","script":"id","run_as":"logged_in_user"}`, `{"interpreter":"sh","script":"id","Script":"rm"}`} {
		task := wire.Payload{ID: uuid.New(), RunAs: wire.RunAsSystem, Body: json.RawMessage(body)}
		if r := s.run(t.Context(), task, func(Stream, int64, []byte) { t.Error("it ran") }); r.State != api.AgentTaskUpdateStateFailed || r.Reason == "" {
			t.Errorf("%s: %+v", body, r)
		}
	}
}

func TestRunAsTheLoggedInUser(t *testing.T) {
	s := testScripts(t)
	s.user = func() (*account, error) { return accountOf(uint32(os.Getuid())) }
	if os.Getuid() == 0 {
		s.user = func() (*account, error) { return accountOf(1) } // daemon is on every Unix
	}
	who, err := s.user()
	if err != nil {
		t.Fatal(err)
	}
	task := taskOf(t, wire.Script{Interpreter: "sh", Script: `id -un; echo "$HOME"; env | grep -c ^SECRET_OF_SERVICE`})
	task.RunAs = wire.RunAsLoggedInUser
	t.Setenv("SECRET_OF_SERVICE", "x")
	r := newRecorder(t)
	result := s.run(t.Context(), task, r.output)
	lines := strings.Split(r.text[Stdout], "\n")
	if len(lines) < 3 || lines[0] != who.name || lines[2] != "0" || result.Value.(wire.ScriptResult).User != who.name {
		t.Errorf("%+v %q %q", result, r.text[Stdout], r.text[Stderr])
	}
	s.user = func() (*account, error) { return nil, errNobody }
	if result := s.run(t.Context(), task, r.output); result.State != api.AgentTaskUpdateStateSkipped || result.Reason != "nobody is logged in" {
		t.Errorf("got %+v", result)
	}
}

func TestAnUnknownKindAndAPanic(t *testing.T) {
	reg := Registry{"boom": {Run: func(context.Context, wire.Payload, Output) Result { panic("no") }}}
	if r := reg.Run(t.Context(), wire.Payload{Kind: "patch.install"}, nil); r.State != api.AgentTaskUpdateStateUnsupported {
		t.Errorf("got %+v", r)
	}
	if r := reg.Run(t.Context(), wire.Payload{Kind: "boom"}, nil); r.State != api.AgentTaskUpdateStateFailed {
		t.Errorf("got %+v", r)
	}
}
