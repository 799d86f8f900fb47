package gateway

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/server/bus"
	"reeve/server/fleet"
)

// Subjects on the bus. A message is a list of device ids, 16 bytes each.
const (
	ringSubject   = "agent.ring"
	changeSubject = "agent.changed"
	ringShards    = 16
	maxIDs        = 4096 // per message
)

// Ring asks devices to sync now, on whatever replica their socket is. It is called after a commit and
// may be lost: the next sync finds the same.
func (s *Service) Ring(devices []uuid.UUID) {
	var shards [ringShards][]byte
	for _, id := range devices {
		// The last byte of an id is random.
		n := id[15] % ringShards
		shards[n] = append(shards[n], id[:]...)
	}
	for n, ids := range shards {
		s.publish(fmt.Sprintf("%s.%d", ringSubject, n), ids)
	}
}

// Changed tells every replica that devices may do more or less than before.
func (s *Service) Changed(devices []uuid.UUID) {
	var ids []byte
	for _, id := range devices {
		ids = append(ids, id[:]...)
	}
	s.publish(changeSubject, ids)
}

func (s *Service) publish(subject string, ids []byte) {
	for len(ids) > 0 {
		n := min(len(ids), maxIDs*16)
		if err := s.o.Bus.Publish(context.Background(), subject, ids[:n]); err != nil {
			s.o.Log.Debug("a message to other replicas was lost", "subject", subject, "error", err)
		}
		ids = ids[n:]
	}
}

func idsOf(data []byte) []uuid.UUID {
	ids := make([]uuid.UUID, 0, len(data)/16)
	for ; len(data) >= 16; data = data[16:] {
		ids = append(ids, uuid.UUID(data[:16]))
	}
	return ids
}

// hear rings the sockets that are here.
func (s *Service) hear(m bus.Message) {
	delivered := 0
	for _, id := range idsOf(m.Data) {
		if s.hub.ring(id) {
			delivered++
		}
	}
	if s.o.Observe.Ring != nil {
		s.o.Observe.Ring(delivered)
	}
}

// forget makes devices known anew: their sockets end, and come back if they still may.
func (s *Service) forget(devices []uuid.UUID) {
	s.devices.forget(devices)
	for _, id := range devices {
		s.hub.drop(id, "the state of the device changed")
	}
}

// watchedFor is how far back the watch looks. It is longer than a transaction takes that sets the time
// before it commits.
const watchedFor = 60 * time.Second

// watch looks for devices whose state changed without a message about it having arrived, so that a
// revoked device loses its socket within seconds whatever the bus does.
func (s *Service) watch(ctx context.Context) {
	defer close(s.watched)
	tick := time.NewTicker(s.o.Limits.WatchEvery)
	defer tick.Stop()
	handled := map[uuid.UUID]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.hub.patrol()
		if err := s.look(ctx, handled); err != nil && ctx.Err() == nil {
			s.o.Log.WarnContext(ctx, "looking for changed devices failed", "error", err)
		}
	}
}

// look forgets devices that changed since it last looked; handled remembers what it did.
func (s *Service) look(ctx context.Context, handled map[uuid.UUID]time.Time) error {
	var changes []fleet.StateChange
	err := s.o.DB.System(ctx, func(tx *gorm.DB) (err error) {
		changes, err = fleet.RecentChangesTx(tx, watchedFor)
		return err
	})
	if err != nil {
		return err
	}
	recent := make(map[uuid.UUID]bool, len(changes))
	var fresh []uuid.UUID
	for _, c := range changes {
		recent[c.ID] = true
		if !handled[c.ID].Equal(c.StateChangedAt) {
			handled[c.ID] = c.StateChangedAt
			fresh = append(fresh, c.ID)
		}
	}
	for id := range handled {
		if !recent[id] {
			delete(handled, id)
		}
	}
	s.forget(fresh)
	return nil
}
