package runner

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"

	"reeve/api"
	"reeve/api/wire"
)

// entry encodes a structure of the firmware's table: type, fields from offset 4, strings.
func entry(kind byte, fields map[int]byte, length int, strs ...string) []byte {
	data := make([]byte, length)
	data[0], data[1] = kind, byte(length)
	for at, b := range fields {
		data[at] = b
	}
	if len(strs) == 0 {
		return append(data, 0, 0)
	}
	return append(data, strings.Join(strs, "\x00")+"\x00\x00"...)
}

func laptopTable() []byte {
	return slices.Concat(
		entry(0, map[int]byte{4: 1, 5: 2, 8: 3}, 0x18, "LENOVO", "N2IET98W (1.76)", "08/21/2023"),
		entry(1, map[int]byte{4: 1, 5: 2, 7: 3, 0x19: 4}, 0x1B, "LENOVO", "20N2CTO1WW", " PF1ABCDE ", "To be filled by O.E.M."),
		entry(2, map[int]byte{4: 1, 5: 2, 7: 3}, 0x0F, "LENOVO", "20N2CTO1WW", "Default string"),
		entry(3, map[int]byte{5: 0x8A, 8: 1}, 0x15, "No Asset Tag"),
		entry(17, map[int]byte{0x0C: 0x00, 0x0D: 0x40, 0x10: 1, 0x12: 0x1A, 0x15: 0x6A, 0x16: 0x0A, 0x17: 2, 0x18: 3, 0x1A: 4}, 0x28, "ChannelA-DIMM0", "Samsung", "00000000", "M471A2K43DB1-CTD"),
		entry(17, map[int]byte{0x0C: 0, 0x10: 1}, 0x28, "ChannelB-DIMM0"),
		entry(17, map[int]byte{0x0C: 0xFF, 0x0D: 0x7F, 0x1C: 0x00, 0x1D: 0x80, 0x10: 1}, 0x28, "DIMM 3"),
		entry(127, nil, 4),
	)
}

func TestFirmwareTable(t *testing.T) {
	b := parseSMBIOS(laptopTable())
	h := b.hardware()
	if h.Kind != "laptop" || value(h.Manufacturer) != "LENOVO" || value(h.Model) != "20N2CTO1WW" || value(h.Serial) != "PF1ABCDE" || value(h.Firmware.Version) != "N2IET98W (1.76)" {
		t.Errorf("got %+v", h)
	}
	if h.SKU != nil || h.AssetTag != nil || h.Board.Serial != nil || h.Hypervisor != nil {
		t.Errorf("fillers count as values: %+v", h)
	}
	if len(b.modules) != 2 || b.modules[0].SizeBytes != 16<<30 || *b.modules[0].Type != "DDR4" || *b.modules[0].SpeedMTs != 2666 || b.modules[0].Serial != nil || b.modules[1].SizeBytes != 32<<30 {
		t.Errorf("memory %+v", b.modules)
	}
	vm := parseSMBIOS(entry(1, map[int]byte{4: 1, 5: 2, 7: 3}, 0x1B, "QEMU", "Standard PC (Q35 + ICH9, 2009)", "0")).hardware()
	if vm.Kind != "virtual" || value(vm.Hypervisor) != "QEMU" || vm.Serial != nil {
		t.Errorf("got %+v", vm)
	}
}

func FuzzFirmwareTable(f *testing.F) {
	f.Add(laptopTable())
	f.Add([]byte{1, 255, 0, 0})
	f.Fuzz(func(t *testing.T, table []byte) {
		h := parseSMBIOS(table).hardware()
		if h.Serial != nil && (len(*h.Serial) > maxText || strings.ContainsAny(*h.Serial, "\x00\n")) {
			t.Errorf("serial %q", *h.Serial)
		}
	})
}

