package runner

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What macOS's own programs print is parsed here, apart from the platform's file, so that it is
// tested everywhere.

// parseSwVers reads "Name:<tab>value" lines.
func parseSwVers(text string) system {
	f := colonLines(text)
	return system{Name: f["productname"], Version: f["productversion"], Build: f["buildversion"]}
}

func colonLines(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			out[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(value)
		}
	}
	return out
}

// profile is what system_profiler -json prints, as far as it is used.
type profile struct {
	Hardware []struct {
		MachineName  string `json:"machine_name"`
		MachineModel string `json:"machine_model"`
		Serial       string `json:"serial_number"`
		Firmware     string `json:"boot_rom_version"`
	} `json:"SPHardwareDataType"`
	Memory []struct {
		Type   string `json:"dimm_type"`
		Vendor string `json:"dimm_manufacturer"`
		Size   string `json:"SPMemoryDataType"` // soldered memory gives its size here
		Items  []struct {
			Name   string `json:"_name"`
			Size   string `json:"dimm_size"`
			Speed  string `json:"dimm_speed"`
			Type   string `json:"dimm_type"`
			Vendor string `json:"dimm_manufacturer"`
			Part   string `json:"dimm_part_number"`
			Serial string `json:"dimm_serial_number"`
		} `json:"_items"`
	} `json:"SPMemoryDataType"`
	NVMe []struct {
		Items []profileDisk `json:"_items"`
	} `json:"SPNVMeDataType"`
	SATA []struct {
		Items []profileDisk `json:"_items"`
	} `json:"SPSerialATADataType"`
	Applications []struct {
		Name     string `json:"_name"`
		Version  string `json:"version"`
		Source   string `json:"obtained_from"`
		Modified string `json:"lastModified"`
		SignedBy []any  `json:"signed_by"`
	} `json:"SPApplicationsDataType"`
}

type profileDisk struct {
	BSDName   string `json:"bsd_name"`
	Model     string `json:"device_model"`
	Serial    string `json:"device_serial"`
	Bytes     uint64 `json:"size_in_bytes"`
	Removable string `json:"removable_media"`
	Medium    string `json:"spsata_medium_type"`
}

func parseProfile(raw []byte) (profile, error) {
	var p profile
	if err := json.Unmarshal(raw, &p); err != nil {
		return p, fmt.Errorf("reading system_profiler: %w", err)
	}
	return p, nil
}

func (p profile) hardware() hardwareSection {
	maker := "Apple Inc."
	h := hardwareSection{Kind: "workstation", Manufacturer: &maker, Processors: []processor{}}
	if len(p.Hardware) == 0 {
		h.Kind = "unknown"
		return h
	}
	m := p.Hardware[0]
	h.Model, h.SKU, h.Serial, h.Firmware.Version = known(m.MachineModel), known(m.MachineName), known(m.Serial), known(m.Firmware)
	if strings.Contains(strings.ToLower(m.MachineName), "book") {
		h.Kind = "laptop"
	}
	if h.Hypervisor = hypervisorOf("", m.MachineModel); h.Hypervisor != nil || strings.HasPrefix(m.MachineModel, "VirtualMac") {
		h.Kind = "virtual"
	}
	return h
}

func (p profile) memory() []memoryModule {
	list := []memoryModule{}
	for _, bank := range p.Memory {
		if len(bank.Items) == 0 && bank.Size != "" {
			list = append(list, memoryModule{SizeBytes: parseSize(bank.Size), Type: known(bank.Type), Manufacturer: known(bank.Vendor)})
		}
		for _, i := range bank.Items {
			if size := parseSize(i.Size); size > 0 && len(list) < 64 {
				m := memoryModule{Slot: known(i.Name), SizeBytes: size, Type: known(i.Type), Manufacturer: known(i.Vendor), Part: known(i.Part), Serial: known(i.Serial)}
				if n, err := strconv.Atoi(strings.Fields(i.Speed + " x")[0]); err == nil {
					m.SpeedMTs = &n
				}
				list = append(list, m)
			}
		}
	}
	return list
}

// parseSize reads "16 GB".
func parseSize(s string) uint64 {
	f := strings.Fields(s)
	if len(f) != 2 {
		return 0
	}
	n, err := strconv.ParseUint(f[0], 10, 32)
	if err != nil {
		return 0
	}
	return n << map[string]int{"KB": 10, "MB": 20, "GB": 30, "TB": 40}[f[1]]
}

