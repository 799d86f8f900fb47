package audit

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// maxFindings bounds a report: one edit is news, ten thousand consequences of it are not.
const maxFindings = 100

// clockTolerance is how far a chain's time may step back before it is worth a word.
const clockTolerance = 5 * time.Second

// Finding is one place where a chain is not what was written.
type Finding struct {
	Number int64 // the place in the chain
	Kind   FindingKind
	Detail string
}

// FindingKind says what must have happened.
type FindingKind string

// The kinds of findings.
const (
	Edited    FindingKind = "edited"     // the record does not have the hash it was written with
	Missing   FindingKind = "missing"    // a number is absent
	Broken    FindingKind = "broken"     // the record does not continue the one before: inserted or reordered
	Truncated FindingKind = "truncated"  // the end of the chain is gone
	Appended  FindingKind = "appended"   // records stand behind the end of the chain
	Replaced  FindingKind = "replaced"   // a signed checkpoint says otherwise
	ClockBack FindingKind = "clock-back" // a record is older than the one before
)

// Report is what verifying one chain found.
type Report struct {
	TenantID  scope.ID
	Entries   int64
	Findings  []Finding // at most 100
	More      bool      // there were more
	CheckedAt time.Time
}

var errNoLog = fault.New(fault.NotFound, "no such tenant, or its log is not yours to read")

// Intact tells whether the chain is as it was written.
func (r Report) Intact() bool { return len(r.Findings) == 0 }

func (r *Report) add(number int64, kind FindingKind, format string, args ...any) {
	if len(r.Findings) >= maxFindings {
		r.More = true
		return
	}
	r.Findings = append(r.Findings, Finding{number, kind, fmt.Sprintf(format, args...)})
}

// Verify reads a tenant's whole chain and compares it with itself, its head, and the checkpoints kept
// outside the database, which may be nil. A forger who recomputes every hash is only found by those.
func Verify(ctx context.Context, db *tenantdb.DB, tenant scope.ID, known Checkpoints) (Report, error) {
	if s := scope.From(ctx); !s.Sees(tenant) || !s.May(PermRead, tenant) {
		return Report{}, errNoLog
	}
	v := newVerifier(tenant, known[tenant])
	err := db.Snapshot(ctx, func(tx *gorm.DB) error {
		v.report.CheckedAt = tenantdb.Now(tx)
		var heads []Head
		var rows []struct {
			Number int64
			Hash   []byte
		}
		if err := tx.Raw("SELECT number, hash FROM audit_heads WHERE tenant_id = ?", uuid.UUID(tenant)).Scan(&rows).Error; err != nil {
			return err
		}
		for _, r := range rows {
			heads = append(heads, Head{tenant, r.Number, r.Hash})
		}
		q := tx.Table("audit_entries").Select(columns).Where("tenant_id = ?", uuid.UUID(tenant)).Order("number")
		if err := each(q, func(r Record) error { v.record(r); return nil }); err != nil {
			return err
		}
		v.end(heads)
		return nil
	})
	return v.report, err
}

// VerifyAll verifies every chain there is, or should be.
func VerifyAll(ctx context.Context, db *tenantdb.DB, known Checkpoints) ([]Report, error) {
	var tenants []uuid.UUID
	err := db.System(ctx, func(tx *gorm.DB) error {
		return tx.Raw("SELECT id FROM tenants ORDER BY id").Scan(&tenants).Error
	})
	if err != nil {
		return nil, err
	}
	seen := map[scope.ID]bool{}
	var reports []Report
	for _, id := range tenants {
		seen[scope.ID(id)] = true
		report, err := Verify(ctx, db, scope.ID(id), known)
		if err != nil {
			return nil, err
		}
		reports = append(reports, report)
	}
	for id, heads := range known {
		if !seen[id] {
			v := newVerifier(id, heads)
			v.end(nil)
			reports = append(reports, v.report)
		}
	}
	return reports, nil
}

// verifier walks one chain in order. It knows no database, so that an export can be verified too.
type verifier struct {
	report   Report
	known    []Head // checkpoints not yet reached, ascending
	number   int64
	previous []byte
	at       time.Time
}

func newVerifier(tenant scope.ID, known []Head) *verifier {
	return &verifier{report: Report{TenantID: tenant}, known: known, previous: []byte{}}
}

// VerifyRecords checks an exported chain, in order, against its head and checkpoints.
func VerifyRecords(tenant scope.ID, records []Record, head *Head, known Checkpoints) Report {
	v := newVerifier(tenant, known[tenant])
	for _, r := range records {
		v.record(r)
	}
	var heads []Head
	if head != nil {
		heads = []Head{*head}
	}
	v.end(heads)
	return v.report
}

func (v *verifier) record(r Record) {
	v.report.Entries++
	if !bytes.Equal(r.Hash, computeHash(&r)) {
		v.report.add(r.Number, Edited, "the entry does not have the content it was written with")
	}
	switch {
	case r.Number > v.number+1:
		v.report.add(v.number+1, Missing, "entries %d to %d are missing", v.number+1, r.Number-1)
	case r.Number <= v.number:
		v.report.add(r.Number, Broken, "the entry stands out of order")
	case !bytes.Equal(r.Previous, v.previous):
		v.report.add(r.Number, Broken, "the entry does not follow the one before it")
	}
	if !v.at.IsZero() && r.At.Before(v.at.Add(-clockTolerance)) {
		v.report.add(r.Number, ClockBack, "the entry is %s older than the one before it", v.at.Sub(r.At))
	}
	for len(v.known) > 0 && v.known[0].Number <= r.Number {
		if v.known[0].Number == r.Number && !bytes.Equal(v.known[0].Hash, r.Hash) {
			v.report.add(r.Number, Replaced, "a checkpoint recorded another entry here")
		}
		v.known = v.known[1:]
	}
	v.number, v.previous, v.at = r.Number, r.Hash, r.At
}

func (v *verifier) end(heads []Head) {
	if len(v.known) > 0 {
		last := v.known[len(v.known)-1]
		v.report.add(v.number+1, Truncated, "a checkpoint recorded %d entries, the chain ends at %d", last.Number, v.number)
	}
	if len(heads) == 0 {
		if v.number > 0 {
			v.report.add(v.number, Truncated, "the end of the chain is not recorded")
		}
		return
	}
	head := heads[0]
	switch {
	case head.Number > v.number:
		v.report.add(v.number+1, Truncated, "%d entries were written, the chain ends at %d", head.Number, v.number)
	case head.Number < v.number:
		v.report.add(head.Number+1, Appended, "only %d entries were written", head.Number)
	case !bytes.Equal(head.Hash, v.previous):
		v.report.add(v.number, Replaced, "the last entry is not the one that was written last")
	}
}
