package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
)

// Seen is what a sync says about the device itself.
type Seen struct {
	TenantID      uuid.UUID
	DeviceID      uuid.UUID
	Journal       JournalReport
	Goodbye       bool
	SkewMS        int64
	ConfigVersion string // that the endpoint works by
	AgentVersion  string
	Zone          string // an IANA zone, or empty
	BootAt        *time.Time
}

// Standing is what the server holds of the device once the sync was noted.
type Standing struct {
	Known          bool // false: there is no such device any more
	State          State
	TenantState    string
	Interval       int    // seconds until the next sync
	ConfigVersion  string // that the endpoint should work by
	EventsThrough  int64  // number of the last event stored
	SectionsDigest string // of the last report of sections that left nothing to want
	Objection      string // why the device must be quarantined, or empty
}

// seenRow is a Standing as the statements below return it, with what is compared on the way.
type seenRow struct {
	DeviceID       uuid.UUID
	State          State
	TenantState    string
	ConfigInterval int
	ConfigVersion  string
	EventsThrough  int64
	SectionsDigest string
	AgentVersion   string
	Zone           *string
	BootAt         *time.Time
}

func (r seenRow) standing() Standing {
	return Standing{Known: true, State: r.State, TenantState: r.TenantState, Interval: r.ConfigInterval, ConfigVersion: r.ConfigVersion,
		EventsThrough: r.EventsThrough, SectionsDigest: r.SectionsDigest}
}

const seenColumns = `p.device_id, d.state, t.state as tenant_state, c.interval_seconds as config_interval, c.version as config_version, p.events_through,
	p.sections_digest, d.agent_version, d.zone, d.boot_at`

// SeenTx notes that devices were heard, and gives their standing by device. Reports that simply go on
// from the last one, nearly all of them, cost one statement together; only first reports, restarts and
// oddities are read and judged one by one. The rows stay locked until the transaction ends.
func SeenTx(tx *gorm.DB, list []Seen) (map[uuid.UUID]Standing, error) {
	rows, err := seenPlainlyTx(tx, list)
	if err != nil {
		return nil, fmt.Errorf("noting presence: %w", err)
	}
	standings := make(map[uuid.UUID]Standing, len(list))
	profiles := map[uuid.UUID]seenRow{}
	for _, r := range rows {
		standings[r.DeviceID], profiles[r.DeviceID] = r.standing(), r
	}
	var rest []Seen
	for _, s := range list {
		if _, done := standings[s.DeviceID]; !done {
			rest = append(rest, s)
		}
	}
	if len(rest) > 0 {
		if err := judgeTx(tx, rest, standings, profiles); err != nil {
			return nil, fmt.Errorf("judging journals: %w", err)
		}
	}
	return standings, updateProfilesTx(tx, list, profiles)
}

// seenArrays spreads reports over the arrays of one statement.
type seenArrays struct {
	tenants, devices                  ids
	gone                              flags
	skews, entries                    numbers
	configs, journals, batches, boots texts
	sent                              times
}

func arraysOf(list []Seen) seenArrays {
	var a seenArrays
	for _, s := range list {
		a.tenants, a.devices, a.gone = append(a.tenants, s.TenantID), append(a.devices, s.DeviceID), append(a.gone, s.Goodbye)
		a.skews, a.entries = append(a.skews, s.SkewMS), append(a.entries, s.Journal.Entry)
		a.configs, a.journals = append(a.configs, s.ConfigVersion), append(a.journals, s.Journal.ID)
		a.batches, a.boots = append(a.batches, s.Journal.BatchID), append(a.boots, s.Journal.BootID)
		at := s.Journal.SentAt
		a.sent = append(a.sent, &at)
	}
	return a
}

// newInterval is the interval that presence is judged by: the one being told, once the endpoint is
// known to work by it; until then the longer of the two, since the answer may get lost.
const newInterval = `case when u.config = c.version then c.interval_seconds else greatest(p.interval_seconds, c.interval_seconds) end`

func seenPlainlyTx(tx *gorm.DB, list []Seen) ([]seenRow, error) {
	a := arraysOf(list)
	var rows []seenRow
	err := tx.Raw(`update device_presence p set last_seen = now(), gone = u.gone, skew_ms = u.skew, interval_seconds = `+newInterval+`,
			journal_entry = u.entry, batch_id = u.batch, sent_at = greatest(p.sent_at, u.sent), stale = 0
		from unnest(?::uuid[], ?::uuid[], ?::bool[], ?::int8[], ?::text[], ?::text[], ?::int8[], ?::text[], ?::timestamptz[], ?::text[])
				as u (tenant_id, device_id, gone, skew, config, journal, entry, batch, sent, boot)
			join devices d on d.tenant_id = u.tenant_id and d.id = u.device_id and d.state <> 'retired'
			join tenants t on t.id = u.tenant_id
			join device_configs c on c.tenant_id = u.tenant_id and c.device_id = u.device_id
		where p.tenant_id = u.tenant_id and p.device_id = u.device_id and p.journal_id = u.journal and p.journal_id <> ''
			and u.entry >= p.journal_entry and u.boot in ('', p.boot_id)
		returning `+seenColumns, a.tenants, a.devices, a.gone, a.skews, a.configs, a.journals, a.entries, a.batches, a.sent, a.boots).Scan(&rows).Error
	return rows, err
}

