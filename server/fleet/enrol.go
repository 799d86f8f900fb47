package fleet

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants/audit"
)

// Enrolment is a machine that wants to join. The gateway has checked that it holds the key.
type Enrolment struct {
	Token        string
	PublicKey    []byte
	Hostname     string
	OSFamily     string
	OSName       string
	OSVersion    string
	Arch         string
	AgentVersion string
	MachineID    string
	Serial       string
	Simulated    bool
	Address      string // remote, for the record
}

// Enrolled is what became of it.
type Enrolled struct {
	DeviceID uuid.UUID
	TenantID uuid.UUID
	State    State
	Err      error // a fault of this enrolment alone
}

// DefaultInterval is the time between syncs, in seconds, until a policy says otherwise.
const DefaultInterval = 60

// joining is an enrolment on its way through the transaction.
type joining struct {
	index  int
	stored [32]byte
	e      Enrolment
	id     uuid.UUID
	tenant uuid.UUID
	site   uuid.UUID
	token  uuid.UUID
	label  string
	tags   Texts
	state  State
}

// EnrolTx admits machines, many in one transaction. Each takes one use of its token by a capped
// UPDATE; then device, presence, tags, search terms, timeline, policies and audit rows are written for
// all of them together. A machine that repeats itself because the answer was lost gets the same
// answer and takes no second use. A serial number that is known already means nothing here: identity
// is the key.
func (s *Service) EnrolTx(tx *gorm.DB, list []Enrolment) ([]Enrolled, error) {
	results := make([]Enrolled, len(list))
	var fresh []joining
	known, err := knownKeysTx(tx, list)
	if err != nil {
		return nil, err
	}
	for i, e := range list {
		j := joining{index: i, e: e.cleaned()}
		if j.stored, results[i].Err = s.o.Tokens.Read(e.Token); results[i].Err != nil {
			continue
		}
		if d, ok := known[string(e.PublicKey)]; ok {
			results[i] = d.repeat(j.stored)
			continue
		}
		if slices.ContainsFunc(fresh, func(other joining) bool { return string(other.e.PublicKey) == string(e.PublicKey) }) {
			results[i].Err = ErrKeyKnown
			continue
		}
		if err := takeUseTx(tx, &j); err != nil {
			if _, isFault := fault.As(err); !isFault || fault.KindOf(err) == fault.Internal || fault.KindOf(err) == fault.Unavailable {
				return nil, err
			}
			results[i].Err = err
			continue
		}
		j.id = newID()
		results[i] = Enrolled{DeviceID: j.id, TenantID: j.tenant, State: j.state}
		fresh = append(fresh, j)
	}
	if len(fresh) == 0 {
		return results, nil
	}
	return results, s.admitTx(tx, fresh)
}

func (e Enrolment) cleaned() Enrolment {
	e.Hostname = Line(e.Hostname, 255)
	if e.Hostname == "" {
		e.Hostname = "unnamed"
	}
	e.OSFamily = strings.ToLower(Line(e.OSFamily, 20))
	if !slices.Contains(OSFamilies, e.OSFamily) {
		e.OSFamily = "other"
	}
	e.OSName, e.OSVersion = Line(e.OSName, 120), Line(e.OSVersion, 120)
	e.Arch, e.AgentVersion, e.MachineID = Line(e.Arch, 20), Line(e.AgentVersion, 60), Line(e.MachineID, 200)
	e.Serial, e.Address = deref(Known(e.Serial, 200)), Line(e.Address, 64)
	return e
}

// knownKey is a device that has one of the keys already.
type knownKey struct {
	ID        uuid.UUID
	TenantID  uuid.UUID
	PublicKey []byte
	State     State
	TokenHash []byte
}

func knownKeysTx(tx *gorm.DB, list []Enrolment) (map[string]knownKey, error) {
	keys := make([][]byte, len(list))
	for i, e := range list {
		keys[i] = e.PublicKey
	}
	var rows []knownKey
	err := tx.Raw(`select d.id, d.tenant_id, d.public_key, d.state, e.token_hash from devices d
		join enrolment_tokens e on e.tenant_id = d.tenant_id and e.id = d.enrolment_token_id
		where d.public_key in ?`, keys).Scan(&rows).Error
	known := make(map[string]knownKey, len(rows))
	for _, r := range rows {
		known[string(r.PublicKey)] = r
	}
	return known, err
}

// repeat answers a key that has joined already: with the same token as before it is the same request.
func (k knownKey) repeat(stored [32]byte) Enrolled {
	if string(k.TokenHash) != string(stored[:]) || k.State == Retired {
		return Enrolled{Err: ErrKeyKnown}
	}
	return Enrolled{DeviceID: k.ID, TenantID: k.TenantID, State: k.State}
}

// takeUseTx takes one use of the token. The cap is in the WHERE: of any number of machines that race,
// each waits for the row and then finds it full or not.
func takeUseTx(tx *gorm.DB, j *joining) error {
	var rows []struct {
		TenantID, ID, SiteID uuid.UUID
		Label                string
		Tags                 Texts
		Approval             bool
	}
	err := tx.Raw(`update enrolment_tokens e set uses = e.uses + 1 from tenants t, sites s
		where e.token_hash = ? and e.uses < e.max_uses and e.revoked_at is null and e.expires_at > now()
			and t.id = e.tenant_id and t.state = 'active'
			and s.tenant_id = e.tenant_id and s.id = e.site_id and s.archived_at is null
		returning e.tenant_id, e.id, e.site_id, e.label, to_json(e.tags) as tags, t.enrolment_approval as approval`, j.stored[:]).Scan(&rows).Error
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return refusalTx(tx, j.stored)
	}
	r := rows[0]
	j.tenant, j.site, j.token, j.label, j.tags, j.state = r.TenantID, r.SiteID, r.ID, r.Label, r.Tags, Active
	if r.Approval {
		j.state = Pending
	}
	return nil
}

