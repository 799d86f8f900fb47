package fleet

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
)

// Device reads one device.
func (s *Service) Device(ctx context.Context, id uuid.UUID) (Device, error) {
	var found Device
	err := s.ofDevice(ctx, id, func(_ *gorm.DB, d Device) error {
		found = d
		return nil
	})
	return found, err
}

// Update changes what a person may change of a device.
func (s *Service) Update(ctx context.Context, id uuid.UUID, c DeviceChange) (Device, error) {
	if err := c.Validate(); err != nil {
		return Device{}, err
	}
	return s.change(ctx, id, permManage, "device.updated", func(tx *gorm.DB, d Device) error {
		if d.State == Retired {
			return ErrRetired
		}
		changes := c.columns(d)
		if c.SiteID != nil && *c.SiteID != d.SiteID {
			if err := moveSiteTx(tx, d, *c.SiteID); err != nil {
				return err
			}
			changes["site_id"] = *c.SiteID
		}
		if err := updateTx(tx, d, c.Version, changes); err != nil {
			return err
		}
		if c.Name != nil {
			if err := reindexTx(tx, []uuid.UUID{id}); err != nil {
				return err
			}
		}
		if _, moved := changes["site_id"]; moved {
			if err := s.o.DevicesChanged(tx, []uuid.UUID{id}); err != nil {
				return err
			}
		}
		return AppendTimelineTx(tx, Event{TenantID: d.TenantID, DeviceID: id, Kind: "device.updated", Title: "Changed by a person",
			Actor: actorName(scope.From(ctx)), Detail: changedFields(changes)})
	})
}

// columns are what the change sets, but for the site.
func (c DeviceChange) columns(d Device) map[string]any {
	changes := map[string]any{}
	if c.Name != nil {
		name := strings.TrimSpace(*c.Name)
		changes["name"], changes["name_key"], changes["name_chosen"] = name, sortKey(name), name != d.Hostname
	}
	if c.Notes != nil {
		changes["notes"] = *c.Notes
	}
	if c.Kind != nil {
		changes["kind"], changes["kind_chosen"] = *c.Kind, true
	}
	return changes
}

func changedFields(changes map[string]any) map[string]any {
	detail := map[string]any{}
	for _, field := range []string{"name", "kind", "site_id"} {
		if v, ok := changes[field]; ok {
			detail[field] = v
		}
	}
	if _, ok := changes["notes"]; ok {
		detail["notes"] = "changed"
	}
	return detail
}

// moveSiteTx makes sure that the site is another one of the same tenant, and in use.
func moveSiteTx(tx *gorm.DB, d Device, site uuid.UUID) error {
	var archived []bool
	err := tx.Raw("select archived_at is not null from sites where tenant_id = ? and id = ?", d.TenantID, site).Scan(&archived).Error
	switch {
	case err != nil:
		return err
	case len(archived) == 0:
		return fault.InvalidField("/site_id", "there is no such site of the device's tenant")
	case archived[0]:
		return fault.InvalidField("/site_id", "the site is archived")
	}
	return nil
}

// Move is a change of state that a person asks for.
type Move struct {
	Version int64
	Reason  string
}

const maxReason = 1000

// Validate reports every faulty field.
func (m Move) Validate() error {
	var f fault.Fields
	f.Check(runes(m.Reason) <= maxReason, "/reason", "give at most %d characters", maxReason)
	f.Check(m.Reason == Text(m.Reason, 4*maxReason), "/reason", "leave out control characters")
	return f.Err()
}

// Approve admits a device that waits.
func (s *Service) Approve(ctx context.Context, id uuid.UUID, m Move) (Device, error) {
	return s.move(ctx, id, m, permApprove, "device.approved", "Approved", Pending, Active)
}

// Reject refuses a device that waits: it is retired before it ever worked.
func (s *Service) Reject(ctx context.Context, id uuid.UUID, m Move) (Device, error) {
	return s.move(ctx, id, m, permApprove, "device.rejected", "Rejected", Pending, Retired)
}

// Quarantine gives a device no more work; it goes on reporting.
func (s *Service) Quarantine(ctx context.Context, id uuid.UUID, m Move) (Device, error) {
	return s.move(ctx, id, m, permManage, "device.quarantined", "Quarantined", Active, Quarantined)
}