func (p profile) disks() disksSection {
	out := disksSection{Disks: []disk{}}
	add := func(d profileDisk, kind string) {
		if d.Bytes > 0 && len(out.Disks) < 128 {
			out.Disks = append(out.Disks, disk{Name: clean(d.BSDName), Model: known(d.Model), Serial: known(d.Serial), SizeBytes: d.Bytes,
				Type: kind, Removable: d.Removable == "yes"})
		}
	}
	for _, c := range p.NVMe {
		for _, d := range c.Items {
			add(d, "nvme")
		}
	}
	for _, c := range p.SATA {
		for _, d := range c.Items {
			kind := "hdd"
			if strings.Contains(strings.ToLower(d.Medium), "solid") {
				kind = "ssd"
			}
			add(d, kind)
		}
	}
	slices.SortFunc(out.Disks, func(a, b disk) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (p profile) applications() []softwarePackage {
	var list []softwarePackage
	for _, a := range p.Applications {
		if a.Name == "" || len(list) >= maxItems {
			continue
		}
		s := softwarePackage{Name: clean(a.Name), Version: clean(a.Version), Source: "app"}
		if len(a.SignedBy) > 0 {
			if by, ok := a.SignedBy[0].(string); ok {
				s.Publisher = known(strings.TrimPrefix(by, "Developer ID Application: "))
			}
		}
		if at, err := time.Parse(time.RFC3339, a.Modified); err == nil {
			text := at.UTC().Format(time.RFC3339)
			s.InstalledAt = &text
		}
		list = append(list, s)
	}
	return list
}

// parseReceipts reads /Library/Receipts/InstallHistory.plist: an array of dictionaries of the
// installers that ran. The newest receipt of a name counts.
func parseReceipts(in io.Reader) ([]softwarePackage, error) {
	dec := xml.NewDecoder(io.LimitReader(in, maxCommand))
	latest := map[string]softwarePackage{}
	var entry map[string]string
	var key, text string
	for {
		t, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading the install history: %w", err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			text = ""
			if t.Name.Local == "dict" {
				entry = map[string]string{}
			}
		case xml.CharData:
			text = clean(text + string(t))
		case xml.EndElement:
			switch t.Name.Local {
			case "key":
				key = text
			case "string", "date":
				if _, have := entry[key]; entry != nil && !have { // lists repeat the key of the list
					entry[key] = text
				}
			case "dict":
				addReceipt(latest, entry)
				entry = nil
			}
		}
	}
	list := make([]softwarePackage, 0, len(latest))
	for _, p := range latest {
		list = append(list, p)
	}
	return list, nil
}

func addReceipt(latest map[string]softwarePackage, entry map[string]string) {
	name := entry["displayName"]
	if name == "" || len(latest) >= maxItems {
		return
	}
	p := softwarePackage{Name: name, Version: entry["displayVersion"], Source: "receipt", Publisher: known(entry["processName"])}
	if at, err := time.Parse(time.RFC3339, entry["date"]); err == nil {
		text := at.UTC().Format(time.RFC3339)
		p.InstalledAt = &text
	}
	if old, have := latest[name]; !have || value(p.InstalledAt) >= value(old.InstalledAt) {
		latest[name] = p
	}
}

// parseLaunchctl reads the lines "pid status label" of launchctl list.
func parseLaunchctl(text string) servicesSection {
	var list []service
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 3 || f[2] == "Label" || strings.HasPrefix(f[2], "application.") || len(list) >= maxItems {
			continue
		}
		s := service{Name: clean(f[2]), State: "stopped", Start: "automatic"}
		switch {
		case f[0] != "-":
			s.State = "running"
		case f[1] != "0":
			s.State = "failed"
		}
		list = append(list, s)
	}
	return mergeServices(list, nil)
}

// parseDscl reads "dscl . -list /Users <attribute>": a name and a value per line.
func parseDscl(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		out[name] = strings.TrimSpace(value)
	}
	return out
}

// macAccounts puts dscl's lists together: people have a number from 501, and root.
func macAccounts(uids, names, homes, shells map[string]string, admins []string) []userAccount {
	list := []userAccount{}
	for name, uid := range uids {
		n, err := strconv.ParseInt(uid, 10, 64)
		if err != nil || n < 500 && n != 0 || n == 4294967294 || strings.HasPrefix(name, "_") || len(list) >= maxAccounts {
			continue
		}
		list = append(list, userAccount{Name: clean(name), ID: uid, FullName: known(names[name]), Home: known(homes[name]),
			Admin: n == 0 || slices.Contains(admins, name), Disabled: strings.HasSuffix(shells[name], "/false")})
	}
	slices.SortFunc(list, func(a, b userAccount) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// parseScutilDNS reads the name servers and domains of scutil --dns, and parseGateway that of
// route -n get default.
func parseScutilDNS(text string) (servers, search []string) {
	servers, search = []string{}, []string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(line, " : ")
		value = clean(value)
		if !ok || value == "" {
			continue
		}
		switch name = strings.TrimSpace(name); {
		case strings.HasPrefix(name, "nameserver[") && !slices.Contains(servers, value) && len(servers) < 8:
			servers = append(servers, value)
		case strings.HasPrefix(name, "search domain[") && !slices.Contains(search, value) && len(search) < 8:
			search = append(search, value)
		}
	}
	return servers, search
}

func parseGateway(text string) []string {
	if g := clean(colonLines(text)["gateway"]); g != "" {
		return []string{g}
	}
	return []string{}
}
