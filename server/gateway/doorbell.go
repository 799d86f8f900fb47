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

// StateChanged tells every replica that devices may do more or less than before.
func (s *Service) StateChanged(devices []uuid.UUID) {
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

// hearChange makes devices known anew, and has the watch see to their sockets.
func (s *Service) hearChange(m bus.Message) {
	s.devices.forget(idsOf(m.Data))
	select {
	case s.wake <- struct{}{}:
	default: // it is about to look already
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
		case <-s.wake:
		case <-tick.C:
			s.hub.patrol()
		}
		if err := s.look(ctx, handled); err != nil && ctx.Err() == nil {
			s.o.Log.WarnContext(ctx, "looking for changed devices failed", "error", err)
		}
	}
}

// look sees to devices that changed since it last looked; handled remembers those. A retired device
// loses its socket; any other is asked to sync, which tells it what it may do now.
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
	for _, c := range changes {
		recent[c.ID] = true
		// A retired device is refused again and again for a while: it may have been looked up and let in
		// by what was read just before.
		if handled[c.ID].Equal(c.StateChangedAt) && c.State != fleet.Retired {
			continue
		}
		handled[c.ID] = c.StateChangedAt
		s.devices.forget([]uuid.UUID{c.ID})
		s.hub.changed(c.ID, c.State)
	}
	for id := range handled {
		if !recent[id] {
			delete(handled, id)
		}
	}
	return nil
}