func TestKnown(t *testing.T) {
	for _, s := range []string{"", " ", "0", "To be filled by O.E.M.", "Default string", "00000000", "........", "None", "System Serial Number", "\x00\x00", "FFFFFFFF"} {
		if got := known(s); got != nil {
			t.Errorf("%q is taken for %q", s, *got)
		}
	}
	for in, want := range map[string]string{"7": "7", " ABC\x00\x1b[31m ": "ABC[31m", "<script>": "<script>", "=cmd|' /C'!A0": "=cmd|' /C'!A0", "a\xffb": "a\ufffdb", strings.Repeat("x1", 400): strings.Repeat("x1", 150)} {
		if got := known(in); got == nil || *got != want {
			t.Errorf("%q became %v", in, got)
		}
	}
}

func TestDpkg(t *testing.T) {
	at := time.Date(2025, 6, 1, 10, 0, 0, 0, time.UTC)
	root := fstest.MapFS{
		"var/lib/dpkg/status": {Data: []byte(`Package: bash
Status: install ok installed
Maintainer: Matthias Klose <doko@debian.org>
Architecture: amd64
Version: 5.2.15-2+b8
Description: GNU Bourne Again SHell
 Package: not-a-package
 continued

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: libc6
Status: hold ok installed
Architecture: i386
Version: 2.36-9
`)},
		"var/lib/dpkg/info/bash.list":       {ModTime: at},
		"var/lib/dpkg/info/libc6:i386.list": {ModTime: at.Add(time.Hour)},
	}
	list, err := dpkgPackages(root)
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v %v", list, err)
	}
	if p := list[0]; p.Name != "bash" || p.Version != "5.2.15-2+b8" || value(p.Publisher) != "Matthias Klose <doko@debian.org>" || value(p.InstalledAt) != "2025-06-01T10:00:00Z" || p.Source != "dpkg" {
		t.Errorf("got %+v", p)
	}
	if p := list[1]; p.Name != "libc6" || value(p.Arch) != "i386" || value(p.InstalledAt) != "2025-06-01T11:00:00Z" {
		t.Errorf("got %+v", p)
	}
}

func TestRPM(t *testing.T) {
	list := parseRPM("bash\t5.1.8-9.el9\tx86_64\tRocky Enterprise Software Foundation\t1714550400\n" +
		"vim-minimal\t2:8.2.2637-20.el9_1\tx86_64\t(none)\t0\n" +
		"gpg-pubkey\t350d275d-6279464b\t(none)\t(none)\t1714550400\nbroken line\n")
	if len(list) != 2 || list[0].Version != "5.1.8-9.el9" || value(list[0].InstalledAt) != "2024-05-01T08:00:00Z" || list[1].Publisher != nil || list[1].Version != "2:8.2.2637-20.el9_1" || list[1].InstalledAt != nil {
		t.Errorf("got %+v", list)
	}
}

func TestServicesOfSystemd(t *testing.T) {
	loaded := parseUnits(`Id=ssh.service
Description=OpenBSD Secure Shell server
LoadState=loaded
ActiveState=active
UnitFileState=enabled

Id=nginx.service
Description=A high performance web server
LoadState=loaded
ActiveState=failed
UnitFileState=disabled

Id=missing.service
LoadState=not-found
ActiveState=inactive
UnitFileState=

Id=dev-sda1.device
LoadState=loaded
`)
	got := mergeServices(loaded, parseUnitFiles("apt-daily.service static -\ngetty@.service enabled enabled\nnginx.service disabled enabled\nold.service masked enabled\n"))
	want := `{"services":[{"name":"apt-daily","title":null,"state":"stopped","start":"static"},{"name":"nginx","title":"A high performance web server","state":"failed","start":"manual"},` +
		`{"name":"old","title":null,"state":"stopped","start":"disabled"},{"name":"ssh","title":"OpenBSD Secure Shell server","state":"running","start":"automatic"}]}`
	if text, err := json.Marshal(got); err != nil || string(text) != want {
		t.Errorf("got %s (%v)", text, err)
	}
}

