package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line makes one bounded line of what an endpoint or a person says: valid UTF-8 without control
// characters, trimmed, at most limit characters.
func Line(s string, limit int) string { return cleaned(s, limit, false) }

// Text is Line for several lines.
func Text(s string, limit int) string { return cleaned(s, limit, true) }

func cleaned(s string, limit int, lines bool) string {
	if len(s) > 8*limit {
		s = s[:8*limit] // bound the work before looking at any of it
	}
	s = strings.Map(func(r rune) rune {
		if lines && (r == '\n' || r == '\t') {
			return r
		}
		if unicode.IsControl(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
	if !lines {
		s = strings.TrimSpace(s)
	}
	return cut(s, limit)
}

// cut shortens to a number of characters.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	n := 0
	for i := range s {
		if n == limit {
			return s[:i]
		}
		n++
	}
	return s
}

func runes(s string) int { return utf8.RuneCountInString(s) }

// placeholders is what firmware says instead of nothing.
var placeholders = map[string]bool{
	"": true, "0": true, "none": true, "unknown": true, "n/a": true, "na": true, "null": true, "default string": true,
	"to be filled by o.e.m.": true, "to be filled by oem": true, "system manufacturer": true, "system product name": true,
	"system serial number": true, "not specified": true, "not applicable": true, "not available": true, "invalid": true,
	"oem": true, "o.e.m.": true, "123456789": true, "1234567890": true, "xxxxxxxx": true, "chassis serial number": true,
}

// Known is nil for what firmware says when it knows nothing, and the cleaned value otherwise.
func Known(s string, limit int) *string {
	s = Line(s, limit)
	if placeholders[strings.ToLower(s)] || strings.Trim(s, "0-. ") == "" {
		return nil
	}
	return &s
}

// Bounds of a JSON document that an endpoint sends.
const (
	maxJSONDepth  = 24
	maxJSONString = 16 * 1024
	maxJSONNumber = 40
)

var errJSON = errors.New("is not acceptable JSON")

// CleanJSON reads one JSON document within bounds and gives it in a form that PostgreSQL stores:
// without NUL and control characters in texts, without numbers that it cannot hold. The depth is
// checked before anything is built from it.
func CleanJSON(raw []byte) (any, error) {
	if err := CheckDepth(raw, maxJSONDepth); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, errJSON
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errJSON
	}
	return cleanValue(v), nil
}

func cleanValue(v any) any {
	switch v := v.(type) {
	case string:
		return Text(v, maxJSONString)
	case json.Number:
		return cleanNumber(v)
	case []any:
		for i := range v {
			v[i] = cleanValue(v[i])
		}
		return v
	case map[string]any:
		for key, value := range v {
			value = cleanValue(value)
			if safe := Line(key, 200); safe != key {
				delete(v, key)
				key = safe
			}
			v[key] = value
		}
		return v
	}
	return v
}

// cleanNumber turns a number that no float and no integer holds into its text: PostgreSQL would
// refuse 1e999999999, and with it the whole statement.
func cleanNumber(n json.Number) any {
	if len(n) > maxJSONNumber {
		return cut(string(n), maxJSONNumber)
	}
	if _, err := n.Int64(); err == nil {
		return n
	}
	if f, err := n.Float64(); err == nil && (f == 0 || (f > 1e-300 && f < 1e300) || (f < -1e-300 && f > -1e300)) {
		// An exponent of zero, as in 0e999999, is still a number of a million digits to some readers.
		return f
	}
	return string(n)
}

// CheckDepth refuses JSON nested deeper than limit, in one pass without allocation.
func CheckDepth(raw []byte, limit int) error {
	depth, inText, escaped := 0, false, false
	for _, c := range raw {
		switch {
		case escaped:
			escaped = false
		case inText:
			switch c {
			case '\\':
				escaped = true
			case '"':
				inText = false
			}
		case c == '"':
			inText = true
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return fmt.Errorf("is nested deeper than %d levels", limit)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}
