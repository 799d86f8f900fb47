package tasks

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/api/wire"
	"reeve/server/scripts"
)

// Kind is what a task can be.
type Kind struct {
	Name  string
	Title string // what a person calls it
	// Parallel tasks run beside others on their device; of all others a device has one at a time.
	Parallel bool
	// Destructive work always needs a second person.
	Destructive bool
	// prepare checks a payload strictly and makes of it what is signed and what is shown.
	prepare func(tx *gorm.DB, payload json.RawMessage) (work, error)
}

// work is a checked payload.
type work struct {
	body       json.RawMessage // the end of every task's envelope
	shown      json.RawMessage
	runAs      string
	platforms  []string
	title      string
	runSeconds int // how long one task may run
	jitter     time.Duration
}

// builtin are the kinds this server knows.
var builtin = []Kind{
	{Name: wire.KindScript, Title: "running a script", prepare: prepareScript},
	{Name: wire.KindInventory, Title: "collecting the inventory", Parallel: true, prepare: prepareInventory},
}

// scriptPayload is the payload of script.run as somebody sends it.
type scriptPayload struct {
	Interpreter    string            `json:"interpreter,omitempty"`
	Script         string            `json:"script,omitempty"`
	ScriptID       *uuid.UUID        `json:"script_id,omitempty"`
	ScriptNumber   int               `json:"script_number,omitempty"`
	Parameters     map[string]string `json:"parameters,omitempty"`
	Arguments      []string          `json:"arguments,omitempty"`
	TimeoutSeconds int               `json:"timeout_seconds,omitempty"`
	RunAs          string            `json:"run_as,omitempty"`
}

// shownScript is the payload of a job as it is kept and shown: the text is there as it ran.
type shownScript struct {
	scriptPayload
	ScriptName string `json:"script_name,omitempty"`
}

func prepareScript(tx *gorm.DB, raw json.RawMessage) (work, error) {
	var p scriptPayload
	if err := decodePayload(raw, &p); err != nil {
		return work{}, err
	}
	if err := p.check(); err != nil {
		return work{}, err
	}
	shown := shownScript{scriptPayload: p}
	w := work{title: "Run a " + p.Interpreter + " script"}
	if p.ScriptID != nil {
		s, err := scripts.ResolveTx(tx, *p.ScriptID, p.ScriptNumber)
		if err != nil {
			return work{}, library(err)
		}
		if shown, err = p.filledFrom(s); err != nil {
			return work{}, err
		}
		w.title, w.platforms = s.Name, s.Platforms
	}
	if shown.TimeoutSeconds == 0 {
		shown.TimeoutSeconds = wire.DefaultTimeout
	}
	if shown.RunAs == "" {
		shown.RunAs = wire.RunAsSystem
	}
	body := wire.Script{Interpreter: shown.Interpreter, Script: shown.Script, Parameters: shown.Parameters, Arguments: shown.Arguments,
		TimeoutSeconds: shown.TimeoutSeconds, RunAs: shown.RunAs}
	if err := body.Validate(); err != nil {
		return work{}, fault.InvalidField("/payload", err.Error())
	}
	w.runAs, w.runSeconds = shown.RunAs, shown.TimeoutSeconds
	return w.encoded(body, shown)
}

// library makes what is wrong with a library script a fault of the field that names it.
func library(err error) error {
	e, ok := fault.As(err)
	switch {
	case !ok:
		return err
	case e.Is(scripts.ErrNoVersion):
		return fault.InvalidField("/payload/script_number", e.Message)
	case e.Kind == fault.NotFound, e.Kind == fault.Conflict:
		return fault.InvalidField("/payload/script_id", e.Message)
	}
	return err
}

func (w work) encoded(body, shown any) (work, error) {
	var err error
	if w.body, err = json.Marshal(body); err != nil {
		return w, fmt.Errorf("encoding a payload: %w", err)
	}
	if w.shown, err = json.Marshal(shown); err != nil {
		return w, fmt.Errorf("encoding a payload: %w", err)
	}
	return w, nil
}

var runAs = []string{wire.RunAsSystem, wire.RunAsLoggedInUser}

