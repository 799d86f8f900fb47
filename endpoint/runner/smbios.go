package runner

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// smbios is what the firmware's table says. The table is data from outside: every read is bounded.
type smbios struct {
	firmware firmware
	system   struct{ manufacturer, model, serial, sku *string }
	board    board
	assetTag *string
	chassis  byte
	modules  []memoryModule
}

// Structure types of the SMBIOS specification (DSP0134).
const (
	smbiosFirmware = 0
	smbiosSystem   = 1
	smbiosBoard    = 2
	smbiosChassis  = 3
	smbiosMemory   = 17
	smbiosEnd      = 127
)

var memoryTypes = map[byte]string{
	0x12: "DDR", 0x13: "DDR2", 0x18: "DDR3", 0x1A: "DDR4", 0x1B: "LPDDR", 0x1C: "LPDDR2", 0x1D: "LPDDR3", 0x1E: "LPDDR4", 0x20: "HBM", 0x21: "HBM2", 0x22: "DDR5", 0x23: "LPDDR5",
}

// structure is one entry of the table: its formatted bytes and its strings.
type structure struct {
	data    []byte
	strings []string
}

func (s structure) byte(at int) byte {
	if at >= len(s.data) {
		return 0
	}
	return s.data[at]
}

func (s structure) word(at int) uint16 {
	if at+2 > len(s.data) {
		return 0
	}
	return binary.LittleEndian.Uint16(s.data[at:])
}

func (s structure) dword(at int) uint32 {
	if at+4 > len(s.data) {
		return 0
	}
	return binary.LittleEndian.Uint32(s.data[at:])
}

// text is the string that the byte at a place points to.
func (s structure) text(at int) *string {
	n := int(s.byte(at))
	if n == 0 || n > len(s.strings) {
		return nil
	}
	return known(s.strings[n-1])
}

// parseSMBIOS reads the structure table.
func parseSMBIOS(table []byte) smbios {
	var out smbios
	for len(table) >= 4 {
		length := int(table[1])
		if length < 4 || length > len(table) {
			break
		}
		s := structure{data: table[:length]}
		rest := table[length:]
		end := bytes.Index(rest, []byte{0, 0})
		if end < 0 {
			break
		}
		if end > 0 {
			s.strings = strings.Split(string(rest[:end]), "\x00")
		}
		if table[0] == smbiosEnd {
			break
		}
		out.take(table[0], s)
		table = rest[end+2:]
	}
	return out
}

func (b *smbios) take(kind byte, s structure) {
	switch kind {
	case smbiosFirmware:
		b.firmware = firmware{Vendor: s.text(4), Version: s.text(5), Date: s.text(8)}
	case smbiosSystem:
		b.system.manufacturer, b.system.model, b.system.serial, b.system.sku = s.text(4), s.text(5), s.text(7), s.text(0x19)
	case smbiosBoard:
		if b.board == (board{}) { // blades list more; the first is the main one
			b.board = board{Manufacturer: s.text(4), Model: s.text(5), Serial: s.text(7)}
		}
	case smbiosChassis:
		if b.chassis == 0 {
			b.chassis, b.assetTag = s.byte(5)&0x7F, s.text(8)
		}
	case smbiosMemory:
		if m, ok := memoryOf(s); ok && len(b.modules) < 512 {
			b.modules = append(b.modules, m)
		}
	}
}

// memoryOf reads a slot; it is false for an empty one.
func memoryOf(s structure) (m memoryModule, ok bool) {
	switch size := s.word(0x0C); {
	case size == 0 || size == 0xFFFF:
		return m, false
	case size == 0x7FFF:
		m.SizeBytes = uint64(s.dword(0x1C)&0x7FFFFFFF) << 20
	case size&0x8000 != 0:
		m.SizeBytes = uint64(size&0x7FFF) << 10
	default:
		m.SizeBytes = uint64(size) << 20
	}
	m.Slot, m.Manufacturer, m.Serial, m.Part = s.text(0x10), s.text(0x17), s.text(0x18), s.text(0x1A)
	if name, found := memoryTypes[s.byte(0x12)]; found {
		m.Type = &name
	}
	if speed := int(s.word(0x15)); speed > 0 && speed < 0xFFFF {
		m.SpeedMTs = &speed
	}
	return m, true
}

// hardware turns the table into the section, without processors.
func (b smbios) hardware() hardwareSection {
	h := hardwareSection{Manufacturer: b.system.manufacturer, Model: b.system.model, Serial: b.system.serial, SKU: b.system.sku,
		AssetTag: b.assetTag, Firmware: b.firmware, Board: b.board, Processors: []processor{}}
	if h.Serial == nil {
		h.Serial = b.board.Serial // built-to-order machines carry theirs on the board
	}
	h.Hypervisor = hypervisorOf(value(h.Manufacturer), value(h.Model))
	h.Kind = chassisKind(b.chassis)
	if h.Hypervisor != nil {
		h.Kind = "virtual"
	}
	return h
}

func chassisKind(chassis byte) string {
	switch chassis {
	case 8, 9, 10, 11, 14, 30, 31, 32:
		return "laptop"
	case 3, 4, 5, 6, 7, 13, 15, 16, 24, 34, 35, 36:
		return "workstation"
	case 17, 22, 23, 25, 28, 29:
		return "server"
	}
	return "unknown"
}

// hypervisorOf names the hypervisor that a made-up manufacturer or model gives away.
func hypervisorOf(manufacturer, model string) *string {
	text := strings.ToLower(fmt.Sprintf("%s|%s", manufacturer, model))
	for _, h := range []struct{ sign, name string }{
		{"vmware", "VMware"}, {"virtualbox", "VirtualBox"}, {"innotek", "VirtualBox"}, {"qemu", "QEMU"}, {"kvm", "KVM"}, {"bochs", "QEMU"},
		{"xen", "Xen"}, {"microsoft corporation|virtual machine", "Hyper-V"}, {"parallels", "Parallels"}, {"google compute engine", "Google Compute Engine"},
		{"amazon ec2", "Amazon EC2"}, {"openstack", "OpenStack"}, {"nutanix|ahv", "Nutanix AHV"}, {"hetzner|vserver", "KVM"}, {"digitalocean", "KVM"}, {"firecracker", "Firecracker"}, {"cloud hypervisor", "Cloud Hypervisor"},
	} {
		if strings.Contains(text, h.sign) {
			return &h.name
		}
	}
	return nil
}
