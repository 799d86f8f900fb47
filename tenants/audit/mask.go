package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"unicode"
)

// What stands in the log in place of a secret: that it changed is worth knowing, its value is not.
const (
	maskedValue   = "(secret)"
	maskedChanged = "(secret, changed)"
)

// maxDocument bounds what one act may put on either side of its entry.
const maxDocument = 256 * 1024

// secretWords mark a field as secret when its name contains one of them as a word.
var secretWords = map[string]bool{
	"password": true, "passphrase": true, "passwd": true, "secret": true, "secrets": true, "token": true,
	"tokens": true, "credential": true, "credentials": true, "otp": true, "totp": true, "key": true, "keys": true,
	"private": true, "authorization": true, "cookie": true, "pin": true,
}

// openNames contain a secret word and are none.
var openNames = map[string]bool{"public_key": true, "key_id": true, "sort_key": true, "password_min_length": true,
	"password_changed_at": true, "api_key_id": true, "token_id": true}

// documents encodes both sides of a change with their secrets masked. Fields are secret by name, or
// by the tag `audit:"secret"`; the tag `audit:"plain"` says that a name is misleading, and `audit:"-"` leaves a field out.
func documents(before, after any) (b, a json.RawMessage, err error) {
	tags := tagsOf(before, after)
	left, err := generic(before)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the state before: %w", err)
	}
	right, err := generic(after)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the state after: %w", err)
	}
	maskedLeft, maskedRight := mask(left, nil, tags), mask(right, left, tags)
	if b, err = encode(before, maskedLeft); err != nil {
		return nil, nil, err
	}
	if a, err = encode(after, maskedRight); err != nil {
		return nil, nil, err
	}
	return b, a, nil
}

// generic turns a value into maps, slices and scalars, numbers kept as they are written.
func generic(v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var tree any
	return tree, decoder.Decode(&tree)
}

func encode(original, tree any) (json.RawMessage, error) {
	if original == nil {
		return nil, nil
	}
	raw, err := json.Marshal(tree) // sorts the names, so that equal states are equal text
	if err != nil {
		return nil, err
	}
	if len(raw) > maxDocument {
		return json.Marshal(map[string]any{"omitted": "too large", "bytes": len(raw)})
	}
	// PostgreSQL takes no NUL in text; a name from outside may hold one.
	return bytes.ReplaceAll(raw, []byte(`\u0000`), []byte(`\ufffd`)), nil
}

// mask replaces secrets; other is the opposite side, to tell a change.
func mask(tree, other any, tags map[string]string) any {
	switch node := tree.(type) {
	case map[string]any:
		twin, _ := other.(map[string]any)
		out := make(map[string]any, len(node))
		for name, value := range node {
			switch {
			case tags[name] == "-":
			case !isSecret(name, tags) || isEmpty(value):
				out[name] = mask(value, twin[name], tags)
			case twin != nil && !reflect.DeepEqual(twin[name], value):
				out[name] = maskedChanged
			default:
				out[name] = maskedValue
			}
		}
		return out
	case []any:
		twin, _ := other.([]any)
		out := make([]any, len(node))
		for i, value := range node {
			var opposite any
			if i < len(twin) {
				opposite = twin[i]
			}
			out[i] = mask(value, opposite, tags)
		}
		return out
	}
	return tree
}

// isEmpty leaves absent, false and zero in clear: that there is no secret, or that one is wanted, is none.
func isEmpty(v any) bool {
	switch v := v.(type) {
	case nil, bool:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

func isSecret(name string, tags map[string]string) bool {
	switch tags[name] {
	case "secret":
		return true
	case "plain":
		return false
	}
	words := splitWords(name)
	if openNames[strings.Join(words, "_")] {
		return false
	}
	for _, word := range words {
		if secretWords[word] {
			return true
		}
	}
	return false
}

// splitWords reads "apiKey", "API_KEY" and "api-key" alike.
func splitWords(name string) []string {
	var words []string
	var word []rune
	flush := func() {
		if len(word) > 0 {
			words = append(words, strings.ToLower(string(word)))
			word = nil
		}
	}
	runes := []rune(name)
	for i, r := range runes {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			flush()
			continue
		}
		startsWord := unicode.IsUpper(r) && i > 0 && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if startsWord {
			flush()
		}
		word = append(word, r)
	}
	flush()
	return words
}

// tagsOf collects the audit tags of the types involved, by JSON name.
func tagsOf(values ...any) map[string]string {
	tags := map[string]string{}
	for _, v := range values {
		if v == nil {
			continue
		}
		for name, tag := range typeTags(reflect.TypeOf(v)) {
			tags[name] = tag
		}
	}
	return tags
}

var typeTagCache sync.Map // reflect.Type → map[string]string

func typeTags(t reflect.Type) map[string]string {
	if cached, ok := typeTagCache.Load(t); ok {
		return cached.(map[string]string)
	}
	tags := map[string]string{}
	collectTags(t, tags, map[reflect.Type]bool{})
	typeTagCache.Store(t, tags)
	return tags
}

func collectTags(t reflect.Type, into map[string]string, seen map[reflect.Type]bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Array || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || seen[t] {
		return
	}
	seen[t] = true
	for field := range t.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" {
			name = field.Name
		}
		if tag := field.Tag.Get("audit"); tag != "" {
			into[name] = tag
		}
		collectTags(field.Type, into, seen)
	}
}
