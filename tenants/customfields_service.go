package tenants

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/secrets"
	"reeve/tenants/tenantdb"
)

// CustomFields keeps the fields of the MSP's own: their definitions, and their values on tenants,
// sites and devices.
type CustomFields struct {
	db     *tenantdb.DB
	keeper *secrets.Keeper
}

// NewCustomFields makes the service. The keeper seals values of secret fields.
func NewCustomFields(db *tenantdb.DB, keeper *secrets.Keeper) *CustomFields {
	return &CustomFields{db: db, keeper: keeper}
}

// Define adds a field.
func (s *CustomFields) Define(ctx context.Context, n NewField) (f Field, err error) {
	if err := n.Validate(); err != nil {
		return Field{}, err
	}
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		if err := maySettings(tx, n.TenantID, permFieldsManage); err != nil {
			return err
		}
		if f, err = insertField(tx, n); err != nil {
			return err
		}
		return audit.WriteTx(tx, f.entry("custom_field.created", nil, &f))
	})
	return f, err
}

// insertField refuses a key that another definition of the same reach has: on one object, a key must
// mean one field. The lock covers definitions that two transactions could not see of each other.
func insertField(tx *gorm.DB, n NewField) (Field, error) {
	err := tx.Exec("SELECT pg_advisory_xact_lock(hashtext('custom_field'), hashtext(?))", string(n.AppliesTo)+"."+n.Key).Error
	if err != nil {
		return Field{}, fmt.Errorf("locking a custom field's key: %w", err)
	}
	q := tx.Table("custom_field_definitions").Where("applies_to = ? AND key = ?", n.AppliesTo, n.Key)
	if n.TenantID != provider {
		q = q.Where("tenant_id IN ?", []uuid.UUID{n.TenantID, provider})
	}
	var taken int64
	if err := q.Count(&taken).Error; err != nil {
		return Field{}, fmt.Errorf("looking for the key: %w", err)
	}
	if taken > 0 {
		return Field{}, ErrFieldKeyTaken
	}
	now := tenantdb.Now(tx)
	f := Field{ID: uuid.Must(uuid.NewV7()), TenantID: n.TenantID, Key: n.Key, Label: strings.TrimSpace(n.Label), AppliesTo: n.AppliesTo,
		Type: n.Type, Options: n.Options, Description: n.Description, Version: 1, CreatedAt: now, UpdatedAt: now}
	if f.Options == nil {
		f.Options = []string{}
	}
	if err := tx.Create(&f).Error; err != nil {
		return f, fmt.Errorf("creating custom field: %w", err)
	}
	return f, nil
}

var fieldsByKey = tenantdb.Sort{Name: "key", Columns: []tenantdb.Column{
	{SQL: "applies_to", Kind: tenantdb.Text}, {SQL: "key", Kind: tenantdb.Text}, {SQL: "id", Kind: tenantdb.UUID}}}

// List is a page of definitions. Everybody sees the provider's, because they hold for everybody.
func (s *CustomFields) List(ctx context.Context, f FieldFilter, cursor string, limit int) (page []Field, next string, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		q := tenantdb.Permitted(tx.Model(&Field{}), permFieldsRead, "tenant_id", provider)
		if f.TenantID != nil {
			q = q.Where("tenant_id IN ?", []uuid.UUID{*f.TenantID, provider})
		}
		if f.AppliesTo != nil {
			q = q.Where("applies_to = ?", *f.AppliesTo)
		}
		if q, err = fieldsByKey.Page(q, cursor, limit); err != nil {
			return err
		}
		if err := q.Find(&page).Error; err != nil {
			return fmt.Errorf("listing custom fields: %w", err)
		}
		page, next = tenantdb.Next(fieldsByKey, page, limit, func(f Field) []any { return []any{string(f.AppliesTo), f.Key, f.ID} })
		return nil
	})
	return page, next, err
}

