package runner

import (
	"context"
	"os"
	"path/filepath"
	"strings"
)

func bootID() string {
	ctx, cancel := context.WithTimeout(context.Background(), sectionTimeout)
	defer cancel()
	out, _ := ask(ctx, "sysctl", "-n", "kern.bootsessionuuid") // without it a restart shows by its time
	return strings.TrimSpace(string(out))
}

func readSystem(ctx context.Context) system {
	out, err := ask(ctx, "sw_vers")
	if err != nil {
		return system{Name: "macOS"}
	}
	return parseSwVers(string(out))
}

// zoneName follows the link of the local time.
func zoneName() string {
	target, err := filepath.EvalSymlinks("/etc/localtime")
	if err != nil {
		return ""
	}
	if _, name, ok := strings.Cut(target, "zoneinfo/"); ok {
		return name
	}
	_, name, _ := strings.Cut(target, "zoneinfo.default/")
	return name
}

func profileOf(ctx context.Context, types ...string) (profile, error) {
	out, err := ask(ctx, "system_profiler", append([]string{"-json"}, types...)...)
	if err != nil {
		return profile{}, err
	}
	return parseProfile(out)
}

func serialNumber(ctx context.Context) string {
	h, err := readHardware(ctx)
	if err != nil {
		return ""
	}
	return value(h.Serial)
}

func readHardware(ctx context.Context) (hardwareSection, error) {
	p, err := profileOf(ctx, "SPHardwareDataType")
	if err != nil {
		return hardwareSection{}, err
	}
	h := p.hardware()
	h.Processors = processors(ctx)
	return h, nil
}

func memoryModules(ctx context.Context) []memoryModule {
	p, err := profileOf(ctx, "SPMemoryDataType")
	if err != nil {
		return nil
	}
	return p.memory()
}

func readDisks(ctx context.Context) (disksSection, error) {
	p, err := profileOf(ctx, "SPNVMeDataType", "SPSerialATADataType")
	if err != nil {
		return disksSection{}, err
	}
	return p.disks(), nil
}

func readNetwork(ctx context.Context) (networkSection, error) {
	list, err := interfaces()
	if err != nil {
		return networkSection{}, err
	}
	n := networkSection{Interfaces: list}
	route, _ := ask(ctx, "route", "-n", "get", "default") // fails when there is no way out
	n.Gateways = parseGateway(string(route))
	dns, _ := ask(ctx, "scutil", "--dns")
	n.DNS, n.Search = parseScutilDNS(string(dns))
	return n, nil
}

func readUsers(ctx context.Context) (usersSection, error) {
	list := func(attribute string) (map[string]string, error) {
		out, err := ask(ctx, "dscl", ".", "-list", "/Users", attribute)
		return parseDscl(string(out)), err
	}
	uids, err := list("UniqueID")
	if err != nil {
		return usersSection{}, err
	}
	names, _ := list("RealName") // accounts are worth listing without it, as without the next two
	homes, _ := list("NFSHomeDirectory")
	shells, _ := list("UserShell")
	group, _ := ask(ctx, "dscl", ".", "-read", "/Groups/admin", "GroupMembership")
	_, members, _ := strings.Cut(string(group), ":")
	return usersSection{Accounts: macAccounts(uids, names, homes, shells, strings.Fields(members)), LoggedIn: loggedIn(ctx)}, nil
}

func readSoftware(ctx context.Context) (softwareSection, error) {
	p, err := profileOf(ctx, "SPApplicationsDataType")
	if err != nil {
		return softwareSection{}, err
	}
	list := p.applications()
	if f, err := os.Open("/Library/Receipts/InstallHistory.plist"); err == nil {
		defer f.Close()
		receipts, err := parseReceipts(f)
		if err != nil {
			return softwareSection{}, err
		}
		list = append(list, receipts...)
	}
	return sortedPackages(list), nil
}

func readServices(ctx context.Context) (servicesSection, error) {
	out, err := ask(ctx, "launchctl", "list")
	if err != nil {
		return servicesSection{}, err
	}
	return parseLaunchctl(string(out)), nil
}
