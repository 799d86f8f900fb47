// Package schedule decides when work happens: recurrences in a zone, maintenance windows and change
// freezes, and what becomes of runs that were missed.
package schedule

import (
	"reeve/api/fault"
	"reeve/tenants/calendar"
)

// ZoneMode says whose clock a schedule follows: "device", "site", "tenant", or the name of a zone.
type ZoneMode string

// The modes that depend on the device. Everything else is the name of a zone.
const (
	DeviceZone ZoneMode = "device" // as reported by the endpoint, else its site's
	SiteZone   ZoneMode = "site"   // else its tenant's
	TenantZone ZoneMode = "tenant" // else UTC
)

// Check notes a fault unless the mode can be followed.
func (m ZoneMode) Check(faults *fault.Fields, at string) {
	switch m {
	case DeviceZone, SiteZone, TenantZone:
		return
	}
	if _, err := calendar.LoadZone(string(m)); err != nil {
		faults.Add(at, "must be device, site, tenant or the name of a zone: %s", err)
	}
}

// ZoneNames are the zones around one device; empty or unknown ones are passed over, because a device
// may report anything.
type ZoneNames struct {
	Device, Site, Tenant string
}

// Resolve finds the zone to follow for a device.
func (m ZoneMode) Resolve(names ZoneNames) calendar.Zone {
	var candidates []string
	switch m {
	case DeviceZone:
		candidates = []string{names.Device, names.Site, names.Tenant}
	case SiteZone:
		candidates = []string{names.Site, names.Tenant}
	case TenantZone:
		candidates = []string{names.Tenant}
	default:
		candidates = []string{string(m), names.Tenant}
	}
	for _, name := range candidates {
		if zone, err := calendar.LoadZone(name); err == nil {
			return zone
		}
	}
	return calendar.UTC
}
