package fleet

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"reeve/api/fault"
)

func TestJournalRules(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	type step struct {
		name    string
		id      string
		entry   int64
		batch   string
		seconds int // by the endpoint's clock
		boot    string
		bad     bool
	}
	stories := map[string][]step{
		"an ordinary life":                 {{"", "j", 0, "1", 0, "a", false}, {"", "j", 0, "2", 60, "a", false}, {"", "j", 3, "3", 120, "a", false}, {"reboot", "j", 3, "4", 180, "b", false}, {"reboot", "j", 4, "5", 240, "c", false}},
		"lost replies":                     {{"", "j", 5, "1", 0, "a", false}, {"again", "j", 5, "1", 0, "a", false}, {"again, later and with more", "j", 6, "2", 60, "a", false}},
		"a late duplicate":                 {{"", "j", 5, "1", 0, "a", false}, {"", "j", 7, "2", 60, "a", false}, {"hung in the network", "j", 5, "0", -30, "a", false}, {"", "j", 8, "3", 120, "a", false}},
		"a late duplicate of the last run": {{"", "j", 5, "1", 0, "a", false}, {"", "j", 5, "2", 60, "b", false}, {"from before the reboot", "j", 5, "0", -10, "a", false}, {"", "j", 5, "3", 120, "b", false}},
		"a clock set back":                 {{"", "j", 5, "1", 1000, "a", false}, {"", "j", 5, "2", 0, "a", false}, {"", "j", 6, "3", 60, "a", false}, {"", "j", 7, "4", 120, "b", false}},
		"a disk set back":                  {{"", "j", 9, "1", 0, "a", false}, {"snapshot restored", "j", 4, "2", 60, "b", true}},
		"a disk and the clock set back":    {{"", "j", 9, "1", 1000, "a", false}, {"", "j", 4, "2", 0, "b", false}, {"", "j", 4, "3", 60, "b", false}, {"the third is no late duplicate", "j", 4, "4", 120, "b", true}},
		"a rebuilt data folder":            {{"", "j", 9, "1", 0, "a", false}, {"", "k", 0, "2", 60, "a", true}},
		"two machines, idle":               {{"", "j", 9, "1", 0, "a", false}, {"the copy", "j", 9, "2", 60, "b", false}, {"the first again", "j", 9, "3", 61, "a", true}},
		"two machines, at work":            {{"", "j", 9, "1", 0, "a", false}, {"", "j", 10, "2", 60, "a", false}, {"the copy, in the same boot id", "j", 9, "3", 61, "a", true}},
		"no boot id":                       {{"", "j", 1, "1", 0, "", false}, {"", "j", 2, "2", 60, "", false}, {"", "j", 2, "3", 120, "a", false}, {"", "j", 2, "4", 180, "", false}},
	}
	for name, steps := range stories {
		var mark JournalMark
		for i, s := range steps {
			var objection string
			mark, objection = mark.Judge(JournalReport{ID: s.id, Entry: s.entry, BatchID: s.batch, BootID: s.boot, SentAt: start.Add(time.Duration(s.seconds) * time.Second)})
			if (objection != "") != s.bad {
				t.Errorf("%s, step %d (%s): objection %q", name, i+1, s.name, objection)
			}
		}
	}
}

// TestAnHonestEndpointIsNeverAccused plays one machine over a network that loses, repeats and delays.
func TestAnHonestEndpointIsNeverAccused(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		now, entry, boot := time.Unix(1_700_000_000, 0), int64(0), 0
		var mark JournalMark
		var late []JournalReport // at most two hang in the network
		for i := range rapid.IntRange(1, 60).Draw(t, "syncs") {
			now = now.Add(time.Duration(rapid.IntRange(1, 100).Draw(t, "pause")) * time.Second)
			entry += int64(rapid.IntRange(0, 2).Draw(t, "tasks"))
			if rapid.IntRange(0, 9).Draw(t, "reboot") == 0 {
				boot++
			}
			report := JournalReport{ID: "j", Entry: entry, BatchID: fmt.Sprint(i), SentAt: now, BootID: fmt.Sprint("boot", boot)}
			deliver := []JournalReport{report}
			switch rapid.SampledFrom([]string{"once", "twice", "hangs", "arrives late"}).Draw(t, "network") {
			case "twice":
				deliver = append(deliver, report)
			case "hangs":
				if len(late) < maxLate {
					late, deliver = append(late, report), nil
				}
			case "arrives late":
				if len(late) > 0 {
					deliver, late = append(deliver, late[0]), late[1:]
				}
			}
			for _, r := range deliver {
				var objection string
				if mark, objection = mark.Judge(r); objection != "" {
					t.Fatalf("sync %d: %s (%+v after %+v)", i, objection, r, mark)
				}
			}
		}
	})
}

