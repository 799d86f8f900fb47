package dump

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"reeve/server/dbtest"
)

func TestProgramsGetAURLWithoutThePassword(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]struct{ public, password string }{
		"postgres://u@/db?host=%2Frun%2Fpg&sslmode=disable":    {"postgres://u@/db?host=%2Frun%2Fpg&sslmode=disable", ""},
		"postgres://u:p%40ss@h:5433/db":                        {"postgres://u@h:5433/db", "p@ss"},
		"postgresql://u@h/db?password=secret":                  {"postgresql://u@h/db", "secret"},
		"postgres://u@h/db?pool_max_conns=3&sslmode=require":   {"postgres://u@h/db?sslmode=require", ""},
		"postgres://u@h/db?options=-c%20statement_timeout%3D0": {"postgres://u@h/db?options=-c%20statement_timeout%3D0", ""},
	} {
		public, password, err := publicURL(address)
		if err != nil || public != want.public || password != want.password {
			t.Errorf("%s: %s, %s, %v", address, public, password, err)
		}
	}
	_, _, err := publicURL("host=h user=u password=topsecret")
	if err == nil || strings.Contains(err.Error(), "topsecret") {
		t.Errorf("%v", err)
	}
}

// program makes a folder with a pg_dump that says it has a version.
func program(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\necho 'pg_dump (PostgreSQL) " + version + "'\n"
	if err := os.WriteFile(filepath.Join(dir, "pg_dump"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestThePrograms(t *testing.T) {
	t.Parallel()
	dir := program(t, "17.2 (Debian 17.2-1)")
	for server, fits := range map[int]bool{15: true, 17: true, 18: false} {
		p, err := find(dir, server)
		if fits != (err == nil) || fits && string(p) != dir {
			t.Errorf("for a server %d: %s, %v", server, p, err)
		}
		if err != nil && !strings.Contains(err.Error(), "postgresql-client-18") {
			t.Error(err)
		}
	}
}

func TestATableThatHidesRowsIsNotDumped(t *testing.T) {
	t.Parallel()
	urls := dbtest.NewURLs(t)
	conn, err := pgx.Connect(t.Context(), urls.Migrator)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	moment := func() error { return nil }
	if _, err := Write(t.Context(), urls.Migrator, "", out, moment); err != nil {
		t.Fatal(err)
	}
	for _, policy := range []string{"", "CREATE POLICY partly ON notes TO reeve_owner USING (id > 5)",
		"CREATE POLICY whole ON notes TO reeve_owner USING (true); CREATE POLICY fewer ON notes AS RESTRICTIVE USING (id > 5)"} {
		_, err := conn.Exec(t.Context(), "SET ROLE reeve_owner; DROP TABLE IF EXISTS notes; CREATE TABLE notes (id int); INSERT INTO notes VALUES (1);"+
			"ALTER TABLE notes ENABLE ROW LEVEL SECURITY; ALTER TABLE notes FORCE ROW LEVEL SECURITY;"+policy)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Write(t.Context(), urls.Migrator, "", out, moment); err == nil || !strings.Contains(err.Error(), "may hide rows of notes") {
			t.Errorf("%q: %v", policy, err)
		}
	}
	// A superuser sees past all of that.
	if _, err := Write(t.Context(), urls.Admin, "", out, moment); err != nil {
		t.Error(err)
	}
	if n, err := Count(t.Context(), urls.Admin); err != nil || n["notes"] != 1 {
		t.Errorf("%v, %v", n, err)
	}
}

func TestTheApplicationsLoginDoesNotDump(t *testing.T) {
	t.Parallel()
	urls := dbtest.NewURLs(t)
	_, err := Write(t.Context(), urls.App, "", nil, nil)
	if err == nil || !strings.Contains(err.Error(), "login for migrations") {
		t.Error(err)
	}
}

func TestADatabaseWithoutASchemaIsNotDumped(t *testing.T) {
	t.Parallel()
	_, err := Write(t.Context(), dbtest.Empty(t).Migrator, "", nil, nil)
	if err == nil || !strings.Contains(err.Error(), "no server has used it") {
		t.Error(err)
	}
}

// TestWhatOthersInstalledStaysTheirs has an extension in the database, as a managed PostgreSQL may.
func TestWhatOthersInstalledStaysTheirs(t *testing.T) {
	t.Parallel()
	urls := dbtest.NewURLs(t)
	conn, err := pgx.Connect(t.Context(), urls.Admin)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	if _, err := conn.Exec(t.Context(), "CREATE EXTENSION file_fdw"); err != nil { // only a superuser may
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "out")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	s, err := Write(t.Context(), urls.Migrator, "", out, func() error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	empty := dbtest.Empty(t)
	if err := Read(t.Context(), empty.Migrator, "", path); err != nil {
		t.Fatal(err)
	}
	n, err := Count(t.Context(), empty.Migrator)
	if err != nil || len(n) != len(s.Rows) || n["tenants"] != 1 {
		t.Errorf("%v, %v", n, err)
	}
	if err := Read(t.Context(), empty.Migrator, "", path); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a second time: %v", err)
	}
	if err := Clear(t.Context(), empty.Migrator); err != nil {
		t.Fatal(err)
	}
	if err := Read(t.Context(), empty.Migrator, "", path); err != nil {
		t.Errorf("after clearing: %v", err)
	}
}
