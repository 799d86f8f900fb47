// Package fleet knows the machines under management: how they join, what they are, what is known of
// them, whether they are there, and which of them somebody means.
package fleet

import (
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"reeve/api/fault"
)

// State is where a device stands in its life.
type State string

// The states of a device.
const (
	Pending     State = "pending"     // waits until somebody approves it
	Active      State = "active"      // under management
	Quarantined State = "quarantined" // reports, but gets no work
	Retired     State = "retired"     // for good; its key is refused
)

// legalMoves is the whole life of a device.
var legalMoves = map[State][]State{
	Pending:     {Active, Retired},
	Active:      {Quarantined, Retired},
	Quarantined: {Active, Retired},
	Retired:     nil,
}

// moveTo decides whether a device may change its state.
func (s State) moveTo(to State) error {
	if slices.Contains(legalMoves[s], to) {
		return nil
	}
	if s == Retired {
		return ErrRetired
	}
	return fault.Newf(fault.Conflict, "the device is %s, so it cannot become %s", s, to)
}

// Works tells whether a device in this state is given tasks.
func (s State) Works() bool { return s == Active }

// The families of operating systems and the kinds of machines.
var (
	OSFamilies = []string{"linux", "windows", "darwin", "other"}
	Kinds      = []string{"server", "workstation", "laptop", "virtual", "container", "unknown"}
)

// Device is a machine under management.
type Device struct {
	ID            uuid.UUID
	TenantID      uuid.UUID
	TenantName    string
	SiteID        uuid.UUID
	SiteName      string
	Name          string // for people; the host name unless somebody chose another
	Hostname      string
	State         State
	StateReason   string
	Presence      Presence
	LastSeenAt    *time.Time
	OSFamily      string `gorm:"column:os_family"`
	OSName        string `gorm:"column:os_name"`
	OSVersion     string `gorm:"column:os_version"`
	Arch          string
	Kind          string
	Manufacturer  *string
	Model         *string
	Serial        *string
	Addresses     Texts
	Zone          *string // as the endpoint reports it
	LoggedInUsers Texts
	AgentVersion  string
	ClockSkewMS   *int64 `gorm:"column:skew_ms"`
	BootAt        *time.Time
	Simulated     bool
	Tags          Texts
	Notes         string
	Version       int64
	EnrolledAt    time.Time
	RetiredAt     *time.Time
}

// DeviceChange names what a person changes of a device; nil leaves as it is.
type DeviceChange struct {
	Version int64
	Name    *string
	SiteID  *uuid.UUID
	Notes   *string
	Kind    *string
}

const (
	maxName  = 120
	maxNotes = 4000
)

// Validate reports every faulty field.
func (c DeviceChange) Validate() error {
	var f fault.Fields
	if c.Name != nil {
		n := strings.TrimSpace(*c.Name)
		f.Check(n != "" && runes(n) <= maxName, "/name", "give 1 to %d characters", maxName)
		f.Check(n == Line(n, maxName), "/name", "leave out control characters")
	}
	if c.Notes != nil {
		f.Check(runes(*c.Notes) <= maxNotes, "/notes", "give at most %d characters", maxNotes)
		f.Check(*c.Notes == Text(*c.Notes, 4*maxNotes), "/notes", "leave out control characters")
	}
	if c.Kind != nil {
		f.Check(slices.Contains(Kinds, *c.Kind), "/kind", "use one of %s", strings.Join(Kinds, ", "))
	}
	return f.Err()
}

const maxTag = 60

// checkTags validates tags as a person gives them.
func checkTags(f *fault.Fields, pointer string, tags []string, limit int) {
	f.Check(len(tags) <= limit, pointer, "give at most %d tags", limit)
	for _, tag := range tags {
		if tag == "" || runes(tag) > maxTag || tag != Line(tag, maxTag) {
			f.Add(pointer, "a tag has 1 to %d characters, no control characters and no space at its ends", maxTag)
			return
		}
	}
}

// Target is a device that a selector chose, with what firing work at it needs to know.
type Target struct {
	DeviceID   uuid.UUID
	TenantID   uuid.UUID
	SiteID     uuid.UUID
	DeviceZone string // as the endpoint reports it; empty when unknown, like the next
	SiteZone   string
	TenantZone string
}
