package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// SavedFilter is a filter with a name, of one person or shared with everybody of the owner's tenant.
type SavedFilter struct {
	ID      uuid.UUID
	Name    string
	Shared  bool
	Own     bool
	Filter  Filter
	Version int64
}

// SavedFilterChange names what to change; nil leaves as it is.
type SavedFilterChange struct {
	Version int64
	Name    *string
	Shared  *bool
	Filter  *Filter
}

const maxSavedFilters = 200

func checkFilterName(name string) error {
	if n := strings.TrimSpace(name); n == "" || runes(n) > maxName || n != Line(n, maxName) {
		return fault.InvalidField("/name", fmt.Sprintf("give 1 to %d characters, no control characters", maxName))
	}
	return nil
}

// savedRow is a saved filter as it is stored.
type savedRow struct {
	TenantID uuid.UUID
	ID       uuid.UUID
	OwnerID  uuid.UUID
	Name     string
	Shared   bool
	Filter   []byte
	Version  int64
}

func (r savedRow) saved(who scope.Scope) (SavedFilter, error) {
	f := SavedFilter{ID: r.ID, Name: r.Name, Shared: r.Shared, Own: r.OwnerID == uuid.UUID(who.Actor.ID), Version: r.Version}
	if err := json.Unmarshal(r.Filter, &f.Filter); err != nil {
		return f, fmt.Errorf("reading a saved filter: %w", err)
	}
	return f, nil
}

// visible is the condition for filters that the actor may use: their own, and those shared within the
// tenant they themselves belong to.
func visible(tx *gorm.DB) *gorm.DB {
	who := tenantdb.ScopeOf(tx).Actor
	return tx.Table("saved_filters").Where("tenant_id = ? and (owner_id = ? or shared)", uuid.UUID(who.TenantID), uuid.UUID(who.ID))
}

func savedTx(tx *gorm.DB, id uuid.UUID) (SavedFilter, error) {
	var row savedRow
	err := visible(tx).Where("id = ?", id).Take(&row).Error
	if fault.KindOf(err) == fault.NotFound {
		return SavedFilter{}, ErrFilterNotFound
	}
	if err != nil {
		return SavedFilter{}, err
	}
	f, err := row.saved(tenantdb.ScopeOf(tx))
	if err == nil {
		// Fields may have gone since it was saved: what is compiled was validated by this program.
		err = f.Filter.Validate("?filter_id")
	}
	return f, err
}

// asSelf narrows the actor to where their filters live: the tenant they themselves belong to.
func asSelf(ctx context.Context) context.Context {
	s := scope.From(ctx)
	return scope.With(ctx, s.ForTenant(s.Actor.TenantID))
}

// SavedFilters lists the actor's own filters and those shared with them, by name.
func (s *Service) SavedFilters(ctx context.Context) ([]SavedFilter, error) {
	var found []SavedFilter
	err := s.db.Tx(asSelf(ctx), func(tx *gorm.DB) error {
		var rows []savedRow
		if err := visible(tx).Order("lower(name), id").Limit(2 * maxSavedFilters).Find(&rows).Error; err != nil {
			return err
		}
		for _, r := range rows {
			f, err := r.saved(scope.From(ctx))
			if err != nil {
				return err
			}
			found = append(found, f)
		}
		return nil
	})
	return found, err
}

// SaveFilter keeps a filter under a name.
func (s *Service) SaveFilter(ctx context.Context, name string, shared bool, f Filter) (SavedFilter, error) {
	if err := errors.Join(checkFilterName(name), f.Validate("/filter")); err != nil {
		return SavedFilter{}, firstFault(err)
	}
	text, err := json.Marshal(f)
	if err != nil {
		return SavedFilter{}, fmt.Errorf("writing a filter: %w", err)
	}
	who := scope.From(ctx).Actor
	row := savedRow{TenantID: who.TenantID, ID: newID(), OwnerID: who.ID, Name: strings.TrimSpace(name), Shared: shared, Filter: text, Version: 1}
	err = s.db.Tx(asSelf(ctx), func(tx *gorm.DB) error {
		if err := insertFilterTx(tx, row); err != nil {
			return err
		}
		return audit.WriteTx(tx, audit.Entry{TenantID: row.TenantID, Action: "saved_filter.created", ObjectType: "saved_filter",
			ObjectID: row.ID.String(), ObjectName: row.Name, After: row.public()})
	})
	if err != nil {
		return SavedFilter{}, err
	}
	return row.saved(scope.From(ctx))
}

