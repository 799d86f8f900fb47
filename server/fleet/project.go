package fleet

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"gorm.io/gorm"
)

// What the list of devices shows is taken from inventory sections. The shapes are the endpoint's; what
// does not have the expected shape is passed over.

// text reads the first of the fields that is a text or number.
func text(object map[string]any, names ...string) string {
	for _, name := range names {
		switch v := object[name].(type) {
		case string:
			return v
		case nil, bool, []any, map[string]any:
		default:
			return fmt.Sprint(v)
		}
	}
	return ""
}

// objects reads a list of objects: the value itself, or the first of the fields that is a list.
func objects(data any, names ...string) []map[string]any {
	items, _ := data.([]any)
	object, _ := data.(map[string]any)
	for _, name := range names {
		if list, ok := object[name].([]any); ok {
			items = list
			break
		}
	}
	found := make([]map[string]any, 0, len(items))
	for _, item := range items {
		if object, isObject := item.(map[string]any); isObject {
			found = append(found, object)
		}
	}
	return found
}

// projection is what sections say about the row of their device; nil says nothing.
type projection struct {
	tenant, device                              uuid.UUID
	hostname, osFamily, osName, osVersion, arch *string
	manufacturer, model, serial, kind           *string
	addresses, users                            *Texts
	hasHardware                                 bool
}

const (
	maxAddresses = 32
	maxUsers     = 32
)

func (p *projection) read(name string, data any) {
	object, _ := data.(map[string]any)
	switch name {
	case "os":
		p.hostname, p.osFamily = Known(text(object, "hostname"), 255), Known(strings.ToLower(text(object, "family")), 20)
		p.osName, p.osVersion, p.arch = Known(text(object, "name"), 120), Known(text(object, "version"), 120), Known(text(object, "arch"), 20)
		if p.osFamily != nil && !slices.Contains(OSFamilies, *p.osFamily) {
			p.osFamily = nil
		}
	case "hardware":
		p.hasHardware = true
		p.manufacturer, p.model = Known(text(object, "manufacturer", "vendor"), 120), Known(text(object, "model", "product"), 120)
		p.serial = Known(text(object, "serial", "serial_number"), 200)
		if kind := strings.ToLower(text(object, "kind")); slices.Contains(Kinds, kind) {
			p.kind = &kind
		}
	case "network":
		p.addresses = addressesOf(data)
	case "users":
		p.users = usersOf(data)
	}
}

func addressesOf(data any) *Texts {
	list := Texts{}
	for _, face := range objects(data, "interfaces") {
		values, _ := face["addresses"].([]any)
		for _, v := range values {
			address, ok := v.(string)
			if object, isObject := v.(map[string]any); isObject {
				address, ok = text(object, "address"), true
			}
			address, _, _ = strings.Cut(Line(address, 64), "/")
			local := strings.HasPrefix(address, "127.") || address == "::1" || strings.HasPrefix(strings.ToLower(address), "fe80")
			if ok && address != "" && !local && len(list) < maxAddresses && !slices.Contains(list, address) {
				list = append(list, address)
			}
		}
	}
	return &list
}

