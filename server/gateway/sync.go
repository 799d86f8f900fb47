package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api"
	"reeve/api/fault"
	"reeve/api/wire"
	"reeve/server/fleet"
	"reeve/server/policy"
	"reeve/server/tasks"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
)

// answer is what a sync came to, once it is committed.
type answer struct {
	err      error // of this device alone
	standing fleet.Standing
	state    fleet.State
	config   policy.Spec
	wanted   []string
	events   *int64
	updates  []string
	sections []string
	rejected []api.AgentRejection
	work     tasks.Work
}

// Sync is the one durable operation of endpoints, whatever carries it: it takes a request of a device
// that proved itself, commits it together with those of others, and answers. Nothing in the answer is
// acknowledged before its commit.
func (s *Service) Sync(ctx context.Context, d *Device, remote string, body []byte) ([]byte, error) {
	switch {
	case s.stopping.Load():
		return nil, s.busy(errStopping)
	case len(body) > wire.MaxSyncBytes:
		return nil, fault.Newf(fault.TooLarge, "a sync has at most %d bytes", wire.MaxSyncBytes)
	}
	if err := s.limits.sync(d, len(body)); err != nil {
		return nil, s.busy(errTooMany)
	}
	report, err := decode(d, body, s.o.Now())
	if err != nil {
		return nil, err
	}
	report.address = remote
	a, err := s.syncs.Do(ctx, report)
	if err == nil {
		err = a.err
	}
	if err != nil {
		return nil, err
	}
	reply, err := s.reply(ctx, report, a)
	if err != nil {
		return nil, err
	}
	return json.Marshal(reply)
}

func (s *Service) reply(ctx context.Context, r *report, a answer) (api.SyncReply, error) {
	reply := api.SyncReply{BatchID: r.seen.Journal.BatchID, ServerTime: s.o.Now().UTC(), IntervalSeconds: a.standing.Interval,
		State: api.DeviceState(a.state), ConfigVersion: a.standing.ConfigVersion, Tasks: envelopes(a.work.Leases),
		CancelTaskIds: orEmpty(a.work.Cancel), WantedSections: orEmpty(a.wanted),
		Ack: api.AgentAck{EventsThrough: a.events, TaskUpdates: orEmpty(a.updates), Sections: orEmpty(a.sections), Rejected: orEmpty(a.rejected)}}
	if a.config != nil {
		config := make(map[string]any, len(a.config))
		for name, value := range a.config {
			config[name] = value
		}
		reply.Config = &config
	}
	if more := r.more || a.work.More; more {
		reply.More = &more
	}
	if len(a.work.Leases) > 0 {
		keys, err := s.o.TaskKeys(ctx)
		if err != nil {
			return reply, fmt.Errorf("reading the keys that sign tasks: %w", err)
		}
		// The first key was pinned at enrolment; later ones carry the signature of an older one.
		if slices.ContainsFunc(keys, func(k api.TaskKey) bool { return k.SignedBy != nil }) {
			reply.TaskKeys = &keys
		}
	}
	return reply, nil
}

