// Package scripts is the library of scripts: named texts with typed parameters and every version they
// ever had, of the provider for all tenants or of one tenant.
package scripts

import (
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"reeve/api/fault"
	"reeve/api/wire"
)

// What a script may name.
var (
	Interpreters = []string{"sh", "bash", "python3", "powershell", "pwsh", "cmd"}
	Platforms    = []string{"linux", "windows", "darwin", "other"}
	runAs        = []string{wire.RunAsSystem, wire.RunAsLoggedInUser}
)

// Script is an entry of the library with its current text.
type Script struct {
	ID          uuid.UUID
	TenantID    uuid.UUID // the provider's serve every tenant
	Name        string
	Description string
	Platforms   []string // families of operating systems; none means any
	Text
	Number    int // of the current text
	Archived  bool
	Version   int64
	CreatedBy string
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Text is what one version of a script says.
type Text struct {
	Interpreter    string
	Body           string
	Parameters     []Parameter
	TimeoutSeconds int
	RunAs          string
}

// Version is a text with its history.
type Version struct {
	Number int
	Text
	Note      string // what this version is for
	CreatedBy string
	CreatedAt time.Time
}

// NewScript is what it takes to add a script.
type NewScript struct {
	TenantID    uuid.UUID // the provider when empty
	Name        string
	Description string
	Platforms   []string
	Text
	Note string
}

// Change names what to change; nil leaves as it is. What differs in the text makes a new version of it.
type Change struct {
	Version        int64
	Name           *string
	Description    *string
	Platforms      *[]string
	Interpreter    *string
	Body           *string
	Parameters     *[]Parameter
	TimeoutSeconds *int
	RunAs          *string
	Archived       *bool
	Note           string
}

const (
	maxName        = 120
	maxDescription = 4000
	maxNote        = 500
	maxParameters  = 50
)

// withDefaults fills in what an author may leave out.
func (t Text) withDefaults() Text {
	if t.TimeoutSeconds == 0 {
		t.TimeoutSeconds = wire.DefaultTimeout
	}
	if t.RunAs == "" {
		t.RunAs = wire.RunAsSystem
	}
	if t.Parameters == nil {
		t.Parameters = []Parameter{}
	}
	return t
}

// Validate reports every faulty field.
func (n NewScript) Validate() error {
	var f fault.Fields
	checkLabels(&f, n.Name, n.Description, n.Platforms)
	n.Text.check(&f)
	f.Check(utf8.RuneCountInString(n.Note) <= maxNote && printable(n.Note, true), "/note", "give at most %d characters", maxNote)
	return f.Err()
}

func checkLabels(f *fault.Fields, name, description string, platforms []string) {
	f.Check(strings.TrimSpace(name) == name && name != "" && utf8.RuneCountInString(name) <= maxName && printable(name, false), "/name",
		"give 1 to %d characters without control characters and spaces at the ends", maxName)
	f.Check(utf8.RuneCountInString(description) <= maxDescription && printable(description, true), "/description",
		"give at most %d characters", maxDescription)
	for i, p := range platforms {
		f.Check(slices.Contains(Platforms, p), at("/platforms", i), "use one of %s", strings.Join(Platforms, ", "))
		f.Check(!slices.Contains(platforms[:i], p), at("/platforms", i), "%q stands here twice", p)
	}
}

func (t Text) check(f *fault.Fields) {
	f.Check(slices.Contains(Interpreters, t.Interpreter), "/interpreter", "use one of %s", strings.Join(Interpreters, ", "))
	f.Check(t.Body != "", "/body", "the script is empty")
	f.Check(len(t.Body) <= wire.MaxScriptBytes, "/body", "give at most %d bytes", wire.MaxScriptBytes)
	f.Check(utf8.ValidString(t.Body) && !strings.ContainsRune(t.Body, 0), "/body", "give UTF-8 text without NUL")
	f.Check(t.TimeoutSeconds >= 1 && t.TimeoutSeconds <= wire.MaxTimeoutSeconds, "/timeout_seconds", "give 1 to %d", wire.MaxTimeoutSeconds)
	f.Check(slices.Contains(runAs, t.RunAs), "/run_as", "use one of %s", strings.Join(runAs, ", "))
	checkParameters(f, t.Parameters)
}

// apply makes the script as the change wants it, and tells whether its text differs.
func (c Change) apply(s Script) (after Script, text bool, err error) {
	after = s
	set(&after.Name, c.Name)
	set(&after.Description, c.Description)
	set(&after.Platforms, c.Platforms)
	set(&after.Interpreter, c.Interpreter)
	set(&after.Body, c.Body)
	set(&after.Parameters, c.Parameters)
	set(&after.TimeoutSeconds, c.TimeoutSeconds)
	set(&after.RunAs, c.RunAs)
	set(&after.Archived, c.Archived)
	after.Text = after.Text.withDefaults()
	n := NewScript{Name: after.Name, Description: after.Description, Platforms: after.Platforms, Text: after.Text, Note: c.Note}
	if err := n.Validate(); err != nil {
		return s, false, err
	}
	text = !after.Text.equal(s.Text)
	if s.Archived && after.Archived {
		return s, false, ErrArchived
	}
	if text {
		after.Number++
	}
	return after, text, nil
}

func (t Text) equal(o Text) bool {
	return t.Interpreter == o.Interpreter && t.Body == o.Body && t.TimeoutSeconds == o.TimeoutSeconds && t.RunAs == o.RunAs &&
		slices.EqualFunc(t.Parameters, o.Parameters, Parameter.equal)
}

func set[T any](field *T, to *T) {
	if to != nil {
		*field = *to
	}
}

func printable(s string, lines bool) bool {
	if !utf8.ValidString(s) {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return unicode.IsControl(r) && !(lines && (r == '\n' || r == '\t' || r == '\r')) }) < 0
}