func TestAccountsOfUnix(t *testing.T) {
	got := parseAccounts("root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/usr/sbin/nologin\nanna:x:1000:1000:Anna Müller,Room 1,,:/home/anna:/bin/zsh\nbob:x:1001:27::/home/bob:/bin/bash\nold:x:1002:1002::/home/old:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
		"root:x:0:\nsudo:x:27:anna,other\nusers:x:100:old\n", lockedIn("root:*:1::\nanna:$y$x:1::\nold:!$y$x:1::\nbob:!:1::\n"))
	text, err := json.Marshal(got)
	want := `[{"name":"anna","full_name":"Anna Müller","id":"1000","admin":true,"disabled":false,"home":"/home/anna"},{"name":"bob","full_name":null,"id":"1001","admin":true,"disabled":false,"home":"/home/bob"},` +
		`{"name":"old","full_name":null,"id":"1002","admin":false,"disabled":true,"home":"/home/old"},{"name":"root","full_name":"root","id":"0","admin":true,"disabled":false,"home":"/root"}]`
	if err != nil || string(text) != want {
		t.Errorf("got %s (%v)", text, err)
	}
}

func TestRoutesAndResolvers(t *testing.T) {
	v4 := "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\neth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\neth0\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
	v6 := "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n" +
		"00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200 lo\n"
	if got := parseRoutes(v4, v6); !slices.Equal(got, []string{"192.168.2.1", "fe80::1"}) {
		t.Errorf("gateways %v", got)
	}
	servers, search := parseResolv("# made by hand\nnameserver 192.168.2.1\nnameserver nonsense\nnameserver fe80::1%eth0\nsearch corp.example lan\noptions edns0\n")
	if !slices.Equal(servers, []string{"192.168.2.1", "fe80::1%eth0"}) || !slices.Equal(search, []string{"corp.example", "lan"}) {
		t.Errorf("%v %v", servers, search)
	}
}

func TestBlockDevices(t *testing.T) {
	text := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s + "\n")} }
	root := fstest.MapFS{
		"sys/block/nvme0n1/size": text("1000215216"), "sys/block/nvme0n1/removable": text("0"), "sys/block/nvme0n1/device/model": text("Samsung SSD 980 PRO 500GB   "), "sys/block/nvme0n1/device/serial": text("S5GYNX0R"), "sys/block/nvme0n1/queue/rotational": text("0"),
		"sys/block/sda/size": text("7814037168"), "sys/block/sda/removable": text("0"), "sys/block/sda/device/vendor": text("ATA     "), "sys/block/sda/device/model": text("WDC WD40EFRX-68N"), "sys/block/sda/queue/rotational": text("1"),
		"sys/block/loop0/size": text("100"), "sys/block/sdb/size": text("0"), "sys/block/dm-0/size": text("100"),
	}
	got := blockDisks(root).Disks
	if len(got) != 2 || got[0].Type != "nvme" || got[0].SizeBytes != 1000215216*512 || value(got[0].Model) != "Samsung SSD 980 PRO 500GB" || value(got[0].Serial) != "S5GYNX0R" ||
		got[1].Type != "hdd" || value(got[1].Model) != "ATA WDC WD40EFRX-68N" || got[1].Serial != nil {
		t.Errorf("got %+v", got)
	}
}

func TestOSRelease(t *testing.T) {
	r := parseOSRelease("NAME=\"Debian GNU/Linux\"\nVERSION_ID='12'\n# comment\nODD=\"a \\\"b\\\" \\$c\"\n")
	if r["NAME"] != "Debian GNU/Linux" || r["VERSION_ID"] != "12" || r["ODD"] != `a "b" $c` {
		t.Errorf("got %v", r)
	}
}