// markRow is the mark of a device's journal with its standing.
type markRow struct {
	Row          seenRow `gorm:"embedded"`
	JournalID    string
	JournalEntry int64
	BatchID      string
	SentAt       *time.Time
	BootID       string
	PastBoots    string
	Stale        int
}

func (r markRow) mark() JournalMark {
	m := JournalMark{ID: r.JournalID, Entry: r.JournalEntry, BatchID: r.BatchID, BootID: r.BootID, PastBoots: r.PastBoots, Stale: r.Stale}
	if r.SentAt != nil {
		m.SentAt = *r.SentAt
	}
	return m
}

// judgeTx is the careful path: it reads the marks, judges each report and writes the new marks.
func judgeTx(tx *gorm.DB, list []Seen, standings map[uuid.UUID]Standing, profiles map[uuid.UUID]seenRow) error {
	a := arraysOf(list)
	var rows []markRow
	err := tx.Raw(`select `+seenColumns+`, p.journal_id, p.journal_entry, p.batch_id, p.sent_at, p.boot_id, p.past_boots, p.stale
		from device_presence p join devices d on d.tenant_id = p.tenant_id and d.id = p.device_id join tenants t on t.id = p.tenant_id
			join device_configs c on c.tenant_id = p.tenant_id and c.device_id = p.device_id
			join (select distinct * from unnest(?::uuid[], ?::uuid[]) as u (tenant_id, device_id)) u on u.tenant_id = p.tenant_id and u.device_id = p.device_id
		order by p.device_id for update of p`, a.tenants, a.devices).Scan(&rows).Error
	if err != nil {
		return err
	}
	marks := make(map[uuid.UUID]JournalMark, len(rows))
	for _, r := range rows {
		id := r.Row.DeviceID
		standings[id], profiles[id], marks[id] = r.Row.standing(), r.Row, r.mark()
	}
	var judged []Seen
	for _, s := range list {
		mark, known := marks[s.DeviceID]
		standing := standings[s.DeviceID]
		if !known || standing.State == Retired {
			delete(profiles, s.DeviceID)
			continue
		}
		var objection string
		if marks[s.DeviceID], objection = mark.Judge(s.Journal); objection != "" {
			standing.Objection = objection
			standings[s.DeviceID] = standing
		}
		judged = append(judged, s)
	}
	return writeMarksTx(tx, judged, marks)
}

func writeMarksTx(tx *gorm.DB, list []Seen, marks map[uuid.UUID]JournalMark) error {
	if len(list) == 0 {
		return nil
	}
	var a seenArrays
	var pasts texts
	var stales numbers
	done := map[uuid.UUID]bool{}
	for _, s := range slices.Backward(list) { // of two reports in one batch the later one stands
		if done[s.DeviceID] {
			continue
		}
		done[s.DeviceID] = true
		m := marks[s.DeviceID]
		a.tenants, a.devices, a.gone = append(a.tenants, s.TenantID), append(a.devices, s.DeviceID), append(a.gone, s.Goodbye)
		a.skews, a.entries, a.configs = append(a.skews, s.SkewMS), append(a.entries, m.Entry), append(a.configs, s.ConfigVersion)
		a.journals, a.batches, a.boots = append(a.journals, m.ID), append(a.batches, m.BatchID), append(a.boots, m.BootID)
		a.sent, pasts, stales = append(a.sent, &m.SentAt), append(pasts, m.PastBoots), append(stales, int64(m.Stale))
	}
	return tx.Exec(`update device_presence p set last_seen = now(), gone = u.gone, skew_ms = u.skew, interval_seconds = `+newInterval+`,
			journal_id = u.journal, journal_entry = u.entry, batch_id = u.batch, sent_at = u.sent, boot_id = u.boot, past_boots = u.past, stale = u.stale
		from unnest(?::uuid[], ?::uuid[], ?::bool[], ?::int8[], ?::text[], ?::text[], ?::int8[], ?::text[], ?::timestamptz[], ?::text[], ?::text[], ?::int8[])
				as u (tenant_id, device_id, gone, skew, config, journal, entry, batch, sent, boot, past, stale)
			join device_configs c on c.tenant_id = u.tenant_id and c.device_id = u.device_id
		where p.tenant_id = u.tenant_id and p.device_id = u.device_id`,
		a.tenants, a.devices, a.gone, a.skews, a.configs, a.journals, a.entries, a.batches, a.sent, a.boots, pasts, stales).Error
}

