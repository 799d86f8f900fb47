package wire

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Kinds of tasks this build knows on both sides.
const (
	KindScript    = "script.run"
	KindInventory = "inventory.collect"
)

// Interpreters a script may name. Which of them a device has is the device's business.
var interpreters = []string{"sh", "bash", "python3", "powershell", "pwsh", "cmd"}

// Bounds of a script.
const (
	MaxScriptBytes     = 256 << 10
	MaxParameters      = 100
	MaxParameterBytes  = 8 << 10
	MaxArguments       = 100
	MaxTimeoutSeconds  = 86400
	DefaultTimeout     = 3600 // seconds, when a script names none
	ParameterEnvPrefix = "REEVE_PARAM_"
)

var parameterName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,59}$`)

// Script is the body of a script.run task. Parameters reach the script by the environment (see
// ParameterEnv) and Arguments by its argument vector; neither is ever pasted into the text.
type Script struct {
	Interpreter    string            `json:"interpreter"`
	Script         string            `json:"script"`
	Parameters     map[string]string `json:"parameters,omitempty"`
	Secrets        []string          `json:"secrets,omitempty"` // names of parameters whose values are struck from the output
	Arguments      []string          `json:"arguments,omitempty"`
	TimeoutSeconds int               `json:"timeout_seconds,omitempty"`
	RunAs          string            `json:"run_as,omitempty"` // when given, it must be what the payload says
}

// ScriptResult is the result of a script.run task beside its exit code and output.
type ScriptResult struct {
	DurationMS int64  `json:"duration_ms"`
	Signal     string `json:"signal,omitempty"` // what ended it, on Unix, when it did not exit by itself
	User       string `json:"user,omitempty"`   // whom it ran as, for logged_in_user
}

// Validate names what makes a script impossible to run.
func (s Script) Validate() error {
	switch {
	case !slices.Contains(interpreters, s.Interpreter):
		return fmt.Errorf("interpreter must be one of %s", strings.Join(interpreters, ", "))
	case s.Script == "":
		return fmt.Errorf("script is empty")
	case len(s.Script) > MaxScriptBytes:
		return fmt.Errorf("script is larger than %d bytes", MaxScriptBytes)
	case strings.ContainsRune(s.Script, 0):
		return fmt.Errorf("script contains a NUL byte")
	case s.TimeoutSeconds < 0 || s.TimeoutSeconds > MaxTimeoutSeconds:
		return fmt.Errorf("timeout_seconds must be between 1 and %d", MaxTimeoutSeconds)
	case len(s.Parameters) > MaxParameters:
		return fmt.Errorf("there are more than %d parameters", MaxParameters)
	case len(s.Arguments) > MaxArguments:
		return fmt.Errorf("there are more than %d arguments", MaxArguments)
	case s.RunAs != "" && s.RunAs != RunAsSystem && s.RunAs != RunAsLoggedInUser:
		return fmt.Errorf("run_as must be %s or %s", RunAsSystem, RunAsLoggedInUser)
	}
	return s.validateValues()
}

func (s Script) validateValues() error {
	seen := map[string]string{}
	for name, value := range s.Parameters {
		if !parameterName.MatchString(name) {
			return fmt.Errorf("parameter name %q is not allowed", name)
		}
		env := ParameterEnv(name)
		if other, twice := seen[env]; twice {
			return fmt.Errorf("parameters %q and %q have the same name in the environment", other, name)
		}
		seen[env] = name
		if len(value) > MaxParameterBytes || strings.ContainsRune(value, 0) {
			return fmt.Errorf("the value of parameter %q is too long or contains a NUL byte", name)
		}
	}
	for i, a := range s.Arguments {
		if len(a) > MaxParameterBytes || strings.ContainsRune(a, 0) {
			return fmt.Errorf("argument %d is too long or contains a NUL byte", i)
		}
	}
	for _, name := range s.Secrets {
		if _, ok := s.Parameters[name]; !ok {
			return fmt.Errorf("secret %q is not a parameter", name)
		}
	}
	return nil
}

// ParameterEnv is the environment variable in which a parameter reaches its script.
func ParameterEnv(name string) string { return ParameterEnvPrefix + strings.ToUpper(name) }

// Collect is the body of an inventory.collect task; no sections means all of them.
type Collect struct {
	Sections []string `json:"sections,omitempty"`
}

// CollectResult says what an inventory.collect task found; the sections themselves go up with the
// sync when their hash is new to the server.
type CollectResult struct {
	Hashes map[string]string `json:"hashes"`
	Errors map[string]string `json:"errors,omitempty"` // sections that could not be read, and why
}
