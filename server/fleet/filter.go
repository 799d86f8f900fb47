package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"reeve/api/fault"
)

// Bounds of a filter.
const (
	maxFilterDepth = 3
	maxFilterTerms = 20
	maxFilterValue = 255
	maxFilterList  = 100
)

// Filter says which devices by what is known of them: all, or any, of its terms hold.
type Filter struct {
	All []Term `json:"all,omitempty"`
	Any []Term `json:"any,omitempty"`
}

// Term is a comparison, or a nested group.
type Term struct {
	Field string `json:"field,omitempty"`
	Op    string `json:"op,omitempty"`
	Value any    `json:"value,omitempty"`
	Key   string `json:"key,omitempty"` // of the custom field
	All   []Term `json:"all,omitempty"`
	Any   []Term `json:"any,omitempty"`
}

// fieldKind decides which operators a field has and how they are compiled.
type fieldKind int

const (
	factField     fieldKind = iota // a text in device_facts
	enumField                      // a column with few values
	idField                        // a column with an id
	presenceField                  // derived
	tagField
	softwareField
	customField
)

type field struct {
	kind   fieldKind
	column string   // of enum and id fields
	values []string // of enum fields
}

// fields is everything a filter may look at.
var fields = map[string]field{
	"name": {}, "hostname": {}, "os_name": {}, "os_version": {}, "manufacturer": {}, "model": {}, "serial": {},
	"address": {}, "agent_version": {}, "zone": {}, "arch": {},
	"os_family":    {kind: enumField, column: "d.os_family", values: OSFamilies},
	"kind":         {kind: enumField, column: "d.kind", values: Kinds},
	"state":        {kind: enumField, column: "d.state", values: []string{"pending", "active", "quarantined", "retired"}},
	"presence":     {kind: presenceField, values: []string{"online", "overdue", "offline", "never"}},
	"site_id":      {kind: idField, column: "d.site_id"},
	"tag":          {kind: tagField},
	"software":     {kind: softwareField},
	"custom_field": {kind: customField},
}

// operators is what each kind of field can be asked.
var operators = map[fieldKind][]string{
	factField:     {"eq", "ne", "in", "prefix", "contains", "set", "unset"},
	enumField:     {"eq", "ne", "in"},
	idField:       {"eq", "ne", "in"},
	presenceField: {"eq", "ne", "in"},
	tagField:      {"has", "lacks", "eq", "ne", "in", "prefix", "set", "unset"},
	softwareField: {"has", "lacks", "eq", "ne", "in", "prefix", "contains"},
	customField:   {"eq", "ne", "in", "prefix", "contains", "set", "unset"},
}

// ParseFilter reads a filter from JSON text, strictly, and validates it. Pointers of its faults begin
// with base.
func ParseFilter(text []byte, base string) (Filter, error) {
	var f Filter
	if err := CheckDepth(text, 2*maxFilterDepth+4); err != nil {
		return f, fault.InvalidField(base, "the filter "+err.Error())
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return f, fault.InvalidField(base, "the filter is no JSON of the form {\"all\": [{\"field\": …, \"op\": …, \"value\": …}]}")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return f, fault.InvalidField(base, "the filter is followed by something else")
	}
	return f, f.Validate(base)
}

// Validate reports every faulty place; base is the JSON pointer of the filter.
func (f Filter) Validate(base string) error {
	var faults fault.Fields
	count := 0
	checkGroup(&faults, base, f.All, f.Any, 1, &count)
	if count > maxFilterTerms {
		faults.Add(base, "a filter has at most %d terms", maxFilterTerms)
	}
	return faults.Err()
}

func checkGroup(faults *fault.Fields, at string, all, any []Term, depth int, count *int) {
	if (all == nil) == (any == nil) {
		faults.Add(at, "give exactly one of all and any")
		return
	}
	if depth > maxFilterDepth {
		faults.Add(at, "groups nest at most %d deep", maxFilterDepth)
		return
	}
	terms, name := all, "/all/"
	if all == nil {
		terms, name = any, "/any/"
	}
	if len(terms) == 0 {
		faults.Add(at+strings.TrimSuffix(name, "/"), "give at least one term")
	}
	for i, t := range terms {
		if *count > maxFilterTerms {
			return
		}
		here := at + name + strconv.Itoa(i)
		if t.All != nil || t.Any != nil {
			if t.Field != "" || t.Op != "" || t.Value != nil || t.Key != "" {
				faults.Add(here, "a term is either a comparison or a group")
				continue
			}
			checkGroup(faults, here, t.All, t.Any, depth+1, count)
			continue
		}
		*count++
		checkComparison(faults, here, t)
	}
}

func checkComparison(faults *fault.Fields, at string, t Term) {
	spec, known := fields[t.Field]
	if !known {
		faults.Add(at+"/field", "there is no such field")
		return
	}
	if !slices.Contains(operators[spec.kind], t.Op) {
		faults.Add(at+"/op", "%s can be compared by %s", t.Field, strings.Join(operators[spec.kind], ", "))
		return
	}
	if (spec.kind == customField) != (t.Key != "") {
		faults.Add(at+"/key", "custom_field, and nothing else, needs the key of the field")
		return
	}
	if runes(t.Key) > maxTag || t.Key != Line(t.Key, maxTag) {
		faults.Add(at+"/key", "this is no key of a custom field")
		return
	}
	if t.Op == "set" || t.Op == "unset" {
		faults.Check(t.Value == nil, at+"/value", "%s takes no value", t.Op)
		return
	}
	values, ok := t.values()
	if !ok {
		faults.Add(at+"/value", "give %s of at most %d characters", map[bool]string{true: "a list of 1 to 100 texts", false: "a text"}[t.Op == "in"], maxFilterValue)
		return
	}
	for _, v := range values {
		switch {
		case spec.values != nil && !slices.Contains(spec.values, v):
			faults.Add(at+"/value", "use one of %s", strings.Join(spec.values, ", "))
		case spec.kind == idField && uuid.Validate(v) != nil:
			faults.Add(at+"/value", "give an id")
		}
	}
}

// values is what the term compares with, one for most operators; false when it is not of that shape.
func (t Term) values() ([]string, bool) {
	list, isList := t.Value.([]any)
	if isList != (t.Op == "in") {
		return nil, false
	}
	if !isList {
		list = []any{t.Value}
	}
	if len(list) == 0 || len(list) > maxFilterList {
		return nil, false
	}
	texts := make([]string, len(list))
	for i, v := range list {
		text, ok := textOf(v)
		if !ok || text == "" || runes(text) > maxFilterValue || text != Line(text, maxFilterValue) {
			return nil, false
		}
		texts[i] = text
	}
	return texts, true
}

// textOf reads a scalar as the text it is stored as.
func textOf(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	}
	return "", false
}
