package schedule

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants/audit"
	"reeve/tenants/calendar"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// StoredBlackout is a blackout of a tenant; the provider's hold for every tenant.
type StoredBlackout struct {
	TenantID, ID uuid.UUID
	Name         string
	Blackout     Blackout
	Active       bool // it holds now
	Version      int64
	CreatedAt    time.Time
}

type blackoutRow struct {
	TenantID, ID uuid.UUID
	Name         string
	Spec         string
	Version      int64
	CreatedAt    time.Time
}

// CreateBlackout adds a blackout.
func (s *Service) CreateBlackout(ctx context.Context, tenant uuid.UUID, name string, b Blackout) (StoredBlackout, error) {
	made := StoredBlackout{TenantID: tenant, ID: uuid.Must(uuid.NewV7()), Name: strings.TrimSpace(name), Blackout: b, Version: 1}
	if err := made.validate(); err != nil {
		return made, err
	}
	if err := mayManage(scope.From(ctx), tenant); err != nil {
		return made, err
	}
	spec, err := json.Marshal(b)
	if err != nil {
		return made, err
	}
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		err := tx.Exec("insert into blackouts (tenant_id, id, name, spec, created_by_name) values (?, ?, ?, ?::jsonb, ?)",
			tenant, made.ID, made.Name, string(spec), scope.From(ctx).Actor.Name).Error
		if err != nil {
			return err
		}
		made.CreatedAt = tenantdb.Now(tx)
		made.Active = b.holds(made.CreatedAt)
		return audit.WriteTx(tx, made.entry("blackout.created", nil, made.face()))
	})
	return made, err
}

func (b StoredBlackout) validate() error {
	var f fault.Fields
	f.Check(len([]rune(b.Name)) >= 1 && len([]rune(b.Name)) <= 120, "/name", "must have 1 to 120 characters")
	if _, err := calendar.LoadZone(string(b.Blackout.Zone)); err != nil {
		f.Add("/zone", "%s", err)
	} else {
		b.Blackout.Check(&f, "")
	}
	for i := range f {
		f[i].Pointer = onTheWire(f[i].Pointer)
	}
	return f.Err()
}

// onTheWire is where a field of a blackout stands in a request.
func onTheWire(pointer string) string {
	switch {
	case pointer == "/from":
		return "/starts_local"
	case pointer == "/until":
		return "/ends_local"
	case pointer == "/start", strings.HasPrefix(pointer, "/start/"):
		return "/recurrence" + strings.TrimPrefix(pointer, "/start")
	}
	return pointer
}

// Blackouts is a page of the blackouts of a tenant and of the provider, newest first.
func (s *Service) Blackouts(ctx context.Context, tenant *uuid.UUID, cursor string, limit int) (page []StoredBlackout, next string, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		q := tx.Table("blackouts x").Select("x.tenant_id, x.id, x.name, x.spec::text as spec, x.version, x.created_at")
		if list, all := scope.From(ctx).Permitted(permRead); !all {
			ids := []uuid.UUID{scope.Provider}
			for _, id := range list {
				ids = append(ids, id)
			}
			q = q.Where("x.tenant_id in ?", ids)
		}
		if tenant != nil {
			q = q.Where("x.tenant_id in ?", []uuid.UUID{*tenant, scope.Provider})
		}
		q, err := newest.Page(q, cursor, limit)
		if err != nil {
			return err
		}
		var rows []blackoutRow
		if err := q.Scan(&rows).Error; err != nil {
			return err
		}
		rows, next = tenantdb.Next(newest, rows, limit, func(r blackoutRow) []any { return []any{r.ID} })
		page, err = stored(rows, tenantdb.Now(tx))
		return err
	})
	return page, next, err
}

// DeleteBlackout ends a blackout.
func (s *Service) DeleteBlackout(ctx context.Context, id uuid.UUID) error {
	return s.db.Tx(ctx, func(tx *gorm.DB) error {
		var rows []blackoutRow
		err := tx.Raw("select tenant_id, id, name, spec::text as spec, version, created_at from blackouts where id = ?", id).Scan(&rows).Error
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return fault.New(fault.NotFound, "there is no such blackout")
		}
		if !scope.From(ctx).Sees(rows[0].TenantID) {
			return fault.New(fault.Forbidden, "this blackout belongs to the provider and can only be changed there")
		}
		if err := mayManage(scope.From(ctx), rows[0].TenantID); err != nil {
			return err
		}
		list, err := stored(rows, tenantdb.Now(tx))
		if err != nil {
			return err
		}
		if err := tx.Exec("delete from blackouts where tenant_id = ? and id = ?", rows[0].TenantID, id).Error; err != nil {
			return err
		}
		if err := wakeWaiting(tx, rows[0].TenantID); err != nil {
			return err
		}
		return audit.WriteTx(tx, list[0].entry("blackout.deleted", list[0].face(), nil))
	})
}

