package fleet

import (
	"context"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// Query narrows the list of devices; nil means any.
type Query struct {
	TenantID  *uuid.UUID
	SiteID    *uuid.UUID
	Tag       *string
	State     *string
	Presence  *string
	OSFamily  *string
	Text      *string    // words, each the part of a name or the beginning of something else known
	FilterID  *uuid.UUID // a saved filter
	Filter    *string    // a filter as JSON text
	Sort      string     // "name" when empty
	Cursor    string
	Limit     int
	WithTotal bool
}

// deviceSorts is every order a list of devices can have, each served by an index.
var deviceSorts = func() map[string]tenantdb.Sort {
	sorts := map[string]tenantdb.Sort{}
	for name, column := range map[string]tenantdb.Column{
		"name":        {SQL: "d.name_key", Kind: tenantdb.Text},
		"enrolled_at": {SQL: "d.enrolled_at", Kind: tenantdb.Instant},
		"os_name":     {SQL: "d.os_name_key", Kind: tenantdb.Text},
	} {
		id := tenantdb.Column{SQL: "d.id", Kind: tenantdb.UUID}
		sorts[name] = tenantdb.Sort{Name: name, Columns: []tenantdb.Column{column, id}}
		column.Descending, id.Descending = true, true
		sorts["-"+name] = tenantdb.Sort{Name: "-" + name, Columns: []tenantdb.Column{column, id}}
	}
	return sorts
}()

// key gives the values by which a device stands in a sort.
func (d Device) key(sort string) []any {
	switch sort {
	case "enrolled_at", "-enrolled_at":
		return []any{d.EnrolledAt, d.ID}
	case "os_name", "-os_name":
		return []any{sortKey(d.OSName), d.ID}
	}
	return []any{sortKey(d.Name), d.ID}
}

// Page is a page of devices.
type Page struct {
	Items []Device
	Next  string
	Total *int
}

// List reads a page of devices: one statement for the page, one more for a saved filter and one for
// the total, where asked for.
func (s *Service) List(ctx context.Context, q Query) (Page, error) {
	var page Page
	if q.Sort == "" {
		q.Sort = "name"
	}
	sort, known := deviceSorts[q.Sort]
	if !known {
		return page, fault.InvalidField("?sort", "there is no such order")
	}
	c, err := s.where(ctx, q)
	if err != nil {
		return page, err
	}
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		found := c.on(tenantdb.Permitted(tx.Table("devices d"), permRead, "d.tenant_id")).Session(&gorm.Session{})
		inner, err := sort.Page(found.Select("d.*"), q.Cursor, q.Limit)
		if err != nil {
			return err
		}
		outer := selectDevices(inner, s.clock())
		for _, column := range sort.Columns {
			order := column.SQL
			if column.Descending {
				order += " desc"
			}
			outer = outer.Order(order)
		}
		if err := outer.Scan(&page.Items).Error; err != nil {
			return err
		}
		if q.WithTotal {
			var total int64
			if err := found.Select("count(*)").Scan(&total).Error; err != nil {
				return err
			}
			n := int(total)
			page.Total = &n
		}
		return nil
	})
	if err != nil {
		return Page{}, err
	}
	page.Items, page.Next = tenantdb.Next(sort, page.Items, q.Limit, func(d Device) []any { return d.key(q.Sort) })
	return page, nil
}

// where compiles the query into one condition.
func (s *Service) where(ctx context.Context, q Query) (*condition, error) {
	c := &condition{}
	if q.TenantID != nil {
		c.and("d.tenant_id = ?", *q.TenantID)
	}
	if q.SiteID != nil {
		c.and("d.site_id = ?", *q.SiteID)
	}
	if q.State != nil {
		c.and("d.state = ?", *q.State)
	} else {
		c.and("d.state <> 'retired'")
	}
	if q.OSFamily != nil {
		c.and("d.os_family = ?", *q.OSFamily)
	}
	if q.Tag != nil {
		c.and("exists (select 1 from device_tags x where x.tenant_id = d.tenant_id and x.device_id = d.id and x.tag = ?)", *q.Tag)
	}
	if q.Presence != nil {
		c.and("")
		c.present(s.clock(), []string{*q.Presence})
	}
	if q.Text != nil {
		c.search(*q.Text)
	}
	return c, s.whereFilters(ctx, c, q)
}

func (s *Service) whereFilters(ctx context.Context, c *condition, q Query) error {
	if q.Filter != nil {
		f, err := ParseFilter([]byte(*q.Filter), "?filter")
		if err != nil {
			return err
		}
		c.filter(scope.From(ctx), f, s.clock())
	}
	if q.FilterID != nil {
		var f SavedFilter
		err := s.db.Tx(asSelf(ctx), func(tx *gorm.DB) (err error) {
			f, err = savedTx(tx, *q.FilterID)
			return err
		})
		if err != nil {
			return err
		}
		c.filter(scope.From(ctx), f.Filter, s.clock())
	}
	return nil
}

// devices is a source of figures: devices d with their presence p.
func (s *Service) devices(tx *gorm.DB, columns string) *gorm.DB {
	return tx.Table("devices d").Select(columns).
		Joins("join device_presence p on p.tenant_id = d.tenant_id and p.device_id = d.id")
}