// Release ends the quarantine. What the device reports next of its task journal is the new truth.
func (s *Service) Release(ctx context.Context, id uuid.UUID, m Move) (Device, error) {
	return s.move(ctx, id, m, permApprove, "device.released", "Released from quarantine", Quarantined, Active)
}

// Retire ends the management of a device for good.
func (s *Service) Retire(ctx context.Context, id uuid.UUID, m Move) (Device, error) {
	return s.move(ctx, id, m, permManage, "device.retired", "Retired", "", Retired)
}

// move changes a state; from may be empty when any state will do that the life of a device allows.
func (s *Service) move(ctx context.Context, id uuid.UUID, m Move, permission, action, title string, from, to State) (Device, error) {
	if err := m.Validate(); err != nil {
		return Device{}, err
	}
	return s.change(ctx, id, permission, action, func(tx *gorm.DB, d Device) error {
		if from != "" && d.State != from {
			return fault.Newf(fault.Conflict, "the device is %s, not %s", d.State, from)
		}
		if err := d.State.moveTo(to); err != nil {
			return err
		}
		if err := updateTx(tx, d, m.Version, stateColumns(to, m.Reason)); err != nil {
			return err
		}
		if from == Quarantined {
			if err := forgetJournalTx(tx, d); err != nil {
				return err
			}
		}
		s.changed(tx, id)
		return AppendTimelineTx(tx, Event{TenantID: d.TenantID, DeviceID: id, Kind: action, Title: title,
			Actor: actorName(scope.From(ctx)), Detail: map[string]any{"reason": m.Reason}})
	})
}

func stateColumns(to State, reason string) map[string]any {
	columns := map[string]any{"state": string(to), "state_reason": reason, "state_changed_at": gorm.Expr("clock_timestamp()")}
	if to == Retired {
		columns["retired_at"] = gorm.Expr("now()")
	}
	return columns
}

// forgetJournalTx lets the next sync say what the journal is.
func forgetJournalTx(tx *gorm.DB, d Device) error {
	return tx.Exec(`update device_presence set journal_id = '', journal_entry = 0, batch_id = '', boot_id = '', past_boots = '',
		stale = 0, events_through = 0
		where tenant_id = ? and device_id = ?`, d.TenantID, d.ID).Error
}

// change is the frame of every verb that changes one device: lock, check, act, audit.
func (s *Service) change(ctx context.Context, id uuid.UUID, permission, action string, act func(tx *gorm.DB, d Device) error) (Device, error) {
	var after Device
	err := s.db.Tx(ctx, func(tx *gorm.DB) error {
		before, err := s.lockTx(tx, id)
		if err != nil {
			return err
		}
		if err := need(ctx, permission, before.TenantID); err != nil {
			return err
		}
		if err := act(tx, before); err != nil {
			return err
		}
		if after, err = s.deviceTx(tx, id); err != nil {
			return err
		}
		return audit.WriteTx(tx, audit.Entry{TenantID: before.TenantID, Action: action, ObjectType: "device", ObjectID: id.String(),
			ObjectName: before.Name, Before: before.public(), After: after.public()})
	})
	return after, err
}

// public is what the audit log keeps of a device: what people decide about it.
func (d Device) public() map[string]any {
	return map[string]any{"name": d.Name, "site_id": d.SiteID, "site": d.SiteName, "state": d.State, "state_reason": d.StateReason,
		"kind": d.Kind, "notes": d.Notes, "tags": d.Tags}
}

// QuarantineTx is the gateway's own quarantine of a device that says what it cannot say.
func (s *Service) QuarantineTx(tx *gorm.DB, tenant, device uuid.UUID, reason string) (audit.Entry, error) {
	reason = Line(reason, maxReason)
	err := tx.Exec(`update devices set state = 'quarantined', state_reason = ?, state_changed_at = clock_timestamp(), version = version + 1
		where tenant_id = ? and id = ? and state = 'active'`, reason, tenant, device).Error
	if err != nil {
		return audit.Entry{}, fmt.Errorf("quarantining a device: %w", err)
	}
	s.changed(tx, device)
	err = AppendTimelineTx(tx, Event{TenantID: tenant, DeviceID: device, Kind: "device.quarantined",
		Title: "Quarantined by the server", Detail: map[string]any{"reason": reason}})
	return audit.Entry{TenantID: tenant, Action: "device.quarantined", ObjectType: "device", ObjectID: device.String(),
		Detail: map[string]any{"reason": reason}}, err
}