// check looks at everything that does not need the library.
func (p scriptPayload) check() error {
	var f fault.Fields
	if p.ScriptID == nil {
		f.Check(p.Script != "", "/payload/script", "give script with interpreter, or script_id")
		f.Check(p.ScriptNumber == 0, "/payload/script_number", "needs a script_id")
		f.Check(slices.Contains(scripts.Interpreters, p.Interpreter), "/payload/interpreter", "use one of %s", strings.Join(scripts.Interpreters, ", "))
	} else {
		f.Check(p.Script == "", "/payload/script", "give script or script_id, not both")
		f.Check(p.Interpreter == "", "/payload/interpreter", "a script of the library has its own")
		f.Check(p.ScriptNumber >= 0, "/payload/script_number", "versions count from 1")
	}
	f.Check(len(p.Script) <= wire.MaxScriptBytes, "/payload/script", "give at most %d bytes", wire.MaxScriptBytes)
	f.Check(plain(p.Script), "/payload/script", "give text without NUL")
	f.Check(p.TimeoutSeconds >= 0 && p.TimeoutSeconds <= wire.MaxTimeoutSeconds, "/payload/timeout_seconds", "give 1 to %d", wire.MaxTimeoutSeconds)
	f.Check(p.RunAs == "" || slices.Contains(runAs, p.RunAs), "/payload/run_as", "use one of %s", strings.Join(runAs, ", "))
	f.Check(len(p.Arguments) <= wire.MaxArguments, "/payload/arguments", "give at most %d arguments", wire.MaxArguments)
	for i, a := range p.Arguments {
		f.Check(len(a) <= wire.MaxParameterBytes && plain(a), "/payload/arguments/"+strconv.Itoa(i), "give at most %d bytes without NUL", wire.MaxParameterBytes)
	}
	f.Check(len(p.Parameters) <= wire.MaxParameters, "/payload/parameters", "give at most %d parameters", wire.MaxParameters)
	if p.ScriptID == nil {
		p.checkFreeParameters(&f)
	}
	return f.Err()
}

// checkFreeParameters is for a script outside the library, which declares no parameters: any name will do.
func (p scriptPayload) checkFreeParameters(f *fault.Fields) {
	declared := make([]scripts.Parameter, 0, len(p.Parameters))
	seen := map[string]bool{}
	for name := range p.Parameters {
		declared = append(declared, scripts.Parameter{Name: name, Type: scripts.Plain})
		f.Check(scripts.IsParameterName(name), "/payload/parameters/"+scripts.Escape(name), "use letters, digits and _, not beginning with a digit")
		env := wire.ParameterEnv(name)
		f.Check(!seen[env], "/payload/parameters/"+scripts.Escape(name), "another parameter has the same name in the environment, where case does not count")
		seen[env] = true
	}
	scripts.Arguments(declared, p.Parameters, "/payload/parameters", f)
}

// filledFrom completes the payload from a script of the library: its text, pinned to its version, and
// the defaults of its parameters.
func (p scriptPayload) filledFrom(s scripts.Script) (shownScript, error) {
	var f fault.Fields
	values, secret := scripts.Arguments(s.Parameters, p.Parameters, "/payload/parameters", &f)
	for _, name := range secret {
		// What a job holds is shown to whoever may read jobs, and travels to the device in its envelope.
		f.Add("/payload/parameters/"+name, "secret parameters cannot be sent to devices by this version; let the script read the secret on the device")
	}
	if err := f.Err(); err != nil {
		return shownScript{}, err
	}
	p.Script, p.Interpreter, p.ScriptNumber, p.Parameters = s.Body, s.Interpreter, s.Number, values
	if p.TimeoutSeconds == 0 {
		p.TimeoutSeconds = s.TimeoutSeconds
	}
	if p.RunAs == "" {
		p.RunAs = s.RunAs
	}
	return shownScript{scriptPayload: p, ScriptName: s.Name}, nil
}

const (
	maxSections       = 32
	maxSectionName    = 60
	collectRunSeconds = 900
)

func prepareInventory(_ *gorm.DB, raw json.RawMessage) (work, error) {
	var p wire.Collect
	if err := decodePayload(raw, &p); err != nil {
		return work{}, err
	}
	var f fault.Fields
	f.Check(len(p.Sections) <= maxSections, "/payload/sections", "name at most %d sections", maxSections)
	for i, s := range p.Sections {
		f.Check(sectionName(s), "/payload/sections/"+strconv.Itoa(i), "give the name of a section, such as software")
		f.Check(!slices.Contains(p.Sections[:i], s), "/payload/sections/"+strconv.Itoa(i), "%q stands here twice", s)
	}
	if err := f.Err(); err != nil {
		return work{}, err
	}
	return work{runAs: wire.RunAsSystem, title: "Collect the inventory", runSeconds: collectRunSeconds}.encoded(p, p)
}

func sectionName(s string) bool {
	return s != "" && len(s) <= maxSectionName && strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_')
	}) < 0
}

// decodePayload reads a payload strictly, and names the field that does not fit.
func decodePayload(raw json.RawMessage, into any) error {
	err := wire.DecodeStrict(raw, into)
	if err == nil {
		return nil
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return fault.InvalidField("/payload/"+strings.ReplaceAll(wrong.Field, ".", "/"), "give "+kindOfValue(wrong.Type.String())+", not "+wrong.Value)
	}
	if name, found := strings.CutPrefix(err.Error(), "json: unknown field "); found {
		return fault.InvalidField("/payload/"+scripts.Escape(strings.Trim(name, `"`)), "there is no such field")
	}
	return fault.InvalidField("/payload", "the payload does not fit the kind: "+err.Error())
}

func kindOfValue(goType string) string {
	switch {
	case strings.Contains(goType, "map"):
		return "an object of texts"
	case strings.HasPrefix(goType, "[]"):
		return "a list of texts"
	case strings.HasPrefix(goType, "int"):
		return "a whole number"
	}
	return "a text"
}

func plain(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }
