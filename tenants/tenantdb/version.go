package tenantdb

import (
	"errors"
	"maps"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants/scope"
)

// ErrStale is the fault of an update that was based on an older version of its row.
var ErrStale = fault.New(fault.Conflict, "it was changed by somebody else in the meantime; read it again")

// UpdateVersion changes the one row that query selects if it still has the version its editor saw, and
// raises the version by one. query names a table or model and has its conditions:
//
//	tenantdb.UpdateVersion(tx.Table("sites").Where("id = ?", id), in.Version, map[string]any{"name": in.Name})
//
// A row that is not there is NotFound, one that moved on is ErrStale, and one that the scope may read
// but not change (a row of the provider) is Forbidden.
func UpdateVersion(query *gorm.DB, version int64, changes map[string]any) error {
	query = query.Session(&gorm.Session{})
	changes = maps.Clone(changes)
	if changes == nil {
		changes = map[string]any{}
	}
	changes["version"] = gorm.Expr("version + 1")
	done := query.Where("version = ?", version).Updates(changes)
	if done.Error != nil || done.RowsAffected == 1 {
		return done.Error
	}
	if done.RowsAffected > 1 {
		return errors.New("tenantdb: an update by version met several rows")
	}
	var current int64
	if err := query.Select("version").Take(&current).Error; err != nil {
		return err
	}
	if current == version {
		return fault.New(fault.Forbidden, "it belongs to the provider and can only be changed there")
	}
	return ErrStale
}

func uuidOf(id scope.ID) uuid.UUID { return uuid.UUID(id) }
