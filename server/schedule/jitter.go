package schedule

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"reeve/tenants/scope"
)

// Jitter is how long after a run one device starts, so that a fleet does not start as one: whole
// seconds from zero up to, not including, spread. A device keeps its place in a schedule for ever, and
// has another one in the next schedule.
func Jitter(schedule, device scope.ID, spread time.Duration) time.Duration {
	seconds := uint64(max(0, spread) / time.Second)
	if seconds == 0 {
		return 0
	}
	sum := sha256.Sum256(append(schedule[:], device[:]...))
	return time.Duration(binary.BigEndian.Uint64(sum[:8])%seconds) * time.Second
}
