package tenantdb

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
)

// Kind is the type of a sort column, and so of its value in a cursor.
type Kind string

// The kinds, with the Go type of their values.
const (
	Text    Kind = "text"    // string
	Int     Kind = "int"     // int64
	Int32   Kind = "int32"   // int64, of a column of type integer, which would not take a larger one
	Decimal Kind = "decimal" // string of digits, as numeric is scanned
	Bool    Kind = "bool"    // bool
	Instant Kind = "instant" // time.Time
	UUID    Kind = "uuid"    // uuid.UUID
)

// Column is one column of a sort order. It must never be null, and SQL is a constant of the program,
// never a client's word.
type Column struct {
	SQL        string
	Kind       Kind
	Descending bool
}

// Sort is one way to order a list. The last column makes the order unique: usually the id.
type Sort struct {
	Name    string // the client's word for it; a cursor of another sort is refused
	Columns []Column
}

const (
	cursorVersion = 1
	longestCursor = 8 << 10
	longestPage   = 1000
	usualPage     = 50
)

// Page narrows a query to the page after cursor ("" is the first) in this order. It asks for one row
// more than limit, by which Next knows whether there is another page. A limit of 0 means 50.
func (s Sort) Page(query *gorm.DB, cursor string, limit int) (*gorm.DB, error) {
	if limit < 0 || limit > longestPage {
		return nil, fault.InvalidField("?limit", fmt.Sprintf("must be between 1 and %d", longestPage))
	}
	if cursor != "" {
		values, err := s.Decode(cursor)
		if err != nil {
			return nil, err
		}
		condition, args := s.after(values)
		query = query.Where(condition, args...)
	}
	for _, c := range s.Columns {
		query = query.Order(c.SQL + c.direction())
	}
	return query.Limit(PageSize(limit) + 1), nil
}

// PageSize is the number of rows that a client gets who asks for limit, 0 being "you choose".
func PageSize(limit int) int { return orDefault(limit, usualPage) }

// Next cuts the extra row off what Page has found, and makes the cursor of the page that follows, which
// is "" on the last. key gives an item's values in the order of the sort's columns.
func Next[T any](s Sort, items []T, limit int, key func(T) []any) ([]T, string) {
	size := PageSize(limit)
	if len(items) <= size {
		return items, ""
	}
	return items[:size], s.Encode(key(items[size-1])...)
}

func (c Column) direction() string {
	if c.Descending {
		return " DESC"
	}
	return ""
}

// after is the condition for rows behind the values. Columns that all run one way compare as a row,
// which one index range answers.
func (s Sort) after(values []any) (string, []any) {
	uniform := true
	for _, c := range s.Columns {
		uniform = uniform && c.Descending == s.Columns[0].Descending
	}
	if uniform {
		var names []string
		for _, c := range s.Columns {
			names = append(names, c.SQL)
		}
		marks := strings.TrimSuffix(strings.Repeat("?,", len(values)), ",")
		return "(" + strings.Join(names, ",") + ") " + s.Columns[0].beyond() + " (" + marks + ")", values
	}
	// a > x OR (a = x AND (b < y OR …))
	var b strings.Builder
	var args []any
	for i, c := range s.Columns {
		if i > 0 {
			fmt.Fprintf(&b, " OR (%s = ? AND (", s.Columns[i-1].SQL)
			args = append(args, values[i-1])
		}
		fmt.Fprintf(&b, "%s %s ?", c.SQL, c.beyond())
		args = append(args, values[i])
	}
	b.WriteString(strings.Repeat("))", len(s.Columns)-1))
	return b.String(), args
}

func (c Column) beyond() string {
	if c.Descending {
		return "<"
	}
	return ">"
}

// cursorBody is what a cursor holds. It is opaque to clients, and hostile when it comes back.
type cursorBody struct {
	Version int               `json:"v"`
	Sort    string            `json:"s"`
	Values  []json.RawMessage `json:"k"`
}