func stored(rows []blackoutRow, now time.Time) ([]StoredBlackout, error) {
	list := make([]StoredBlackout, len(rows))
	for i, r := range rows {
		list[i] = StoredBlackout{TenantID: r.TenantID, ID: r.ID, Name: r.Name, Version: r.Version, CreatedAt: r.CreatedAt.UTC()}
		if err := json.Unmarshal([]byte(r.Spec), &list[i].Blackout); err != nil {
			return nil, err
		}
		list[i].Active = list[i].Blackout.holds(now)
	}
	return list, nil
}

func (b Blackout) holds(now time.Time) bool {
	o, err := NewOpenings(nil, []Blackout{b}, ZoneNames{})
	if err != nil {
		return false
	}
	_, open := o.OpenAt(now)
	return !open
}

// wakeWaiting has runs looked at again that may have waited for the end of a blackout. It leaves those
// alone that a sweep is deciding anyway.
func wakeWaiting(tx *gorm.DB, tenant uuid.UUID) error {
	sql, args := "select ctid from schedule_due where waiting is not null", []any{}
	if tenant != uuid.UUID(scope.Provider) {
		sql, args = sql+" and tenant_id = ?", append(args, tenant)
	}
	return tx.Exec("update schedule_due set wake_at = now() where ctid = any (array ("+sql+" for update skip locked))", args...).Error
}

// holdTx tells which blackout holds for a tenant now; nil when work may start.
func (s *Service) holdTx(tx *gorm.DB, tenant uuid.UUID) (*Blackout, error) {
	all, err := freezesTx(tx, []uuid.UUID{tenant})
	if err != nil {
		return nil, err
	}
	for _, b := range all.holding(tenant) {
		if b.holds(s.clock(tx)) {
			return &b, nil
		}
	}
	return nil, nil
}

// HoldingTx names the blackouts that hold for tenants at a time, in words; none when work may start.
func HoldingTx(tx *gorm.DB, tenants []uuid.UUID, at time.Time) (reasons []string, err error) {
	if len(tenants) == 0 {
		return nil, nil
	}
	var rows []blackoutRow
	err = tx.Raw("select tenant_id, id, name, spec::text as spec from blackouts where tenant_id in ?",
		append(tenants[:len(tenants):len(tenants)], uuid.UUID(scope.Provider))).Scan(&rows).Error
	if err != nil {
		return nil, err
	}
	list, err := stored(rows, at)
	for _, b := range list {
		if b.Active {
			reasons = append(reasons, fmt.Sprintf("the blackout %q holds", b.Name))
		}
	}
	return reasons, err
}

// freezes are blackouts by tenant.
type freezes map[uuid.UUID][]Blackout

func (f freezes) holding(tenant uuid.UUID) []Blackout {
	list := f[scope.Provider]
	if tenant != uuid.UUID(scope.Provider) {
		list = append(list[:len(list):len(list)], f[tenant]...)
	}
	return list
}

// freezesTx reads the blackouts of some tenants and of the provider.
func freezesTx(tx *gorm.DB, tenants []uuid.UUID) (freezes, error) {
	var rows []struct {
		TenantID uuid.UUID
		Spec     string
	}
	err := tx.Raw("select tenant_id, spec::text as spec from blackouts where tenant_id = any(?::uuid[]) or tenant_id = reeve_provider()",
		idList(tenants)).Scan(&rows).Error
	if err != nil {
		return nil, err
	}
	f := freezes{}
	for _, r := range rows {
		var b Blackout
		if err := json.Unmarshal([]byte(r.Spec), &b); err != nil {
			return nil, err
		}
		f[r.TenantID] = append(f[r.TenantID], b)
	}
	return f, nil
}

func (b StoredBlackout) face() map[string]any {
	return map[string]any{"name": b.Name, "blackout": b.Blackout}
}

func (b StoredBlackout) entry(action string, before, after any) audit.Entry {
	return audit.Entry{TenantID: b.TenantID, Action: action, ObjectType: "blackout", ObjectID: b.ID.String(), ObjectName: b.Name,
		Before: before, After: after}
}

// prefixRange is the range of lower-case keys that begin with a text; row-level security lets an index
// answer a range, but not LIKE.
func prefixRange(prefix string) (low, high string) {
	low = strings.ToLower(prefix)
	return low, low + "\U0010FFFF"
}
