package runner

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/mgr"
)

const currentVersion = `SOFTWARE\Microsoft\Windows NT\CurrentVersion`

func bootID() string { return "" } // Windows has none; its boot time tells restarts apart

func readSystem(context.Context) system {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, currentVersion, registry.QUERY_VALUE)
	if err != nil {
		return system{Name: "Windows"}
	}
	defer k.Close()
	display := regText(k, "DisplayVersion")
	if display == "" {
		display = regText(k, "ReleaseId")
	}
	revision := ""
	if n, _, err := k.GetIntegerValue("UBR"); err == nil {
		revision = strconv.FormatUint(n, 10)
	}
	return windowsSystem(regText(k, "ProductName"), display, regText(k, "CurrentBuildNumber"), revision)
}

func regText(k registry.Key, name string) string {
	s, _, _ := k.GetStringValue(name) // absent is empty
	return s
}

func zoneName() string {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, `SYSTEM\CurrentControlSet\Control\TimeZoneInformation`, registry.QUERY_VALUE)
	if err != nil {
		return ""
	}
	defer k.Close()
	return windowsZones[strings.TrimRight(regText(k, "TimeZoneKeyName"), "\x00")]
}

var getSystemFirmwareTable = windows.NewLazySystemDLL("kernel32.dll").NewProc("GetSystemFirmwareTable")

// firmwareTable asks for the raw SMBIOS table, which has a header of 8 bytes.
func firmwareTable() smbios {
	const provider = 'R'<<24 | 'S'<<16 | 'M'<<8 | 'B'
	size, _, _ := getSystemFirmwareTable.Call(provider, 0, 0, 0)
	if size <= 8 || size > 1<<20 {
		return smbios{}
	}
	raw := make([]byte, size)
	got, _, _ := getSystemFirmwareTable.Call(provider, 0, uintptr(unsafe.Pointer(&raw[0])), size)
	if got <= 8 || got > size {
		return smbios{}
	}
	length := min(uint64(binary.LittleEndian.Uint32(raw[4:])), uint64(got-8))
	return parseSMBIOS(raw[8 : 8+length])
}

func serialNumber(context.Context) string { return value(firmwareTable().hardware().Serial) }

func readHardware(ctx context.Context) (hardwareSection, error) {
	h := firmwareTable().hardware()
	h.Processors = processors(ctx)
	if h.Kind == "workstation" && strings.Contains(readSystem(ctx).Name, "Server") {
		h.Kind = "server"
	}
	return h, nil
}

func memoryModules(context.Context) []memoryModule { return firmwareTable().modules }

const (
	ioctlStorageQueryProperty = 0x002D1400
	ioctlDiskGetLength        = 0x0007405C
	seekPenaltyProperty       = 7
	busTypeNVMe               = 17
	busTypeVirtual            = 14
	busTypeFileBacked         = 15
)

// readDisks asks each physical drive for its descriptor.
func readDisks(context.Context) (disksSection, error) {
	out := disksSection{Disks: []disk{}}
	for n := range 64 {
		d, err := physicalDrive(n)
		if errors.Is(err, windows.ERROR_FILE_NOT_FOUND) {
			continue // numbers have gaps
		}
		if err != nil {
			return out, fmt.Errorf("reading drive %d: %w", n, err)
		}
		out.Disks = append(out.Disks, d)
	}
	return out, nil
}

func physicalDrive(n int) (disk, error) {
	name := `\\.\PhysicalDrive` + strconv.Itoa(n)
	path, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return disk{}, err
	}
	// No access is asked for: descriptors may be read without, and nothing can be harmed.
	h, err := windows.CreateFile(path, 0, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE, nil, windows.OPEN_EXISTING, 0, 0)
	if err != nil {
		return disk{}, err
	}
	defer windows.CloseHandle(h)
	d := disk{Name: name, Type: "unknown"}
	var got uint32
	query := make([]byte, 12) // STORAGE_PROPERTY_QUERY: device property, standard query
	desc := make([]byte, 4096)
	if err := windows.DeviceIoControl(h, ioctlStorageQueryProperty, &query[0], uint32(len(query)), &desc[0], uint32(len(desc)), &got, nil); err != nil {
		return d, err
	}
	bus := d.describe(desc[:got])
	var length [8]byte
	if err := windows.DeviceIoControl(h, ioctlDiskGetLength, nil, 0, &length[0], 8, &got, nil); err == nil {
		d.SizeBytes = binary.LittleEndian.Uint64(length[:])
	}
	switch bus {
	case busTypeNVMe:
		d.Type = "nvme"
	case busTypeVirtual, busTypeFileBacked:
		d.Type = "virtual"
	default:
		query[0] = seekPenaltyProperty
		var penalty [12]byte
		if windows.DeviceIoControl(h, ioctlStorageQueryProperty, &query[0], uint32(len(query)), &penalty[0], uint32(len(penalty)), &got, nil) == nil && got >= 9 {
			d.Type = "ssd"
			if penalty[8] != 0 {
				d.Type = "hdd"
			}
		}
	}
	return d, nil
}

