package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// maxText is the longest text of a column: what comes from outside is cut, not trusted.
const maxText = 500

// WriteTx appends entries to the chains of their tenants. It is the last statement before commit: it
// locks the heads of the chains, in ascending order of tenant, until the transaction ends. When it
// fails, the transaction must fail.
func WriteTx(tx *gorm.DB, entries ...Entry) error {
	who := tenantdb.ScopeOf(tx)
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, func(a, b Entry) int { return bytes.Compare(a.TenantID[:], b.TenantID[:]) })
	for len(entries) > 0 {
		n := 1
		for n < len(entries) && entries[n].TenantID == entries[0].TenantID {
			n++
		}
		if err := writeChain(tx, who, entries[:n]); err != nil {
			return fmt.Errorf("writing the audit log: %w", err)
		}
		entries = entries[n:]
	}
	return nil
}

// writeChain appends entries of one tenant.
func writeChain(tx *gorm.DB, who scope.Scope, entries []Entry) error {
	tenant := entries[0].TenantID
	records := make([]Record, len(entries))
	for i, e := range entries {
		r, err := describe(who, e)
		if err != nil {
			return err
		}
		records[i] = r
	}
	var head struct {
		Number int64
		Hash   []byte
		At     time.Time
	}
	// The clock is read under the lock, so that the order of the chain is the order of its times.
	err := tx.Raw(`INSERT INTO audit_heads AS h (tenant_id, number, hash, at) VALUES (?, ?, '', clock_timestamp())
		ON CONFLICT (tenant_id) DO UPDATE SET number = h.number + excluded.number, at = clock_timestamp()
		RETURNING number, hash, at`, uuid.UUID(tenant), len(records)).Scan(&head).Error
	if err != nil {
		return err
	}
	previous := head.Hash
	for i := range records {
		r := &records[i]
		r.Number, r.At = head.Number-int64(len(records)-1-i), head.At.UTC()
		r.Previous = append([]byte{}, previous...)
		r.Hash = computeHash(r)
		previous = r.Hash
	}
	if err := insert(tx, records); err != nil {
		return err
	}
	return tx.Exec("UPDATE audit_heads SET hash = ? WHERE tenant_id = ?", previous, uuid.UUID(tenant)).Error
}

// insertBatch keeps a statement below PostgreSQL's 65,535 parameters.
const insertBatch = 1000

func insert(tx *gorm.DB, records []Record) error {
	for batch := range slices.Chunk(records, insertBatch) {
		var sql strings.Builder
		sql.WriteString("INSERT INTO audit_entries (" + columns + ") VALUES ")
		args := make([]any, 0, len(batch)*21)
		for i, r := range batch {
			if i > 0 {
				sql.WriteByte(',')
			}
			sql.WriteString("(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)")
			args = append(args, uuid.UUID(r.TenantID), r.Number, uuid.UUID(r.ID), r.At, string(r.ActorKind), optional(r.ActorID),
				optional(r.ActorTenantID), r.ActorName, optional(r.SessionID), r.Address, r.RequestID, r.Emergency, r.Action,
				r.ObjectType, r.ObjectID, r.ObjectName, document(r.Before), document(r.After), document(r.Detail), r.Previous, r.Hash)
		}
		if err := tx.Exec(sql.String(), args...).Error; err != nil {
			return err
		}
	}
	return nil
}

// describe makes the part of a record that does not depend on its place.
func describe(who scope.Scope, e Entry) (Record, error) {
	if e.TenantID == (scope.ID{}) || e.Action == "" || e.ObjectType == "" {
		return Record{}, fault.New(fault.Internal, "an audit entry needs a tenant, an action and a type of object")
	}
	before, after, err := documents(e.Before, e.After)
	if err != nil {
		return Record{}, err
	}
	if e.Detail == nil {
		e.Detail = map[string]any{}
	}
	detail, _, err := documents(e.Detail, nil)
	if err != nil {
		return Record{}, err
	}
	kind := who.Actor.Kind
	if kind == "" {
		kind = scope.Server
	}
	return Record{
		TenantID: e.TenantID, ID: uuid.Must(uuid.NewV7()),
		ActorKind: kind, ActorID: present(who.Actor.ID), ActorTenantID: present(who.Actor.TenantID),
		ActorName: clean(who.Actor.Name), SessionID: present(who.Actor.SessionID), Address: clean(who.Actor.Address),
		RequestID: clean(who.Actor.RequestID), Emergency: clean(who.Emergency), Action: clean(e.Action),
		ObjectType: clean(e.ObjectType), ObjectID: clean(e.ObjectID), ObjectName: clean(e.ObjectName),
		Before: before, After: after, Detail: detail,
	}, nil
}

// clean makes any text storable: valid, without NUL, of bounded length.
func clean(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "�"), "\x00", "�")
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

func present(id scope.ID) *scope.ID {
	if id == (scope.ID{}) {
		return nil
	}
	return &id
}

func optional(id *scope.ID) any {
	if id == nil {
		return nil
	}
	return uuid.UUID(*id)
}

func document(raw json.RawMessage) any {
	if raw == nil {
		return nil
	}
	return string(raw)
}

// Write is WriteTx in a transaction of its own, for acts that change nothing, such as a failed sign-in.
func Write(ctx context.Context, db *tenantdb.DB, entries ...Entry) error {
	return db.System(ctx, func(tx *gorm.DB) error { return WriteTx(tx, entries...) })
}
