package runner

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/shirou/gopsutil/v4/host"
)

var root = os.DirFS("/")

// file is a small file's text, empty when it cannot be read.
func file(name string) string {
	text, err := fs.ReadFile(root, name)
	if err != nil || len(text) > 4<<20 {
		return ""
	}
	return strings.TrimRight(string(text), "\n")
}

func bootID() string { return file("proc/sys/kernel/random/boot_id") }

func readSystem(context.Context) system {
	text := file("etc/os-release")
	if text == "" {
		text = file("usr/lib/os-release")
	}
	r := parseOSRelease(text)
	s := system{Name: r["NAME"], Version: r["VERSION_ID"], Build: r["BUILD_ID"]}
	if s.Name == "" {
		s.Name = "Linux"
	}
	if s.Version == "" {
		s.Version = r["VERSION_CODENAME"] // rolling and testing releases
	}
	return s
}

// zoneName follows the link of the local time.
func zoneName() string {
	if target, err := filepath.EvalSymlinks("/etc/localtime"); err == nil {
		if _, name, ok := strings.Cut(target, "zoneinfo/"); ok {
			return strings.TrimPrefix(strings.TrimPrefix(name, "posix/"), "right/")
		}
	}
	return file("etc/timezone")
}

// firmwareTable is read as root; others get what the kernel shows everybody.
func firmwareTable() smbios {
	if table, err := fs.ReadFile(root, "sys/firmware/dmi/tables/DMI"); err == nil {
		return parseSMBIOS(table)
	}
	return dmiFiles(root)
}

func dmiFiles(root fs.FS) smbios {
	read := func(name string) *string {
		text, _ := fs.ReadFile(root, "sys/class/dmi/id/"+name)
		return known(string(text))
	}
	var b smbios
	b.firmware = firmware{Vendor: read("bios_vendor"), Version: read("bios_version"), Date: read("bios_date")}
	b.system.manufacturer, b.system.model, b.system.serial, b.system.sku = read("sys_vendor"), read("product_name"), read("product_serial"), read("product_sku")
	b.board = board{Manufacturer: read("board_vendor"), Model: read("board_name"), Serial: read("board_serial")}
	b.assetTag = read("chassis_asset_tag")
	for _, digit := range value(read("chassis_type")) {
		if digit < '0' || digit > '9' {
			break
		}
		b.chassis = b.chassis*10 + byte(digit-'0')
	}
	return b
}

func serialNumber(context.Context) string { return value(firmwareTable().hardware().Serial) }

func readHardware(ctx context.Context) (hardwareSection, error) {
	h := firmwareTable().hardware()
	if h.Model == nil {
		h.Model = known(strings.TrimRight(file("proc/device-tree/model"), "\x00")) // boards without firmware tables
	}
	h.Processors = processors(ctx)
	if what, role, err := host.VirtualizationWithContext(ctx); err == nil && role == "guest" {
		switch what {
		case "docker", "lxc", "rkt", "systemd-nspawn", "podman":
			h.Kind = "container"
		default:
			h.Kind = "virtual"
		}
		if h.Hypervisor == nil {
			h.Hypervisor = known(what)
		}
	}
	if _, err := fs.Stat(root, ".dockerenv"); err == nil {
		h.Kind = "container"
	}
	return h, nil
}

func memoryModules(context.Context) []memoryModule { return firmwareTable().modules }

func readDisks(context.Context) (disksSection, error) { return blockDisks(root), nil }

func readNetwork(context.Context) (networkSection, error) {
	list, err := interfaces()
	if err != nil {
		return networkSection{}, err
	}
	n := networkSection{Interfaces: list, Gateways: parseRoutes(file("proc/net/route"), file("proc/net/ipv6_route"))}
	n.DNS, n.Search = parseResolv(file("etc/resolv.conf"))
	return n, nil
}

func readUsers(ctx context.Context) (usersSection, error) {
	return usersSection{Accounts: parseAccounts(file("etc/passwd"), file("etc/group"), lockedIn(file("etc/shadow"))), LoggedIn: loggedIn(ctx)}, nil
}

func readSoftware(ctx context.Context) (softwareSection, error) {
	dpkg, err := dpkgPackages(root)
	if err != nil {
		return softwareSection{}, err
	}
	rpm, err := rpmPackages(ctx, root)
	if err != nil {
		return softwareSection{}, err
	}
	return sortedPackages(append(dpkg, rpm...)), nil
}

// readServices asks systemd; a system without it has no services that we could name.
func readServices(ctx context.Context) (servicesSection, error) {
	if _, err := fs.Stat(root, "run/systemd/system"); err != nil {
		return mergeServices(nil, nil), nil
	}
	loaded, err := ask(ctx, "systemctl", "show", "*.service", "--all", "--no-pager", "--property=Id,Description,LoadState,ActiveState,UnitFileState")
	if errors.Is(err, exec.ErrNotFound) {
		return mergeServices(nil, nil), nil
	}
	if err != nil {
		return servicesSection{}, err
	}
	files, err := ask(ctx, "systemctl", "list-unit-files", "--type=service", "--no-legend", "--no-pager", "--plain")
	if err != nil {
		return servicesSection{}, err
	}
	return mergeServices(parseUnits(string(loaded)), parseUnitFiles(string(files))), nil
}