func envelopes(leases []tasks.Lease) []api.TaskEnvelope {
	list := make([]api.TaskEnvelope, len(leases))
	for i, l := range leases {
		list[i].PayloadB64 = l.Envelope.Payload
		for _, sig := range l.Envelope.Signatures {
			list[i].Signatures = append(list[i].Signatures, api.TaskSignature{Kid: sig.KID, Sig: sig.Sig})
		}
	}
	return list
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// flush commits the syncs of many devices in one transaction. A batch of devices that have nothing to
// say costs one statement for their presence and one for their work.
func (s *Service) flush(ctx context.Context, reports []*report) ([]answer, error) {
	start := s.o.Now()
	var answers []answer
	ctx = scope.AsSystem(ctx, "gateway")
	err := s.o.DB.System(ctx, func(tx *gorm.DB) error {
		b := &batch{s: s, ctx: ctx, tx: tx, reports: reports, answers: make([]answer, len(reports))}
		if err := b.run(); err != nil {
			return err
		}
		answers = b.answers
		return nil
	})
	if s.o.Observe.Batch != nil {
		s.o.Observe.Batch(len(reports), s.o.Now().Sub(start), err)
	}
	return answers, err
}

// batch is the work of one transaction.
type batch struct {
	s       *Service
	ctx     context.Context
	tx      *gorm.DB
	reports []*report
	answers []answer
	entries []audit.Entry
}

func (b *batch) run() error {
	for _, step := range []func() error{b.presence, b.sections, b.events, b.wanted, b.updates, b.work, b.configs} {
		if err := step(); err != nil {
			return err
		}
	}
	if len(b.entries) == 0 {
		return nil
	}
	return audit.WriteTx(b.tx, b.entries...)
}

// presence notes that the devices were heard and decides what each of them may do.
func (b *batch) presence() error {
	seen := make([]fleet.Seen, len(b.reports))
	for i, r := range b.reports {
		seen[i] = r.seen
	}
	standings, err := fleet.SeenTx(b.tx, seen)
	if err != nil {
		return err
	}
	quarantined := map[uuid.UUID]bool{}
	for i, r := range b.reports {
		a := &b.answers[i]
		a.standing = standings[r.device]
		a.rejected = r.rejected
		if !a.standing.Known || a.standing.State == fleet.Retired {
			a.err = ErrRetired
			continue
		}
		if a.state = a.standing.State; a.state == fleet.Active && a.standing.TenantState != "active" {
			a.state = fleet.Quarantined // a suspended tenant's devices report, and get no work
		}
		if a.standing.Objection == "" {
			continue
		}
		if a.standing.State == fleet.Active && !quarantined[r.device] {
			quarantined[r.device] = true
			entry, err := b.s.o.Fleet.QuarantineTx(b.tx, r.tenant, r.device, a.standing.Objection)
			if err != nil {
				return err
			}
			entry.Detail["address"] = r.address
			b.entries = append(b.entries, entry)
		}
		if a.state == fleet.Active {
			a.state = fleet.Quarantined
		}
	}
	return nil
}

// each calls fn for the reports that are served.
func (b *batch) each(fn func(r *report, a *answer)) {
	for i, r := range b.reports {
		if a := &b.answers[i]; a.err == nil {
			fn(r, a)
		}
	}
}

func (b *batch) sections() error {
	var all []fleet.Section
	b.each(func(r *report, a *answer) {
		all = append(all, r.sections...)
		for _, section := range r.sections {
			a.sections = append(a.sections, section.Hash)
		}
	})
	return fleet.ApplySectionsTx(b.tx, all)
}

// events stores what is new of the events, by their numbers.
func (b *batch) events() error {
	var fresh []fleet.Event
	var progress []fleet.Progress
	through := map[uuid.UUID]int64{}
	b.each(func(r *report, a *answer) {
		if len(r.events) == 0 {
			return
		}
		last, known := through[r.device]
		if !known {
			last = a.standing.EventsThrough
		}
		for _, e := range r.events {
			if e.number <= last {
				continue
			}
			last = e.number
			if e.event.Kind != "" {
				fresh = append(fresh, e.event)
			}
		}
		through[r.device] = last
		a.events = &last
		progress = append(progress, fleet.Progress{TenantID: r.tenant, DeviceID: r.device, EventsThrough: last})
	})
	if err := fleet.AppendTimelineTx(b.tx, fresh...); err != nil {
		return err
	}
	return fleet.RememberEventsTx(b.tx, progress)
}

// wanted compares the sections that endpoints have with those that are stored, for the few devices whose
// report differs from the last one that left nothing to want.
func (b *batch) wanted() error {
	var open []int
	var tenants, devices []uuid.UUID
	var has []map[string]string
	for i, r := range b.reports {
		if a := &b.answers[i]; a.err == nil && len(r.has) > 0 && fleet.SectionsDigest(r.has) != a.standing.SectionsDigest {
			open = append(open, i)
			tenants, devices, has = append(tenants, r.tenant), append(devices, r.device), append(has, r.has)
		}
	}
	if len(open) == 0 {
		return nil
	}
	wanted, err := fleet.WantedSectionsTx(b.tx, tenants, devices, has)
	if err != nil {
		return err
	}
	var progress []fleet.Progress
	for n, i := range open {
		slices.Sort(wanted[n])
		b.answers[i].wanted = wanted[n]
		if len(wanted[n]) == 0 {
			progress = append(progress, fleet.Progress{TenantID: tenants[n], DeviceID: devices[n], SectionsDigest: fleet.SectionsDigest(has[n])})
		}
	}
	return fleet.RememberSectionsTx(b.tx, progress)
}

func (b *batch) updates() error {
	var all []tasks.Update
	var owners []*answer
	b.each(func(r *report, a *answer) {
		for _, u := range r.updates {
			all, owners = append(all, u), append(owners, a)
		}
	})
	if len(all) == 0 {
		return nil
	}
	results, err := b.s.o.Tasks.ApplyUpdatesTx(b.ctx, b.tx, all)
	if err != nil {
		return err
	}
	for i, result := range results {
		switch result.Verdict {
		case tasks.Accepted:
			owners[i].updates = append(owners[i].updates, result.UpdateID)
		case tasks.Refused:
			owners[i].rejected = append(owners[i].rejected, api.AgentRejection{Part: api.TaskUpdate, ID: result.UpdateID, Detail: result.Detail})
		case tasks.Deferred: // neither: the endpoint sends it again
		}
	}
	return nil
}

// work compares what runs with what should, and gives active devices that want work something to do. A
// device that says goodbye is given nothing; one in quarantine is only told what to stop.
func (b *batch) work() error {
	var asking []tasks.Asking
	asked := map[uuid.UUID]*answer{}
	b.each(func(r *report, a *answer) {
		if asked[r.device] != nil || a.standing.State == fleet.Pending {
			return
		}
		asked[r.device] = a // to one answer only, should a device be in the batch twice
		asking = append(asking, tasks.Asking{DeviceID: r.device, Ready: a.state.Works() && r.ready && !r.seen.Goodbye, Running: r.running})
	})
	if len(asking) == 0 {
		return nil
	}
	work, err := b.s.o.Tasks.WorkTx(b.ctx, b.tx, asking)
	for device, a := range asked {
		a.work = work[device]
	}
	return err
}

// configs reads the configuration of the devices that work by another one.
func (b *batch) configs() error {
	var tenants, devices []uuid.UUID
	b.each(func(r *report, a *answer) {
		if r.seen.ConfigVersion != a.standing.ConfigVersion {
			tenants, devices = append(tenants, r.tenant), append(devices, r.device)
		}
	})
	if len(devices) == 0 {
		return nil
	}
	effective, err := policy.EffectiveTx(b.tx, tenants, devices, policy.Endpoint)
	if err != nil {
		return err
	}
	b.each(func(r *report, a *answer) {
		if e, ok := effective[r.device]; ok && r.seen.ConfigVersion != a.standing.ConfigVersion {
			a.config, a.standing.ConfigVersion = e.Spec, e.Hash
		}
	})
	return nil
}
