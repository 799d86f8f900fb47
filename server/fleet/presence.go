package fleet

import (
	"fmt"
	"github.com/google/uuid"
	"gorm.io/gorm"
	"time"
)

// Presence tells whether a device is there.
type Presence string

// What presence can be.
const (
	Online  Presence = "online"
	Overdue Presence = "overdue" // silent for 1.5 intervals
	Offline Presence = "offline" // silent for 3 intervals, or it said goodbye
	Never   Presence = "never"   // enrolled and not heard since
)

// Presences are all of them.
var Presences = []Presence{Online, Overdue, Offline, Never}

// Listening tells since when the server has been able to hear endpoints at all, so that its own
// absence is not held against them. Both times are on the database's clock.
type Listening struct {
	Since  time.Time // some replica has listened from here to now
	Before time.Time // the last sign that one listened before that; zero when there was none
}

// Sighting is what the presence of a device is derived from.
type Sighting struct {
	LastSeen *time.Time
	Gone     bool // it said goodbye
	Interval time.Duration
}

// The rule, in one place for Go and once more below for SQL: silence is counted from the last sync to
// now. While the server has not listened for three intervals of the device, nobody is overdue: who was
// offline already when it stopped listening stays offline, everybody else is online.
func (s Sighting) Presence(now time.Time, l Listening) Presence {
	switch {
	case s.LastSeen == nil:
		return Never
	case s.Gone:
		return Offline
	case now.Sub(l.Since) < 3*s.Interval:
		if l.Before.Sub(*s.LastSeen) >= 3*s.Interval {
			return Offline
		}
		return Online
	}
	switch silence := now.Sub(*s.LastSeen); {
	case 2*silence < 3*s.Interval:
		return Online
	case silence < 3*s.Interval:
		return Overdue
	}
	return Offline
}

// presenceSQL is the rule of Sighting.Presence as an expression over device_presence p and the three
// parameters now, since and before. A test holds the two against each other.
func presenceSQL(now, since, before string) string {
	return fmt.Sprintf(`case
		when p.last_seen is null then 'never'
		when p.gone then 'offline'
		when %[1]s - %[2]s < p.interval_seconds * interval '3 seconds' then
			case when %[3]s - p.last_seen >= p.interval_seconds * interval '3 seconds' then 'offline' else 'online' end
		when %[1]s - p.last_seen < p.interval_seconds * interval '1.5 seconds' then 'online'
		when %[1]s - p.last_seen < p.interval_seconds * interval '3 seconds' then 'overdue'
		else 'offline' end`, now, since, before)
}

// PresenceTx is the presence of one device now.
func (s *Service) PresenceTx(tx *gorm.DB, device uuid.UUID) (Presence, error) {
	sql, args := s.clock().presence()
	var p Presence
	err := tx.Raw("select "+sql+" from device_presence p where p.device_id = ?", append(args, device)...).Scan(&p).Error
	return p, err
}
