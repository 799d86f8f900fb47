package runner

import (
	"bufio"
	"cmp"
	"context"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"
)

// parseDpkg reads dpkg's status file: paragraphs of "Field: value", continued lines indented.
func parseDpkg(status io.Reader, installed func(name, arch string) time.Time) ([]softwarePackage, error) {
	var list []softwarePackage
	fields := map[string]string{}
	flush := func() {
		if strings.HasSuffix(fields["status"], " installed") && len(list) < maxItems {
			p := softwarePackage{Name: clean(fields["package"]), Version: clean(fields["version"]), Source: "dpkg",
				Publisher: known(fields["maintainer"]), Arch: known(fields["architecture"])}
			if at := installed(fields["package"], fields["architecture"]); !at.IsZero() {
				text := at.UTC().Format(time.RFC3339)
				p.InstalledAt = &text
			}
			list = append(list, p)
		}
		clear(fields)
	}
	in := bufio.NewScanner(status)
	in.Buffer(nil, 4<<20)
	for in.Scan() {
		line := in.Text()
		if line == "" {
			flush()
			continue
		}
		if name, value, ok := strings.Cut(line, ":"); ok && line[0] != ' ' && line[0] != '\t' {
			fields[strings.ToLower(name)] = strings.TrimSpace(value)
		}
	}
	flush()
	return list, in.Err()
}

// dpkgPackages reads the database under root; there is none on other distributions.
func dpkgPackages(root fs.FS) ([]softwarePackage, error) {
	f, err := root.Open("var/lib/dpkg/status")
	if err != nil {
		return nil, nil
	}
	defer f.Close()
	return parseDpkg(f, func(name, arch string) time.Time {
		for _, file := range []string{name + ".list", name + ":" + arch + ".list"} {
			if info, err := fs.Stat(root, "var/lib/dpkg/info/"+file); err == nil {
				return info.ModTime() // dpkg writes it when it unpacks the package
			}
		}
		return time.Time{}
	})
}

const rpmFormat = `%{NAME}\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\t%{ARCH}\t%{VENDOR}\t%{INSTALLTIME}\n`

// parseRPM reads the lines of rpm -qa in rpmFormat.
func parseRPM(text string) []softwarePackage {
	var list []softwarePackage
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 5 || f[0] == "gpg-pubkey" || len(list) >= maxItems {
			continue
		}
		p := softwarePackage{Name: clean(f[0]), Version: clean(f[1]), Source: "rpm"}
		if f[2] != "(none)" {
			p.Arch = known(f[2])
		}
		if f[3] != "(none)" {
			p.Publisher = known(f[3])
		}
		if n, err := strconv.ParseInt(f[4], 10, 64); err == nil && n > 0 {
			text := time.Unix(n, 0).UTC().Format(time.RFC3339)
			p.InstalledAt = &text
		}
		list = append(list, p)
	}
	return list
}

func rpmPackages(ctx context.Context, root fs.FS) ([]softwarePackage, error) {
	found := false
	for _, dir := range []string{"var/lib/rpm", "usr/lib/sysimage/rpm"} {
		files, err := fs.ReadDir(root, dir)
		found = found || err == nil && len(files) > 0
	}
	if !found {
		return nil, nil
	}
	out, err := ask(ctx, "rpm", "-qa", "--qf", rpmFormat)
	if err != nil {
		return nil, err
	}
	return parseRPM(string(out)), nil
}

// sortedPackages makes the order a matter of content, so that the hash is too.
func sortedPackages(list []softwarePackage) softwareSection {
	slices.SortFunc(list, func(a, b softwarePackage) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version), strings.Compare(a.Source, b.Source), strings.Compare(value(a.Arch), value(b.Arch)))
	})
	list = slices.CompactFunc(list, func(a, b softwarePackage) bool {
		return a.Name == b.Name && a.Version == b.Version && a.Source == b.Source && value(a.Arch) == value(b.Arch)
	})
	if list == nil {
		list = []softwarePackage{}
	}
	return softwareSection{Packages: list[:min(len(list), maxItems)]}
}
