//go:build linux

package privatedb

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// helperDir makes the test program a server that runs a cluster in that folder until its input ends.
const helperDir = "REEVE_TEST_PRIVATEDB_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		helper(dir)
		return
	}
	os.Exit(m.Run())
}

type hello struct {
	Cluster *Cluster
	Pid     int
	Error   string
}

func helper(dir string) {
	c, err := Start(context.Background(), Options{Dir: dir, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	h := hello{Cluster: c}
	if err != nil {
		h.Error, h.Cluster = err.Error(), nil
	} else {
		h.Pid = c.Pid()
	}
	_ = json.NewEncoder(os.Stdout).Encode(h)
	_, _ = io.Copy(io.Discard, os.Stdin)
	if c != nil {
		_ = c.Stop(context.Background())
	}
}

// server is a helper process.
type server struct {
	hello
	cmd   *exec.Cmd
	input io.WriteCloser
}

func startServer(t *testing.T, program, dir string, as *syscall.Credential) *server {
	t.Helper()
	s := greet(t, program, dir, as)
	if s.Error != "" {
		t.Fatalf("the helper did not start: %s", s.Error)
	}
	return s
}

func greet(t *testing.T, program, dir string, as *syscall.Credential) *server {
	t.Helper()
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), helperDir+"="+dir)
	cmd.Dir = "/"
	cmd.Stderr = t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &server{cmd: cmd, input: input}
	t.Cleanup(func() {
		_ = input.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(output).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &s.hello)
	}
	if err != nil {
		t.Fatalf("the helper says %q: %v", line, err)
	}
	return s
}

func (s *server) kill(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Wait() // says that it was killed
}

// folder is a folder that every account can enter, unlike those of t.TempDir and of many a TMPDIR.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "reeve-privatedb-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func start(t *testing.T, dir string) *Cluster {
	t.Helper()
	c, err := Start(t.Context(), Options{Dir: dir, Scratch: true, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, c) })
	return c
}

