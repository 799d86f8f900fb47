// Package audit is the append-only, hash-chained record of who did what, written in the same
// transaction as the act.
package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"time"

	"reeve/tenants/scope"
)

// Entry is one act, as its author describes it. Who acts, from where and in which request is read
// from the transaction's scope; an author cannot claim to be somebody else.
type Entry struct {
	TenantID   scope.ID // whose chain: the tenant the object belongs to
	Action     string   // "user.created", "session.started"
	ObjectType string   // "user"
	ObjectID   string   // a UUID mostly; empty when there is none
	ObjectName string   // what a person calls it, as of now
	// Before and After are the object's public face on both sides of the change, as values that encode
	// to JSON; nil where there is none. Secrets in them are masked: see mask.
	Before, After any
	// Detail holds what else a reader needs, such as a reason; it is masked too.
	Detail map[string]any
}

// Record is an entry as it stands in the log.
type Record struct {
	TenantID      scope.ID
	Number        int64 // place in the tenant's chain, from 1, without gaps
	ID            scope.ID
	At            time.Time
	ActorKind     scope.ActorKind
	ActorID       *scope.ID
	ActorTenantID *scope.ID
	ActorName     string
	SessionID     *scope.ID
	Address       string
	RequestID     string
	Emergency     string // the reason, when done under break-glass access
	Action        string
	ObjectType    string
	ObjectID      string
	ObjectName    string
	Before        json.RawMessage // nil when there is none
	After         json.RawMessage
	Detail        json.RawMessage // an object
	Previous      []byte          // hash of the record before; empty for the first
	Hash          []byte
}

// Head is the end of a chain.
type Head struct {
	TenantID scope.ID
	Number   int64
	Hash     []byte
}

// chainVersion separates the hashes of this layout from those of any later one.
const chainVersion = "reeve-audit-1"

// computeHash is the hash of a record over all of its fields but the hash itself. Every field has a
// length before it, so that no two different records have the same bytes.
func computeHash(r *Record) []byte {
	b := make([]byte, 0, 512+len(r.Before)+len(r.After)+len(r.Detail))
	b = appendBytes(b, []byte(chainVersion))
	b = appendBytes(b, r.Previous)
	b = append(b, r.TenantID[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Number))
	b = append(b, r.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.At.UnixMicro()))
	b = appendBytes(b, []byte(r.ActorKind))
	b = appendID(b, r.ActorID)
	b = appendID(b, r.ActorTenantID)
	b = appendBytes(b, []byte(r.ActorName))
	b = appendID(b, r.SessionID)
	for _, s := range []string{r.Address, r.RequestID, r.Emergency, r.Action, r.ObjectType, r.ObjectID, r.ObjectName} {
		b = appendBytes(b, []byte(s))
	}
	for _, doc := range []json.RawMessage{r.Before, r.After, r.Detail} {
		b = appendBytes(b, doc)
	}
	sum := sha256.Sum256(b)
	return sum[:]
}

// appendBytes writes a length and the bytes; nil is told from empty.
func appendBytes(b, field []byte) []byte {
	if field == nil {
		return binary.BigEndian.AppendUint32(b, ^uint32(0))
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(field)))
	return append(b, field...)
}

func appendID(b []byte, id *scope.ID) []byte {
	if id == nil {
		return appendBytes(b, nil)
	}
	return appendBytes(b, id[:])
}
