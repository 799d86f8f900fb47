package tenantdb

import (
	"github.com/google/uuid"
	"gorm.io/gorm"
)

// Permitted keeps the rows of tenants over which the transaction's scope holds a permission; column is
// the SQL of a row's tenant. Every list goes through it: row-level security bounds what an actor
// reaches, this what is allowed there, and roles may differ from tenant to tenant. Rows of the tenants in
// also are kept for whoever holds the permission anywhere.
func Permitted(q *gorm.DB, permission, column string, also ...uuid.UUID) *gorm.DB {
	ids, all := PermittedTenants(q, permission)
	if all {
		return q
	}
	if len(ids) > 0 {
		ids = append(ids, also...)
	}
	return q.Where(column+" = ANY (?)", ids)
}

// PermittedTenants lists the tenants over which the transaction's scope holds a permission; all is true
// when it is every one, and then the list is empty.
func PermittedTenants(tx *gorm.DB, permission string) (ids Array[uuid.UUID], all bool) {
	tenants, all := ScopeOf(tx).Permitted(permission)
	for _, id := range tenants {
		ids = append(ids, id)
	}
	return ids, all
}
