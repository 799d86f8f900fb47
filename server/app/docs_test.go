package app

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func operationsPage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// section is what stands under a heading of the page.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, rest, found := strings.Cut(page, "\n## "+heading+"\n")
	if !found {
		t.Fatalf("there is no heading %q", heading)
	}
	text, _, _ := strings.Cut(rest, "\n## ")
	return text
}

func TestThePageNamesEveryTableAndSweep(t *testing.T) {
	t.Parallel()
	i := start(t, "off")
	text := section(t, operationsPage(t), "What grows, and what keeps it small")
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("`([a-z_. -]+)`").FindAllStringSubmatch(text, -1) {
		named[m[1]] = true
	}
	for table := range counts(t, i.urls.Migrator) {
		switch {
		case table == "goose_db_version", strings.HasPrefix(table, "river.") && table != "river.river_job":
			continue // bookkeeping of a few rows
		case strings.HasPrefix(table, "device_timeline_"):
			table = "device_timeline"
		}
		if !named[table] {
			t.Errorf("the table %s is missing", table)
		}
	}
	for _, s := range sweeps(i.app.wired, nil) {
		if !named[s.name] {
			t.Errorf("the sweep %q is missing", s.name)
		}
	}
}

func TestThePageNamesEveryMetric(t *testing.T) {
	t.Parallel()
	text := section(t, operationsPage(t), "Watching")
	source, err := os.ReadFile("metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`"(reeve_[a-z_]+)"`).FindAllSubmatch(source, -1)
	for _, name := range names {
		if !strings.Contains(text, "`"+string(name[1])+"`") {
			t.Errorf("the metric %s is missing", name[1])
		}
	}
	if len(names) < 6 {
		t.Errorf("only %d metrics found", len(names))
	}
}
