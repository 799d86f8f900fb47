package fleet

import (
	"database/sql/driver"
	"encoding/json"
	"strings"
	"time"

	"github.com/google/uuid"

	"reeve/tenants/tenantdb"
)

// Lists as one parameter each.
type (
	ids     = tenantdb.Array[uuid.UUID]
	texts   = Texts
	numbers = tenantdb.Array[int64]
	flags   = tenantdb.Array[bool]
	times   = tenantdb.Array[*time.Time]
)

// Texts is a text[] as a parameter; read, it is what to_json() makes of one. It is also a field of what
// is read, and there GORM takes only values that the standard library knows: so it is PostgreSQL's text.
type Texts []string

// Value implements driver.Valuer.
func (a Texts) Value() (driver.Value, error) {
	var b strings.Builder
	b.WriteByte('{')
	for i, text := range a {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		_, _ = quoter.WriteString(&b, text) // a strings.Builder never fails
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String(), nil
}

var quoter = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// GormDataType keeps GORM from taking a field of this type for a relation.
func (Texts) GormDataType() string { return "text[]" }

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
