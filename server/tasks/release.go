package tasks

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
	"gorm.io/gorm"

	"reeve/api/wire"
	"reeve/server/fleet"
	"reeve/server/schedule"
	"reeve/tenants/tenantdb"
)

// insertChunk bounds one statement that makes tasks.
const insertChunk = 10_000

// signed is a task ready for the database. What was signed is head, the job's body, and a brace: the
// body, the same for every task of the job, is kept once.
type signed struct {
	id        uuid.UUID
	target    fleet.Target
	notBefore time.Time
	head      []byte
	signature []byte
}

// release makes and signs the tasks of some targets of a job, and has their devices woken.
func (s *Service) release(ctx context.Context, tx *gorm.DB, j *Job, w work, targets []fleet.Target) error {
	kid, key, err := s.o.Signer(ctx)
	if err != nil {
		return fmt.Errorf("finding the key that signs tasks: %w", err)
	}
	made := 0
	for chunk := range slices.Chunk(targets, insertChunk) {
		all, err := signAll(ctx, *j, w, tenantdb.Now(tx), chunk, kid, key)
		if err != nil {
			return err
		}
		n, err := insertTasks(tx, *j, w, kid, all)
		if err != nil {
			return err
		}
		made += n
	}
	if made < len(targets) {
		// Devices that were moved to another tenant or purged while the job waited.
		j.TasksTotal -= len(targets) - made
	}
	err = tx.Exec(`UPDATE jobs SET tasks_total = ?, released_at = coalesce(released_at, now()), checked_at = now() WHERE tenant_id = ? AND id = ?`,
		j.TasksTotal, j.TenantID, j.ID).Error
	if err != nil {
		return err
	}
	if !j.NotBefore.After(tenantdb.Now(tx)) {
		s.ring(tx, deviceIDs(targets))
	}
	return nil
}

// signAll makes ids and signatures on all processors. Ids ascend with the targets.
func signAll(ctx context.Context, j Job, w work, now time.Time, targets []fleet.Target, kid string, key ed25519.PrivateKey) ([]signed, error) {
	all := make([]signed, len(targets))
	for i, t := range targets {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("making a task's id: %w", err)
		}
		all[i] = signed{id: id, target: t}
	}
	if len(all) == 0 {
		return nil, nil
	}
	workers := runtime.GOMAXPROCS(0)
	g, ctx := errgroup.WithContext(ctx)
	for part := range slices.Chunk(all, (len(all)+workers-1)/workers) {
		g.Go(func() error {
			for i := range part {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := part[i].sign(j, w, now, kid, key); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return all, g.Wait()
}

var errBodyNotLast = errors.New("tasks: the body does not stand at the end of the envelope")

func (t *signed) sign(j Job, w work, now time.Time, kid string, key ed25519.PrivateKey) error {
	t.notBefore = j.NotBefore
	if j.ScheduleID != nil {
		t.notBefore = t.notBefore.Add(schedule.Jitter(*j.ScheduleID, t.target.DeviceID, w.jitter))
	}
	e, err := wire.Sign(wire.Payload{ID: t.id, DeviceID: t.target.DeviceID, TenantID: t.target.TenantID, Kind: j.Kind, IssuedAt: now,
		NotBefore: t.notBefore, ExpiresAt: j.ExpiresAt, RunAs: w.runAs, Body: w.body}, kid, key)
	if err != nil {
		return fmt.Errorf("signing a task: %w", err)
	}
	head, ok := bytes.CutSuffix(e.Payload, envelopeEnd(w.body))
	if !ok {
		return errBodyNotLast
	}
	t.head, t.signature = slices.Clone(head), e.Signatures[0].Sig
	return nil
}

func envelopeEnd(body []byte) []byte { return append(slices.Clone(body), '}') }

// insertTasks writes tasks in one statement. A device whose system the work is not made for gets a task
// that says so and is over.
func insertTasks(tx *gorm.DB, j Job, w work, kid string, all []signed) (int, error) {
	ids, tenantIDs, devices := make(array[uuid.UUID], len(all)), make(array[uuid.UUID], len(all)), make(array[uuid.UUID], len(all))
	heads, signatures := make(array[[]byte], len(all)), make(array[[]byte], len(all))
	starts := make(array[time.Time], len(all))
	for i, t := range all {
		ids[i], tenantIDs[i], devices[i] = t.id, t.target.TenantID, t.target.DeviceID
		heads[i], signatures[i], starts[i] = t.head, t.signature, t.notBefore
	}
	done := tx.Exec(`INSERT INTO tasks (tenant_id, id, job_id, job_tenant_id, device_id, kind, state, reason, finished_at, weight,
			head, kid, signature, not_before, expires_at, open_ranges)
		SELECT u.tenant_id, u.id, ?, ?, u.device_id, ?, CASE WHEN p.fits THEN 'queued' ELSE 'skipped' END,
			CASE WHEN p.fits THEN '' ELSE 'the script is not for ' || d.os_family END, CASE WHEN p.fits THEN NULL ELSE now() END,
			?, u.head, ?, u.signature, u.not_before, ?, coalesce((j.tenant_ranges ->> u.tenant_id::text)::tstzmultirange, j.open_ranges)
		FROM unnest(?::uuid[], ?::uuid[], ?::uuid[], ?::bytea[], ?::bytea[], ?::timestamptz[]) AS u (tenant_id, id, device_id, head, signature, not_before)
			JOIN devices d ON d.tenant_id = u.tenant_id AND d.id = u.device_id
			JOIN jobs j ON j.tenant_id = ? AND j.id = ?
			CROSS JOIN LATERAL (SELECT cardinality(?::text[]) = 0 OR d.os_family = ANY (?::text[]) AS fits) p`,
		j.ID, j.TenantID, j.Kind, weigh(j.TasksTotal), kid, j.ExpiresAt, tenantIDs, ids, devices, heads, signatures, starts,
		j.TenantID, j.ID, platforms(w), platforms(w))
	if done.Error != nil {
		return 0, fmt.Errorf("making tasks: %w", done.Error)
	}
	return int(done.RowsAffected), nil
}

func platforms(w work) array[string] {
	if w.platforms == nil {
		return array[string]{}
	}
	return w.platforms
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
