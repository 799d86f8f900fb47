package tasks

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/wire"
)

// Lease is a task on its way to its device.
type Lease struct {
	TaskID   uuid.UUID
	DeviceID uuid.UUID
	Envelope wire.Envelope
}

const (
	// leaseFor is how long a device may take to say that it began.
	leaseFor = 90 * time.Second
	// runningFor is how long a running task is believed to run without a word.
	runningFor = 5 * time.Minute
	// redeliverAfter is when a device that asks again, and has not said that it began, gets the task
	// again within its lease: the answer that carried it was lost, or is being worked on. The device
	// tells a second copy by its id.
	redeliverAfter = 10 * time.Second
	// maxAttempts is how many leases may be lost before a task is suspected of stopping its device.
	maxAttempts = 5
	// patience is how long a task of a heavy job stands behind those of light ones.
	patience = 15 * time.Minute
	// parallelTasks bounds how many tasks of parallel kinds a device gets at once.
	parallelTasks = 8
)

// LeaseTx gives devices the tasks they may begin, the right ones first, and marks them leased. It needs
// the system's reach, and two statements however many devices ask. A device in no good state, or of a
// tenant that is not active, gets nothing.
//
// The order on a device: tasks of lighter jobs before those of heavier ones, and among equals the older
// first; after a quarter of an hour weight does not count any more.
func (s *Service) LeaseTx(tx *gorm.DB, devices []uuid.UUID) (map[uuid.UUID][]Lease, error) {
	if len(devices) == 0 {
		return nil, nil
	}
	rows, err := s.leaseRows(tx, devices)
	if err != nil {
		return nil, fmt.Errorf("leasing tasks: %w", err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	bodies, err := jobBodies(tx, rows)
	if err != nil {
		return nil, fmt.Errorf("reading what tasks carry: %w", err)
	}
	leases := map[uuid.UUID][]Lease{}
	for _, r := range rows {
		leases[r.DeviceID] = append(leases[r.DeviceID], Lease{TaskID: r.ID, DeviceID: r.DeviceID, Envelope: wire.Envelope{
			Payload:    bytes.Join([][]byte{r.Head, bodies[r.JobID], {'}'}}, nil),
			Signatures: []wire.Signature{{KID: r.Kid, Sig: r.Signature}}}})
	}
	return leases, nil
}

type leaseRow struct {
	ID, DeviceID, JobID uuid.UUID
	Head, Signature     []byte
	Kid                 string
}

func (s *Service) leaseRows(tx *gorm.DB, devices []uuid.UUID) (rows []leaseRow, err error) {
	parallel, list := s.parallelKinds(), array[uuid.UUID](devices)
	err = tx.Raw(`WITH served AS (
			SELECT d.tenant_id, d.id FROM devices d JOIN tenants o ON o.id = d.tenant_id AND o.state = 'active'
			WHERE d.id = ANY (?) AND d.state = 'active'
		), ready AS (
			SELECT t.tenant_id, t.id, t.kind = ANY (?) AS parallel, row_number() OVER (
				PARTITION BY t.device_id, t.kind = ANY (?)
				ORDER BY CASE WHEN t.created_at < now() - ? * interval '1 second' THEN 0 ELSE t.weight END, t.id) AS place
			FROM served d JOIN tasks t ON t.tenant_id = d.tenant_id AND t.device_id = d.id
			WHERE t.state = 'queued' AND t.not_before <= now() AND t.expires_at > now()
				AND (t.open_ranges IS NULL OR t.open_ranges @> now())
				AND (t.after_task_id IS NULL OR exists (SELECT FROM tasks b
					WHERE b.tenant_id = t.tenant_id AND b.id = t.after_task_id AND b.state = 'succeeded'))
				AND (t.kind = ANY (?) OR NOT exists (SELECT FROM tasks b
					WHERE b.device_id = t.device_id AND b.state IN ('leased', 'running', 'cancelling') AND b.kind <> ALL (?)))
		), chosen AS (
			SELECT t.tenant_id, t.id FROM ready r JOIN tasks t ON t.tenant_id = r.tenant_id AND t.id = r.id
			WHERE r.place <= CASE WHEN r.parallel THEN ? ELSE 1 END AND t.state = 'queued'
			FOR UPDATE OF t SKIP LOCKED
		), leased AS (
			UPDATE tasks t SET state = 'leased', reason = '', attempts = t.attempts + 1, leased_at = now(), lease_until = now() + ? * interval '1 second'
			FROM chosen c WHERE t.tenant_id = c.tenant_id AND t.id = c.id
			RETURNING t.id, t.device_id, t.job_id, t.head, t.signature, t.kid
		)
		SELECT * FROM leased
		UNION ALL
		SELECT t.id, t.device_id, t.job_id, t.head, t.signature, t.kid
		FROM served d JOIN tasks t ON t.tenant_id = d.tenant_id AND t.device_id = d.id
		WHERE t.state = 'leased' AND t.leased_at <= now() - ? * interval '1 second' AND t.lease_until > now() AND t.expires_at > now()`,
		list, parallel, parallel, patience.Seconds(), parallel, parallel, parallelTasks, leaseFor.Seconds(), redeliverAfter.Seconds()).Scan(&rows).Error
	return rows, err
}

func (s *Service) parallelKinds() array[string] {
	names := array[string]{}
	for _, k := range s.kinds {
		if k.Parallel {
			names = append(names, k.Name)
		}
	}
	return names
}

// jobBodies reads the shared ends of envelopes, once per job.
func jobBodies(tx *gorm.DB, rows []leaseRow) (map[uuid.UUID][]byte, error) {
	seen, ids := map[uuid.UUID]bool{}, array[uuid.UUID]{}
	for _, r := range rows {
		if !seen[r.JobID] {
			seen[r.JobID] = true
			ids = append(ids, r.JobID)
		}
	}
	var found []struct {
		ID   uuid.UUID
		Body []byte
	}
	if err := tx.Raw("SELECT id, body FROM jobs WHERE id = ANY (?)", ids).Scan(&found).Error; err != nil {
		return nil, err
	}
	bodies := map[uuid.UUID][]byte{}
	for _, f := range found {
		bodies[f.ID] = f.Body
	}
	return bodies, nil
}

// Asking is a device that asks for work.
type Asking struct {
	DeviceID uuid.UUID
	Ready    bool // wants tasks; otherwise it only hears what to stop
	// Running are the tasks it says to be at, those whose last update waits on it among them.
	Running []uuid.UUID
}

// Work is what a device is given.
type Work struct {
	Leases []Lease
	Cancel []uuid.UUID // to stop; the device answers with an update, also when it does not know the task
	More   bool        // there is more for it at once
}

// WorkTx gives devices what they are to do and to stop, and compares what they say to be at with what
// the server believes. It comes after ApplyUpdatesTx of the same messages, and needs the system's reach.
// Devices for which nothing is open, which is most of them, cost one statement together.
func (s *Service) WorkTx(ctx context.Context, tx *gorm.DB, asking []Asking) (map[uuid.UUID]Work, error) {
	devices, ready, running := []uuid.UUID{}, []uuid.UUID{}, map[uuid.UUID][]uuid.UUID{}
	for _, a := range asking {
		devices = append(devices, a.DeviceID)
	}
	open, err := s.openWork(tx, devices)
	if err != nil || len(open) == 0 {
		return nil, err
	}
	work := map[uuid.UUID]Work{}
	for _, a := range asking {
		o := open[a.DeviceID]
		if o.Lost || o.Short && len(a.Running) > 0 {
			running[a.DeviceID] = a.Running
		}
		if a.Ready && (o.Due > 0 || o.Again) {
			ready = append(ready, a.DeviceID)
		}
		if cancel := o.cancel(); len(cancel) > 0 || o.Due > parallelTasks {
			work[a.DeviceID] = Work{Cancel: cancel, More: a.Ready && o.Due > parallelTasks}
		}
	}
	if err := s.ReconcileTx(ctx, tx, running); err != nil {
		return nil, err
	}
	leases, err := s.LeaseTx(tx, ready)
	for device, list := range leases {
		w := work[device]
		w.Leases = list
		work[device] = w
	}
	return work, err
}

// openRow sums up what is open on a device.
type openRow struct {
	DeviceID uuid.UUID
	Due      int    // queued tasks of parallel kinds, and one more when there is any other
	Again    bool   // a leased task may be sent again
	Short    bool   // a lease could be extended
	Lost     bool   // a task was running and has not been heard of for long
	Cancels  []byte // as JSON; null for none
}

func (o openRow) cancel() (ids []uuid.UUID) {
	_ = json.Unmarshal(o.Cancels, &ids) // null and nothing are none
	return ids
}

func (s *Service) openWork(tx *gorm.DB, devices []uuid.UUID) (map[uuid.UUID]openRow, error) {
	var rows []openRow
	err := tx.Raw(`SELECT device_id,
			count(*) FILTER (WHERE state = 'queued' AND kind = ANY (?) AND not_before <= now() AND (open_ranges IS NULL OR open_ranges @> now()))
				+ least(1, count(*) FILTER (WHERE state = 'queued' AND kind <> ALL (?) AND not_before <= now()
					AND (open_ranges IS NULL OR open_ranges @> now()))) AS due,
			coalesce(bool_or(state = 'leased' AND leased_at <= now() - ? * interval '1 second'), false) AS again,
			coalesce(bool_or(state <> 'queued' AND lease_until < now() + ? * interval '1 second'), false) AS short,
			coalesce(bool_or(state IN ('running', 'cancelling') AND lease_until < now()), false) AS lost,
			to_json(array_agg(id ORDER BY id) FILTER (WHERE state = 'cancelling')) AS cancels
		FROM tasks WHERE device_id = ANY (?) AND state IN ('queued', 'leased', 'running', 'cancelling') GROUP BY device_id`,
		s.parallelKinds(), s.parallelKinds(), redeliverAfter.Seconds(), (runningFor / 2).Seconds(), array[uuid.UUID](devices)).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("finding what is open: %w", err)
	}
	open := make(map[uuid.UUID]openRow, len(rows))
	for _, r := range rows {
		open[r.DeviceID] = r
	}
	return open, nil
}

// ReconcileTx compares what devices say is running on them with what the server believes. What they
// name goes on; what they were at some time ago and do not name any more was interrupted, and nobody
// will report it. It comes after ApplyUpdatesTx of the same message, and needs the system's reach.
//
// A task counts as named also while its last update waits on the device to be sent.
func (s *Service) ReconcileTx(ctx context.Context, tx *gorm.DB, running map[uuid.UUID][]uuid.UUID) error {
	if len(running) == 0 {
		return nil
	}
	asked, devices, named := array[uuid.UUID]{}, array[uuid.UUID]{}, array[uuid.UUID]{}
	for device, tasks := range running {
		asked = append(asked, device)
		for _, id := range tasks {
			devices, named = append(devices, device), append(named, id)
		}
	}
	if len(named) > 0 {
		// Most syncs have nothing new to say: a lease that is long enough is left alone.
		err := tx.Exec(`UPDATE tasks t SET lease_until = now() + ? * interval '1 second'
			WHERE (t.tenant_id, t.id) IN (SELECT x.tenant_id, x.id FROM unnest(?::uuid[], ?::uuid[]) AS u (device_id, id)
				JOIN tasks x ON x.id = u.id AND x.device_id = u.device_id
				WHERE x.state IN ('leased', 'running', 'cancelling') AND x.lease_until < now() + ? * interval '1 second'
				FOR UPDATE OF x SKIP LOCKED)`,
			runningFor.Seconds(), devices, named, (runningFor / 2).Seconds()).Error
		if err != nil {
			return fmt.Errorf("extending leases: %w", err)
		}
	}
	lost := `x.device_id = ANY (?) AND x.state IN ('running', 'cancelling') AND x.lease_until < now() AND x.id <> ALL (?)`
	return s.giveUp(ctx, tx, endOfRunning("the device does not know of it any more"), lost, asked, named)
}

// ending is what sweeps make of a task that they give up: SQL of constants only.
type ending struct{ state, reason string }

// endOfRunning is the end of a task that its device had: nobody knows how far it came.
func endOfRunning(why string) ending {
	return ending{
		state:  `CASE WHEN x.state = 'cancelling' THEN 'cancelled' ELSE 'failed' END`,
		reason: `CASE WHEN x.state = 'cancelling' THEN 'cancelled; ` + why + `' ELSE 'interrupted: ` + why + `' END`,
	}
}

// giveUp ends tasks x that meet a condition, at most Batch of them, leaving alone what somebody
// else works on, and tells whoever waits for it.
func (s *Service) giveUp(ctx context.Context, tx *gorm.DB, to ending, condition string, args ...any) error {
	_, err := s.giveUpCounted(ctx, tx, to, condition, args...)
	return err
}

func (s *Service) giveUpCounted(ctx context.Context, tx *gorm.DB, to ending, condition string, args ...any) (int, error) {
	var ended []Task
	err := tx.Raw(`WITH chosen AS (
			SELECT x.tenant_id, x.id, `+to.state+` AS state, `+to.reason+` AS reason FROM tasks x WHERE `+condition+`
			LIMIT `+fmt.Sprint(Batch)+` FOR UPDATE OF x SKIP LOCKED
		)
		UPDATE tasks t SET state = c.state, reason = c.reason, lease_until = NULL, finished_at = now()
		FROM chosen c
		WHERE t.tenant_id = c.tenant_id AND t.id = c.id
		RETURNING t.id, t.tenant_id, t.device_id, t.job_id, t.kind, t.state, t.reason, t.attempts, t.created_at, t.started_at, t.finished_at`, args...).
		Scan(&ended).Error
	if err != nil {
		return 0, fmt.Errorf("giving up tasks: %w", err)
	}
	return len(ended), s.ended(ctx, tx, ended)
}
