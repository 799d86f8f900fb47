package privatedb

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeInstallation is a folder with programs that only know their version.
func fakeInstallation(t *testing.T, version string) string {
	t.Helper()
	bin := t.TempDir()
	for _, program := range []string{"postgres", "initdb"} {
		script := "#!/bin/sh\necho '" + program + " (PostgreSQL) " + version + "'\n"
		if err := os.WriteFile(filepath.Join(bin, program), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return bin
}

func TestTheNewestInstallationIsChosen(t *testing.T) {
	t.Parallel()
	fifteen, seventeen, old := fakeInstallation(t, "15.14 (Debian 15.14-0+deb12u1)"), fakeInstallation(t, "17beta2"), fakeInstallation(t, "13.3")
	found, err := installed([]string{old, fifteen, seventeen, fifteen, "/does/not/exist", t.TempDir()})
	if err != nil || len(found) != 2 || found[0] != (release{17, seventeen}) || found[1] != (release{15, fifteen}) {
		t.Errorf("found %v, %v", found, err)
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	t.Parallel()
	_, none := installed(nil)
	_, old := installed([]string{fakeInstallation(t, "13.3")})
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte("16\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, gone := programsFor(data, []release{{17, "/new"}, {15, "/old"}})
	for _, c := range []struct {
		err  error
		says []string
	}{
		{none, []string{"PostgreSQL 15 or newer", "apt-get install postgresql", "REEVE_DATABASE_URL"}},
		{old, []string{"only PostgreSQL 13"}},
		{gone, []string{"PostgreSQL 16, which is not installed", "apt-get install postgresql-16"}},
	} {
		for _, text := range c.says {
			if c.err == nil || !strings.Contains(c.err.Error(), text) {
				t.Errorf("%q is not in %q", text, c.err)
			}
		}
	}
}

func TestAnExistingClusterKeepsItsVersion(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte("15\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if bin, err := programsFor(data, []release{{17, "/new"}, {15, "/old"}}); err != nil || bin != "/old" {
		t.Errorf("%s, %v", bin, err)
	}
}
