package tenants

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"reeve/api/fault"
	"reeve/tenants/tenantdb"
)

// owner finds the tenant of an object within reach, and keeps the object from vanishing meanwhile.
func owner(tx *gorm.DB, o Object) (tenant uuid.UUID, err error) {
	if o.Type == OnTenant {
		if !tenantdb.ScopeOf(tx).Sees(o.ID) {
			return tenant, ErrObjectNotFound // the provider's row is readable, and not theirs
		}
	}
	query := map[ObjectType]string{
		OnTenant: "SELECT id FROM tenants WHERE id = ?",
		OnSite:   "SELECT tenant_id FROM sites WHERE id = ?",
		OnDevice: "SELECT tenant_id FROM devices WHERE id = ?",
	}[o.Type]
	if query == "" {
		return tenant, fault.InvalidField("/object_type", "use tenant, site or device")
	}
	var owners []uuid.UUID
	if err := tx.Raw(query+" FOR KEY SHARE", o.ID).Scan(&owners).Error; err != nil {
		return tenant, fmt.Errorf("finding the %s: %w", o.Type, err)
	}
	if len(owners) == 0 {
		return tenant, ErrObjectNotFound
	}
	return owners[0], nil
}

// valuesOf joins the definitions that hold for an object with what is set on it.
func valuesOf(tx *gorm.DB, tenant uuid.UUID, o Object) ([]Value, error) {
	var fields []Field
	err := tx.Where("applies_to = ? AND tenant_id IN ?", o.Type, []uuid.UUID{tenant, provider}).Order("key, id").Find(&fields).Error
	if err != nil {
		return nil, fmt.Errorf("reading custom fields: %w", err)
	}
	var rows []valueRow
	err = tx.Table("custom_field_values").Where("tenant_id = ? AND object_type = ? AND object_id = ?", tenant, o.Type, o.ID).Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading values of custom fields: %w", err)
	}
	values := make([]Value, len(fields))
	for i, f := range fields {
		values[i].Field = f
		at := slices.IndexFunc(rows, func(r valueRow) bool { return r.FieldID == f.ID })
		if at < 0 {
			continue
		}
		values[i].Set = true
		if rows[at].Value != nil {
			values[i].Value = f.parse(*rows[at].Value)
		}
	}
	return values, nil
}

func replaceValues(tx *gorm.DB, rows []valueRow) error {
	for _, r := range rows {
		var err error
		if r.Value == nil && r.Sealed == nil {
			err = tx.Exec("DELETE FROM custom_field_values WHERE tenant_id = ? AND object_type = ? AND object_id = ? AND field_id = ?",
				r.TenantID, r.ObjectType, r.ObjectID, r.FieldID).Error
		} else {
			err = tx.Table("custom_field_values").Clauses(clause.OnConflict{
				Columns:   []clause.Column{{Name: "tenant_id"}, {Name: "object_type"}, {Name: "object_id"}, {Name: "field_id"}},
				DoUpdates: clause.AssignmentColumns([]string{"value", "number", "sealed", "updated_at"}),
			}).Create(&r).Error
		}
		if err != nil {
			return fmt.Errorf("storing a value of %s: %w", r.Key, err)
		}
	}
	return nil
}

func jsonText(v any) (string, error) {
	text, err := json.Marshal(v)
	return string(text), err
}
