package app

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
)

// Options is the whole configuration of a server. Each field has a flag and an environment variable
// of the same name (see server/main.go and docs/operations.md).
type Options struct {
	Listen        string // address of the API, the portal and the endpoints
	MetricsListen string // address of /metrics and the debug pages; empty switches them off
	DataDir       string
	DatabaseURL   string // empty: a private cluster in DataDir
	MigrationURL  string // login that may become reeve_owner; DatabaseURL when empty
	PublicURL     string // how endpoints and people reach this server; made from Listen when empty
	NATSURL       string
	MasterKeyFile string // DataDir/master.key when empty

	TLS         string // "auto" (a private CA), "files" (TLSCertFile, TLSKeyFile) or "off"
	TLSCertFile string
	TLSKeyFile  string
	PlainHTTP   bool // allow plain HTTP on an address that is not loopback (behind a TLS proxy)
	// TrustedProxies are the networks whose X-Forwarded-For is believed, as CIDR.
	TrustedProxies []string

	AdminEmail    string // first administrator, made only while there is no user
	AdminPassword string // generated and printed once when empty
	EndpointDir   string // folder with the endpoint binaries that are offered for download
	FirstDevice   string // endpoint binary to enrol and run on this machine; empty: none

	Log *slog.Logger
	Out *os.File // where the few lines for people go (address, first password)
}

// Defaults fills what was left empty.
func (o Options) Defaults() Options {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:8480"
	}
	if o.DataDir == "" {
		o.DataDir = "./var"
	}
	if abs, err := filepath.Abs(o.DataDir); err == nil {
		o.DataDir = abs
	}
	if o.MigrationURL == "" {
		o.MigrationURL = o.DatabaseURL
	}
	if o.MasterKeyFile == "" {
		o.MasterKeyFile = filepath.Join(o.DataDir, "master.key")
	}
	if o.TLS == "" {
		o.TLS = "off"
		if o.TLSCertFile != "" {
			o.TLS = "files"
		}
	}
	if o.AdminEmail == "" {
		o.AdminEmail = "admin@reeve.local"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Out == nil {
		o.Out = os.Stdout
	}
	return o
}

// Validate joins every fault of the configuration, each with what would be right.
func (o Options) Validate() error {
	var errs []error
	host, _, err := net.SplitHostPort(o.Listen)
	if err != nil {
		errs = append(errs, fmt.Errorf("REEVE_LISTEN: %q is not host:port", o.Listen))
	}
	switch o.TLS {
	case "auto", "off":
	case "files":
		if o.TLSCertFile == "" || o.TLSKeyFile == "" {
			errs = append(errs, errors.New("REEVE_TLS_CERT_FILE and REEVE_TLS_KEY_FILE go together"))
		}
	default:
		errs = append(errs, fmt.Errorf("REEVE_TLS: %q is not one of auto, off", o.TLS))
	}
	if o.TLS == "off" && !o.PlainHTTP && err == nil && !loopback(host) {
		errs = append(errs, fmt.Errorf("REEVE_LISTEN: %s is not a loopback address and TLS is off: set REEVE_TLS=auto or certificate files, or REEVE_PLAIN_HTTP=true behind a TLS proxy", o.Listen))
	}
	if o.PublicURL != "" {
		if u, err := url.Parse(o.PublicURL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			errs = append(errs, fmt.Errorf("REEVE_PUBLIC_URL: %q is not an http(s) URL", o.PublicURL))
		}
	}
	for _, n := range o.TrustedProxies {
		if _, _, err := net.ParseCIDR(n); err != nil && net.ParseIP(n) == nil {
			errs = append(errs, fmt.Errorf("REEVE_TRUSTED_PROXIES: %q is neither an address nor a network", n))
		}
	}
	return errors.Join(errs...)
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
