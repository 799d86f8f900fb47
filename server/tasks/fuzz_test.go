package tasks

import (
	"encoding/json"
	"testing"

	"reeve/api/fault"
	"reeve/api/wire"
)

// Whatever somebody sends as a payload is either a fault that names its field, or a body that every
// endpoint accepts.
func FuzzPayload(f *testing.F) {
	for _, seed := range []string{`{"interpreter": "bash", "script": "x"}`, `{}`, `null`, `{"script_number": 1e99}`, `{"parameters": {"a": null}}`,
		`{"interpreter": "cmd", "script": "\ud800", "arguments": [""], "parameters": {"A": "b"}}`, `{"sections": ["os"]}`, `{"Interpreter": "bash", "script": "x"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		if w, err := prepareInventory(nil, payload); err == nil {
			var body wire.Collect
			if err := wire.DecodeStrict(w.body, &body); err != nil {
				t.Errorf("%q became %q: %v", payload, w.body, err)
			}
		} else if fault.KindOf(err) != fault.Invalid {
			t.Errorf("%q: %v", payload, err)
		}
		var p scriptPayload
		if json.Unmarshal(payload, &p) == nil && p.ScriptID != nil {
			return // needs the library
		}
		w, err := prepareScript(nil, payload)
		if err != nil {
			if e, ok := fault.As(err); !ok || e.Kind != fault.Invalid || len(e.Fields) == 0 {
				t.Errorf("%q: %v", payload, err)
			}
			return
		}
		var body wire.Script
		if err := wire.DecodeStrict(w.body, &body); err != nil || body.Validate() != nil {
			t.Errorf("%q became %q: %v %v", payload, w.body, err, body.Validate())
		}
	})
}
