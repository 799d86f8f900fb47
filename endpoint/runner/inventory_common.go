package runner

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/shirou/gopsutil/v4/cpu"
	gdisk "github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/mem"
)

// sectionReaders are the sections of this platform. What is common to all is here; what differs is
// in the file of the platform under the same names.
func sectionReaders() map[string]func(context.Context) (any, error) {
	return map[string]func(context.Context) (any, error){
		"os":       func(ctx context.Context) (any, error) { return readOS(ctx) },
		"hardware": func(ctx context.Context) (any, error) { return readHardware(ctx) },
		"memory":   func(ctx context.Context) (any, error) { return readMemory(ctx) },
		"disks":    func(ctx context.Context) (any, error) { return readDisks(ctx) },
		"volumes":  func(ctx context.Context) (any, error) { return readVolumes(ctx) },
		"network":  func(ctx context.Context) (any, error) { return readNetwork(ctx) },
		"users":    func(ctx context.Context) (any, error) { return readUsers(ctx) },
		"software": func(ctx context.Context) (any, error) { return readSoftware(ctx) },
		"services": func(ctx context.Context) (any, error) { return readServices(ctx) },
	}
}

// system is the name of the operating system.
type system struct{ Name, Version, Build string }

func readOS(ctx context.Context) (osSection, error) {
	name, err := os.Hostname()
	if err != nil {
		return osSection{}, fmt.Errorf("reading the host name: %w", err)
	}
	s := readSystem(ctx)
	kernel, _ := host.KernelVersionWithContext(ctx)
	return osSection{Hostname: clean(name), Family: runtime.GOOS, Name: clean(s.Name), Version: clean(s.Version), Build: known(s.Build),
		Kernel: known(kernel), Arch: runtime.GOARCH, Zone: known(zoneName())}, nil
}

// processors sums the logical processors up by socket. Clock rates are left out: they change by the
// second.
func processors(ctx context.Context) []processor {
	infos, err := cpu.InfoWithContext(ctx)
	if err != nil {
		return []processor{}
	}
	type socket struct {
		processor
		cores map[string]bool
		sum   int
	}
	sockets := map[string]*socket{}
	var order []string
	for _, i := range infos {
		s := sockets[i.PhysicalID]
		if s == nil {
			s = &socket{processor: processor{Model: clean(i.ModelName), Vendor: known(i.VendorID)}, cores: map[string]bool{}}
			sockets[i.PhysicalID] = s
			order = append(order, i.PhysicalID)
		}
		s.cores[i.CoreID] = true
		s.sum += int(i.Cores)
		s.Threads++
	}
	list := []processor{}
	for _, id := range order {
		s := sockets[id]
		s.Cores = len(s.cores)
		if len(infos) == len(order) { // Windows and macOS count per socket
			s.Cores, s.Threads = s.sum, s.sum
			if n, err := cpu.CountsWithContext(ctx, true); err == nil && len(order) == 1 {
				s.Threads = n
			}
			if n, err := cpu.CountsWithContext(ctx, false); err == nil && len(order) == 1 && n > 0 {
				s.Cores = n
			}
		}
		list = append(list, s.processor)
	}
	return list
}

func readMemory(ctx context.Context) (memorySection, error) {
	m, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return memorySection{}, fmt.Errorf("reading memory: %w", err)
	}
	const mib = 1 << 20 // kernels reserve a little more or less at each start
	out := memorySection{TotalBytes: m.Total / mib * mib, Modules: memoryModules(ctx)}
	if s, err := mem.SwapMemoryWithContext(ctx); err == nil {
		out.SwapBytes = s.Total / mib * mib
	}
	if out.Modules == nil {
		out.Modules = []memoryModule{}
	}
	return out, nil
}

// pseudo are file systems that hold nothing of their own.
var pseudo = []string{"squashfs", "overlay", "tmpfs", "devtmpfs", "ramfs", "autofs", "efivarfs", "fuse.snapfuse", "nsfs", "devfs", "iso9660"}

func readVolumes(ctx context.Context) (volumesSection, error) {
	out := volumesSection{Volumes: []volume{}}
	parts, err := gdisk.PartitionsWithContext(ctx, false)
	if err != nil && len(parts) == 0 {
		return out, fmt.Errorf("reading volumes: %w", err)
	}
	seen := map[string]bool{}
	for _, p := range parts {
		if seen[p.Device] || slices.Contains(pseudo, p.Fstype) || len(out.Volumes) >= 256 {
			continue // a device that is mounted twice is one volume
		}
		u, err := gdisk.UsageWithContext(ctx, p.Mountpoint)
		if err != nil || u.Total == 0 {
			continue
		}
		seen[p.Device] = true
		out.Volumes = append(out.Volumes, volume{Mount: clean(p.Mountpoint), Device: clean(p.Device), FileSystem: clean(p.Fstype),
			SizeBytes: u.Total, UsedPercent: int(u.UsedPercent+2.5) / 5 * 5})
	}
	slices.SortFunc(out.Volumes, func(a, b volume) int {
		return cmp.Or(strings.Compare(a.Mount, b.Mount), strings.Compare(a.Device, b.Device))
	})
	return out, nil
}

// virtualInterfaces come and go with containers.
var virtualInterfaces = []string{"veth", "cali", "flannel", "cni", "lxc", "tap", "vnet"}

// interfaces reads what every platform tells alike.
func interfaces() ([]networkInterface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("reading network interfaces: %w", err)
	}
	list := []networkInterface{}
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 || len(list) >= 128 ||
			slices.ContainsFunc(virtualInterfaces, func(p string) bool { return strings.HasPrefix(i.Name, p) }) {
			continue
		}
		n := networkInterface{Name: clean(i.Name), MAC: known(i.HardwareAddr.String()), Up: i.Flags&net.FlagUp != 0, MTU: i.MTU, Addresses: []string{}}
		addrs, _ := i.Addrs() // an interface that just went has none
		for _, a := range addrs {
			if len(n.Addresses) < 64 {
				n.Addresses = append(n.Addresses, a.String())
			}
		}
		slices.Sort(n.Addresses)
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b networkInterface) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// loggedIn are the names of who is signed in, each once.
func loggedIn(ctx context.Context) []string {
	names := []string{}
	users, _ := host.UsersWithContext(ctx) // without utmp nobody is known to be
	for _, u := range users {
		if name := clean(u.User); name != "" && !slices.Contains(names, name) && len(names) < 64 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
