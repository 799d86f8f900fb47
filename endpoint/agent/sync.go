package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"

	"reeve/api"
	"reeve/api/wire"
)

const (
	smallestAim = 64 << 10
	skewTold    = time.Minute // from which a wrong clock is an event
)

// batch is one sync on its way: its bytes stay the same on every carrier that tries it.
type batch struct {
	id     string
	body   []byte
	events int64 // number of the last event in it
}

// build collects what there is to tell.
func (a *Agent) build(goodbye string) (batch, error) {
	running, ready := a.worker.state()
	b := batch{id: uuid.Must(uuid.NewV7()).String()}
	req := api.SyncRequest{
		Protocol: wire.Protocol, BatchID: b.id, SentAt: a.clock.now().UTC(), AgentVersion: wire.Clip(a.version, 60),
		BootID: optional(wire.Clip(a.facts.BootID, 64)), Zone: optional(wire.Clip(a.facts.Zone(), 64)), Address: optional(a.way.address()),
		ConfigVersion: optional(a.dev.ConfigVersion), Goodbye: optional(goodbye),
		Journal: a.store.journal.state(), Ready: &ready,
	}
	if !a.facts.BootAt.IsZero() {
		req.BootAt = &a.facts.BootAt
	}
	if len(running) > 0 {
		req.RunningTaskIds = &running
	}
	updates, used, err := a.store.reports.next(a.aim)
	if err != nil {
		a.log.Error("the update of a task has to wait", "error", err)
	}
	if len(updates) > 0 {
		req.TaskUpdates = &updates
	}
	events, eventBytes := a.store.events.next(max(a.aim-used, 0))
	if len(events) > 0 && (used == 0 || used+eventBytes <= a.aim) {
		req.Events, b.events, used = &events, events[len(events)-1].Number, used+eventBytes
	}
	hashes, sections, err := a.store.inventory.next(a.aim - used)
	if err != nil {
		a.log.Warn("a section of the inventory is collected again", "error", err)
	}
	if len(hashes) > 0 {
		req.SectionHashes = &hashes
	}
	if len(sections) > 0 {
		req.Sections = &sections
	}
	if b.body, err = json.Marshal(req); err != nil {
		return b, fmt.Errorf("encoding a sync: %w", err)
	}
	return b, nil
}

// syncOnce tells what there is and takes what comes back. again says that there is more to do at
// once.
func (a *Agent) syncOnce(ctx context.Context, goodbye string) (again bool, err error) {
	b, err := a.build(goodbye)
	if err != nil {
		return false, err
	}
	began := a.clock.now()
	raw, err := a.exchange(ctx, b.body)
	var p *problemError
	if errors.As(err, &p) && a.adoptTime(p) {
		began = a.clock.now()
		raw, err = a.exchange(ctx, b.body)
	}
	if err != nil {
		a.failed(b, err)
		return false, err
	}
	var reply api.SyncReply
	if err := json.Unmarshal(raw, &reply); err != nil {
		a.failed(b, err)
		return false, fmt.Errorf("reading the reply: %w", err)
	}
	if reply.BatchID != b.id {
		a.failed(b, nil)
		return false, errors.New("the reply belongs to another batch")
	}
	return a.apply(ctx, reply, a.clock.now().Sub(began)), nil
}

// exchange takes the way that is open: the socket, and HTTPS when it is down or fails.
func (a *Agent) exchange(ctx context.Context, body []byte) ([]byte, error) {
	if c := a.socket.current(); c != nil {
		reply, err := c.Sync(ctx, body)
		if !errors.Is(err, errCarrier) {
			return reply, err
		}
	}
	return a.https.Sync(ctx, body)
}

// adoptTime follows the server's clock when it refused our token for ours.
func (a *Agent) adoptTime(p *problemError) bool {
	if p.Status != http.StatusUnauthorized || p.kind() != "clock-skew" || p.ServerTime == nil {
		return false
	}
	a.clock.adopt(*p.ServerTime, 0)
	return true
}

