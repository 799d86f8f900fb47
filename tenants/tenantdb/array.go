package tenantdb

import "database/sql/driver"

// Array is a list as one parameter of a statement, as in unnest(?::uuid[]) or = ANY (?): GORM would
// spread a plain slice over as many parameters as it has elements. A nil one is empty, not null, so that
// <> ALL (?) keeps its meaning.
type Array[T any] []T

// Value implements driver.Valuer; the driver below sends slices in binary.
func (a Array[T]) Value() (driver.Value, error) {
	if a == nil {
		return []T{}, nil
	}
	return []T(a), nil
}