// refusalTx tells a token that was good once from one that never was.
func refusalTx(tx *gorm.DB, stored [32]byte) error {
	var states []string
	err := tx.Raw(`select t.state from enrolment_tokens e join tenants t on t.id = e.tenant_id where e.token_hash = ?`, stored[:]).Scan(&states).Error
	switch {
	case err != nil:
		return err
	case len(states) == 0:
		return ErrTokenInvalid
	case states[0] != "active":
		return ErrTenantClosed
	}
	return ErrTokenSpent
}

// admitTx writes everything about new devices.
func (s *Service) admitTx(tx *gorm.DB, fresh []joining) error {
	if err := insertDevicesTx(tx, fresh); err != nil {
		return err
	}
	subjects, devices := make([]subject, len(fresh)), make([]uuid.UUID, len(fresh))
	var tagTenants, tagDevices ids
	var tags texts
	for i, j := range fresh {
		devices[i] = j.id
		subjects[i] = subject{TenantID: j.tenant, ID: j.id, Name: j.e.Hostname, Hostname: j.e.Hostname, OSName: j.e.OSName,
			OSVersion: j.e.OSVersion, Arch: j.e.Arch, AgentVersion: j.e.AgentVersion, Serial: Known(j.e.Serial, 200)}
		for _, tag := range j.tags {
			tagTenants, tagDevices, tags = append(tagTenants, j.tenant), append(tagDevices, j.id), append(tags, tag)
		}
	}
	if len(tags) > 0 {
		if err := tx.Exec(`insert into device_tags (tenant_id, device_id, tag)
			select * from unnest(?::uuid[], ?::uuid[], ?::text[])`, tagTenants, tagDevices, tags).Error; err != nil {
			return fmt.Errorf("tagging new devices: %w", err)
		}
	}
	if err := indexTx(tx, subjects); err != nil {
		return err
	}
	if err := AppendTimelineTx(tx, joinedEvents(fresh)...); err != nil {
		return err
	}
	if err := s.o.DevicesChanged(tx, devices); err != nil {
		return err
	}
	entries := make([]audit.Entry, len(fresh))
	for i, j := range fresh {
		entries[i] = audit.Entry{TenantID: j.tenant, Action: "device.enrolled", ObjectType: "device", ObjectID: j.id.String(),
			ObjectName: j.e.Hostname, After: map[string]any{"state": j.state, "site_id": j.site, "os_family": j.e.OSFamily, "tags": j.tags},
			Detail: map[string]any{"address": j.e.Address, "enrolment_token_id": j.token, "enrolment_token": j.label}}
	}
	return audit.WriteTx(tx, entries...)
}

func insertDevicesTx(tx *gorm.DB, fresh []joining) error {
	now := databaseNow(tx)
	var b strings.Builder
	var args []any
	b.WriteString(`insert into devices (tenant_id, id, site_id, enrolment_token_id, public_key, state, state_changed_at, name, name_key,
		hostname, os_family, os_name, os_name_key, os_version, arch, serial, machine_id, agent_version, simulated, enrolled_at) values `)
	var tenants, devices ids
	for i, j := range fresh {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)")
		args = append(args, j.tenant, j.id, j.site, j.token, j.e.PublicKey, string(j.state), now, j.e.Hostname, sortKey(j.e.Hostname),
			j.e.Hostname, j.e.OSFamily, j.e.OSName, sortKey(j.e.OSName), j.e.OSVersion, j.e.Arch, Known(j.e.Serial, 200),
			Known(j.e.MachineID, 200), j.e.AgentVersion, j.e.Simulated, now)
		tenants, devices = append(tenants, j.tenant), append(devices, j.id)
	}
	if err := tx.Exec(b.String(), args...).Error; err != nil {
		if errors.Is(err, gorm.ErrDuplicatedKey) {
			return ErrKeyKnown // another replica admitted the key a moment ago; the next try finds it
		}
		return fmt.Errorf("creating devices: %w", err)
	}
	err := tx.Exec(`with new as (select * from unnest(?::uuid[], ?::uuid[]) as u (tenant_id, device_id)),
		config as (insert into device_configs (tenant_id, device_id, interval_seconds) select tenant_id, device_id, ? from new)
		insert into device_presence (tenant_id, device_id, interval_seconds) select tenant_id, device_id, ? from new`,
		tenants, devices, DefaultInterval, DefaultInterval).Error
	if err != nil {
		return fmt.Errorf("creating the presence of devices: %w", err)
	}
	return nil
}

// sortKey is what names are sorted by.
func sortKey(s string) string { return strings.ToLower(s) }

func joinedEvents(fresh []joining) []Event {
	events := make([]Event, len(fresh))
	for i, j := range fresh {
		title := "Enrolled"
		if j.state == Pending {
			title = "Enrolled; waits for approval"
		}
		events[i] = Event{TenantID: j.tenant, DeviceID: j.id, Kind: "device.enrolled", Title: title,
			Detail: map[string]any{"token": j.label, "address": j.e.Address, "agent_version": j.e.AgentVersion}}
	}
	return events
}
