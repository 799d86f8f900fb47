package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"

	"github.com/kardianos/service"

	"reeve/endpoint/agent"
)

const serviceName = "reeve-endpoint"

// program is the endpoint under a service manager.
type program struct {
	f      flags
	log    *slog.Logger
	cancel context.CancelFunc
	done   chan error
}

var _ service.Interface = (*program)(nil)

// Start returns at once, as service managers want it.
func (p *program) Start(s service.Service) error {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel, p.done = cancel, make(chan error, 1)
	go func() {
		err := serve(ctx, p.f, p.log)
		p.done <- err
		if err != nil {
			p.log.Error("the endpoint ended", "error", err)
			os.Exit(1) // the service manager starts it again
		}
	}()
	return nil
}

// Stop waits for the goodbye.
func (p *program) Stop(service.Service) error {
	p.cancel()
	return <-p.done
}

// defaultDir is where a service of this system keeps its state.
func defaultDir() string {
	switch runtime.GOOS {
	case "windows":
		if dir := os.Getenv("ProgramData"); dir != "" {
			return filepath.Join(dir, "Reeve", "endpoint")
		}
		return `C:\ProgramData\Reeve\endpoint`
	case "darwin":
		return "/Library/Application Support/Reeve/endpoint"
	}
	return "/var/lib/reeve-endpoint"
}

// interactive is false under a service manager. Where signals say all there is to say (systemd,
// launchd) both ways are the same.
func interactive() bool { return runtime.GOOS != "windows" || service.Interactive() }

// newService describes the service; the options that a platform does not know it ignores.
func newService(f flags, log *slog.Logger) (service.Service, error) {
	data, err := filepath.Abs(f.data)
	if err != nil {
		return nil, fmt.Errorf("the data folder: %w", err)
	}
	f.data = data
	s, err := service.New(&program{f: f, log: log}, &service.Config{
		Name: serviceName, DisplayName: "Reeve endpoint", Description: "Joins this device to a Reeve server and carries out its tasks.",
		Arguments:    []string{"run", "--data", data},
		Dependencies: dependencies(),
		Option: service.KeyValue{
			"Restart": "always", "SystemdScript": systemdUnit, // systemd
			"RunAtLoad": true, "KeepAlive": true, // launchd
			"OnFailure": "restart", "OnFailureDelayDuration": "10s", "DelayedAutoStart": false, // Windows
		},
	})
	if err != nil {
		return nil, fmt.Errorf("describing the service: %w", err)
	}
	return s, nil
}

func dependencies() []string {
	if runtime.GOOS == "linux" {
		return []string{"Wants=network-online.target", "After=network-online.target"}
	}
	return nil
}

// systemdUnit gives the endpoint time for its goodbye, and leaves it to the endpoint to end what its
// tasks started: a service that a script began should outlive it. A proxy is named in the file under
// /etc/default.
const systemdUnit = `[Unit]
Description={{Description}}
ConditionFileIsExecutable={{Path | cmdEscape}}
{{range Dependencies}}{{.}}
{{end}}
[Service]
ExecStart={{Path | cmdEscape}}{{range Arguments}} {{. | cmd}}{{end}}
EnvironmentFile=-/etc/default/{{Name}}
Restart=always
RestartSec=5
KillMode=process
TimeoutStopSec=30
LimitNOFILE=8192
Nice=5

[Install]
WantedBy=multi-user.target
`

func runService(f flags, log *slog.Logger) error {
	s, err := newService(f, log)
	if err != nil {
		return err
	}
	return s.Run()
}

func install(f flags, out io.Writer) error {
	known, err := agent.ReadStatus(agent.Dir(f.data))
	if err != nil {
		return err
	}
	if !known.Enrolled {
		return agent.ErrNotEnrolled
	}
	s, err := newService(f, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	if err := s.Install(); err != nil {
		return fmt.Errorf("installing the service: %w", err)
	}
	if err := s.Start(); err != nil {
		return fmt.Errorf("the service is installed and did not start: %w", err)
	}
	_, err = fmt.Fprintf(out, "The service %s is installed and runs.\n", serviceName)
	return err
}

func uninstall(f flags, out io.Writer) error {
	s, err := newService(f, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	if _, err := s.Status(); errors.Is(err, service.ErrNotInstalled) {
		_, err := fmt.Fprintln(out, "The service is not installed.")
		return err
	}
	_ = s.Stop() // it may be stopped already
	if err := s.Uninstall(); err != nil {
		return fmt.Errorf("removing the service: %w", err)
	}
	_, err = fmt.Fprintf(out, "The service %s is removed. The data folder %s stays; delete it to forget the enrolment.\n", serviceName, f.data)
	return err
}
