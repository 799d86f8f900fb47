package portal_test

import (
	"io/fs"
	"strings"
	"testing"

	"reeve/server/portal"
)

// A strict content security policy only works when the page carries the placeholder once,
// runs no inline script and fetches nothing from elsewhere.
func TestIndexFitsTheContentSecurityPolicy(t *testing.T) {
	if !portal.Built() {
		if _, err := fs.Stat(portal.FS(), "."); err != nil {
			t.Fatalf("an unbuilt portal must still be a file system: %v", err)
		}
		return
	}
	page, err := fs.ReadFile(portal.FS(), "index.html")
	if err != nil {
		t.Fatal(err)
	}
	html := string(page)
	if n := strings.Count(html, portal.NoncePlaceholder); n != 1 {
		t.Errorf("index.html holds the nonce placeholder %d times, want once", n)
	}
	for _, bad := range []string{"<style", "style=", "https://", "http://", "onload="} {
		if strings.Contains(html, bad) {
			t.Errorf("index.html contains %q", bad)
		}
	}
	for _, tag := range strings.Split(html, "<script")[1:] {
		if !strings.Contains(strings.SplitN(tag, ">", 2)[0], "src=") {
			t.Error("index.html has an inline script")
		}
	}
}