// updateProfilesTx writes what a sync says of the machine where it differs: rarely anything.
func updateProfilesTx(tx *gorm.DB, list []Seen, profiles map[uuid.UUID]seenRow) error {
	var tenants, devices ids
	var versions, zones texts
	var boots times
	var events []Event
	for _, s := range list {
		old, known := profiles[s.DeviceID]
		if !known {
			continue
		}
		version := s.AgentVersion != "" && s.AgentVersion != old.AgentVersion
		zone := s.Zone != "" && s.Zone != deref(old.Zone)
		boot := s.BootAt != nil && (old.BootAt == nil || s.BootAt.Sub(*old.BootAt).Abs() > bootTolerance)
		if !version && !zone && !boot {
			continue
		}
		delete(profiles, s.DeviceID) // one report of a device is enough
		if !boot {
			s.BootAt = old.BootAt
		}
		tenants, devices, versions = append(tenants, s.TenantID), append(devices, s.DeviceID), append(versions, s.AgentVersion)
		zones, boots = append(zones, s.Zone), append(boots, s.BootAt)
		if version && old.AgentVersion != "" {
			events = append(events, Event{TenantID: s.TenantID, DeviceID: s.DeviceID, Kind: "agent.updated",
				Title: "Endpoint program changed to " + s.AgentVersion, Detail: map[string]any{"before": old.AgentVersion, "after": s.AgentVersion}})
		}
		if boot && old.BootAt != nil {
			events = append(events, Event{TenantID: s.TenantID, DeviceID: s.DeviceID, Kind: "device.booted",
				Title: "Started", Detail: map[string]any{"boot_at": s.BootAt}})
		}
	}
	if len(devices) == 0 {
		return nil
	}
	if err := lockDevicesTx(tx, devices); err != nil {
		return err
	}
	err := tx.Exec(`update devices d set agent_version = coalesce(nullif(u.version, ''), d.agent_version), zone = coalesce(nullif(u.zone, ''), d.zone), boot_at = u.boot
		from unnest(?::uuid[], ?::uuid[], ?::text[], ?::text[], ?::timestamptz[]) as u (tenant_id, device_id, version, zone, boot)
		where d.tenant_id = u.tenant_id and d.id = u.device_id`, tenants, devices, versions, zones, boots).Error
	if err != nil {
		return fmt.Errorf("updating devices: %w", err)
	}
	if err := reindexTx(tx, devices); err != nil {
		return err
	}
	return AppendTimelineTx(tx, events...)
}

// bootTolerance is how far the time of one and the same start may vary: it is computed from a clock
// that is being corrected.
const bootTolerance = time.Minute

// SectionsDigest names a report of inventory sections.
func SectionsDigest(has map[string]string) string {
	if len(has) == 0 {
		return ""
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(has)) {
		fmt.Fprintf(&b, "%d:%s=%s;", len(name), name, has[name])
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:16])
}

// Progress is what a device's row remembers of the parts of a sync that were stored.
type Progress struct {
	TenantID       uuid.UUID
	DeviceID       uuid.UUID
	EventsThrough  int64
	SectionsDigest string
}

// RememberEventsTx notes up to which number events are stored, for devices whose presence rows the
// transaction holds.
func RememberEventsTx(tx *gorm.DB, list []Progress) error {
	return rememberTx(tx, list, "events_through = greatest(p.events_through, u.events)")
}

// RememberSectionsTx notes reports of sections that left nothing to want.
func RememberSectionsTx(tx *gorm.DB, list []Progress) error {
	return rememberTx(tx, list, "sections_digest = u.digest")
}

func rememberTx(tx *gorm.DB, list []Progress, set string) error {
	if len(list) == 0 {
		return nil
	}
	var tenants, devices ids
	var events numbers
	var digests texts
	for _, p := range list {
		tenants, devices = append(tenants, p.TenantID), append(devices, p.DeviceID)
		events, digests = append(events, p.EventsThrough), append(digests, p.SectionsDigest)
	}
	return tx.Exec("update device_presence p set "+set+`
		from unnest(?::uuid[], ?::uuid[], ?::int8[], ?::text[]) as u (tenant_id, device_id, events, digest)
		where p.tenant_id = u.tenant_id and p.device_id = u.device_id`, tenants, devices, events, digests).Error
}

// Config is what a device is told to work by.
type Config struct {
	TenantID uuid.UUID
	DeviceID uuid.UUID
	Version  string
	Interval int // seconds between syncs
}

// SetConfigTx notes the configuration that devices are to be told with their next sync.
func SetConfigTx(tx *gorm.DB, list []Config) error {
	if len(list) == 0 {
		return nil
	}
	var tenants, devices ids
	var versions texts
	var intervals numbers
	for _, c := range list {
		tenants, devices = append(tenants, c.TenantID), append(devices, c.DeviceID)
		versions, intervals = append(versions, c.Version), append(intervals, int64(c.Interval))
	}
	return tx.Exec(`update device_configs c set version = u.version, interval_seconds = u.seconds
		from unnest(?::uuid[], ?::uuid[], ?::text[], ?::int[]) as u (tenant_id, device_id, version, seconds)
		where c.tenant_id = u.tenant_id and c.device_id = u.device_id`, tenants, devices, versions, intervals).Error
}