// describe reads a STORAGE_DEVICE_DESCRIPTOR and gives its bus type.
func (d *disk) describe(desc []byte) uint32 {
	if len(desc) < 36 {
		return 0
	}
	text := func(at int) string {
		offset := binary.LittleEndian.Uint32(desc[at:])
		if offset == 0 || int(offset) >= len(desc) {
			return ""
		}
		s, _, _ := strings.Cut(string(desc[offset:]), "\x00")
		return strings.TrimSpace(s)
	}
	d.Removable = desc[10] != 0
	d.Model, d.Serial = known(text(12)+" "+text(16)), known(strings.TrimSuffix(text(24), "."))
	return binary.LittleEndian.Uint32(desc[28:])
}

func readNetwork(context.Context) (networkSection, error) {
	list, err := interfaces()
	if err != nil {
		return networkSection{}, err
	}
	n := networkSection{Interfaces: list, Gateways: []string{}, DNS: []string{}, Search: []string{}}
	size := uint32(32 << 10)
	for range 4 { // the list may grow between the calls
		buf := make([]byte, size)
		first := (*windows.IpAdapterAddresses)(unsafe.Pointer(&buf[0]))
		err = windows.GetAdaptersAddresses(windows.AF_UNSPEC, windows.GAA_FLAG_INCLUDE_GATEWAYS, 0, first, &size)
		if err == nil {
			for a := first; a != nil; a = a.Next {
				n.take(a)
			}
			break
		}
		if !errors.Is(err, windows.ERROR_BUFFER_OVERFLOW) {
			return n, fmt.Errorf("reading gateways: %w", err)
		}
	}
	slices.Sort(n.Gateways)
	return n, nil
}

func (n *networkSection) take(a *windows.IpAdapterAddresses) {
	if a.OperStatus != windows.IfOperStatusUp {
		return
	}
	add := func(list []string, s windows.SocketAddress) []string {
		ip, ok := netip.AddrFromSlice(s.IP())
		if text := ip.Unmap().String(); ok && !slices.Contains(list, text) && len(list) < 8 && !strings.HasPrefix(text, "fec0:") {
			return append(list, text)
		}
		return list
	}
	for g := a.FirstGatewayAddress; g != nil; g = g.Next {
		n.Gateways = add(n.Gateways, g.Address)
	}
	for d := a.FirstDnsServerAddress; d != nil; d = d.Next {
		n.DNS = add(n.DNS, d.Address)
	}
	if s := clean(windows.UTF16PtrToString(a.DnsSuffix)); s != "" && !slices.Contains(n.Search, s) && len(n.Search) < 8 {
		n.Search = append(n.Search, s)
	}
}

// userInfo3 is the beginning of USER_INFO_3 as far as it is used.
type userInfo3 struct {
	Name, Password         *uint16
	PasswordAge, Privilege uint32
	HomeDir, Comment       *uint16
	Flags                  uint32
	ScriptPath             *uint16
	AuthFlags              uint32
	FullName               *uint16
	_                      [3]*uint16 // comment, parameters, workstations
	_                      [4]uint32  // last logon, last logoff, expiry, storage
	_                      uint32     // units per week
	_                      *byte      // logon hours
	_                      [2]uint32  // bad passwords, logons
	_                      *uint16    // logon server
	_                      [2]uint32  // country, code page
	UserID, GroupID        uint32
	_                      [2]*uint16 // profile, home drive
	_                      uint32     // password expired
}

const (
	filterNormalAccount = 2
	accountDisabled     = 2
	privilegeAdmin      = 2
)

