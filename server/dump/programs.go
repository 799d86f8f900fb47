package dump

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// programs is a folder with pg_dump and pg_restore.
type programs string

// find returns the programs that fit a server best: of its own version, or the next newer one.
// PostgreSQL refuses to dump a server that is newer than the program.
func find(folder string, server int) (programs, error) {
	folders := []string{folder}
	if folder == "" {
		folders = candidates()
	}
	best, bestMajor := "", 0
	for _, f := range folders {
		major, err := majorVersion(filepath.Join(f, "pg_dump"))
		if err == nil && major >= server && (best == "" || major < bestMajor) {
			best, bestMajor = f, major
		}
	}
	if best == "" {
		return "", fmt.Errorf("the database is PostgreSQL %d, and pg_dump of that version or newer was not found in PATH or "+
			"/usr/lib/postgresql; install it (Debian, Ubuntu: apt-get install postgresql-client-%[1]d)", server)
	}
	return programs(best), nil
}

func candidates() []string {
	folders, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // Debian and Ubuntu keep them out of PATH
	more, _ := filepath.Glob("/usr/pgsql-*/bin")             // PostgreSQL's own packages for Fedora and RHEL
	folders = append(folders, more...)
	if found, err := exec.LookPath("pg_dump"); err == nil {
		folders = append(folders, filepath.Dir(found))
	}
	return folders
}

// majorVersion reads "pg_dump (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)".
func majorVersion(program string) (int, error) {
	out, err := exec.Command(program, "--version").Output()
	if err != nil {
		return 0, err
	}
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

// run runs a program on the database at address. The password travels in the environment: arguments
// are visible to every user of the machine.
func (p programs) run(ctx context.Context, program, address string, out *os.File, args ...string) error {
	public, password, err := publicURL(address)
	if err != nil {
		return err
	}
	cmd := p.command(ctx, program, append([]string{"--dbname=" + public}, args...)...)
	if password != "" {
		cmd.Env = append(cmd.Env, "PGPASSWORD="+password)
	}
	if out != nil {
		cmd.Stdout = out
	}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, errors.Join(err, ctx.Err()), lastLines(complaints.String()))
	}
	return nil
}

func (p programs) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(string(p), program), args...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "REEVE_") }), "LC_ALL=C")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // cancels the statement on the server, too
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// contents writes the dump's table of contents without extensions, which the administrator of the
// database installed for their own purposes, and which the owner may not create.
func (p programs) contents(ctx context.Context, path string) (string, error) {
	out, err := p.command(ctx, "pg_restore", "--list", path).Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			err = fmt.Errorf("%w: %s", err, lastLines(string(failed.Stderr)))
		}
		return "", fmt.Errorf("reading the dump: %w", err)
	}
	var kept strings.Builder
	for line := range strings.Lines(string(out)) {
		if !strings.Contains(line, " EXTENSION ") {
			kept.WriteString(line)
		}
	}
	f, err := os.CreateTemp(filepath.Dir(path), "contents-*")
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(kept.String())
	return f.Name(), errors.Join(err, f.Close())
}

// known are the parameters of a URL that PostgreSQL's programs understand; the rest is for our pool.
var known = []string{"host", "hostaddr", "port", "user", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl",
	"sslsni", "ssl_min_protocol_version", "channel_binding", "connect_timeout", "options", "passfile", "target_session_attrs",
	"gssencmode", "krbsrvname", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"}

// publicURL takes the password, and what programs do not understand, out of a database URL.
func publicURL(address string) (public, password string, err error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		// Never the address itself: it may hold a password.
		return "", "", errors.New("REEVE_DATABASE_URL and REEVE_MIGRATION_DATABASE_URL must have the form postgres://user:password@host/database")
	}
	if u.User != nil {
		password, _ = u.User.Password()
		u.User = url.User(u.User.Username())
	}
	q := u.Query()
	if p := q.Get("password"); p != "" {
		password = p
	}
	for name := range q {
		if !slices.Contains(known, name) {
			q.Del(name)
		}
	}
	// Spaces as %20: libpq does not read a plus sign as one.
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
	return u.String(), password, nil
}

// lastLines is the part of a program's output that says what went wrong.
func lastLines(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return strings.Join(lines[max(0, len(lines)-6):], " | ")
}