func insertFilterTx(tx *gorm.DB, row savedRow) error {
	var own int64
	if err := tx.Table("saved_filters").Where("tenant_id = ? and owner_id = ?", row.TenantID, row.OwnerID).Count(&own).Error; err != nil {
		return err
	}
	if own >= maxSavedFilters {
		return fault.Newf(fault.Conflict, "you have %d saved filters; delete one first", maxSavedFilters)
	}
	err := tx.Exec(`insert into saved_filters (tenant_id, id, owner_id, name, shared, filter) values (?, ?, ?, ?, ?, ?::jsonb)`,
		row.TenantID, row.ID, row.OwnerID, row.Name, row.Shared, string(row.Filter)).Error
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return ErrFilterName
	}
	return err
}

func (r savedRow) public() map[string]any {
	return map[string]any{"name": r.Name, "shared": r.Shared, "filter": json.RawMessage(r.Filter)}
}

// ownFilterTx reads a filter that its actor may change: their own.
func ownFilterTx(tx *gorm.DB, id uuid.UUID) (savedRow, error) {
	var row savedRow
	err := visible(tx).Where("id = ?", id).Take(&row).Error
	switch {
	case fault.KindOf(err) == fault.NotFound:
		return row, ErrFilterNotFound
	case err == nil && row.OwnerID != uuid.UUID(tenantdb.ScopeOf(tx).Actor.ID):
		return row, fault.New(fault.Forbidden, "only its owner may change a shared filter")
	}
	return row, err
}

// UpdateFilter changes a filter of the actor's own.
func (s *Service) UpdateFilter(ctx context.Context, id uuid.UUID, c SavedFilterChange) (SavedFilter, error) {
	changes, err := c.columns()
	if err != nil {
		return SavedFilter{}, err
	}
	var after savedRow
	err = s.db.Tx(asSelf(ctx), func(tx *gorm.DB) error {
		before, err := ownFilterTx(tx, id)
		if err != nil {
			return err
		}
		err = tenantdb.UpdateVersion(tx.Table("saved_filters").Where("tenant_id = ? and id = ?", before.TenantID, id), c.Version, changes)
		if errors.Is(err, gorm.ErrDuplicatedKey) {
			return ErrFilterName
		}
		if err != nil {
			return err
		}
		if after, err = ownFilterTx(tx, id); err != nil {
			return err
		}
		return audit.WriteTx(tx, audit.Entry{TenantID: before.TenantID, Action: "saved_filter.updated", ObjectType: "saved_filter",
			ObjectID: id.String(), ObjectName: after.Name, Before: before.public(), After: after.public()})
	})
	if err != nil {
		return SavedFilter{}, err
	}
	return after.saved(scope.From(ctx))
}

func (c SavedFilterChange) columns() (map[string]any, error) {
	changes := map[string]any{"updated_at": gorm.Expr("now()")}
	if c.Name != nil {
		if err := checkFilterName(*c.Name); err != nil {
			return nil, err
		}
		changes["name"] = strings.TrimSpace(*c.Name)
	}
	if c.Shared != nil {
		changes["shared"] = *c.Shared
	}
	if c.Filter != nil {
		if err := c.Filter.Validate("/filter"); err != nil {
			return nil, err
		}
		text, err := json.Marshal(c.Filter)
		if err != nil {
			return nil, fmt.Errorf("writing a filter: %w", err)
		}
		changes["filter"] = gorm.Expr("?::jsonb", string(text))
	}
	return changes, nil
}

// DeleteFilter deletes a filter of the actor's own.
func (s *Service) DeleteFilter(ctx context.Context, id uuid.UUID) error {
	return s.db.Tx(asSelf(ctx), func(tx *gorm.DB) error {
		before, err := ownFilterTx(tx, id)
		if err != nil {
			return err
		}
		if err := tx.Exec("delete from saved_filters where tenant_id = ? and id = ?", before.TenantID, id).Error; err != nil {
			return err
		}
		return audit.WriteTx(tx, audit.Entry{TenantID: before.TenantID, Action: "saved_filter.deleted", ObjectType: "saved_filter",
			ObjectID: id.String(), ObjectName: before.Name, Before: before.public()})
	})
}

// firstFault joins the fields of several invalid-input faults into one.
func firstFault(err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	var all fault.Fields
	for _, e := range joined.Unwrap() {
		if f, ok := fault.As(e); ok {
			all = append(all, f.Fields...)
		}
	}
	return all.Err()
}
