package audit

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

const columns = `tenant_id, number, id, at, actor_kind, actor_id, actor_tenant_id, actor_name, session_id, address,
	request_id, emergency, action, object_type, object_id, object_name, before, after, detail, previous, hash`

// PermRead is the permission to read a tenant's log.
const PermRead = "audit.read"

// Filter chooses entries; a zero field does not restrict.
type Filter struct {
	TenantID   scope.ID
	ActorID    scope.ID
	ActorName  string
	Action     string
	ObjectType string
	ObjectID   string
	From, To   time.Time // From ≤ at < To
	Limit      int
	Cursor     string // from an earlier Page
}

// newestFirst is the order of the log; the index audit_entries_at serves it.
var newestFirst = tenantdb.Sort{Name: "audit", Columns: []tenantdb.Column{
	{SQL: "at", Kind: tenantdb.Instant, Descending: true}, {SQL: "id", Kind: tenantdb.UUID, Descending: true}}}

// Page is a part of the log, newest first.
type Page struct {
	Records []Record
	Next    string // cursor of the next page; empty on the last one
}

// List reads the log as far as the context's scope reaches: a customer sees the entries of their own
// tenant, because the database shows no other.
func List(ctx context.Context, db *tenantdb.DB, f Filter) (Page, error) {
	var page Page
	err := db.Tx(ctx, func(tx *gorm.DB) error {
		q := tenantdb.Permitted(tx.Table("audit_entries").Select(columns), PermRead, "tenant_id")
		q, err := newestFirst.Page(f.apply(q), f.Cursor, f.Limit)
		if err != nil {
			return err
		}
		page.Records, err = scan(q)
		return err
	})
	if err != nil {
		return Page{}, err
	}
	page.Records, page.Next = tenantdb.Next(newestFirst, page.Records, f.Limit, func(r Record) []any { return []any{r.At, r.ID} })
	return page, nil
}

func (f *Filter) apply(q *gorm.DB) *gorm.DB {
	if f.TenantID != (scope.ID{}) {
		q = q.Where("tenant_id = ?", uuid.UUID(f.TenantID))
	}
	if f.ActorID != (scope.ID{}) {
		q = q.Where("actor_id = ?", uuid.UUID(f.ActorID))
	}
	for _, c := range []struct{ condition, value string }{
		{"actor_name = ?", f.ActorName}, {"action = ?", f.Action}, {"object_type = ?", f.ObjectType}, {"object_id = ?", f.ObjectID},
	} {
		if c.value != "" {
			q = q.Where(c.condition, c.value)
		}
	}
	if !f.From.IsZero() {
		q = q.Where("at >= ?", f.From)
	}
	if !f.To.IsZero() {
		q = q.Where("at < ?", f.To)
	}
	return q
}

// scan reads records with their documents byte for byte.
func scan(q *gorm.DB) ([]Record, error) {
	var records []Record
	err := each(q, func(r Record) error {
		records = append(records, r)
		return nil
	})
	return records, err
}

func each(q *gorm.DB, fn func(Record) error) error {
	rows, err := q.Rows()
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var r Record
		var tenant, id uuid.UUID
		var actor, actorTenant, session uuid.NullUUID
		var kind string
		var before, after, detail []byte
		err := rows.Scan(&tenant, &r.Number, &id, &r.At, &kind, &actor, &actorTenant, &r.ActorName, &session, &r.Address,
			&r.RequestID, &r.Emergency, &r.Action, &r.ObjectType, &r.ObjectID, &r.ObjectName, &before, &after, &detail, &r.Previous, &r.Hash)
		if err != nil {
			return err
		}
		r.TenantID, r.ID, r.At, r.ActorKind = tenant, id, r.At.UTC(), scope.ActorKind(kind)
		r.ActorID, r.ActorTenantID, r.SessionID = fromNull(actor), fromNull(actorTenant), fromNull(session)
		r.Before, r.After, r.Detail = json.RawMessage(before), json.RawMessage(after), json.RawMessage(detail)
		if err := fn(r); err != nil {
			return err
		}
	}
	return rows.Err()
}

func fromNull(id uuid.NullUUID) *scope.ID {
	if !id.Valid {
		return nil
	}
	raw := scope.ID(id.UUID)
	return &raw
}