// Encode makes a cursor of a row's sort values. Wrong values are a defect of the program: it panics.
func (s Sort) Encode(values ...any) string {
	if len(values) != len(s.Columns) {
		panic(fmt.Sprintf("tenantdb: sort %s has %d columns, not %d", s.Name, len(s.Columns), len(values)))
	}
	body := cursorBody{Version: cursorVersion, Sort: s.Name}
	for i, c := range s.Columns {
		body.Values = append(body.Values, c.Kind.encode(values[i]))
	}
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // strings and valid raw JSON only
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// Decode reads the values of a cursor of this sort, and refuses any other text as a fault of the
// parameter "cursor".
func (s Sort) Decode(cursor string) ([]any, error) {
	values, err := s.decode(cursor)
	if err != nil {
		return nil, &fault.Error{Kind: fault.Invalid, Message: "the request has an invalid field", Cause: err,
			Fields: []fault.Field{{Pointer: "?cursor", Detail: "is not a cursor of this list; leave it out to start at the first page"}}}
	}
	return values, nil
}

func (s Sort) decode(cursor string) ([]any, error) {
	if len(cursor) > longestCursor {
		return nil, fmt.Errorf("%d bytes long", len(cursor))
	}
	text, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil {
		return nil, err
	}
	var body cursorBody
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("something follows the cursor")
	}
	if body.Version != cursorVersion || body.Sort != s.Name || len(body.Values) != len(s.Columns) {
		return nil, fmt.Errorf("version %d, sort %q, %d values", body.Version, body.Sort, len(body.Values))
	}
	values := make([]any, len(body.Values))
	for i, c := range s.Columns {
		if values[i], err = c.Kind.decode(body.Values[i]); err != nil {
			return nil, fmt.Errorf("column %d: %w", i, err)
		}
	}
	return values, nil
}

func (k Kind) encode(value any) json.RawMessage {
	var plain any
	switch v := value.(type) {
	case string:
		plain = onlyIf(k == Text || k == Decimal, v)
	case int64:
		plain = onlyIf(k == Int || k == Int32, strconv.FormatInt(v, 10)) // as text: JSON readers round big numbers
	case int:
		plain = onlyIf(k == Int || k == Int32, strconv.Itoa(v))
	case bool:
		plain = onlyIf(k == Bool, v)
	case time.Time:
		plain = onlyIf(k == Instant, v.UTC().Format(time.RFC3339Nano))
	case uuid.UUID:
		plain = onlyIf(k == UUID, v.String())
	case [16]byte:
		plain = onlyIf(k == UUID, uuid.UUID(v).String())
	}
	if plain == nil {
		panic(fmt.Sprintf("tenantdb: a %T is no %s", value, k))
	}
	text, err := json.Marshal(plain)
	if err != nil {
		panic(err) // strings and booleans only
	}
	return text
}

func onlyIf[T any](ok bool, value T) any {
	if !ok {
		return nil
	}
	return value
}

func (k Kind) decode(raw json.RawMessage) (any, error) {
	if k == Bool {
		switch string(raw) {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return nil, fmt.Errorf("no bool")
	}
	var text *string
	if err := json.Unmarshal(raw, &text); err != nil || text == nil {
		return nil, fmt.Errorf("no string: %w", err)
	}
	switch k {
	case Text:
		if strings.ContainsRune(*text, 0) {
			return nil, fmt.Errorf("contains NUL")
		}
		return *text, nil
	case Int:
		return strconv.ParseInt(*text, 10, 64)
	case Int32:
		return strconv.ParseInt(*text, 10, 32)
	case Decimal:
		return *text, checkDecimal(*text)
	case Instant:
		at, err := time.Parse(time.RFC3339Nano, *text)
		return at.UTC(), err
	case UUID:
		if len(*text) != 36 {
			return nil, fmt.Errorf("no UUID")
		}
		return uuid.Parse(*text)
	}
	return nil, fmt.Errorf("unknown kind %q", k)
}

func checkDecimal(text string) error {
	digits, points := 0, 0
	for i, r := range text {
		switch {
		case r >= '0' && r <= '9':
			digits++
		case r == '.':
			points++
		case r == '-' && i == 0:
		default:
			return fmt.Errorf("no decimal")
		}
	}
	if digits == 0 || digits > 60 || points > 1 {
		return fmt.Errorf("no decimal")
	}
	return nil
}
