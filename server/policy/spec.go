package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"reeve/api/fault"
	"reeve/tenants/scope"
)

// EndpointSpec is how the endpoint program works: what holds, with every field set.
type EndpointSpec struct {
	SyncIntervalSeconds      int  `json:"sync_interval_seconds"`
	InventoryIntervalSeconds int  `json:"inventory_interval_seconds"`
	ScriptsAllowed           bool `json:"scripts_allowed"`
}

// specField is a field that a kind of policy may set.
type specField struct {
	standard json.RawMessage // what holds when nobody sets it
	check    func(json.RawMessage) error
}

// kinds is the vocabulary: every field of every kind.
var kinds = map[Kind]map[string]specField{
	Endpoint: {
		"sync_interval_seconds":      {json.RawMessage("60"), wholeNumber(10, 3600)},
		"inventory_interval_seconds": {json.RawMessage("21600"), wholeNumber(300, 604_800)},
		"scripts_allowed":            {json.RawMessage("true"), yesOrNo},
	},
}

// Kinds lists the kinds of policies, in order.
func Kinds() []Kind { return slices.Sorted(maps.Keys(kinds)) }

func wholeNumber(least, most int64) func(json.RawMessage) error {
	return func(raw json.RawMessage) error {
		var n json.Number
		if err := json.Unmarshal(raw, &n); err == nil && raw[0] != '"' {
			if i, err := n.Int64(); err == nil && i >= least && i <= most {
				return nil
			}
		}
		return fmt.Errorf("must be a whole number from %d to %d", least, most)
	}
}

func yesOrNo(raw json.RawMessage) error {
	if s := string(raw); s != "true" && s != "false" {
		return fmt.Errorf("must be true or false")
	}
	return nil
}

// maxSpecBytes bounds a spec before anything looks at it.
const maxSpecBytes = 64 * 1024

// checkSpec reads a spec strictly: an object, each of its fields known once, each value of its type.
func checkSpec(f *fault.Fields, kind Kind, raw json.RawMessage) Spec {
	vocabulary, known := kinds[kind]
	if !known {
		f.Add("/kind", "there is no such kind of policy")
		return nil
	}
	if len(raw) > maxSpecBytes {
		f.Add("/spec", "must be at most %d bytes", maxSpecBytes)
		return nil
	}
	names, spec, err := readObject(raw)
	if err != nil {
		f.Add("/spec", "%s", err)
		return nil
	}
	for _, name := range names {
		pointer := "/spec/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
		field, known := vocabulary[name]
		if !known {
			f.Add(pointer, "there is no such field; use %s", strings.Join(slices.Sorted(maps.Keys(vocabulary)), ", "))
			continue
		}
		if err := field.check(spec[name]); err != nil {
			f.Add(pointer, "%s", err)
		}
	}
	f.Check(len(spec) > 0, "/spec", "set at least one field")
	return spec
}

// readObject reads the top level of an object and refuses a field that is given twice.
func readObject(raw json.RawMessage) ([]string, Spec, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, nil, fmt.Errorf("must be an object")
	}
	var names []string
	spec := Spec{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, nil, fmt.Errorf("must be an object")
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, nil, fmt.Errorf("must be an object")
		}
		if _, twice := spec[name]; twice {
			return nil, nil, fmt.Errorf("gives a field twice")
		}
		names = append(names, name)
		spec[name] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, nil, fmt.Errorf("must be an object")
	}
	return names, spec, nil
}

// merge decides what holds: the standard, overridden by each policy from far to near. The policies
// given are those that hold for the device; their order does not matter.
func merge(kind Kind, policies []Policy) (Spec, map[string]Origin) {
	spec, origins := Spec{}, map[string]Origin{}
	for name, field := range kinds[kind] {
		spec[name], origins[name] = field.standard, Origin{Scope: Default}
	}
	for _, p := range slices.SortedFunc(slices.Values(policies), nearness) {
		for name, value := range p.Spec {
			if _, known := kinds[kind][name]; !known {
				continue // a field of a newer version that was rolled back
			}
			id := p.ID
			spec[name], origins[name] = value, Origin{Scope: p.Scope, PolicyID: &id}
		}
	}
	return spec, origins
}

// nearness orders policies from far to near: by scope; among tags by priority, and at equal priority by
// name, so that the first in the alphabet wins; a tenant's tag beats the provider's tag of the same
// priority and name.
func nearness(a, b Policy) int {
	if a.Scope != b.Scope {
		return rank[a.Scope] - rank[b.Scope]
	}
	if a.Scope == Tag {
		if a.Priority != b.Priority {
			return a.Priority - b.Priority
		}
		if c := strings.Compare(*b.Tag, *a.Tag); c != 0 {
			return c
		}
		aOwn, bOwn := a.TenantID != scope.Provider, b.TenantID != scope.Provider
		if aOwn != bOwn {
			return map[bool]int{true: 1, false: -1}[aOwn]
		}
	}
	return slices.Compare(a.ID[:], b.ID[:])
}

// hashOf names a spec: equal specs have equal hashes, whatever their origins.
func hashOf(kind Kind, spec Spec) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", kind)
	for _, name := range slices.Sorted(maps.Keys(spec)) {
		var compact bytes.Buffer
		_ = json.Compact(&compact, spec[name]) // was parsed before
		fmt.Fprintf(h, "%d:%s=%d:%s\n", len(name), name, compact.Len(), compact.Bytes())
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// EndpointSpecOf reads an effective spec of kind endpoint.
func EndpointSpecOf(spec Spec) (EndpointSpec, error) {
	var s EndpointSpec
	text, err := json.Marshal(spec)
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	return s, err
}