func readUsers(ctx context.Context) (usersSection, error) {
	out := usersSection{Accounts: []userAccount{}, LoggedIn: loggedInUsers()}
	var resume uint32
	for {
		var buf *byte
		var read, total uint32
		err := windows.NetUserEnum(nil, 3, filterNormalAccount, &buf, 64<<10, &read, &total, &resume)
		if err != nil && !errors.Is(err, windows.ERROR_MORE_DATA) {
			if errors.Is(err, windows.Errno(2453)) || ctx.Err() != nil { // a domain controller that cannot be asked
				return out, nil
			}
			return out, fmt.Errorf("reading accounts: %w", err)
		}
		for _, u := range unsafe.Slice((*userInfo3)(unsafe.Pointer(buf)), read) {
			out.Accounts = append(out.Accounts, userAccount{Name: clean(windows.UTF16PtrToString(u.Name)), FullName: known(windows.UTF16PtrToString(u.FullName)),
				ID: strconv.FormatUint(uint64(u.UserID), 10), Admin: u.Privilege == privilegeAdmin, Disabled: u.Flags&accountDisabled != 0,
				Home: known(windows.UTF16PtrToString(u.HomeDir))})
		}
		_ = windows.NetApiBufferFree(buf)
		if err == nil || len(out.Accounts) >= maxAccounts {
			break
		}
	}
	slices.SortFunc(out.Accounts, func(a, b userAccount) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// loggedInUsers names the user of every session.
func loggedInUsers() []string {
	names := []string{}
	var first *windows.WTS_SESSION_INFO
	var count uint32
	if windows.WTSEnumerateSessions(0, 0, 1, &first, &count) != nil {
		return names
	}
	defer windows.WTSFreeMemory(uintptr(unsafe.Pointer(first)))
	for _, s := range unsafe.Slice(first, count) {
		var token windows.Token
		if windows.WTSQueryUserToken(s.SessionID, &token) != nil {
			continue // a session without a user
		}
		a := &account{platformAccount: platformAccount{token: token}}
		if a.describe() == nil && !slices.Contains(names, a.name) && len(names) < 64 {
			names = append(names, clean(a.name))
		}
		a.close()
	}
	slices.Sort(names)
	return names
}

func readSoftware(context.Context) (softwareSection, error) {
	var list []softwarePackage
	for _, from := range []struct {
		root registry.Key
		path string
		arch string
		view uint32
	}{
		{registry.LOCAL_MACHINE, `SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall`, "x64", registry.WOW64_64KEY},
		{registry.LOCAL_MACHINE, `SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall`, "x86", registry.WOW64_32KEY},
	} {
		list = append(list, uninstallKeys(from.root, from.path, from.arch, from.view)...)
	}
	if users, err := registry.USERS.ReadSubKeyNames(-1); err == nil { // what users installed for themselves
		for _, sid := range users[:min(len(users), 100)] {
			list = append(list, uninstallKeys(registry.USERS, sid+`\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall`, "", 0)...)
		}
	}
	return sortedPackages(list), nil
}

func uninstallKeys(root registry.Key, path, arch string, view uint32) []softwarePackage {
	k, err := registry.OpenKey(root, path, registry.ENUMERATE_SUB_KEYS|view)
	if err != nil {
		return nil
	}
	defer k.Close()
	names, _ := k.ReadSubKeyNames(maxItems) // io.EOF when there are fewer
	var list []softwarePackage
	for _, name := range names {
		sub, err := registry.OpenKey(root, path+`\`+name, registry.QUERY_VALUE|view)
		if err != nil {
			continue
		}
		e := uninstallEntry{Name: regText(sub, "DisplayName"), Version: regText(sub, "DisplayVersion"), Publisher: regText(sub, "Publisher"),
			Date: regText(sub, "InstallDate"), ParentName: regText(sub, "ParentKeyName"), ReleaseType: regText(sub, "ReleaseType"), Arch: arch}
		e.SystemComponent, _, _ = sub.GetIntegerValue("SystemComponent")
		sub.Close()
		if p, ok := uninstallPackage(e); ok {
			list = append(list, p)
		}
	}
	return list
}

func readServices(ctx context.Context) (servicesSection, error) {
	m, err := mgr.Connect()
	if err != nil {
		return servicesSection{}, fmt.Errorf("asking the service manager: %w", err)
	}
	defer m.Disconnect()
	names, err := m.ListServices()
	if err != nil {
		return servicesSection{}, fmt.Errorf("asking the service manager: %w", err)
	}
	var list []service
	for _, name := range names[:min(len(names), maxItems)] {
		if ctx.Err() != nil {
			return servicesSection{}, ctx.Err()
		}
		s, err := m.OpenService(name)
		if err != nil {
			continue // some let nobody look
		}
		list = append(list, describeService(name, s))
		s.Close()
	}
	return mergeServices(list, nil), nil
}

func describeService(name string, s *mgr.Service) service {
	out := service{Name: clean(name), State: "stopped", Start: "unknown"}
	if c, err := s.Config(); err == nil {
		out.Title = known(c.DisplayName)
		switch c.StartType {
		case mgr.StartAutomatic:
			out.Start = "automatic"
		case mgr.StartManual:
			out.Start = "manual"
		case mgr.StartDisabled:
			out.Start = "disabled"
		}
	}
	if q, err := s.Query(); err == nil {
		switch q.State {
		case svc.Running:
			out.State = "running"
		case svc.StartPending, svc.ContinuePending:
			out.State = "starting"
		case svc.StopPending, svc.PausePending:
			out.State = "stopping"
		}
	}
	return out
}
