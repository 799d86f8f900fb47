package runner

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"unicode"

	"reeve/api/wire"
)

// Bounds of the inventory: a device has thousands of packages, never millions.
const (
	maxText     = 300
	maxItems    = 10_000
	maxCommand  = 16 << 20 // output of a program that is asked
	maxAccounts = 2000
)

// clean makes a value from the outside fit to keep: valid text on one line without control
// characters, of bounded length. It stays data; who shows it escapes it.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n' || r == '\r':
			return ' '
		case unicode.IsControl(r):
			return -1
		}
		return r
	}, wire.Clip(s, 4*maxText))
	return wire.Clip(strings.TrimSpace(s), maxText)
}

// junk is what firmware says when nobody filled it in.
var junk = map[string]bool{
	"": true, "0": true, "none": true, "unknown": true, "n/a": true, "na": true, "null": true, "oem": true, "o.e.m.": true,
	"to be filled by o.e.m.": true, "to be filled by o.e.m": true, "default string": true, "not specified": true,
	"not applicable": true, "not available": true, "not present": true, "no dimm": true, "undefined": true, "invalid": true, "empty": true,
	"system manufacturer": true, "system product name": true, "system serial number": true, "system version": true,
	"chassis serial number": true, "base board serial number": true, "base board manufacturer": true, "type1productconfigid": true,
	"123456789": true, "0123456789": true, "1234567890": true, "no asset tag": true, "asset tag": true, "serial number": true,
	"sku": true, "all series": true, "-": true, ".": true, "xxxxxxx": true,
}

// known is a cleaned value, or nil when it says nothing: an unknown is null, never a made-up text.
func known(s string) *string {
	s = clean(s)
	lower := strings.ToLower(s)
	if junk[lower] || len(lower) > 1 && strings.Trim(lower, lower[:1]) == "" { // "00000000", "........"
		return nil
	}
	return &s
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// ask runs a program of the system in the C locale and gives its output, bounded.
func ask(ctx context.Context, name string, args ...string) ([]byte, error) {
	path, err := lookPath(name)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(cmd.Environ(), "LC_ALL=C", "LANG=C")
	var out bounded
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out.Bytes(), nil
}

// bounded is a buffer that stops growing.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if room := maxCommand - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// The sections, as they are encoded. A pointer that is nil is an unknown.

type osSection struct {
	Hostname string  `json:"hostname"`
	Family   string  `json:"family"`
	Name     string  `json:"name"`
	Version  string  `json:"version"`
	Build    *string `json:"build"`
	Kernel   *string `json:"kernel"`
	Arch     string  `json:"arch"`
	Zone     *string `json:"zone"`
}

type hardwareSection struct {
	Kind         string      `json:"kind"`
	Manufacturer *string     `json:"manufacturer"`
	Model        *string     `json:"model"`
	Serial       *string     `json:"serial"`
	SKU          *string     `json:"sku"`
	AssetTag     *string     `json:"asset_tag"`
	Hypervisor   *string     `json:"hypervisor"`
	Firmware     firmware    `json:"firmware"`
	Board        board       `json:"board"`
	Processors   []processor `json:"processors"`
}

type firmware struct {
	Vendor  *string `json:"vendor"`
	Version *string `json:"version"`
	Date    *string `json:"date"`
}

type board struct {
	Manufacturer *string `json:"manufacturer"`
	Model        *string `json:"model"`
	Serial       *string `json:"serial"`
}

type processor struct {
	Model   string  `json:"model"`
	Vendor  *string `json:"vendor"`
	Cores   int     `json:"cores"`
	Threads int     `json:"threads"`
}

type memorySection struct {
	TotalBytes uint64         `json:"total_bytes"`
	SwapBytes  uint64         `json:"swap_bytes"`
	Modules    []memoryModule `json:"modules"`
}

type memoryModule struct {
	Slot         *string `json:"slot"`
	SizeBytes    uint64  `json:"size_bytes"`
	Type         *string `json:"type"`
	SpeedMTs     *int    `json:"speed_mts"`
	Manufacturer *string `json:"manufacturer"`
	Part         *string `json:"part"`
	Serial       *string `json:"serial"`
}

type disksSection struct {
	Disks []disk `json:"disks"`
}

type disk struct {
	Name      string  `json:"name"`
	Model     *string `json:"model"`
	Serial    *string `json:"serial"`
	SizeBytes uint64  `json:"size_bytes"`
	Type      string  `json:"type"` // hdd, ssd, nvme, virtual, unknown
	Removable bool    `json:"removable"`
}

type volumesSection struct {
	Volumes []volume `json:"volumes"`
}

type volume struct {
	Mount       string `json:"mount"`
	Device      string `json:"device"`
	FileSystem  string `json:"file_system"`
	SizeBytes   uint64 `json:"size_bytes"`
	UsedPercent int    `json:"used_percent"` // in steps of five: a history of every byte written would say nothing
}

type networkSection struct {
	Interfaces []networkInterface `json:"interfaces"`
	Gateways   []string           `json:"gateways"`
	DNS        []string           `json:"dns"`
	Search     []string           `json:"search_domains"`
}

type networkInterface struct {
	Name      string   `json:"name"`
	MAC       *string  `json:"mac"`
	Up        bool     `json:"up"`
	MTU       int      `json:"mtu"`
	Addresses []string `json:"addresses"`
}

type usersSection struct {
	Accounts []userAccount `json:"accounts"`
	LoggedIn []string      `json:"logged_in"`
}

type userAccount struct {
	Name     string  `json:"name"`
	FullName *string `json:"full_name"`
	ID       string  `json:"id"`
	Admin    bool    `json:"admin"`
	Disabled bool    `json:"disabled"`
	Home     *string `json:"home"`
}

type softwareSection struct {
	Packages []softwarePackage `json:"packages"`
}

type softwarePackage struct {
	Name        string  `json:"name"`
	Version     string  `json:"version"`
	Publisher   *string `json:"publisher"`
	Source      string  `json:"source"` // dpkg, rpm, windows, app, receipt
	Arch        *string `json:"arch"`
	InstalledAt *string `json:"installed_at"` // RFC 3339
}

type servicesSection struct {
	Services []service `json:"services"`
}

type service struct {
	Name  string  `json:"name"`
	Title *string `json:"title"`
	State string  `json:"state"` // running, stopped, failed, starting, stopping
	Start string  `json:"start"` // automatic, manual, disabled, static, unknown
}
