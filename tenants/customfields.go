package tenants

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"reeve/api/fault"
)

// FieldType is what a custom field holds.
type FieldType string

// The types.
const (
	FieldText    FieldType = "text"
	FieldNumber  FieldType = "number"
	FieldBoolean FieldType = "boolean"
	FieldDate    FieldType = "date"   // YYYY-MM-DD
	FieldChoice  FieldType = "choice" // one of the options
	FieldURL     FieldType = "url"
	FieldSecret  FieldType = "secret" // sealed at rest, never shown again
)

// ObjectType is what a custom field may be on.
type ObjectType string

// The object types.
const (
	OnTenant ObjectType = "tenant"
	OnSite   ObjectType = "site"
	OnDevice ObjectType = "device"
)

// Field is the definition of a custom field. Those of the provider hold for every tenant.
type Field struct {
	ID          uuid.UUID
	TenantID    uuid.UUID
	Key         string // how scripts, filters and the API name it; never changes
	Label       string
	AppliesTo   ObjectType
	Type        FieldType // never changes: stored values would lose their meaning
	Options     []string  `gorm:"serializer:json"` // of a choice
	Description string
	Version     int64
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// TableName implements GORM's tabler.
func (Field) TableName() string { return "custom_field_definitions" }

// NewField is what it takes to define a field.
type NewField struct {
	TenantID    uuid.UUID
	Key         string
	Label       string
	AppliesTo   ObjectType
	Type        FieldType
	Options     []string
	Description string
}

const (
	maxOptions     = 200
	maxDescription = 1000
	maxValue       = 2000 // bytes: what an index of PostgreSQL takes, with room to spare
)

var fieldKey = regexp.MustCompile(`^[a-z][a-z0-9_]{0,59}$`)

// Validate reports every faulty field.
func (n NewField) Validate() error {
	var f fault.Fields
	f.Check(fieldKey.MatchString(n.Key), "/key", "begin with a letter; use at most 60 lower-case letters, digits and underscores")
	checkName(&f, "/label", n.Label)
	f.Check(slices.Contains([]ObjectType{OnTenant, OnSite, OnDevice}, n.AppliesTo), "/applies_to", "use tenant, site or device")
	f.Check(slices.Contains([]FieldType{FieldText, FieldNumber, FieldBoolean, FieldDate, FieldChoice, FieldURL, FieldSecret}, n.Type),
		"/type", "use text, number, boolean, date, choice, url or secret")
	checkOptions(&f, n.Type, n.Options)
	checkText(&f, "/description", n.Description, maxDescription)
	return f.Err()
}

func checkOptions(f *fault.Fields, t FieldType, options []string) {
	if t != FieldChoice {
		f.Check(len(options) == 0, "/options", "only a choice has options")
		return
	}
	f.Check(len(options) >= 1 && len(options) <= maxOptions, "/options", "give 1 to %d options", maxOptions)
	for i, o := range options {
		checkName(f, pointerAt("/options", i), o)
		f.Check(o == strings.TrimSpace(o), pointerAt("/options", i), "leave out blanks at the ends")
		f.Check(!slices.Contains(options[:i], o), pointerAt("/options", i), "%q stands here twice", o)
	}
}

// FieldChange names what to change; nil leaves as it is. An option that is taken away stays on the
// objects that have it, and cannot be chosen again.
type FieldChange struct {
	Version     int64
	Label       *string
	Options     *[]string
	Description *string
}

// apply decides what the field becomes.
func (c FieldChange) apply(field Field) (Field, error) {
	var f fault.Fields
	if c.Label != nil {
		checkName(&f, "/label", *c.Label)
	}
	if c.Options != nil {
		checkOptions(&f, field.Type, *c.Options)
	}
	if c.Description != nil {
		checkText(&f, "/description", *c.Description, maxDescription)
	}
	set(&field.Label, trimmed(c.Label))
	set(&field.Options, c.Options)
	set(&field.Description, c.Description)
	return field, f.Err()
}

// FieldFilter narrows a list; nil means any.
type FieldFilter struct {
	TenantID  *uuid.UUID // the tenant's own and the provider's
	AppliesTo *ObjectType
}

// Value is a field as it stands on one object.
type Value struct {
	Field Field
	Set   bool
	Value any // string, json.Number or bool; nil when unset, and for a secret
}

// Canonical is the one way in which a value of the field is written in the database, and in which a
// filter must look for it: "12.5", "true", "2025-06-10". The second result is the value as a number.
func (f Field) Canonical(value any) (text string, number *string, err error) {
	switch f.Type {
	case FieldNumber:
		text, err = canonicalNumber(value)
		return text, &text, err
	case FieldBoolean:
		b, ok := value.(bool)
		if !ok {
			return "", nil, fmt.Errorf("give true or false")
		}
		return fmt.Sprint(b), nil, nil
	}
	text, ok := value.(string)
	if !ok {
		return "", nil, fmt.Errorf("give a text")
	}
	return text, nil, f.checkString(text)
}

func (f Field) checkString(s string) error {
	if s == "" {
		return fmt.Errorf("give a value, or null to clear it")
	}
	if len(s) > maxValue {
		return fmt.Errorf("give at most %d bytes", maxValue)
	}
	// A secret is shown nowhere, and a private key has lines.
	if !printable(s, f.Type == FieldText || f.Type == FieldSecret) {
		return fmt.Errorf("leave out control characters")
	}
	switch f.Type {
	case FieldDate:
		if _, err := time.Parse(time.DateOnly, s); err != nil {
			return fmt.Errorf("give a date as YYYY-MM-DD")
		}
	case FieldChoice:
		if !slices.Contains(f.Options, s) {
			return fmt.Errorf("choose one of the options")
		}
	case FieldURL:
		// Only what a browser may follow: a javascript: link would run in the portal.
		u, err := url.Parse(s)
		if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
			return fmt.Errorf("give an address that begins with https:// or http://")
		}
	}
	return nil
}

var plainNumber = regexp.MustCompile(`^-?[0-9]{1,30}(\.[0-9]{1,15})?$`)

// canonicalNumber writes a number so that equal numbers are equal texts: 1.50 and 1.5 are "1.5".
func canonicalNumber(value any) (string, error) {
	var s string
	switch v := value.(type) {
	case json.Number:
		s = v.String()
	case float64:
		s = strconv.FormatFloat(v, 'f', -1, 64)
	case int:
		s = fmt.Sprint(v)
	default:
		return "", fmt.Errorf("give a number")
	}
	if !plainNumber.MatchString(s) {
		return "", fmt.Errorf("give a number with at most 30 digits before and 15 after the point")
	}
	negative := strings.HasPrefix(s, "-")
	s = strings.TrimLeft(strings.TrimPrefix(s, "-"), "0")
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	if s == "" || s[0] == '.' {
		s = "0" + s
	}
	if negative && s != "0" {
		s = "-" + s
	}
	return s, nil
}

// parse is the way back from Canonical.
func (f Field) parse(text string) any {
	switch f.Type {
	case FieldNumber:
		return json.Number(text)
	case FieldBoolean:
		return text == "true"
	}
	return text
}

func pointerAt(base string, i int) string { return fmt.Sprintf("%s/%d", base, i) }
