package privatedb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	port      = "5432" // only a name for the socket
	pollEvery = 10 * time.Millisecond
	// The pause before a postmaster that died is started again; it doubles while it keeps dying young.
	firstPause, longestPause = time.Second, 30 * time.Second
	young                    = time.Minute
)

// keeper runs one postmaster and starts it again when it dies unasked.
type keeper struct {
	location location
	log      *slog.Logger
	stopping chan struct{}
	done     chan struct{} // closed when the loop has ended

	mu      sync.Mutex // guards what follows, and keeps a launch and a stop apart
	current int        // pid of the running postmaster, 0 without one
	ended   bool
}

// startKeeper returns when the first postmaster is ready.
func startKeeper(ctx context.Context, l location, log *slog.Logger) (*keeper, error) {
	k := &keeper{location: l, log: log, stopping: make(chan struct{}), done: make(chan struct{})}
	first := make(chan error, 1)
	go k.run(first)
	select {
	case err := <-first:
		if err != nil {
			return nil, err
		}
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), k.stop(context.WithoutCancel(ctx)))
	}
	if err := k.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, k.stop(context.WithoutCancel(ctx)))
	}
	return k, nil
}

func (k *keeper) pid() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current
}

// errStopped is what a launch answers once the end has begun.
var errStopped = errors.New("the private database is being stopped")

// run owns the OS thread that starts postmasters: the kernel's death signal follows the thread, not
// the process, so this one must live exactly as long as the cluster does.
func (k *keeper) run(first chan<- error) {
	runtime.LockOSThread()
	defer close(k.done)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		born := time.Now()
		cmd, err := k.launch()
		if first != nil {
			first <- err
			if err != nil {
				return
			}
			first = nil
		}
		if err == nil {
			err = k.wait(cmd)
		}
		select {
		case <-k.stopping:
			return
		default:
		}
		// A backend of the dead postmaster may still be attached; PostgreSQL refuses to start until it is
		// gone, and the next round tries again.
		k.log.Error("the private database ended and is started again", "error", err, "log", k.location.startupLog())
		if time.Since(born) > young {
			pause = firstPause
		}
		select {
		case <-k.stopping:
			return
		case <-time.After(pause):
		}
		k.clear()
	}
}

// clear removes the pid file of the dead one, whose number may be another process's by now.
func (k *keeper) clear() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := k.location.clearPredecessor(ctx, k.log); err != nil {
		k.log.Error("the private database's pid file", "error", err)
	}
}

func (k *keeper) launch() (*exec.Cmd, error) {
	l := k.location
	out, err := os.OpenFile(l.startupLog(), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting the private database: %w", err)
	}
	defer out.Close()
	if err := l.account.own(l.startupLog()); err != nil {
		return nil, err
	}
	// On the command line only what must not be overridden: how it is reached.
	cmd := l.command(context.Background(), "postgres", "-D", l.data, "-c", "listen_addresses=", "-c", "port="+port,
		"-c", "unix_socket_directories="+l.socket, "-c", "unix_socket_permissions=0700", "-c", "external_pid_file=")
	cmd.Stdout, cmd.Stderr = out, out
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended {
		return nil, errStopped
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the private database: %w", err)
	}
	k.current = cmd.Process.Pid
	return cmd, nil
}

// wait forgets the pid before the kernel may give it to another process: Wait has not reaped it until
// then, so that a signal never meets a stranger.
func (k *keeper) wait(cmd *exec.Cmd) error {
	var info unix.Siginfo
	for {
		if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil); err != unix.EINTR {
			break
		}
	}
	k.mu.Lock()
	k.current = 0
	k.mu.Unlock()
	return cmd.Wait()
}

// awaitReady waits until the postmaster that we started says so in its pid file. Asking through the
// socket would not do: the orphan of a killed server answers too.
func (k *keeper) awaitReady(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if p, err := readPidFile(k.location.data); err == nil && p.pid == k.pid() && p.ready {
			return nil
		}
		if k.pid() == 0 {
			text, _ := os.ReadFile(k.location.startupLog())
			return fmt.Errorf("the private database does not start: %s", lastLines(text))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the private database does not get ready: %w", ctx.Err())
		}
	}
}

// stop asks for a fast shutdown, and for an immediate one when ctx ends first.
func (k *keeper) stop(ctx context.Context) error {
	close(k.stopping)
	k.mu.Lock()
	k.ended = true
	k.mu.Unlock()
	k.signal(syscall.SIGINT)
	select {
	case <-k.done:
		return nil
	case <-ctx.Done():
		k.signal(syscall.SIGQUIT)
		<-k.done
		return fmt.Errorf("stopping the private database: %w", ctx.Err())
	}
}

func (k *keeper) signal(s syscall.Signal) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current != 0 {
		_ = syscall.Kill(k.current, s) // gone already is what we want
	}
}

func (l location) startupLog() string { return filepath.Join(l.dir, "startup.log") }

// pidFile is what we read of postmaster.pid.
type pidFile struct {
	pid   int
	ready bool
}

func readPidFile(data string) (pidFile, error) {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return pidFile{}, err
	}
	lines := strings.Split(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil {
		return pidFile{}, fmt.Errorf("postmaster.pid: %w", err)
	}
	return pidFile{pid: pid, ready: len(lines) > 7 && strings.TrimSpace(lines[7]) == "ready"}, nil
}

// clearPredecessor stops the postmaster that a killed server left behind, and removes a pid file that
// no postmaster stands behind. We hold the folder's lock, so that no living server is robbed.
func (l location) clearPredecessor(ctx context.Context, log *slog.Logger) error {
	p, err := readPidFile(l.data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	stale := err != nil // unreadable: written by halves, or the disk was full
	if !stale && l.isPostmaster(p.pid) {
		log.WarnContext(ctx, "stopping the database that an earlier server left running", "pid", p.pid)
		if err := l.endPredecessor(ctx, p.pid); err != nil {
			return err
		}
	}
	err = os.Remove(filepath.Join(l.data, "postmaster.pid"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing a stale postmaster.pid: %w", err)
	}
	return nil
}

func (l location) endPredecessor(ctx context.Context, pid int) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	asked := time.Now()
	_ = syscall.Kill(pid, syscall.SIGINT)
	for l.isPostmaster(pid) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the database of an earlier server (pid %d) to stop: %w", pid, ctx.Err())
		case <-tick.C:
		}
		if time.Since(asked) > 30*time.Second {
			_ = syscall.Kill(pid, syscall.SIGQUIT) // its data survive by crash recovery
			asked = time.Now()
		}
	}
	return nil
}

// isPostmaster tells whether a process is a living postmaster of this cluster, which works in its data folder.
func (l location) isPostmaster(pid int) bool {
	proc := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(proc + "/stat")
	if err != nil {
		return false
	}
	// "pid (name) state …": a zombie has a pid and no folder any more.
	if _, after, ok := strings.Cut(string(stat), ") "); !ok || strings.HasPrefix(after, "Z") || !strings.Contains(string(stat), "(postgres)") {
		return false
	}
	folder, err := os.Readlink(proc + "/cwd")
	if err != nil {
		return false
	}
	here, err1 := os.Stat(folder)
	ours, err2 := os.Stat(l.data)
	return err1 == nil && err2 == nil && os.SameFile(here, ours)
}