func TestDiffComparesByNaturalKey(t *testing.T) {
	t.Parallel()
	parse := func(text string) any {
		v, err := CleanJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct{ before, after, want string }{
		{`{"a":1}`, `{"a":1}`, ``},
		{`{"a":1.50}`, `{"a":1.5}`, ``},
		{`{"a":1,"b":2}`, `{"a":2,"c":3}`, `changed a 1>2; removed b 2><nil>; added c <nil>>3`},
		{`{"volumes":[{"mount":"/","size":1},{"mount":"/var","size":2}]}`, `{"volumes":[{"mount":"/var","size":3},{"mount":"/","size":1}]}`, `changed volumes[/var].size 2>3`},
		{`{"packages":[{"name":"a","arch":"x"},{"name":"a","arch":"y"}]}`, `{"packages":[{"name":"a","arch":"y"},{"name":"b","arch":"x"}]}`,
			`removed packages[a x] map[arch:x name:a]><nil>; added packages[b x] <nil>>map[arch:x name:b]`},
		{`["a","b","b"]`, `["b","c"]`, `added .[] <nil>>c; removed .[] b><nil>; removed .[] a><nil>`},
		{`{"a":{"b":null}}`, `{"a":{"b":"x"}}`, `added a.b <nil>>x`},
		{`{"a":[1]}`, `{"a":{"b":1}}`, `changed a [1]>map[b:1]`},
	} {
		changes, truncated := Diff(parse(c.before), parse(c.after))
		var got []string
		for _, ch := range changes {
			got = append(got, fmt.Sprintf("%s %s %v>%v", ch.Op, ch.Path, ch.Before, ch.After))
		}
		if text := strings.ReplaceAll(strings.Join(got, "; "), " [] ", " .[] "); text != c.want || truncated {
			t.Errorf("%s → %s:\n got %s\nwant %s", c.before, c.after, text, c.want)
		}
	}
	var many []any
	for i := range 5000 {
		many = append(many, map[string]any{"name": fmt.Sprint(i), "text": strings.Repeat("x", 2000)})
	}
	changes, truncated := Diff([]any{}, many)
	text, err := json.Marshal(changes)
	if len(changes) != maxChanges || !truncated || err != nil || len(text) > 400_000 {
		t.Errorf("%d changes, truncated %v, %d bytes", len(changes), truncated, len(text))
	}
}

func TestDiffOfRandomDocuments(t *testing.T) {
	t.Parallel()
	document := rapid.Custom(func(t *rapid.T) any {
		list := rapid.SliceOfNDistinct(rapid.IntRange(0, 9), 0, 6, func(i int) int { return i }).Draw(t, "names")
		items := []any{}
		for _, n := range list {
			items = append(items, map[string]any{"name": fmt.Sprint(n), "value": float64(rapid.IntRange(0, 3).Draw(t, "value"))})
		}
		return map[string]any{"items": items}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := document.Draw(t, "a"), document.Draw(t, "b")
		if changes, _ := Diff(a, a); len(changes) != 0 {
			t.Fatalf("a document differs from itself: %+v", changes)
		}
		forth, _ := Diff(a, b)
		back, _ := Diff(b, a)
		if len(forth) != len(back) {
			t.Fatalf("%d changes forth, %d back", len(forth), len(back))
		}
	})
}

func TestFilterValidation(t *testing.T) {
	t.Parallel()
	term := `{"field":"name","op":"eq","value":"x"}`
	for text, pointer := range map[string]string{
		`{}`: "", `{"all":[],"any":[]}`: "", `{"all":[]}`: "/all", `[]`: "", `x`: "", `{"all":[` + term + `]} x`: "",
		`{"all":[{"field":"password","op":"eq","value":"x"}]}`:                               "/all/0/field",
		`{"all":[{"field":"name","op":"like","value":"x"}]}`:                                 "/all/0/op",
		`{"all":[{"field":"name","op":"eq","value":{"a":1}}]}`:                               "/all/0/value",
		`{"all":[{"field":"name","op":"eq","value":""}]}`:                                    "/all/0/value",
		`{"all":[{"field":"name","op":"in","value":[]}]}`:                                    "/all/0/value",
		`{"all":[{"field":"name","op":"set","value":"x"}]}`:                                  "/all/0/value",
		`{"all":[{"field":"os_family","op":"eq","value":"beos"}]}`:                           "/all/0/value",
		`{"all":[{"field":"site_id","op":"eq","value":"x"}]}`:                                "/all/0/value",
		`{"all":[{"field":"custom_field","op":"eq","value":"x"}]}`:                           "/all/0/key",
		`{"all":[{"field":"name","op":"eq","value":"x","any":[` + term + `]}]}`:              "/all/0",
		`{"all":[{"any":[{"all":[{"any":[` + term + `]}]}]}]}`:                               "/all/0/any/0/all/0",
		`{"all":[` + strings.Repeat(term+",", 20) + term + `]}`:                              "",
		`{"all":[{"field":"name","op":"eq","value":"x","unknown":1}]}`:                       "",
		`{"all":[{"field":"name; drop table devices","op":"eq","value":"x"}]}`:               "/all/0/field",
		`{"all":` + strings.Repeat(`[{"all":`, 100) + `[]` + strings.Repeat(`}]`, 100) + `}`: "",
	} {
		_, err := ParseFilter([]byte(text), "?f")
		f, ok := fault.As(err)
		if !ok || f.Kind != fault.Invalid || !slices.ContainsFunc(f.Fields, func(x fault.Field) bool { return x.Pointer == "?f"+pointer }) {
			t.Errorf("%.120s: %v, want %q", text, err, pointer)
		}
	}
	for _, text := range []string{`{"all":[` + term + `]}`, `{"any":[{"all":[{"any":[` + term + `]}]}]}`,
		`{"all":[{"field":"custom_field","key":"rack","op":"in","value":["a",1,true]}]}`, `{"all":[{"field":"serial","op":"unset"}]}`} {
		if _, err := ParseFilter([]byte(text), "?f"); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// FuzzFilter holds that whatever a client sends is refused or compiled to SQL of constants with as many
// parameters as placeholders.
func FuzzFilter(f *testing.F) {
	f.Add([]byte(`{"all":[{"field":"name","op":"contains","value":"x"},{"any":[{"field":"tag","op":"has","value":"a"},{"field":"presence","op":"ne","value":"online"}]}]}`))
	f.Add([]byte(`{"any":[{"field":"custom_field","key":"k","op":"in","value":["1",2]},{"field":"software","op":"lacks","value":"x"},{"field":"site_id","op":"in","value":["00000000-0000-0000-0000-000000000000"]}]}`))
	f.Add([]byte(`{"all":[{"field":"?","op":"?","value":"?"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		filter, err := ParseFilter(text, "?filter")
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("%v", err)
			}
			return
		}
		var c condition
		filter.compile(&c, clock{})
		sql := c.sql.String()
		if n := strings.Count(sql, "?"); n != len(c.args) {
			t.Fatalf("%d placeholders, %d parameters: %s", n, len(c.args), sql)
		}
		if strings.Count(sql, "(") != strings.Count(sql, ")") || strings.ContainsAny(sql, ";\"\\") || len(sql) > 40_000 {
			t.Fatalf("unsound: %s", sql)
		}
	})
}

func TestTermsAreBoundedAndFindSubstrings(t *testing.T) {
	t.Parallel()
	terms := termsOf([]string{"SRV-Berlin-01"}, []string{"Debian GNU/Linux", `ACME\anna`})
	find := func(part string) bool {
		return slices.ContainsFunc(terms, func(term string) bool { return term >= part && term < prefixEnd(part) })
	}
	for part, want := range map[string]bool{"srv": true, "berlin": true, "lin-01": true, "1": true, "debian": true, "gnu": true, "anna": true, "bian": false, "xyz": false} {
		if find(part) != want {
			t.Errorf("%q found: %v", part, !want)
		}
	}
	if n := len(termsOf([]string{strings.Repeat("ab c", 10_000)}, []string{strings.Repeat("x y ", 10_000)})); n > maxTerms {
		t.Errorf("%d terms", n)
	}
}

// TestInstallLinesParse has the shell itself read the lines: nothing in them may break out of a quote.
func TestInstallLinesParse(t *testing.T) {
	t.Parallel()
	digest := func(string) string { return strings.Repeat("ab", 32) }
	for _, install := range []Install{{PublicURL: "https://rmm.example.test"}, {PublicURL: "https://rmm.example.test:8443", CAFingerprint: "ff", Digest: digest},
		{PublicURL: "https://rmm.example.test", Digest: digest}} {
		for _, line := range install.lines("reeve_enrol_Ab-_9.FfEe") {
			if !strings.Contains(line.Command, "reeve_enrol_Ab-_9.FfEe") || !strings.Contains(line.Command, install.PublicURL) {
				t.Errorf("%s: %s", line.Title, line.Command)
			}
			insecure := strings.Contains(line.Command, "--insecure")
			if pinned := strings.Contains(strings.ToLower(line.Command), strings.Repeat("ab", 32)); install.Digest != nil && !pinned || insecure && !pinned {
				t.Errorf("%s: not pinned: %s", line.Title, line.Command)
			}
			if line.Platform == "windows" {
				continue
			}
			if out, err := exec.CommandContext(t.Context(), "sh", "-n", "-c", line.Command).CombinedOutput(); err != nil {
				t.Errorf("%s: %v %s", line.Title, err, out)
			}
			inner := strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(line.Command, "sudo sh -c '"), "'"), `'\''`, "'")
			if out, err := exec.CommandContext(t.Context(), "sh", "-n", "-c", inner).CombinedOutput(); err != nil {
				t.Errorf("%s: %v %s in %s", line.Title, err, out, inner)
			}
		}
	}
}

func FuzzCleanJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,"x\u0000y",1e400,null,true]}`, `{"\u0000":1}`, `[[[[]]]]`, `"\ud800"`, `0e999999999`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := CleanJSON(raw)
		if err != nil {
			return
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		again, err := CleanJSON(text)
		if err != nil || !same(v, again) {
			t.Fatalf("not stable: %s, %v", text, err)
		}
	})
}