// failed keeps a refused batch from being refused for ever.
func (a *Agent) failed(b batch, err error) {
	a.store.inventory.failed()
	var p *problemError
	if !errors.As(err, &p) {
		return
	}
	switch p.Status {
	case http.StatusRequestEntityTooLarge:
		a.aim = max(a.aim/2, smallestAim)
	case http.StatusBadRequest:
		// The server names a bad part and takes the rest; a whole batch is refused only when it cannot
		// be read at all. Then the parts that carry free content are given up, never the results' facts.
		a.store.reports.bare()
		if err := a.store.events.acked(b.events); err != nil {
			a.log.Error("the spool of events could not be written", "error", err)
		}
	}
}

// apply takes a reply over. A disk that cannot be written costs what it must, never the presence:
// each part is tried, and what was not kept comes again after a restart.
func (a *Agent) apply(ctx context.Context, reply api.SyncReply, took time.Duration) (again bool) {
	a.clock.adopt(reply.ServerTime, took)
	a.noticeSkew()
	if err := errors.Join(a.store.journal.noteTime(a.clock.highest()), a.acknowledge(reply.Ack), a.adopt(ctx, reply)); err != nil {
		a.log.ErrorContext(ctx, "a reply could not be kept", "error", err)
	}
	a.store.inventory.heard(reply.WantedSections)
	// What is left over comes with the next reply.
	a.worker.cancel(ctx, reply.CancelTaskIds[:min(len(reply.CancelTaskIds), maxWaiting)])
	for _, e := range reply.Tasks[:min(len(reply.Tasks), maxWaiting)] {
		envelope := wire.Envelope{Payload: e.PayloadB64}
		for _, s := range e.Signatures {
			envelope.Signatures = append(envelope.Signatures, wire.Signature{KID: s.Kid, Sig: s.Sig})
		}
		a.worker.accept(ctx, envelope, a.dev.TaskKeys, a.dev.ID)
	}
	a.aim = min(a.aim*2, wire.SyncAimBytes)
	return reply.More != nil && *reply.More || a.store.inventory.pending()
}

// acknowledge drops what the server has, and what it refuses for good.
func (a *Agent) acknowledge(ack api.AgentAck) error {
	settled := ack.TaskUpdates
	for _, r := range ack.Rejected {
		a.log.Warn("the server refused a part of a sync", "part", r.Part, "id", r.ID, "detail", wire.Clip(r.Detail, 300))
		if r.Part == "task_update" {
			settled = append(settled, r.ID)
		}
	}
	var errs []error
	for _, id := range settled {
		if task, complete := a.store.reports.settle(id); complete {
			errs = append(errs, a.store.journal.ack(task))
		}
	}
	if ack.EventsThrough != nil {
		errs = append(errs, a.store.events.acked(*ack.EventsThrough))
	}
	return errors.Join(errs...)
}

// adopt takes over what the server says about the device itself.
func (a *Agent) adopt(ctx context.Context, reply api.SyncReply) error {
	changed := false
	if reply.IntervalSeconds > 0 && reply.IntervalSeconds != a.dev.Interval {
		a.dev.Interval, changed = min(reply.IntervalSeconds, 86400), true
	}
	if reply.Config != nil && reply.ConfigVersion != a.dev.ConfigVersion {
		var c config
		raw, err := json.Marshal(reply.Config)
		if err = errors.Join(err, json.Unmarshal(raw, &c)); err != nil {
			a.log.WarnContext(ctx, "the configuration cannot be read", "error", err)
		} else {
			a.setConfig(c)
			a.dev.ConfigVersion, changed = wire.Clip(reply.ConfigVersion, 64), true
		}
	}
	if reply.TaskKeys != nil {
		added, refused := a.dev.adoptKeys(*reply.TaskKeys)
		if refused > 0 {
			a.event(eventKeys, "Task keys were refused because no known key vouches for them", map[string]any{"refused": refused})
		}
		changed = changed || added > 0
	}
	if a.state != reply.State {
		a.log.InfoContext(ctx, "the server's view of this device changed", "state", reply.State)
		a.state = reply.State
	}
	if !changed {
		return nil
	}
	return a.dir.save(a.dev)
}

// noticeSkew tells once when the device's clock is far off, and once when it is right again.
func (a *Agent) noticeSkew() {
	skew := a.clock.skew()
	off := skew.Abs() > skewTold
	if off == a.skewed {
		return
	}
	a.skewed = off
	title := "The device's clock is right again"
	if off {
		title = "The device's clock is wrong; the server's is used"
	}
	a.event(eventSkew, title, map[string]any{"skew_seconds": int64(skew.Seconds())})
}
