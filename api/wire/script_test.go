package wire

import (
	"strings"
	"testing"
)

func TestScriptValidate(t *testing.T) {
	good := Script{Interpreter: "sh", Script: "id", Parameters: map[string]string{"a": "1"}, Secrets: []string{"a"}}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Script){
		"interpreter":    func(s *Script) { s.Interpreter = "/bin/sh" },
		"empty":          func(s *Script) { s.Script = "" },
		"huge":           func(s *Script) { s.Script = strings.Repeat("x", MaxScriptBytes+1) },
		"NUL":            func(s *Script) { s.Script = "a\x00b" },
		"timeout":        func(s *Script) { s.TimeoutSeconds = MaxTimeoutSeconds + 1 },
		"run_as":         func(s *Script) { s.RunAs = "root" },
		"name":           func(s *Script) { s.Parameters = map[string]string{"a=b": ""} },
		"same in env":    func(s *Script) { s.Parameters = map[string]string{"a": "", "A": ""} },
		"value":          func(s *Script) { s.Parameters = map[string]string{"a": "\x00"} },
		"long value":     func(s *Script) { s.Parameters = map[string]string{"a": strings.Repeat("x", MaxParameterBytes+1)} },
		"argument":       func(s *Script) { s.Arguments = []string{"\x00"} },
		"many arguments": func(s *Script) { s.Arguments = make([]string, MaxArguments+1) },
		"secret":         func(s *Script) { s.Secrets = []string{"b"} },
	} {
		s := good
		change(&s)
		if s.Validate() == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