func TestWindowsValues(t *testing.T) {
	if got := windowsSystem("Windows 10 Pro", "23H2", "22631", "3447"); got != (system{"Windows 11 Pro", "23H2", "22631.3447"}) {
		t.Errorf("got %+v", got)
	}
	if got := windowsSystem("Windows Server 2022 Standard", "21H2", "20348", "2402"); got.Name != "Windows Server 2022 Standard" {
		t.Errorf("got %+v", got)
	}
	p, ok := uninstallPackage(uninstallEntry{Name: "7-Zip 24.05 (x64)", Version: "24.05", Publisher: "Igor Pavlov", Date: "20240514", Arch: "x64"})
	if !ok || p.Name != "7-Zip 24.05 (x64)" || value(p.InstalledAt) != "2024-05-14T00:00:00Z" {
		t.Errorf("got %+v", p)
	}
	for _, e := range []uninstallEntry{{}, {Name: "KB5034441", ReleaseType: "Security Update"}, {Name: "Part", SystemComponent: 1}, {Name: "Part", ParentName: "Office"}} {
		if _, ok := uninstallPackage(e); ok {
			t.Errorf("%+v is listed", e)
		}
	}
	for name, zone := range windowsZones {
		if _, err := time.LoadLocation(zone); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMacOSOutput(t *testing.T) {
	if got := parseSwVers("ProductName:\t\tmacOS\nProductVersion:\t\t14.4.1\nBuildVersion:\t\t23E224\n"); got != (system{"macOS", "14.4.1", "23E224"}) {
		t.Errorf("got %+v", got)
	}
	p, err := parseProfile([]byte(`{
		"SPHardwareDataType":[{"machine_name":"MacBook Pro","machine_model":"Mac14,9","serial_number":"C02ABCDEF","boot_rom_version":"10151.101.3"}],
		"SPMemoryDataType":[{"dimm_manufacturer":"Hynix","dimm_type":"LPDDR5","SPMemoryDataType":"16 GB"}],
		"SPNVMeDataType":[{"_name":"Apple SSD Controller","_items":[{"_name":"APPLE SSD AP0512Z","bsd_name":"disk0","device_model":"APPLE SSD AP0512Z","device_serial":"0ba01234","size_in_bytes":500277792768,"removable_media":"no"}]}],
		"SPApplicationsDataType":[{"_name":"Safari","version":"17.4.1","obtained_from":"apple","lastModified":"2024-03-21T08:00:00Z","signed_by":["Software Signing","Apple Code Signing Certification Authority"]},{"_name":""}]}`))
	if err != nil {
		t.Fatal(err)
	}
	h := p.hardware()
	if h.Kind != "laptop" || value(h.Serial) != "C02ABCDEF" || value(h.Model) != "Mac14,9" {
		t.Errorf("got %+v", h)
	}
	if m := p.memory(); len(m) != 1 || m[0].SizeBytes != 16<<30 {
		t.Errorf("got %+v", m)
	}
	if d := p.disks().Disks; len(d) != 1 || d[0].Type != "nvme" || d[0].SizeBytes != 500277792768 {
		t.Errorf("got %+v", d)
	}
	if a := p.applications(); len(a) != 1 || a[0].Name != "Safari" || value(a[0].Publisher) != "Software Signing" {
		t.Errorf("got %+v", a)
	}
	receipts, err := parseReceipts(strings.NewReader(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><array>
<dict><key>date</key><date>2023-01-02T03:04:05Z</date><key>displayName</key><string>Zoom</string><key>displayVersion</key><string>5.1</string><key>packageIdentifiers</key><array><string>us.zoom.pkg</string></array><key>processName</key><string>installer</string></dict>
<dict><key>date</key><date>2024-01-02T03:04:05Z</date><key>displayName</key><string>Zoom</string><key>displayVersion</key><string>5.17 &lt;b&gt;</string><key>packageIdentifiers</key><array><string>us.zoom.pkg</string></array><key>processName</key><string>installer</string></dict>
</array></plist>`))
	if err != nil || len(receipts) != 1 || receipts[0].Version != "5.17 <b>" || value(receipts[0].InstalledAt) != "2024-01-02T03:04:05Z" {
		t.Errorf("got %+v %v", receipts, err)
	}
	s := parseLaunchctl("PID\tStatus\tLabel\n312\t0\tcom.apple.Finder\n-\t78\tcom.example.broken\n-\t0\tcom.apple.idle\n").Services
	if len(s) != 3 || s[0].State != "running" || s[1].Name != "com.apple.idle" || s[2].State != "failed" {
		t.Errorf("got %+v", s)
	}
	accounts := macAccounts(parseDscl("_www   70\nanna   501\nnobody -2\nroot   0\n"), parseDscl("anna   Anna Müller\n"), parseDscl("anna /Users/anna\n"), parseDscl("root /bin/sh\n"), []string{"root", "anna"})
	if len(accounts) != 2 || !accounts[0].Admin || value(accounts[0].FullName) != "Anna Müller" || value(accounts[0].Home) != "/Users/anna" {
		t.Errorf("got %+v", accounts)
	}
	servers, search := parseScutilDNS("resolver #1\n  search domain[0] : corp.example\n  nameserver[0] : 10.0.0.1\n  nameserver[1] : 10.0.0.1\n")
	if !slices.Equal(servers, []string{"10.0.0.1"}) || !slices.Equal(search, []string{"corp.example"}) || !slices.Equal(parseGateway("   route to: default\n    gateway: 10.0.0.254\n"), []string{"10.0.0.254"}) {
		t.Errorf("%v %v", servers, search)
	}
}

func FuzzReceipts(f *testing.F) {
	f.Add("<plist><array><dict><key>displayName</key><string>x</string></dict></array></plist>")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseReceipts(strings.NewReader(text))
		if err == nil && len(list) > maxItems {
			t.Errorf("%d packages", len(list))
		}
	})
}

func TestThisMachinesInventory(t *testing.T) {
	c := NewCollector()
	first, failed := c.Collect(t.Context(), nil)
	if len(failed) != 0 {
		t.Errorf("failed: %v", failed)
	}
	names := []string{}
	for _, s := range first {
		names = append(names, s.Name)
		canonical, err := wire.Canonical(s.Data)
		if err != nil || string(canonical) != string(s.Data) || wire.Hash(canonical) != s.Hash {
			t.Errorf("%s is not canonical (%v)", s.Name, err)
		}
	}
	if want := []string{"disks", "hardware", "memory", "network", "os", "services", "software", "users", "volumes"}; !slices.Equal(names, want) {
		t.Errorf("sections %v", names)
	}
	// What did not change has the same hash, or every sync would carry it.
	again, _ := c.Collect(t.Context(), []string{"hardware", "disks", "os", "memory"})
	for _, s := range again {
		i := slices.Index(names, s.Name)
		if s.Hash != first[i].Hash {
			t.Errorf("%s differs by itself: %s, then %s", s.Name, first[i].Data, s.Data)
		}
	}
}

func TestCollectingOnDemand(t *testing.T) {
	c := &Collector{now: time.Now, readers: map[string]func(context.Context) (any, error){
		"good":   func(context.Context) (any, error) { return map[string]string{"a": "<b>"}, nil },
		"bad":    func(context.Context) (any, error) { return nil, errors.New("no such thing") },
		"broken": func(context.Context) (any, error) { panic("firmware") },
		"huge": func(context.Context) (any, error) {
			return map[string]string{"a": strings.Repeat("x", wire.MaxSectionBytes)}, nil
		},
	}}
	var kept []Section
	h := Inventory(c, func(s []Section) error {
		kept = s
		return nil
	})
	r := h.Run(t.Context(), wire.Payload{ID: uuid.New(), Body: json.RawMessage(`{}`)}, nil)
	result := r.Value.(wire.CollectResult)
	if r.State != api.AgentTaskUpdateStateFailed || len(kept) != 1 || string(kept[0].Data) != `{"a":"<b>"}` || len(result.Errors) != 3 || result.Hashes["good"] == "" {
		t.Errorf("got %+v, kept %v", r, kept)
	}
	r = h.Run(t.Context(), wire.Payload{ID: uuid.New(), Body: json.RawMessage(`{"sections":["good"]}`)}, nil)
	if r.State != api.AgentTaskUpdateStateSucceeded {
		t.Errorf("got %+v", r)
	}
	if r = h.Run(t.Context(), wire.Payload{Body: json.RawMessage(`{"paths":["/etc"]}`)}, nil); r.State != api.AgentTaskUpdateStateFailed {
		t.Errorf("an unknown field was ignored: %+v", r)
	}
}

func TestScriptFoldersOfAKilledEndpointAreCleared(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "scripts")
	if err := os.MkdirAll(filepath.Join(dir, "reeve-task-1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Scripts(dir); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v (%v)", left, err)
	}
}
