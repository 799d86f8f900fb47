package app

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a program of the product that a test may kill.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// launch starts a command that dies with this test at the latest.
func launch(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	said, err := os.CreateTemp(t.TempDir(), "stderr")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is the business of whoever killed it
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			text, _ := os.ReadFile(said.Name())
			t.Logf("%s said at last:\n%s", cmd.Path, text[max(0, len(text)-3000):])
		}
		_ = said.Close()
	})
	return p
}

// role is this test binary in another role.
func role(name string, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(append(os.Environ(), roleVariable+"="+name), env...)
	cmd.Stdout = io.Discard
	return cmd
}

// kill is kill -9, of everything the process started in its group, and waits for the end.
func (p *process) kill() {
	select {
	case <-p.done:
		return
	default:
	}
	p.signal(syscall.SIGCONT)
	p.signal(syscall.SIGKILL)
	<-p.done
}

func (p *process) signal(s syscall.Signal) {
	_ = syscall.Kill(p.cmd.Process.Pid, s) // gone already is what we want
}

// outside is a server that runs as a process of its own, and can be started again where it was.
type outside struct {
	*site
	*process
	env []string
}

// freeAddress is one that nobody listens on now.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// serverProcess starts a server on a database. mode is what REEVE_TLS says.
func serverProcess(t testing.TB, app, migrator, data, mode string) *outside {
	t.Helper()
	address := freeAddress(t)
	s := &outside{env: []string{"REEVE_LISTEN=" + address, "REEVE_DATA_DIR=" + data, "REEVE_DATABASE_URL=" + app, "REEVE_MIGRATION_DATABASE_URL=" + migrator,
		"REEVE_TLS=" + mode, "REEVE_ADMIN_PASSWORD=" + adminPassword}}
	s.site = &site{url: "http://" + address, http: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 32}}, contract: readContract(t)}
	if mode == "auto" {
		s.site.url = "https://" + address
	}
	s.again(t)
	if mode == "auto" {
		s.site = newSite(t, s.site.url, data)
	}
	return s
}

// again starts the process (anew) and waits until it answers.
func (s *outside) again(t testing.TB) {
	t.Helper()
	s.process = launch(t, role("server", s.env...))
	address, data := strings.TrimPrefix(s.env[0], "REEVE_LISTEN="), strings.TrimPrefix(s.env[1], "REEVE_DATA_DIR=")
	until(t, "the server answers", func() bool {
		select {
		case <-s.done:
			t.Fatal("the server ended by itself")
		default:
		}
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		_ = conn.Close()
		probe := s.site
		if strings.HasPrefix(probe.url, "https:") {
			if _, err := os.Stat(filepath.Join(data, "tls", "ca.pem")); err != nil {
				return false
			}
			probe = newSite(t, probe.url, data)
		}
		response, err := probe.http.Get(probe.url + "/readyz")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
}

// scratch is a folder of this process, which TestMain removes.
func scratch() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("reeve-app-test-%d", os.Getpid()))
}

// simulator is built once for all tests of this process.
var simulator = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch(), "simulate")
	out, err := exec.Command("go", "build", "-o", path, "reeve/endpoint/simulate").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the simulator: %w: %s", err, out)
	}
	return path, nil
})

// simulated is a simulated fleet in a process of its own.
type simulated struct {
	*process
	in     io.Writer
	events chan object
	took   map[string]int64 // task → when its device had verified it
	mu     sync.Mutex
}

// simulate starts a fleet and waits until all of it has synced.
func simulate(t testing.TB, s *site, token string, devices int, flags ...string) *simulated {
	t.Helper()
	path, err := simulator()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, append([]string{"--server", s.url, "--devices", fmt.Sprint(devices)}, flags...)...)
	cmd.Env = append(os.Environ(), "REEVE_ENROL_TOKEN="+token)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	f := &simulated{in: in, events: make(chan object, 64), took: map[string]int64{}}
	f.process = launch(t, cmd)
	go f.listen(out)
	f.expect(t, "ready")
	return f
}

func (f *simulated) listen(out io.Reader) {
	defer close(f.events)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var event object
		dec := json.NewDecoder(strings.NewReader(lines.Text()))
		dec.UseNumber()
		if dec.Decode(&event) != nil {
			continue
		}
		if event["event"] == "verified" {
			at, _ := event["at"].(json.Number).Int64()
			f.mu.Lock()
			if _, seen := f.took[event["task"].(string)]; !seen {
				f.took[event["task"].(string)] = at
			}
			f.mu.Unlock()
			continue
		}
		f.events <- event
	}
}

// expect waits for an event.
func (f *simulated) expect(t testing.TB, name string) object {
	t.Helper()
	end := time.NewTimer(5 * time.Minute)
	defer end.Stop()
	for {
		select {
		case event, open := <-f.events:
			if !open {
				t.Fatalf("the simulator ended before %q", name)
			}
			if event["event"] == name {
				return event
			}
		case <-end.C:
			t.Fatalf("the simulator does not say %q", name)
		}
	}
}

func (f *simulated) tell(t testing.TB, command string) {
	t.Helper()
	if _, err := io.WriteString(f.in, command+"\n"); err != nil {
		t.Fatal(err)
	}
}

func (f *simulated) report(t testing.TB) object {
	t.Helper()
	f.tell(t, "report")
	return f.expect(t, "report")
}

func number(t testing.TB, value any) float64 {
	t.Helper()
	n, ok := value.(json.Number)
	if !ok {
		t.Fatalf("%v is no number", value)
	}
	f, err := n.Float64()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// quantileMS is a quantile of times in milliseconds.
func quantileMS(list []time.Duration, q float64) float64 {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	return float64(sorted[min(int(q*float64(len(sorted))), len(sorted)-1)].Microseconds()) / 1000
}