// Change edits what may change of a definition.
func (s *CustomFields) Change(ctx context.Context, id uuid.UUID, c FieldChange) (after Field, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		before, err := changeableField(tx, id)
		if err != nil {
			return err
		}
		if after, err = c.apply(before); err != nil {
			return err
		}
		options, err := jsonText(after.Options)
		if err != nil {
			return err
		}
		err = tenantdb.UpdateVersion(tx.Table("custom_field_definitions").Where("tenant_id = ? AND id = ?", after.TenantID, id), c.Version,
			map[string]any{"label": after.Label, "options": options, "description": after.Description, "updated_at": tenantdb.Now(tx)})
		if err != nil {
			return err
		}
		after.Version, after.UpdatedAt = before.Version+1, tenantdb.Now(tx)
		return audit.WriteTx(tx, after.entry("custom_field.updated", &before, &after))
	})
	return after, err
}

// Delete removes a definition with all of its values.
func (s *CustomFields) Delete(ctx context.Context, id uuid.UUID) error {
	return s.db.Tx(ctx, func(tx *gorm.DB) error {
		f, err := changeableField(tx, id)
		if err != nil {
			return err
		}
		gone := tx.Exec("DELETE FROM custom_field_values WHERE field_tenant_id = ? AND field_id = ?", f.TenantID, f.ID)
		if gone.Error != nil {
			return fmt.Errorf("deleting the values: %w", gone.Error)
		}
		if err := tx.Exec("DELETE FROM custom_field_definitions WHERE tenant_id = ? AND id = ?", f.TenantID, f.ID).Error; err != nil {
			return fmt.Errorf("deleting custom field: %w", err)
		}
		e := f.entry("custom_field.deleted", &f, nil)
		e.Detail = map[string]any{"values_deleted": gone.RowsAffected}
		return audit.WriteTx(tx, e)
	})
}

// changeableField finds and locks a definition that the actor may change. The provider's are visible
// to tenants and not theirs, which is no secret.
func changeableField(tx *gorm.DB, id uuid.UUID) (f Field, err error) {
	if err := tx.Where("id = ?", id).Take(&f).Error; err != nil {
		return f, orNotFound(err, ErrFieldNotFound)
	}
	if err := need(tenantdb.ScopeOf(tx), permFieldsManage, f.TenantID); err != nil {
		return f, err
	}
	if err := tx.Clauses(forUpdate).Where("id = ?", id).Take(&f).Error; err != nil {
		return f, orNotFound(err, ErrFieldNotFound)
	}
	return f, nil
}

// Object is what carries values.
type Object struct {
	Type ObjectType
	ID   uuid.UUID
}

// Values are the fields of an object in the order of their keys, set or not.
func (s *CustomFields) Values(ctx context.Context, o Object) (values []Value, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		tenant, err := owner(tx, o)
		if err != nil {
			return err
		}
		if err := need(scope.From(ctx), permFieldsRead, tenant); err != nil {
			return err
		}
		values, err = valuesOf(tx, tenant, o)
		return err
	})
	return values, err
}

// SetValues changes values by key; nil clears one. Keys that are not named stay as they are.
func (s *CustomFields) SetValues(ctx context.Context, o Object, changes map[string]any) (values []Value, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		tenant, err := owner(tx, o)
		if err != nil {
			return err
		}
		if err := need(scope.From(ctx), permFieldsWrite, tenant); err != nil {
			return err
		}
		before, err := valuesOf(tx, tenant, o)
		if err != nil {
			return err
		}
		rows, err := s.rows(tx, tenant, o, before, changes)
		if err != nil {
			return err
		}
		if err := replaceValues(tx, rows); err != nil {
			return err
		}
		if values, err = valuesOf(tx, tenant, o); err != nil {
			return err
		}
		return audit.WriteTx(tx, audit.Entry{TenantID: tenant, Action: "custom_field.values_set", ObjectType: string(o.Type),
			ObjectID: o.ID.String(), Before: faces(before, changes), After: faces(values, changes)})
	})
	return values, err
}

