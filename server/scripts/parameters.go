package scripts

import (
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"reeve/api/fault"
	"reeve/api/wire"
)

// Type is what the value of a parameter must look like.
type Type string

// The types.
const (
	Plain   Type = "text"
	Number  Type = "number"
	Boolean Type = "boolean"
	Choice  Type = "choice"
	Secret  Type = "secret"
)

var types = []Type{Plain, Number, Boolean, Choice, Secret}

// Parameter is one input of a script. It reaches the script in an environment variable.
type Parameter struct {
	Name        string   `json:"name"`
	Label       string   `json:"label,omitempty"`
	Type        Type     `json:"type"`
	Required    bool     `json:"required,omitempty"`
	Default     string   `json:"default,omitempty"`
	Options     []string `json:"options,omitempty"`
	Description string   `json:"description,omitempty"`
}

var parameterName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,59}$`)

const (
	maxLabel   = 120
	maxHelp    = 500
	maxOptions = 100
	maxOption  = 200
)

func (p Parameter) equal(o Parameter) bool {
	return p.Name == o.Name && p.Label == o.Label && p.Type == o.Type && p.Required == o.Required && p.Default == o.Default &&
		p.Description == o.Description && slices.Equal(p.Options, o.Options)
}

func at(base string, i int) string { return base + "/" + strconv.Itoa(i) }

func checkParameters(f *fault.Fields, all []Parameter) {
	f.Check(len(all) <= maxParameters, "/parameters", "a script has at most %d parameters", maxParameters)
	seen := map[string]bool{}
	for i, p := range all {
		here := at("/parameters", i)
		f.Check(parameterName.MatchString(p.Name), here+"/name", "use letters, digits and _, not beginning with a digit, at most 60 characters")
		env := wire.ParameterEnv(p.Name)
		f.Check(!seen[env], here+"/name", "another parameter has the same name in the environment, where case does not count")
		seen[env] = true
		p.check(f, here)
	}
}

func (p Parameter) check(f *fault.Fields, here string) {
	f.Check(utf8.RuneCountInString(p.Label) <= maxLabel && printable(p.Label, false), here+"/label", "give at most %d characters", maxLabel)
	f.Check(utf8.RuneCountInString(p.Description) <= maxHelp && printable(p.Description, true), here+"/description", "give at most %d characters", maxHelp)
	if !slices.Contains(types, p.Type) {
		f.Add(here+"/type", "use one of text, number, boolean, choice, secret")
		return
	}
	f.Check((p.Type == Choice) == (len(p.Options) > 0), here+"/options", "a choice, and nothing else, has options")
	f.Check(len(p.Options) <= maxOptions, here+"/options", "give at most %d options", maxOptions)
	for i, o := range p.Options {
		f.Check(o != "" && utf8.RuneCountInString(o) <= maxOption && printable(o, false), at(here+"/options", i), "give 1 to %d characters", maxOption)
		f.Check(!slices.Contains(p.Options[:i], o), at(here+"/options", i), "%q stands here twice", o)
	}
	if p.Default == "" {
		return
	}
	if p.Type == Secret {
		f.Add(here+"/default", "a secret has no default: everybody who may read the script would see it")
		return
	}
	if why := p.refuse(p.Default); why != "" {
		f.Add(here+"/default", "%s", why)
	}
}

// refuse says what is wrong with a value; nothing is "".
func (p Parameter) refuse(value string) string {
	switch {
	case len(value) > wire.MaxParameterBytes:
		return "give at most " + strconv.Itoa(wire.MaxParameterBytes) + " bytes"
	case !utf8.ValidString(value) || strings.ContainsRune(value, 0):
		return "give text without NUL"
	}
	switch p.Type {
	case Number:
		if !numberPattern.MatchString(value) {
			return "give a number such as 12 or -0.5"
		}
	case Boolean:
		if value != "true" && value != "false" {
			return "give true or false"
		}
	case Choice:
		if !slices.Contains(p.Options, value) {
			return "give one of " + strings.Join(p.Options, ", ")
		}
	}
	return ""
}

var numberPattern = regexp.MustCompile(`^-?[0-9]{1,30}(\.[0-9]{1,30})?$`)

// Arguments checks what somebody gives a script with these parameters, and completes it by their
// defaults. secret lists the names whose values must not be shown. Pointers of faults begin with base.
func Arguments(params []Parameter, given map[string]string, base string, f *fault.Fields) (values map[string]string, secret []string) {
	values = map[string]string{}
	known := map[string]bool{}
	for _, p := range params {
		known[p.Name] = true
		value, ok := given[p.Name]
		if !ok || value == "" {
			value = p.Default
		}
		if value == "" {
			f.Check(!p.Required, base+"/"+p.Name, "this parameter is required")
			if ok && p.Type == Plain {
				values[p.Name] = ""
			}
			continue
		}
		if why := p.refuse(value); why != "" {
			f.Add(base+"/"+p.Name, "%s", why)
			continue
		}
		values[p.Name] = value
		if p.Type == Secret {
			secret = append(secret, p.Name)
		}
	}
	for _, name := range sorted(given) {
		f.Check(known[name], base+"/"+Escape(name), "the script has no such parameter")
	}
	return values, secret
}

func sorted(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Escape makes a name a part of a JSON pointer.
func Escape(name string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(name) }

// IsParameterName tells whether a parameter may have this name.
func IsParameterName(name string) bool { return parameterName.MatchString(name) }
