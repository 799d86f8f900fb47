// Command reeve-server is the RMM server: API, portal, agent gateway and timetable in one binary.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"reeve/server/app"
)

const usage = `Usage: reeve-server COMMAND [flags]

  serve          run the server (the default)
  migrate        bring the database schema up to date; --print-roles prints the SQL an administrator runs once
  backup FILE    write the server's own state (database, keys, files) to an archive
  restore FILE   restore it into an empty data folder or database
  verify-audit   check the audit log's chains and say what was edited, deleted, inserted or reordered
  rescue EMAIL   let one of the provider's people in again who lost password or second factor
  rotate-keys K  put a new key in place of the one in use: task, access, checkpoint or master
  health         ask the server on this machine whether it can do its work; fails when it cannot
  version        print the version

Flags mirror the environment: --data-dir is REEVE_DATA_DIR. "reeve-server serve --help" lists them.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "reeve-server:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	command := "serve"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	var o app.Options
	fs := flag.NewFlagSet("reeve-server "+command, flag.ContinueOnError)
	logging := options(fs, &o)
	printRoles := fs.Bool("print-roles", false, "print the SQL that creates the database roles, and stop")
	if err := fs.Parse(args); err != nil {
		return err
	}
	log, err := logging()
	if err != nil {
		return err
	}
	o.Log = log
	o = o.Defaults()
	if err := o.Validate(); err != nil {
		return err
	}
	switch command {
	case "serve":
		return app.Run(ctx, o)
	case "migrate":
		if *printRoles {
			return app.PrintRoles(os.Stdout)
		}
		return app.Migrate(ctx, o)
	case "backup", "restore":
		if fs.NArg() != 1 {
			return fmt.Errorf("%s needs the path of one archive", command)
		}
		if command == "backup" {
			return app.Backup(ctx, o, fs.Arg(0))
		}
		return app.Restore(ctx, o, fs.Arg(0))
	case "verify-audit":
		return app.VerifyAudit(ctx, o, os.Stdout)
	case "rescue":
		if fs.NArg() != 1 {
			return errors.New("rescue needs the e-mail address of one of the provider's people")
		}
		return app.Rescue(ctx, o, fs.Arg(0))
	case "rotate-keys":
		if fs.NArg() != 1 {
			return errors.New("rotate-keys needs one of task, access, checkpoint, master")
		}
		return app.RotateKeys(ctx, o, fs.Arg(0))
	case "health":
		return app.Health(ctx, o)
	case "version":
		fmt.Println(app.Version())
		return nil
	case "help":
		fmt.Print(usage)
		return nil
	}
	return fmt.Errorf("there is no command %q\n\n%s", command, usage)
}

// options declares every flag with its environment variable as the default.
func options(fs *flag.FlagSet, o *app.Options) (logger func() (*slog.Logger, error)) {
	text := func(p *string, name, help string) {
		fs.StringVar(p, name, os.Getenv(variable(name)), help+" ("+variable(name)+")")
	}
	text(&o.Listen, "listen", "address to listen on, 127.0.0.1:8480 when empty")
	text(&o.MetricsListen, "metrics-listen", "address of /metrics and the profiler; empty switches them off")
	text(&o.DataDir, "data-dir", "folder of all state, ./var when empty")
	text(&o.DatabaseURL, "database-url", "PostgreSQL login of the application; empty starts a private cluster in the data folder")
	text(&o.MigrationURL, "migration-database-url", "PostgreSQL login for migrations; the database URL when empty")
	text(&o.PublicURL, "public-url", "address by which people and endpoints reach this server")
	text(&o.NATSURL, "nats-url", "NATS servers that connect several replicas")
	text(&o.MasterKeyFile, "master-key-file", "file of the master key, in the data folder when empty")
	text(&o.TLS, "tls", "auto: a private CA made at first start; off: plain HTTP")
	text(&o.TLSCertFile, "tls-cert-file", "TLS certificate (PEM)")
	text(&o.TLSKeyFile, "tls-key-file", "TLS key (PEM)")
	text(&o.AdminEmail, "admin-email", "first administrator, made only while there is no user")
	text(&o.EndpointDir, "endpoint-dir", "folder with endpoint binaries offered for download")
	text(&o.FirstDevice, "first-device", "endpoint binary to enrol and run on this machine")
	// Never a flag: arguments are visible to every user of the machine.
	o.AdminPassword = os.Getenv("REEVE_ADMIN_PASSWORD")
	plain, _ := strconv.ParseBool(os.Getenv("REEVE_PLAIN_HTTP"))
	fs.BoolVar(&o.PlainHTTP, "plain-http", plain, "allow plain HTTP on an address that is not loopback (REEVE_PLAIN_HTTP)")
	var proxies, level, format string
	text(&proxies, "trusted-proxies", "comma-separated networks whose X-Forwarded-For is believed")
	text(&level, "log-level", "debug, info, warn or error")
	text(&format, "log-format", "text or json")
	return func() (*slog.Logger, error) {
		if proxies != "" {
			o.TrustedProxies = strings.Split(proxies, ",")
		}
		return newLogger(level, format)
	}
}

func variable(name string) string {
	return "REEVE_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

func newLogger(level, format string) (*slog.Logger, error) {
	var l slog.Level
	if level != "" {
		if err := l.UnmarshalText([]byte(level)); err != nil {
			return nil, fmt.Errorf("REEVE_LOG_LEVEL: %q is not one of debug, info, warn, error", level)
		}
	}
	o := &slog.HandlerOptions{Level: l}
	switch format {
	case "", "text":
		return slog.New(slog.NewTextHandler(os.Stderr, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, o)), nil
	}
	return nil, fmt.Errorf("REEVE_LOG_FORMAT: %q is not one of text, json", format)
}