func stop(t *testing.T, c *Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := c.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func run(t *testing.T, url, sql string, result ...any) {
	t.Helper()
	if err := tryRun(t, url, sql, result...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func tryRun(t *testing.T, url, sql string, result ...any) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if len(result) == 0 {
		_, err = conn.Exec(t.Context(), sql)
		return err
	}
	return conn.QueryRow(t.Context(), sql).Scan(result...)
}

// eventually waits for something that another process does.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestStartMakesAClusterAndStartsItAgain(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	c := start(t, dir)

	var encoding, collation, listen, checksums string
	run(t, c.AppURL, `select pg_encoding_to_char(encoding), datcollate, current_setting('listen_addresses'),
		current_setting('data_checksums') from pg_database where datname = current_database()`, &encoding, &collation, &listen, &checksums)
	if encoding != "UTF8" || collation != "C.UTF-8" || listen != "" || checksums != "on" {
		t.Errorf("encoding %s, collation %s, listens on %q, checksums %s", encoding, collation, listen, checksums)
	}
	for _, path := range []string{c.location.socket, c.location.data} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	run(t, c.MigratorURL, "SET ROLE reeve_owner; CREATE TABLE kept (n int); INSERT INTO kept VALUES (42); GRANT SELECT ON kept TO reeve_staff")
	stop(t, c)
	if err := tryRun(t, c.AppURL, "select 1"); err == nil {
		t.Error("it answers after Stop")
	}

	again := start(t, dir)
	var n int
	run(t, again.AdminURL, "select n from kept", &n)
	if n != 42 || again.AppURL != c.AppURL {
		t.Errorf("kept %d; URL was %s and is %s", n, c.AppURL, again.AppURL)
	}
}

func TestTheLoginsMayNoMoreThanTheyShould(t *testing.T) {
	t.Parallel()
	c := start(t, folder(t))
	for _, refused := range []struct{ url, sql string }{
		{c.AppURL, "SET ROLE reeve_owner"},
		{c.AppURL, "SET ROLE reeve_migrator"},
		{c.AppURL, "SET ROLE postgres"},
		{c.AppURL, "CREATE TABLE mine (n int)"},
		{c.AppURL, "CREATE SCHEMA mine"},
		{c.AppURL, "CREATE TEMPORARY TABLE mine (n int)"},
		{c.AppURL, "SET ROLE reeve_system; CREATE TABLE mine (n int)"},
		{c.AppURL, "COPY (SELECT 1) TO PROGRAM 'true'"},
		{c.AppURL, "SELECT pg_read_file('/etc/passwd')"},
		{c.MigratorURL, "CREATE TABLE mine (n int)"},
		{c.MigratorURL, "SET ROLE reeve_owner; CREATE ROLE more"},
		{c.MigratorURL, "SET ROLE postgres"},
	} {
		if err := tryRun(t, refused.url, refused.sql); err == nil {
			t.Errorf("not refused: %s", refused.sql)
		}
	}
	for _, role := range []string{"reeve_tenant", "reeve_granted", "reeve_staff", "reeve_system"} {
		run(t, c.AppURL, "SET ROLE "+role)
	}
}

func TestASecondServerIsRefused(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	c := start(t, dir)
	_, err := Start(t.Context(), Options{Dir: dir, Scratch: true, Log: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, ErrInUse) {
		t.Errorf("the second server: %v", err)
	}
	run(t, c.AppURL, "select 1")
}

// A killed server takes its database along; the next one starts at once and finds all that was committed.
func TestKillingTheServer(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	s := startServer(t, os.Args[0], dir, nil)
	run(t, s.Cluster.MigratorURL, "SET ROLE reeve_owner; CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)")
	s.kill(t)

	c := start(t, dir)
	if alive(s.Pid) {
		t.Errorf("the orphan %d still runs", s.Pid)
	}
	var n int
	run(t, c.AdminURL, "select n from kept", &n)
	if n != 42 {
		t.Errorf("kept %d", n)
	}
}

func TestTheDeathOfTheServerAloneEndsTheDatabase(t *testing.T) {
	t.Parallel()
	s := startServer(t, os.Args[0], folder(t), nil)
	s.kill(t)
	eventually(t, "the end of the orphan", func() bool { return !alive(s.Pid) })
}

// Without the kernel's help (a debugger, a container's init) an orphan may live on, and it answers.
func TestAnOrphanIsStoppedFirst(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	c := start(t, dir)
	l := c.location
	stop(t, c)
	orphan := l.command(context.Background(), "postgres", "-D", l.data, "-c", "listen_addresses=", "-c", "unix_socket_directories="+l.socket)
	orphan.SysProcAttr.Pdeathsig = 0
	if err := orphan.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the orphan's start", func() bool { p, err := readPidFile(l.data); return err == nil && p.ready })

	again := start(t, dir)
	if err := orphan.Wait(); err != nil {
		t.Errorf("the orphan did not end in order: %v", err)
	}
	if again.Pid() == orphan.Process.Pid {
		t.Error("the orphan was taken for our own")
	}
	run(t, again.AppURL, "select 1")
}

func TestAStalePidFileIsNoObstacle(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	c := start(t, dir)
	pidFile := filepath.Join(c.location.data, "postmaster.pid")
	stop(t, c)
	for name, text := range map[string]string{
		"a living process that is no postgres": strconv.Itoa(os.Getpid()) + "\n" + c.location.data + "\n",
		"a process that is gone":               "4194303\n" + c.location.data + "\n",
		"nonsense":                             "nonsense",
		"nothing":                              "",
	} {
		if err := os.WriteFile(pidFile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		again := start(t, dir)
		if err := tryRun(t, again.AppURL, "select 1"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		stop(t, again)
	}
}

func TestADeadDatabaseIsStartedAgain(t *testing.T) {
	t.Parallel()
	c := start(t, folder(t))
	before := c.Pid()
	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the restart", func() bool {
		pid := c.Pid()
		return pid != 0 && pid != before && tryRun(t, c.AppURL, "select 1") == nil
	})
}

func TestStopWhileItIsBeingRestarted(t *testing.T) {
	t.Parallel()
	c := start(t, folder(t))
	if err := syscall.Kill(c.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	stop(t, c)
}

// An interrupted initdb must not look like a cluster.
func TestAnUnfinishedClusterIsMadeAfresh(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	unfinished := filepath.Join(dir, "data.new")
	if err := os.MkdirAll(filepath.Join(unfinished, "base"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(unfinished, "PG_VERSION"), []byte("15\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, start(t, dir).AppURL, "select 1")
}

func TestALongPathGetsAShortSocket(t *testing.T) {
	t.Parallel()
	c := start(t, filepath.Join(folder(t), strings.Repeat("long-folder-name/", 8)))
	if !strings.HasPrefix(c.location.socket, "/tmp/reeve-") {
		t.Errorf("socket in %s", c.location.socket)
	}
	run(t, c.AppURL, "select 1")
	stop(t, c)
	if _, err := os.Stat(c.location.socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket's folder is left behind: %v", err)
	}
}

func TestEveryAccountCanRunIt(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		// This run is the unprivileged case itself.
		run(t, start(t, t.TempDir()).AppURL, "select 1")
		return
	}
	t.Run("root", func(t *testing.T) {
		c := start(t, folder(t))
		info, err := os.Stat("/proc/" + strconv.Itoa(c.Pid()))
		if err != nil || info.Sys().(*syscall.Stat_t).Uid == 0 {
			t.Errorf("PostgreSQL runs as root: %v", err)
		}
	})
	t.Run("root in a folder of its own", func(t *testing.T) {
		private := folder(t)
		if err := os.Chmod(private, 0o700); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(private, "data")
		c := start(t, dir)
		t.Cleanup(func() { _ = os.RemoveAll(c.Dir) })
		if !strings.HasPrefix(c.Dir, elsewhere+"/") {
			t.Errorf("the cluster is in %s", c.Dir)
		}
		run(t, c.AppURL, "select 1")
		// It stays there when the folder opens up later: an empty one beside it would look like data loss.
		stop(t, c)
		if err := os.Chmod(private, 0o711); err != nil {
			t.Fatal(err)
		}
		if again := start(t, dir); again.Dir != c.Dir {
			t.Errorf("it moved to %s", again.Dir)
		}
	})
	t.Run("an unprivileged user", func(t *testing.T) {
		home := folder(t)
		program := filepath.Join(home, "server")
		text, err := os.ReadFile(os.Args[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(program, text, 0o755); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(home, "cluster")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		uid, err := strconv.Atoi(nobody.Uid)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, uid, uid); err != nil {
			t.Fatal(err)
		}
		s := startServer(t, program, dir, &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)})
		run(t, s.Cluster.AppURL, "select 1")
		s.kill(t)
		for _, file := range []string{"lock", "startup.log", "data/reeve.conf"} {
			if err := os.Remove(filepath.Join(dir, file)); err != nil {
				t.Error(err)
			}
		}
		// Root takes it over as it is, and leaves it so that its owner can have it back.
		c := start(t, dir)
		run(t, c.AppURL, "select 1")
		stop(t, c)
		s = startServer(t, program, dir, &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)})
		run(t, s.Cluster.AppURL, "select 1")

		const nameless = 12345
		if s := greet(t, program, dir, &syscall.Credential{Uid: nameless, Gid: nameless}); !strings.Contains(s.Error, "/etc/passwd") {
			t.Errorf("an account without a name: %q", s.Error)
		}
	})
}
