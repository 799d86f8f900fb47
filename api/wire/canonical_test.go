package wire

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestCanonicalFormDoesNotDependOnTheWay(t *testing.T) {
	type section struct {
		Z string `json:"z"`
		A int64  `json:"a"`
	}
	direct, err := Canonical(section{"<b>&\u2028", 9007199254740993})
	if err != nil {
		t.Fatal(err)
	}
	escaped, _ := json.Marshal(section{"<b>&\u2028", 9007199254740993})
	again, err := Canonical(json.RawMessage(escaped))
	if err != nil {
		t.Fatal(err)
	}
	if string(direct) != string(again) || Hash(direct) != Hash(again) {
		t.Errorf("%s and %s", direct, again)
	}
}

func TestClipKeepsWholeCharacters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, n := string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))+rapid.String().Draw(t, "text"), rapid.IntRange(0, 30).Draw(t, "n")
		got := Clip(s, n)
		if len(got) > n || !utf8.ValidString(got) {
			t.Fatalf("%q clipped to %d is %q", s, n, got)
		}
	})
}