// valueRow is a value as it is stored; one without value and sealed is to be deleted.
type valueRow struct {
	TenantID      uuid.UUID
	ObjectType    ObjectType
	ObjectID      uuid.UUID
	FieldID       uuid.UUID
	FieldTenantID uuid.UUID
	Key           string
	Value         *string
	Number        *string
	Sealed        []byte
}

const secretPurpose = "custom_field.value"

// rows decides what the changes do to the table, and names every value that is not possible.
func (s *CustomFields) rows(tx *gorm.DB, tenant uuid.UUID, o Object, known []Value, changes map[string]any) ([]valueRow, error) {
	var faults fault.Fields
	var rows []valueRow
	keys := make([]string, 0, len(changes))
	for key := range changes {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		pointer := "/values/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
		i := slices.IndexFunc(known, func(v Value) bool { return v.Field.Key == key })
		if i < 0 {
			faults.Add(pointer, "there is no custom field of this key for a %s", o.Type)
			continue
		}
		f := known[i].Field
		row := valueRow{TenantID: tenant, ObjectType: o.Type, ObjectID: o.ID, FieldID: f.ID, FieldTenantID: f.TenantID, Key: key}
		if changes[key] != nil {
			text, number, err := f.Canonical(changes[key])
			if err != nil {
				faults.Add(pointer, "%s", err.Error())
				continue
			}
			if row, err = s.fill(tx, row, f, text, number); err != nil {
				return nil, err
			}
		}
		rows = append(rows, row)
	}
	return rows, faults.Err()
}

// fill puts the value into its columns. A secret is bound to its object and to nothing else.
func (s *CustomFields) fill(tx *gorm.DB, row valueRow, f Field, text string, number *string) (_ valueRow, err error) {
	if f.Type == FieldSecret {
		row.Sealed, err = s.keeper.SealTx(tx, row.TenantID, secretPurpose+"."+f.ID.String(), row.ObjectID, []byte(text))
		return row, err
	}
	row.Value, row.Number = &text, number
	return row, nil
}

// SecretTx opens the value of a secret field, for a task that was allowed to use it; empty when unset.
func (s *CustomFields) SecretTx(tx *gorm.DB, tenant uuid.UUID, o Object, key string) (string, error) {
	var rows []valueRow
	err := tx.Table("custom_field_values").Where("tenant_id = ? AND object_type = ? AND object_id = ? AND key = ? AND sealed IS NOT NULL",
		tenant, o.Type, o.ID, key).Find(&rows).Error
	if err != nil || len(rows) == 0 {
		return "", err
	}
	plain, err := s.keeper.OpenTx(tx, tenant, secretPurpose+"."+rows[0].FieldID.String(), o.ID, rows[0].Sealed)
	return string(plain), err
}

func (f Field) entry(action string, before, after *Field) audit.Entry {
	e := audit.Entry{TenantID: f.TenantID, Action: action, ObjectType: "custom_field", ObjectID: f.ID.String(), ObjectName: f.Key}
	if before != nil {
		e.Before = before.face()
	}
	if after != nil {
		e.After = after.face()
	}
	return e
}

// fieldFace is the definition as the audit log shows it.
type fieldFace struct {
	Key         string    `json:"key" audit:"plain"`
	Label       string    `json:"label"`
	AppliesTo   string    `json:"applies_to"`
	Type        FieldType `json:"type"`
	Options     []string  `json:"options"`
	Description string    `json:"description"`
}

func (f Field) face() fieldFace {
	return fieldFace{f.Key, f.Label, string(f.AppliesTo), f.Type, f.Options, f.Description}
}

// valueFace is a value as the audit log shows it: keys are the MSP's own words, so that only the type
// can say what is secret.
type valueFace struct {
	Field string `json:"field"`
	Value any    `json:"value"`
}

func faces(values []Value, changes map[string]any) []valueFace {
	shown := []valueFace{}
	for _, v := range values {
		if _, changed := changes[v.Field.Key]; !changed || !v.Set {
			continue
		}
		face := valueFace{v.Field.Key, v.Value}
		if v.Field.Type == FieldSecret {
			face.Value = "(secret)"
		}
		shown = append(shown, face)
	}
	return shown
}
