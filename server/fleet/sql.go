package fleet

import (
	"database/sql/driver"
	"encoding/json"
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

// Texts is a text[] as a parameter; read, it is what to_json() makes of one.
type Texts []string

// Value implements driver.Valuer.
func (a Texts) Value() (driver.Value, error) { return tenantdb.Array[string](a).Value() }

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
