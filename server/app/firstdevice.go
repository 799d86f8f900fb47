package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"reeve/server/fleet"
	"reeve/tenants"
	"reeve/tenants/scope"
)

// firstDevice enrols this machine as the first device of a first tenant and keeps its endpoint running
// as long as the server runs. It is what "make run" shows; production machines run their own service.
type firstDevice struct {
	binary string
	data   string // folder of the endpoint
	url    string
	o      Options
	done   chan struct{}
	cancel context.CancelFunc
}

// The tenant and site that a new installation begins with; an administrator renames them at will.
const (
	firstTenant = "First client"
	firstSite   = "Main office"
)

// enrolled tells whether the endpoint has an identity: the folder of a device that joined is never
// given another.
func (f *firstDevice) enrolled() (bool, error) {
	_, err := os.Stat(filepath.Join(f.data, "device.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// prepare enrols the machine unless it is enrolled already.
func (f *firstDevice) prepare(ctx context.Context, clients *tenants.Service, devices *fleet.Service) error {
	there, err := f.enrolled()
	if err != nil || there {
		return err
	}
	ctx = scope.AsSystem(ctx, "first device")
	tenant, site, err := firstPlace(ctx, clients)
	if err != nil {
		return fmt.Errorf("making a place for the first device: %w", err)
	}
	soon := time.Now().Add(10 * time.Minute)
	_, token, _, err := devices.CreateToken(ctx, fleet.NewToken{TenantID: tenant, SiteID: site, Label: "this machine", MaxUses: 1, ExpiresAt: &soon})
	if err != nil {
		return fmt.Errorf("making a token for the first device: %w", err)
	}
	// The token is good for one use and ten minutes; it is handed over in the environment, because
	// arguments are visible to every user of the machine.
	cmd := exec.CommandContext(ctx, f.binary, "enrol", "--server", f.url, "--data", f.data)
	cmd.Env = append(withoutOurs(), "REEVE_ENROL_TOKEN="+token)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("enrolling this machine: %w: %s", err, out)
	}
	return nil
}

// withoutOurs is the environment without the server's own settings: passwords and database logins are
// none of the endpoint's business, nor of the scripts that it runs.
func withoutOurs() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "REEVE_") })
}

// firstPlace is the first site of the first tenant, made when there is none.
func firstPlace(ctx context.Context, clients *tenants.Service) (tenant, site uuid.UUID, err error) {
	active := tenants.Active
	page, _, err := clients.List(ctx, tenants.TenantFilter{State: &active}, "", 2)
	if err != nil {
		return tenant, site, err
	}
	for _, t := range page {
		if t.ID != uuid.UUID(scope.Provider) {
			tenant = t.ID
		}
	}
	if tenant == uuid.Nil {
		made, err := clients.Create(ctx, tenants.NewTenant{Name: firstTenant, FirstSite: firstSite})
		if err != nil {
			return tenant, site, err
		}
		tenant = made.ID
	}
	sites, _, err := clients.ListSites(ctx, tenants.SiteFilter{TenantID: &tenant}, "", 1)
	if err != nil {
		return tenant, site, err
	}
	if len(sites) > 0 {
		return tenant, sites[0].ID, nil
	}
	made, err := clients.CreateSite(ctx, tenants.NewSite{TenantID: tenant, Name: firstSite})
	return tenant, made.ID, err
}

// start runs the endpoint, and runs it again when it ends by itself.
func (f *firstDevice) start(ctx context.Context) {
	ctx, f.cancel = context.WithCancel(ctx)
	f.done = make(chan struct{})
	go func() {
		defer close(f.done)
		// The kernel ends the child with the thread that made it, so the thread must live as long as we do.
		runtime.LockOSThread()
		for ctx.Err() == nil {
			err := f.runOnce(ctx)
			if ctx.Err() != nil {
				return
			}
			f.o.Log.WarnContext(ctx, "the endpoint of this machine ended; starting it again", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Second):
			}
		}
	}()
}

func (f *firstDevice) runOnce(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(f.data, "endpoint.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, f.binary, "run", "--data", f.data)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = withoutOurs()
	cmd.SysProcAttr = diesWithParent()
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd.Run()
}

// stop lets the endpoint say goodbye while the server still listens.
func (f *firstDevice) stop(ctx context.Context) error {
	f.cancel()
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
