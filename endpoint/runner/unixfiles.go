package runner

import (
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// parseOSRelease reads NAME=value lines with shell quoting, as in /etc/os-release.
func parseOSRelease(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		if len(value) >= 2 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
			value = strings.NewReplacer(`\"`, `"`, `\$`, `$`, "\\`", "`", `\\`, `\`).Replace(value[1 : len(value)-1])
		}
		out[name] = value
	}
	return out
}

// adminGroups are those whose members may become root.
var adminGroups = []string{"root", "sudo", "wheel", "admin"}

// parseAccounts reads the people among the accounts of passwd and group: root, and whoever has a
// number for people and a shell.
func parseAccounts(passwd, group string, locked func(name string) bool) []userAccount {
	admins, adminGIDs := map[string]bool{"root": true}, map[string]bool{"0": true}
	for line := range strings.Lines(group) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) == 4 && slices.Contains(adminGroups, f[0]) {
			adminGIDs[f[2]] = true
			for name := range strings.SplitSeq(f[3], ",") {
				admins[name] = true
			}
		}
	}
	list := []userAccount{}
	for line := range strings.Lines(passwd) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 7 || len(list) >= maxAccounts {
			continue
		}
		uid, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil || uid != 0 && (uid < 1000 || uid >= 65534) {
			continue
		}
		fullName, _, _ := strings.Cut(f[4], ",")
		noShell := strings.HasSuffix(f[6], "/nologin") || strings.HasSuffix(f[6], "/false")
		list = append(list, userAccount{Name: clean(f[0]), ID: f[2], FullName: known(fullName), Home: known(f[5]),
			Admin: admins[f[0]] || adminGIDs[f[3]], Disabled: noShell || locked(f[0])})
	}
	slices.SortFunc(list, func(a, b userAccount) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// lockedIn reads shadow, where it may be read: a password that begins with "!" is locked, unless it
// never was one ("!" or "*" alone, as for accounts that sign in by key).
func lockedIn(shadow string) func(name string) bool {
	locked := map[string]bool{}
	for line := range strings.Lines(shadow) {
		if f := strings.SplitN(line, ":", 3); len(f) == 3 && len(f[1]) > 2 && f[1][0] == '!' && strings.Trim(f[1], "!*") != "" {
			locked[f[0]] = true
		}
	}
	return func(name string) bool { return locked[name] }
}

// parseResolv reads name servers and search domains.
func parseResolv(text string) (servers, search []string) {
	servers, search = []string{}, []string{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if _, err := netip.ParseAddr(f[1]); err == nil && len(servers) < 8 {
				servers = append(servers, f[1])
			}
		case "search", "domain":
			search = nil
			for _, d := range f[1:min(len(f), 8)] {
				search = append(search, clean(d))
			}
		}
	}
	return servers, search
}

// parseRoutes reads the default gateways out of /proc/net/route and /proc/net/ipv6_route.
func parseRoutes(v4, v6 string) []string {
	list := []string{}
	add := func(a netip.Addr) {
		if s := a.String(); !a.IsUnspecified() && !slices.Contains(list, s) && len(list) < 8 {
			list = append(list, s)
		}
	}
	for line := range strings.Lines(v4) {
		f := strings.Fields(line)
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" {
			continue
		}
		if n, err := strconv.ParseUint(f[2], 16, 32); err == nil { // little endian
			add(netip.AddrFrom4([4]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}))
		}
	}
	for line := range strings.Lines(v6) {
		f := strings.Fields(line)
		if len(f) < 10 || strings.Trim(f[0], "0") != "" || f[1] != "00" || len(f[4]) != 32 || f[9] == "lo" {
			continue
		}
		var raw [16]byte
		ok := true
		for i := range raw {
			n, err := strconv.ParseUint(f[4][2*i:2*i+2], 16, 8)
			raw[i], ok = byte(n), ok && err == nil
		}
		if ok {
			add(netip.AddrFrom16(raw))
		}
	}
	slices.Sort(list)
	return list
}

// blockDisks reads the disks under sys/block; loops, RAM disks and the like are none.
func blockDisks(root fs.FS) disksSection {
	out := disksSection{Disks: []disk{}}
	entries, err := fs.ReadDir(root, "sys/block")
	if err != nil {
		return out
	}
	read := func(parts ...string) string {
		text, _ := fs.ReadFile(root, "sys/block/"+strings.Join(parts, "/"))
		return strings.TrimSpace(string(text))
	}
	for _, e := range entries {
		name := e.Name()
		if slices.ContainsFunc([]string{"loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd", "drbd"}, func(p string) bool { return strings.HasPrefix(name, p) }) {
			continue
		}
		sectors, _ := strconv.ParseUint(read(name, "size"), 10, 64)
		if sectors == 0 || len(out.Disks) >= 512 {
			continue
		}
		serial := read(name, "device", "serial")
		if serial == "" {
			serial = read(name, "serial")
		}
		d := disk{Name: clean(name), SizeBytes: sectors * 512, Removable: read(name, "removable") == "1",
			Model: known(strings.TrimSpace(read(name, "device", "vendor") + " " + read(name, "device", "model"))), Serial: known(serial)}
		switch {
		case strings.HasPrefix(name, "nvme"):
			d.Type, d.Model = "nvme", known(read(name, "device", "model")) // vendor is a number there
		case strings.HasPrefix(name, "vd") || strings.HasPrefix(name, "xvd"):
			d.Type, d.Model = "virtual", nil
		case read(name, "queue", "rotational") == "1":
			d.Type = "hdd"
		case read(name, "queue", "rotational") == "0":
			d.Type = "ssd"
		default:
			d.Type = "unknown"
		}
		out.Disks = append(out.Disks, d)
	}
	slices.SortFunc(out.Disks, func(a, b disk) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// parseUnits reads systemctl show: blocks of Name=value, one per service.
func parseUnits(text string) []service {
	var list []service
	for block := range strings.SplitSeq(text, "\n\n") {
		f := map[string]string{}
		for line := range strings.Lines(block) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
				f[name] = value
			}
		}
		name, ok := strings.CutSuffix(f["Id"], ".service")
		if !ok || f["LoadState"] == "not-found" || len(list) >= maxItems {
			continue
		}
		s := service{Name: clean(name), Title: known(f["Description"]), State: unitState(f["ActiveState"]), Start: unitStart(f["UnitFileState"])}
		list = append(list, s)
	}
	return list
}

func unitState(s string) string {
	switch s {
	case "active", "reloading":
		return "running"
	case "failed":
		return "failed"
	case "activating":
		return "starting"
	case "deactivating":
		return "stopping"
	}
	return "stopped"
}

func unitStart(s string) string {
	switch s {
	case "enabled", "enabled-runtime":
		return "automatic"
	case "disabled", "indirect", "linked", "linked-runtime":
		return "manual"
	case "masked", "masked-runtime":
		return "disabled"
	case "static", "generated", "transient", "alias":
		return "static"
	}
	return "unknown"
}

// parseUnitFiles reads systemctl list-unit-files, which also knows services that are not loaded.
func parseUnitFiles(text string) []service {
	var list []service
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		name, ok := strings.CutSuffix(f[0], ".service")
		if !ok || strings.HasSuffix(name, "@") || f[1] == "alias" || len(list) >= maxItems {
			continue
		}
		list = append(list, service{Name: clean(name), State: "stopped", Start: unitStart(f[1])})
	}
	return list
}

// mergeServices adds what only the second list knows, in the order of names.
func mergeServices(loaded, files []service) servicesSection {
	have := map[string]bool{}
	out := servicesSection{Services: []service{}}
	for _, s := range slices.Concat(loaded, files) {
		if !have[s.Name] && s.Name != "" {
			have[s.Name] = true
			out.Services = append(out.Services, s)
		}
	}
	slices.SortFunc(out.Services, func(a, b service) int { return strings.Compare(a.Name, b.Name) })
	return out
}
