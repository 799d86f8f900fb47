// Command reeve-endpoint joins a device to a Reeve server and carries out the signed tasks that the
// server gives it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
	_ "time/tzdata" // Windows has no zone database

	"reeve/endpoint/agent"
	"reeve/endpoint/runner"
)

// version is set when the binary is built for a release.
var version = "dev"

const usage = `reeve-endpoint joins this device to a Reeve server and carries out its tasks.

  reeve-endpoint enrol --server URL --token TOKEN [--data DIR] [--insecure-http]
  reeve-endpoint run [--data DIR]             stay in the foreground and serve
  reeve-endpoint status [--data DIR] [--json] what this device knows of itself
  reeve-endpoint install [--data DIR]         run as a service of this system
  reeve-endpoint uninstall [--data DIR]       remove the service; the data folder stays
  reeve-endpoint version

The owner of a device has the last word: a file STOP in the data folder refuses all tasks, and
policy.json {"deny_kinds": ["script.*"]} some of them. tasks.log there lists what was done.
`

// errUsage was told already.
var errUsage = errors.New("usage")

func main() {
	// An endpoint is a guest: it gives memory back early.
	debug.SetGCPercent(40)
	err := command(os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, errUsage):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "reeve-endpoint:", err)
		os.Exit(1)
	}
}

// flags are those of all commands; each command uses its own.
type flags struct {
	server, token, data, level string
	insecure, json             bool
}

func command(args []string, out, errs io.Writer) error {
	if len(args) == 0 {
		fmt.Fprint(errs, usage)
		return errUsage
	}
	name := args[0]
	f, err := parse(name, args[1:], errs)
	if err != nil {
		return err
	}
	log := newLog(errs, f.level)
	switch name {
	case "enrol":
		return enrol(f, out, log)
	case "run":
		return run(f, log)
	case "status":
		return status(f, out)
	case "install":
		return install(f, out)
	case "uninstall":
		return uninstall(f, out)
	case "version":
		_, err := fmt.Fprintf(out, "reeve-endpoint %s %s/%s\n", buildVersion(), runtime.GOOS, runtime.GOARCH)
		return err
	case "help", "-h", "--help":
		_, err := fmt.Fprint(out, usage)
		return err
	}
	fmt.Fprintf(errs, "there is no command %q\n\n%s", name, usage)
	return errUsage
}

func parse(name string, args []string, errs io.Writer) (flags, error) {
	var f flags
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(errs)
	set.StringVar(&f.data, "data", defaultDir(), "folder of the device's key and state")
	set.StringVar(&f.level, "log", "info", "debug, info, warn or error")
	switch name {
	case "enrol":
		set.StringVar(&f.server, "server", "", "address of the server, such as https://reeve.example")
		set.StringVar(&f.token, "token", os.Getenv("REEVE_ENROL_TOKEN"), "enrolment token; the environment variable REEVE_ENROL_TOKEN keeps it out of the list of processes")
		set.BoolVar(&f.insecure, "insecure-http", false, "allow plain http to another machine")
	case "status":
		set.BoolVar(&f.json, "json", false, "print JSON")
	}
	if err := set.Parse(args); err != nil {
		return f, errUsage
	}
	if set.NArg() > 0 {
		fmt.Fprintf(errs, "%s takes no argument %q\n", name, set.Arg(0))
		return f, errUsage
	}
	return f, nil
}

func newLog(w io.Writer, level string) *slog.Logger {
	var l slog.Level
	if l.UnmarshalText([]byte(level)) != nil {
		l = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: l}))
}

// buildVersion is the release, or the commit of a build without one.
func buildVersion() string {
	if version != "dev" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return "dev-" + s.Value[:12]
			}
		}
	}
	return version
}

func enrol(f flags, out io.Writer, log *slog.Logger) error {
	if f.server == "" || f.token == "" {
		return errors.New("enrol needs --server and --token")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	facts := runner.HostFacts()
	e, err := agent.Enrol(ctx, agent.Enrolment{
		Dir: agent.Dir(f.data), Server: f.server, Token: f.token, InsecureHTTP: f.insecure, Version: buildVersion(),
		Host: agent.Host{Hostname: facts.Hostname, OSName: facts.OSName, OSVersion: facts.OSVersion, MachineID: facts.MachineID, Serial: facts.Serial},
	}, log)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "This device has joined as %s.\n", e.DeviceID)
	if e.State == "pending" {
		fmt.Fprintln(out, "It waits for somebody to approve it; until then it gets no work.")
	}
	_, err = fmt.Fprintf(out, "Next: reeve-endpoint install --data %s (a service), or reeve-endpoint run --data %s (the foreground).\n", f.data, f.data)
	return err
}

func run(f flags, log *slog.Logger) error {
	debug.SetMemoryLimit(48 << 20)
	if !interactive() {
		return runService(f, log)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return serve(ctx, f, log)
}

func serve(ctx context.Context, f flags, log *slog.Logger) error {
	return agent.Run(ctx, agent.Options{
		Dir: agent.Dir(f.data), Version: buildVersion(), Log: log, Now: time.Now,
		Live: map[string]agent.LiveHandler{"echo": agent.Echo},
	})
}

func status(f flags, out io.Writer) error {
	s, err := agent.ReadStatus(agent.Dir(f.data))
	if err != nil {
		return err
	}
	if f.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(s)
	}
	_, err = io.WriteString(out, describe(s, time.Now()))
	return err
}

// describe is the status for people.
func describe(s agent.Status, now time.Time) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-16s %s\n", name, fmt.Sprintf(format, args...))
	}
	if !s.Enrolled {
		line("enrolled", "no")
		return b.String()
	}
	line("enrolled", "since %s", s.EnrolledAt.Local().Format(time.DateTime))
	line("server", "%s", s.Server)
	line("device", "%s", s.DeviceID)
	if s.CAFingerprint != "" {
		line("pinned CA", "%s", s.CAFingerprint)
	}
	line("task keys", "%s", strings.Join(s.TaskKeys, ", "))
	line("running", "%s", yes(s.Running))
	if l := s.Live; l != nil {
		if l.State != "" {
			line("state", "%s", l.State)
		}
		if !l.LastSync.IsZero() {
			line("last sync", "%s ago", now.Sub(l.LastSync).Round(time.Second))
		}
		if l.LastError != "" {
			line("last error", "%s", l.LastError)
		}
		if s.Running {
			line("WebSocket", "%s", yes(l.Connected))
			line("tasks", "%d running", len(l.RunningTasks))
		}
		if skew := time.Duration(l.SkewMS) * time.Millisecond; skew.Abs() > 5*time.Second {
			line("clock", "%s ahead of the server", skew.Round(time.Second))
		}
		line("to be told", "updates %s, %d events", yes(l.Waiting), l.Events)
	}
	line("task log", "%d lines, %s", s.TaskLogLines, map[bool]string{true: "intact", false: "CHANGED OR DAMAGED"}[s.TaskLogIntact])
	if s.KillSwitch {
		line("kill switch", "on: the file STOP refuses all tasks")
	}
	if len(s.DenyKinds) > 0 {
		line("denied here", "%s", strings.Join(s.DenyKinds, ", "))
	}
	return b.String()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
