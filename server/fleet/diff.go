package fleet

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// ValueChange is one difference between two states of an inventory section.
type ValueChange struct {
	Op     string `json:"op"`   // added, removed, changed
	Path   string `json:"path"` // "volumes[/var].size_bytes"
	Before any    `json:"before,omitempty"`
	After  any    `json:"after,omitempty"`
}

// Bounds of a stored difference.
const (
	maxChanges     = 200
	maxChangeValue = 512
	maxChangePath  = 300
)

// naturalKeys are tried in this order to tell which object of a list is which. The first whose values
// are there, and differ, on both sides is taken.
var naturalKeys = [][]string{
	{"id"}, {"path"}, {"mountpoint"}, {"mount"}, {"device"}, {"name"}, {"name", "arch"}, {"name", "source"}, {"name", "version"},
	{"name", "version", "arch"}, {"slot"}, {"mac"}, {"address"}, {"serial"}, {"user"},
}

// Diff tells what changed between two JSON values, lists of objects compared by their natural key and
// not by place. It says so when more changed than it lists.
func Diff(before, after any) (changes []ValueChange, truncated bool) {
	d := differ{}
	d.value("", before, after)
	return d.changes, d.truncated
}

type differ struct {
	changes   []ValueChange
	truncated bool
}

func (d *differ) add(op, path string, before, after any) {
	if len(d.changes) >= maxChanges {
		d.truncated = true
		return
	}
	if path == "" {
		path = "."
	}
	d.changes = append(d.changes, ValueChange{Op: op, Path: cut(path, maxChangePath), Before: shorten(before), After: shorten(after)})
}

// shorten bounds a value as it is kept in the history.
func shorten(v any) any {
	switch v := v.(type) {
	case nil, bool, float64, json.Number:
		return v
	case string:
		if runes(v) > maxChangeValue {
			return cut(v, maxChangeValue) + "…"
		}
		return v
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	if len(text) > maxChangeValue {
		return strings.ToValidUTF8(string(text[:maxChangeValue]), "") + "…"
	}
	return v
}

func (d *differ) value(path string, before, after any) {
	if d.truncated {
		return
	}
	switch b := before.(type) {
	case map[string]any:
		if a, ok := after.(map[string]any); ok {
			d.object(path, b, a)
			return
		}
	case []any:
		if a, ok := after.([]any); ok {
			d.list(path, b, a)
			return
		}
	}
	switch {
	case same(before, after):
	case before == nil:
		d.add("added", path, nil, after)
	case after == nil:
		d.add("removed", path, before, nil)
	default:
		d.add("changed", path, before, after)
	}
}

func (d *differ) object(path string, before, after map[string]any) {
	names := make([]string, 0, len(before)+len(after))
	for name := range before {
		names = append(names, name)
	}
	for name := range after {
		if _, both := before[name]; !both {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		d.value(join(path, name), before[name], after[name])
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func (d *differ) list(path string, before, after []any) {
	for _, key := range naturalKeys {
		b, bOrder, bOK := keyed(before, key)
		a, aOrder, aOK := keyed(after, key)
		if bOK && aOK && len(b)+len(a) > 0 {
			d.members(path, b, a, bOrder, aOrder)
			return
		}
	}
	d.bag(path, before, after)
}

// keyed arranges a list of objects by a natural key; false when an element has none or two share one.
func keyed(items []any, key []string) (map[string]any, []string, bool) {
	found := make(map[string]any, len(items))
	order := make([]string, 0, len(items))
	for _, item := range items {
		object, ok := item.(map[string]any)
		if !ok {
			return nil, nil, false
		}
		parts := make([]string, len(key))
		for i, name := range key {
			switch v := object[name].(type) {
			case string:
				parts[i] = v
			case float64, json.Number:
				parts[i] = fmt.Sprint(v)
			default:
				return nil, nil, false
			}
		}
		id := strings.Join(parts, " ")
		if _, twice := found[id]; twice {
			return nil, nil, false
		}
		found[id] = object
		order = append(order, id)
	}
	return found, order, true
}

func (d *differ) members(path string, before, after map[string]any, beforeOrder, afterOrder []string) {
	for _, id := range beforeOrder {
		here := path + "[" + id + "]"
		if a, stays := after[id]; stays {
			d.value(here, before[id], a)
		} else {
			d.add("removed", here, before[id], nil)
		}
	}
	for _, id := range afterOrder {
		if _, was := before[id]; !was {
			d.add("added", path+"["+id+"]", nil, after[id])
		}
	}
}

// bag compares lists without keys: what is in one and not in the other, however often, in no order.
func (d *differ) bag(path string, before, after []any) {
	count := map[string]int{}
	for _, v := range before {
		count[canonical(v)]++
	}
	for _, v := range after {
		if id := canonical(v); count[id] > 0 {
			count[id]--
		} else {
			d.add("added", path+"[]", nil, v)
		}
	}
	for _, v := range slices.Backward(before) {
		if id := canonical(v); count[id] > 0 {
			count[id]--
			d.add("removed", path+"[]", v, nil)
		}
	}
}

// canonical is equal for equal values: Go sorts the names of a map.
func canonical(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(text)
}

func same(a, b any) bool { return canonical(a) == canonical(b) }
