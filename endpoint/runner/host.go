package runner

import (
	"context"
	"os"
	"time"

	"github.com/shirou/gopsutil/v4/host"
)

// Facts are what a device says of itself when it joins and with each sync.
type Facts struct {
	Hostname, OSName, OSVersion string
	MachineID, Serial           string
	BootID                      string
	BootAt                      time.Time
}

// HostFacts reads them; what cannot be read stays empty.
func HostFacts() Facts {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var f Facts
	f.Hostname, _ = os.Hostname()
	if info, err := host.InfoWithContext(ctx); err == nil {
		f.MachineID = info.HostID
		if info.BootTime > 0 {
			f.BootAt = time.Unix(int64(info.BootTime), 0).UTC()
		}
	}
	f.BootID = bootID()
	system := readSystem(ctx)
	f.OSName, f.OSVersion = system.Name, system.Version
	f.Serial = serialNumber(ctx)
	return f
}

// Zone is the IANA name of the device's time zone, empty when it cannot be told. It is read each
// time, because devices travel.
func (Facts) Zone() string { return zoneName() }
