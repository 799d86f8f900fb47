package privatedb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// oldest is the oldest PostgreSQL that the schema works on.
const oldest = 15

// elsewhere is where a cluster goes whose account cannot reach the folder it was meant for.
const elsewhere = "/var/lib/reeve"

// longestSocket is what a unix socket's path may measure, the socket's own name included.
const longestSocket = 100

// location is everything that is fixed about a cluster before it runs.
type location struct {
	dir     string // holds the rest
	data    string // PGDATA
	socket  string // folder of the unix socket
	bin     string // folder of the programs
	account account
}

// locate finds the cluster that belongs to dir, or decides where it will be.
func locate(dir string, who account) (location, error) {
	programs, err := installed(candidates())
	if err != nil {
		return location{}, err
	}
	l := location{dir: dir}
	moved := filepath.Join(elsewhere, hash(dir))
	switch {
	case isCluster(filepath.Join(dir, "data")):
		if who, err = who.adopt(filepath.Join(dir, "data")); err != nil {
			return l, err
		}
		if !who.reaches(dir, programs[0].bin) {
			return l, fmt.Errorf("the database in %s cannot be reached by the account %q that runs PostgreSQL; "+
				"give it search permission (chmod o+x) on every folder of that path", dir, who.name)
		}
	case isCluster(filepath.Join(moved, "data")):
		l.dir = moved
		if who, err = who.adopt(filepath.Join(moved, "data")); err != nil {
			return l, err
		}
	case !who.reaches(dir, programs[0].bin):
		l.dir = moved
	}
	l.account = who
	l.data = filepath.Join(l.dir, "data")
	if l.bin, err = programsFor(l.data, programs); err != nil {
		return l, err
	}
	if err := who.own(l.dir); err != nil {
		return l, err
	}
	l.socket, err = who.socketFolder(l.dir)
	return l, err
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])[:16]
}

func isCluster(data string) bool {
	_, err := os.Stat(filepath.Join(data, "PG_VERSION"))
	return err == nil
}

func (l location) exists() bool { return isCluster(l.data) }

// command prepares a PostgreSQL program to run under the cluster's account.
func (l location) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(l.bin, program), args...)
	cmd.Dir = l.dir
	cmd.Env = l.account.environment()
	cmd.SysProcAttr = l.account.attributes()
	return cmd
}

// finish runs a program of command to its end and returns what it wrote. The thread is held because the
// kernel's death signal follows it, and Go may end a thread that another goroutine had locked.
func finish(cmd *exec.Cmd) ([]byte, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return cmd.CombinedOutput()
}

// release is one installed PostgreSQL.
type release struct {
	major int
	bin   string
}

// candidates are the folders where PostgreSQL's programs may be.
func candidates() []string {
	folders, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // Debian and Ubuntu keep them out of PATH
	more, _ := filepath.Glob("/usr/pgsql-*/bin")             // PostgreSQL's own packages for Fedora and RHEL
	folders = append(folders, more...)
	if found, err := exec.LookPath("initdb"); err == nil {
		if target, err := filepath.EvalSymlinks(found); err == nil {
			folders = append(folders, filepath.Dir(target))
		}
	}
	return folders
}

// installed picks the usable PostgreSQL installations among folders, newest first.
func installed(folders []string) ([]release, error) {
	var usable []release
	var tooOld []string
	for _, bin := range folders {
		major, err := majorVersion(bin)
		switch {
		case err != nil || slices.ContainsFunc(usable, func(r release) bool { return r.bin == bin }):
		case major < oldest:
			tooOld = append(tooOld, strconv.Itoa(major))
		default:
			usable = append(usable, release{major, bin})
		}
	}
	if len(usable) > 0 {
		slices.SortStableFunc(usable, func(a, b release) int { return b.major - a.major })
		return usable, nil
	}
	found := "none was found in PATH or /usr/lib/postgresql"
	if len(tooOld) > 0 {
		found = "only PostgreSQL " + strings.Join(tooOld, ", ") + " was found"
	}
	return nil, fmt.Errorf("PostgreSQL %d or newer is needed and %s; install it "+
		"(Debian, Ubuntu: apt-get install postgresql; Fedora, RHEL: dnf install postgresql-server) "+
		"or point REEVE_DATABASE_URL at a database", oldest, found)
}

// majorVersion asks the server program itself; a folder without initdb is not usable.
func majorVersion(bin string) (int, error) {
	if _, err := os.Stat(filepath.Join(bin, "initdb")); err != nil {
		return 0, err
	}
	out, err := exec.Command(filepath.Join(bin, "postgres"), "-V").Output()
	if err != nil {
		return 0, err
	}
	// "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)", "… 18beta1"
	fields := strings.Fields(string(out))
	if len(fields) < 3 {
		return 0, fmt.Errorf("unexpected version %q", out)
	}
	digits := strings.IndexFunc(fields[2], func(r rune) bool { return r < '0' || r > '9' })
	if digits < 0 {
		digits = len(fields[2])
	}
	return strconv.Atoi(fields[2][:digits])
}

// programsFor picks the newest programs for a new cluster, and the matching ones for an existing one.
func programsFor(data string, programs []release) (string, error) {
	text, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return programs[0].bin, nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the cluster's version: %w", err)
	}
	version := strings.TrimSpace(string(text))
	for _, r := range programs {
		if strconv.Itoa(r.major) == version {
			return r.bin, nil
		}
	}
	return "", fmt.Errorf("the database in %s was made by PostgreSQL %s, which is not installed; "+
		"install that version (Debian, Ubuntu: apt-get install postgresql-%s)", data, version, version)
}
