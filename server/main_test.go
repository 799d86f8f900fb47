package main

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"testing"

	"reeve/server/app"
)

// TestThePageNamesEveryVariable holds docs/operations.md against the flags, both ways.
func TestThePageNamesEveryVariable(t *testing.T) {
	var want []string
	fs := flag.NewFlagSet("test", flag.ContinueOnError)
	options(fs, &app.Options{})
	fs.VisitAll(func(f *flag.Flag) { want = append(want, variable(f.Name)) })
	want = append(want, "REEVE_ADMIN_PASSWORD") // never a flag
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(REEVE_[A-Z_]+)` \\|").FindAllSubmatch(text, -1) {
		have = append(have, string(row[1]))
	}
	for _, name := range want {
		if !slices.Contains(have, name) {
			t.Errorf("%s is missing in docs/operations.md", name)
		}
	}
	for _, name := range have {
		if !slices.Contains(want, name) {
			t.Errorf("docs/operations.md names %s, which does not exist", name)
		}
	}
}
