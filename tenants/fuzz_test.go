package tenants_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"reeve/tenants"
)

// FuzzCustomFieldValue: whatever JSON a caller sends, a value is refused or has one canonical text that
// an index takes and that means the same again.
func FuzzCustomFieldValue(f *testing.F) {
	for _, seed := range []string{`"x"`, `12.50`, `-0`, `true`, `null`, `"2025-02-29"`, `"https://a.example/"`, `"javascript:alert(1)"`,
		`1e400`, `"\u0000"`, `{"a":[]}`, `"gold"`, `0.1234567890123456`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber()
		var exact any
		if decoder.Decode(&exact) != nil {
			return
		}
		var plain any
		_ = json.Unmarshal([]byte(text), &plain)
		for _, kind := range []tenants.FieldType{tenants.FieldText, tenants.FieldNumber, tenants.FieldBoolean, tenants.FieldDate,
			tenants.FieldChoice, tenants.FieldURL, tenants.FieldSecret} {
			field := tenants.Field{Type: kind, Options: []string{"gold"}}
			for _, value := range []any{exact, plain} {
				canonical, number, err := field.Canonical(value)
				if err != nil {
					continue
				}
				if len(canonical) > 2000 || canonical == "" || !utf8.ValidString(canonical) || strings.ContainsRune(canonical, 0) {
					t.Errorf("%s: %q → %q", kind, text, canonical)
				}
				if kind == tenants.FieldNumber {
					again, _, err := field.Canonical(json.Number(canonical))
					if err != nil || again != canonical || *number != canonical {
						t.Errorf("%q → %q → %q, %v", text, canonical, again, err)
					}
				}
			}
		}
	})
}

// FuzzTenantName: no name breaks the making of a slug, and what comes out is one.
func FuzzTenantName(f *testing.F) {
	for _, seed := range []string{"Café & Söhne", "日本", strings.Repeat("a ", 80), "-", "ﬁ ①"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		slug := tenants.SlugOf(name)
		if slug == "" {
			return
		}
		if err := (tenants.NewTenant{Name: "x", Slug: slug}).Validate(); err != nil || len(slug) > 60 {
			t.Errorf("%q → %q: %v", name, slug, err)
		}
	})
}
