package runner

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNoSecretEverPassesHoweverItIsCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secrets := rapid.SliceOfN(rapid.StringMatching(`[ab]{2,5}`), 1, 3).Draw(t, "secrets")
		text := rapid.StringMatching(`[abc]{0,40}`).Draw(t, "text")
		s := newStriker(secrets)
		var out strings.Builder
		for rest := text; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			out.Write(s.next([]byte(rest[:n])))
			rest = rest[n:]
		}
		out.Write(s.rest())
		whole := newStriker(secrets)
		want := string(whole.next([]byte(text))) + string(whole.rest())
		if out.String() != want {
			t.Fatalf("in pieces %q, at once %q", out.String(), want)
		}
		for _, secret := range secrets {
			if strings.Contains(strings.ReplaceAll(out.String(), mask, "|"), secret) {
				t.Fatalf("%q contains %q", out.String(), secret)
			}
		}
	})
}
