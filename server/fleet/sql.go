package fleet

import (
	"database/sql/driver"
	"encoding/json"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Arrays as one parameter each: GORM would spread a plain slice over as many as it has elements.
type (
	ids     []uuid.UUID
	texts   = Texts
	numbers []int64
	flags   []bool
	times   []*time.Time
)

func (a ids) Value() (driver.Value, error) {
	return literal(len(a), func(b *strings.Builder, i int) { b.WriteString(a[i].String()) })
}

func (a numbers) Value() (driver.Value, error) {
	return literal(len(a), func(b *strings.Builder, i int) {
		text, _ := json.Marshal(a[i]) // an integer always marshals
		b.Write(text)
	})
}

func (a flags) Value() (driver.Value, error) {
	return literal(len(a), func(b *strings.Builder, i int) {
		b.WriteString(map[bool]string{true: "t", false: "f"}[a[i]])
	})
}

func (a times) Value() (driver.Value, error) {
	return literal(len(a), func(b *strings.Builder, i int) {
		if a[i] == nil {
			b.WriteString("NULL")
			return
		}
		quote(b, a[i].UTC().Format("2006-01-02 15:04:05.999999Z07:00"))
	})
}

func literal(n int, element func(*strings.Builder, int)) (driver.Value, error) {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		element(&b, i)
	}
	b.WriteByte('}')
	return b.String(), nil
}

var quoter = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func quote(b *strings.Builder, s string) {
	b.WriteByte('"')
	_, _ = quoter.WriteString(b, s) // a strings.Builder never fails
	b.WriteByte('"')
}

// Texts is a text[] as a parameter; read, it is what to_json() makes of one.
type Texts []string

// Value implements driver.Valuer.
func (a Texts) Value() (driver.Value, error) {
	return literal(len(a), func(b *strings.Builder, i int) { quote(b, a[i]) })
}

// Scan implements sql.Scanner.
func (a *Texts) Scan(src any) error {
	*a = Texts{}
	switch src := src.(type) {
	case string:
		return json.Unmarshal([]byte(src), (*[]string)(a))
	case []byte:
		return json.Unmarshal(src, (*[]string)(a))
	}
	return nil
}
