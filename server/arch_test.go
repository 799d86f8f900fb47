package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// ranks is the architecture: a package may import only packages on lines above its own, packages on
// one line are strangers, and nothing outside server imports server. A package that is on no line
// fails the test; move one in the same commit as its line.
var ranks = []string{
	"api api/fault api/wire tenants/scope tenants/calendar server/aiops server/migrations server/portal server/bus",
	"api/client tenants/tenantdb server/privatedb server/dump",
	"tenants/audit tenants/secrets tenants/files server/work",
	"tenants",
	"billing server/notify",
	"server/auth server/fleet",
	"server/policy server/schedule server/scripts",
	"server/desk",
	"server/tasks",
	"server/alerts",
	"server/monitor server/bdr",
	"server/patching",
	"server/haas",
	"server/reports",
	"server/rest server/gateway server/vault",
	"server/app",
	"server",
}

// endpointRanks is the same for the endpoint, which shares only the contract with the server.
var endpointRanks = []string{
	"api api/fault api/wire",
	"api/client",
	"endpoint/runner",
	"endpoint/agent",
	"endpoint endpoint/simulate",
}

// doors are imports that only some packages may have: each technology has one place.
var doors = map[string][]string{
	"github.com/gofiber/":                 {"server/rest", "server/gateway", "server/vault", "server/app"},
	"github.com/robfig/cron":              {"server/schedule", "server/app"},
	"github.com/golang-jwt/jwt":           {"server/auth", "endpoint/agent", "endpoint/simulate"},
	"github.com/jackc/pgx":                {"tenants/tenantdb", "server/work", "server/privatedb", "server/dump", "server/migrations", "server/dbtest"},
	"gorm.io/driver":                      {"tenants/tenantdb", "server/work", "server/privatedb", "server/migrations", "server/dbtest"},
	"github.com/riverqueue/":              {"server/work", "server/notify", "server/migrations", "tenants/tenantdb"},
	"github.com/nats-io/":                 {"server/bus"},
	"github.com/wneessen/go-mail":         {"server/notify"},
	"github.com/shirou/gopsutil":          {"endpoint/runner", "endpoint/agent"},
	"github.com/coder/websocket":          {"endpoint/agent", "endpoint/simulate"},
	"github.com/prometheus/client_golang": {"server/app"},
}

type pkg struct {
	ImportPath string
	Imports    []string
}

func TestEveryPackageStandsOnItsLine(t *testing.T) {
	serverLine, endpointLine := lines(ranks), lines(endpointRanks)
	for _, p := range packages(t) {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, "reeve"), "/")
		if name == "server/dbtest" {
			continue // imported by tests only, which TestNothingButTestsUsesTheTestDatabase proves
		}
		line, rank := serverLine, serverLine[name]
		if strings.HasPrefix(name, "endpoint") {
			line, rank = endpointLine, endpointLine[name]
		}
		if rank == 0 {
			t.Errorf("%s stands on no line of the architecture: give it one in this test", name)
			continue
		}
		for _, imported := range p.Imports {
			local, ours := strings.CutPrefix(imported, "reeve/")
			if !ours {
				continue
			}
			if strings.HasPrefix(local, "server") && !strings.HasPrefix(name, "server") {
				t.Errorf("%s imports %s: nothing outside server imports server", name, local)
			}
			if r := line[local]; r == 0 || r >= rank {
				t.Errorf("%s (line %d) imports %s (line %d): only lines above its own", name, rank, local, r)
			}
		}
	}
}

func TestTechnologiesStayBehindTheirDoors(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, "reeve/")
		for _, imported := range p.Imports {
			for prefix, allowed := range doors {
				if strings.HasPrefix(imported, prefix) && !slices.Contains(allowed, name) {
					t.Errorf("%s imports %s, which belongs only to %v", name, imported, allowed)
				}
			}
		}
	}
}

func TestNothingButTestsUsesTheTestDatabase(t *testing.T) {
	for _, p := range packages(t) {
		if slices.Contains(p.Imports, "reeve/server/dbtest") {
			t.Errorf("%s imports server/dbtest outside a test", p.ImportPath)
		}
	}
}

func lines(ranks []string) map[string]int {
	out := map[string]int{}
	for i, line := range ranks {
		for _, name := range strings.Fields(line) {
			out[name] = i + 1
		}
	}
	return out
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("only %d packages found: the list is not the tree", len(all))
	}
	return all
}
