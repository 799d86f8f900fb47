package fleet

import (
	"fmt"
	"strings"

	"github.com/google/uuid"
	"gorm.io/gorm"
)

// subject is what the search terms and filter facts of a device are made from.
type subject struct {
	TenantID      uuid.UUID
	ID            uuid.UUID
	Name          string
	Hostname      string
	OSName        string `gorm:"column:os_name"`
	OSVersion     string `gorm:"column:os_version"`
	Arch          string
	Manufacturer  *string
	Model         *string
	Serial        *string
	Zone          *string
	AgentVersion  string
	Addresses     Texts
	LoggedInUsers Texts
}

func (s subject) terms() []string {
	others := []string{s.OSName, deref(s.Manufacturer), deref(s.Model), deref(s.Serial)}
	others = append(append(others, s.Addresses...), s.LoggedInUsers...)
	return termsOf([]string{s.Name, s.Hostname}, others)
}

type fact struct{ field, value string }

func (s subject) facts() []fact {
	facts := []fact{{"name", s.Name}, {"hostname", s.Hostname}, {"os_name", s.OSName}, {"os_version", s.OSVersion}, {"arch", s.Arch},
		{"manufacturer", deref(s.Manufacturer)}, {"model", deref(s.Model)}, {"serial", deref(s.Serial)}, {"zone", deref(s.Zone)},
		{"agent_version", s.AgentVersion}}
	for _, a := range s.Addresses {
		facts = append(facts, fact{"address", a})
	}
	kept := facts[:0]
	for _, f := range facts {
		if f.value = cut(strings.ToLower(f.value), maxFilterValue); f.value != "" {
			kept = append(kept, f)
		}
	}
	return kept
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// reindexTx brings the search terms and filter facts of devices up to date with their rows: three
// statements, however many devices. Rows that stay as they are are not touched.
func reindexTx(tx *gorm.DB, devices []uuid.UUID) error {
	if len(devices) == 0 {
		return nil
	}
	var subjects []subject
	err := tx.Raw(`select tenant_id, id, name, hostname, os_name, os_version, arch, manufacturer, model, serial, zone, agent_version,
		to_json(addresses) as addresses, to_json(logged_in_users) as logged_in_users
		from devices where id = any(?::uuid[])`, sortedIDs(devices)).Scan(&subjects).Error
	if err != nil {
		return fmt.Errorf("reading what devices are found by: %w", err)
	}
	return indexTx(tx, subjects)
}

func indexTx(tx *gorm.DB, subjects []subject) error {
	var ownerTenants, owners, termTenants, termDevices, factTenants, factDevices ids
	var terms, names, values texts
	for _, s := range subjects {
		ownerTenants, owners = append(ownerTenants, s.TenantID), append(owners, s.ID)
		for _, t := range s.terms() {
			termTenants, termDevices, terms = append(termTenants, s.TenantID), append(termDevices, s.ID), append(terms, t)
		}
		for _, f := range s.facts() {
			factTenants, factDevices = append(factTenants, s.TenantID), append(factDevices, s.ID)
			names, values = append(names, f.field), append(values, f.value)
		}
	}
	err := tx.Exec(`with wanted as (select * from unnest(?::uuid[], ?::uuid[], ?::text[]) as w (tenant_id, device_id, term)),
		gone as (delete from device_terms x using unnest(?::uuid[], ?::uuid[]) as o (tenant_id, device_id)
			where x.tenant_id = o.tenant_id and x.device_id = o.device_id and not exists
			(select 1 from wanted w where w.tenant_id = x.tenant_id and w.device_id = x.device_id and w.term = x.term))
		insert into device_terms (tenant_id, device_id, term) select * from wanted on conflict do nothing`,
		termTenants, termDevices, terms, ownerTenants, owners).Error
	if err != nil {
		return fmt.Errorf("writing search terms: %w", err)
	}
	err = tx.Exec(`with wanted as (select distinct * from unnest(?::uuid[], ?::uuid[], ?::text[], ?::text[]) as w (tenant_id, device_id, field, value_key)),
		gone as (delete from device_facts x using unnest(?::uuid[], ?::uuid[]) as o (tenant_id, device_id)
			where x.tenant_id = o.tenant_id and x.device_id = o.device_id and not exists
			(select 1 from wanted w where w.tenant_id = x.tenant_id and w.device_id = x.device_id and w.field = x.field and w.value_key = x.value_key))
		insert into device_facts (tenant_id, device_id, field, value_key) select * from wanted on conflict do nothing`,
		factTenants, factDevices, names, values, ownerTenants, owners).Error
	if err != nil {
		return fmt.Errorf("writing filter facts: %w", err)
	}
	return nil
}