func usersOf(data any) *Texts {
	list := Texts{}
	add := func(name string) {
		if name = Line(name, 100); name != "" && len(list) < maxUsers && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	object, _ := data.(map[string]any)
	for _, field := range []string{"logged_in", "sessions"} {
		values, _ := object[field].([]any)
		for _, v := range values {
			switch v := v.(type) {
			case string:
				add(v)
			case map[string]any:
				add(text(v, "user", "name"))
			}
		}
	}
	return &list
}

// projectTx brings devices and their software up to date with new sections.
func projectTx(tx *gorm.DB, latest map[sectionKey]Section) error {
	byDevice := map[uuid.UUID]*projection{}
	var software []Section
	for key, section := range latest {
		switch key.name {
		case "software":
			software = append(software, section)
		case "os", "hardware", "network", "users":
			p := byDevice[key.device]
			if p == nil {
				p = &projection{tenant: section.TenantID, device: key.device}
				byDevice[key.device] = p
			}
			p.read(key.name, section.Data)
		}
	}
	if len(software) > 0 {
		if err := replaceSoftwareTx(tx, software); err != nil {
			return err
		}
	}
	if len(byDevice) == 0 {
		return nil
	}
	return updateProjectedTx(tx, byDevice)
}

// updateProjectedTx writes what the sections say, in one statement, and re-indexes the devices that
// really changed. A name or kind that a person chose stays.
func updateProjectedTx(tx *gorm.DB, byDevice map[uuid.UUID]*projection) error {
	var tenants, devices ids
	var hostnames, hostKeys, families, osNames, osKeys, osVersions, archs, makers, models, serials, kinds texts
	var hardware, hasAddresses, hasUsers flags
	var addresses, users texts // as JSON: arrays of arrays must be rectangular
	for _, p := range byDevice {
		tenants, devices = append(tenants, p.tenant), append(devices, p.device)
		hostnames, hostKeys = append(hostnames, deref(p.hostname)), append(hostKeys, sortKey(deref(p.hostname)))
		families, osNames, osKeys = append(families, deref(p.osFamily)), append(osNames, deref(p.osName)), append(osKeys, sortKey(deref(p.osName)))
		osVersions, archs = append(osVersions, deref(p.osVersion)), append(archs, deref(p.arch))
		makers, models, serials = append(makers, deref(p.manufacturer)), append(models, deref(p.model)), append(serials, deref(p.serial))
		kinds, hardware = append(kinds, deref(p.kind)), append(hardware, p.hasHardware)
		hasAddresses, addresses = append(hasAddresses, p.addresses != nil), append(addresses, arrayText(p.addresses))
		hasUsers, users = append(hasUsers, p.users != nil), append(users, arrayText(p.users))
	}
	if err := lockDevicesTx(tx, devices); err != nil {
		return err
	}
	var changed []uuid.UUID
	err := tx.Raw(`with said as (select d.tenant_id, d.id,
			coalesce(nullif(u.hostname, ''), d.hostname) as hostname,
			case when d.name_chosen or u.hostname = '' then d.name else u.hostname end as name,
			case when d.name_chosen or u.hostname = '' then d.name_key else u.host_key end as name_key,
			coalesce(nullif(u.family, ''), d.os_family) as os_family,
			coalesce(nullif(u.os_name, ''), d.os_name) as os_name, coalesce(nullif(u.os_key, ''), d.os_name_key) as os_name_key,
			coalesce(nullif(u.os_version, ''), d.os_version) as os_version, coalesce(nullif(u.arch, ''), d.arch) as arch,
			case when u.hardware then nullif(u.maker, '') else d.manufacturer end as manufacturer,
			case when u.hardware then nullif(u.model, '') else d.model end as model,
			case when u.hardware then nullif(u.serial, '') else d.serial end as serial,
			case when u.kind = '' or d.kind_chosen then d.kind else u.kind end as kind,
			case when u.has_addresses then array(select jsonb_array_elements_text(u.addresses::jsonb)) else d.addresses end as addresses,
			case when u.has_users then array(select jsonb_array_elements_text(u.users::jsonb)) else d.logged_in_users end as logged_in_users
		from devices d join unnest(?::uuid[], ?::uuid[], ?::text[], ?::text[], ?::text[], ?::text[], ?::text[], ?::text[], ?::text[],
				?::text[], ?::text[], ?::text[], ?::text[], ?::bool[], ?::bool[], ?::bool[], ?::text[], ?::text[])
			as u (tenant_id, device_id, hostname, host_key, family, os_name, os_key, os_version, arch,
				maker, model, serial, kind, hardware, has_addresses, has_users, addresses, users)
			on u.tenant_id = d.tenant_id and u.device_id = d.id)
		update devices d set hostname = s.hostname, name = s.name, name_key = s.name_key, os_family = s.os_family, os_name = s.os_name,
			os_name_key = s.os_name_key, os_version = s.os_version, arch = s.arch, manufacturer = s.manufacturer, model = s.model,
			serial = s.serial, kind = s.kind, addresses = s.addresses, logged_in_users = s.logged_in_users
		from said s where d.tenant_id = s.tenant_id and d.id = s.id
			and (d.hostname, d.name, d.os_family, d.os_name, d.os_version, d.arch, d.manufacturer, d.model, d.serial, d.kind, d.addresses, d.logged_in_users)
				is distinct from (s.hostname, s.name, s.os_family, s.os_name, s.os_version, s.arch, s.manufacturer, s.model, s.serial, s.kind, s.addresses, s.logged_in_users)
		returning d.id`, tenants, devices, hostnames, hostKeys, families, osNames, osKeys, osVersions, archs,
		makers, models, serials, kinds, hardware, hasAddresses, hasUsers, addresses, users).Scan(&changed).Error
	if err != nil {
		return fmt.Errorf("updating devices from their inventory: %w", err)
	}
	return reindexTx(tx, changed)
}

// arrayText is a list as JSON, for one cell of an array of texts.
func arrayText(list *Texts) string {
	if list == nil {
		return "[]"
	}
	text, _ := json.Marshal([]string(*list)) // texts always marshal
	return string(text)
}
