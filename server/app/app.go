// Package app wires the server together, starts it and stops it.
package app

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/recover"

	"reeve/server/auth"
	"reeve/server/bus"
	"reeve/server/fleet"
	"reeve/server/gateway"
	"reeve/server/portal"
	"reeve/server/privatedb"
	"reeve/server/rest"
	"reeve/tenants/scope"
)

// App is a running server.
type App struct {
	o        Options
	cleanups *cleanups
	state    *state
	wired    *services
	url      string
	addr     string
	metrics  string
	served   chan error
}

// Timeouts of the listener. An endpoint's WebSocket is taken over before any of them counts.
const (
	readTimeout  = 60 * time.Second
	writeTimeout = 5 * time.Minute // an endpoint binary over a slow line
	idleTimeout  = 2 * time.Minute
	// drainTime is how long requests may go on after the stop was asked for.
	drainTime = 10 * time.Second
)

// Start brings a server up; what was begun is undone when it does not succeed. Stop ends it.
func Start(ctx context.Context, o Options) (_ *App, err error) {
	o = o.Defaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	a := &App{o: o, cleanups: &cleanups{log: o.Log}, served: make(chan error, 1)}
	defer func() {
		if err != nil {
			stopping, cancel := context.WithTimeout(context.Background(), stopTimeout)
			defer cancel()
			err = errors.Join(err, a.cleanups.unwind(stopping))
		}
	}()
	// The listener first: that the address is taken is known at once, and ":0" becomes an address.
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("REEVE_LISTEN: %w", err)
	}
	a.cleanups.add("listener", func(context.Context) error { return closed(listener.Close()) })
	a.addr = listener.Addr().String()
	a.url = publicURL(o, a.addr)
	if a.state, err = openState(ctx, o, a.cleanups, privatedb.Start); err != nil {
		return nil, err
	}
	return a, a.serve(ctx, listener)
}

// closed makes nothing of a listener that its server has closed already.
func closed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// publicURL is how people and endpoints reach the server.
func publicURL(o Options, addr string) string {
	if o.PublicURL != "" {
		return strings.TrimRight(o.PublicURL, "/")
	}
	scheme := "http"
	if o.TLS != "off" {
		scheme = "https"
	}
	return scheme + "://" + addr
}

func (a *App) serve(ctx context.Context, listener net.Listener) error {
	certs, err := loadCertificates(a.o, a.url, time.Now())
	if err != nil {
		return err
	}
	messages, err := bus.New(ctx, a.o.NATSURL, a.o.Log)
	if err != nil {
		return err
	}
	a.cleanups.add("bus", func(context.Context) error { return messages.Close() })
	ear, err := fleet.NewEar(ctx, a.state.db)
	if err != nil {
		return err
	}
	m := newMetrics(a.state.db, func() gateway.Stats { return a.wired.gateway.Stats() })
	if a.wired, err = assemble(a.state, a.o, messages, a.url, certs, ear, m.observer()); err != nil {
		return err
	}
	a.cleanups.add("gateway", a.wired.gateway.Stop)
	if err := a.wired.queue.Start(ctx, a.state.urls.app); err != nil {
		return err
	}
	a.cleanups.add("background jobs", a.wired.queue.Stop)
	web, err := a.newWeb(m)
	if err != nil {
		return err
	}
	if a.o.MetricsListen != "" {
		stop, bound, err := m.serve(a.o.MetricsListen)
		if err != nil {
			return fmt.Errorf("REEVE_METRICS_LISTEN: %w", err)
		}
		a.metrics = bound
		a.cleanups.add("metrics", stop)
	}
	if err := a.bootstrap(ctx); err != nil {
		return err
	}
	table, err := startTimetable(context.WithoutCancel(ctx), sweeps(a.wired, ear), a.o.Log, m.sweep)
	if err != nil {
		return err
	}
	a.cleanups.add("timetable", table.stop)
	if certs != nil {
		listener = tls.NewListener(listener, certs.config)
	}
	go func() { a.served <- web.Listener(listener) }()
	a.cleanups.add("requests", func(ctx context.Context) error {
		// Sockets that were taken over are not the framework's any more: the gateway closes them.
		drain := make(chan error, 1)
		go func() { drain <- web.ShutdownWithTimeout(drainTime) }()
		return errors.Join(a.wired.gateway.Stop(ctx), <-drain)
	})
	return a.startFirstDevice(ctx)
}

// newWeb assembles everything that answers on the main listener.
func (a *App) newWeb(m *metrics) (*fiber.App, error) {
	log := a.o.Log
	web := fiber.New(fiber.Config{
		AppName: "reeve", DisableStartupMessage: true, Immutable: true, StrictRouting: true, CaseSensitive: true,
		StreamRequestBody: true, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		ErrorHandler:            rest.ErrorHandler(log, time.Now),
		EnableTrustedProxyCheck: true, TrustedProxies: a.o.TrustedProxies, ProxyHeader: proxyHeader(a.o), EnableIPValidation: true,
	})
	watch(web, log, m)
	a.wired.gateway.Mount(web)
	server, err := rest.NewServer(a.wired.Services, rest.Contract)
	if err != nil {
		return nil, err
	}
	err = rest.Mount(web, rest.Config{Contract: rest.Contract, Auth: a.wired.Auth, Server: server, Once: rest.Once(a.state.db, a.state.keeper), Now: time.Now})
	if err != nil {
		return nil, err
	}
	return web, servePortal(web, portal.FS())
}

// watch logs and measures every request. AccessLog renders errors, and only in front of it has an answer
// the status that is sent.
func watch(web *fiber.App, log *slog.Logger, m *metrics) {
	web.Use(rest.Identify, m.observe, rest.AccessLog(log, time.Now), recover.New(recover.Config{EnableStackTrace: true,
		StackTraceHandler: func(c *fiber.Ctx, p any) { log.Error("panic", "path", c.Path(), "panic", p) }}))
}

// proxyHeader is believed from trusted proxies only; without any, addresses come from the connection.
func proxyHeader(o Options) string {
	if len(o.TrustedProxies) == 0 {
		return ""
	}
	return fiber.HeaderXForwardedFor
}

// bootstrap makes the first administrator while there is no user at all, and prints a generated
// password once.
func (a *App) bootstrap(ctx context.Context) error {
	password, generated := a.o.AdminPassword, false
	if password == "" {
		password, generated = newPassword(), true
	}
	_, err := a.wired.Auth.Bootstrap(ctx, a.o.AdminEmail, "Administrator", password)
	switch {
	case errors.Is(err, auth.ErrBootstrapped):
		return nil
	case err != nil:
		return fmt.Errorf("making the first administrator: %w", err)
	case generated:
		fmt.Fprintf(a.o.Out, "\nThe first administrator (shown only now):\n  e-mail    %s\n  password  %s\n", a.o.AdminEmail, password)
	}
	return nil
}

// newPassword is 100 random bits in an alphabet that is easily read aloud and typed.
func newPassword() string {
	const alphabet = "abcdefghijkmnpqrstuvwxyz23456789"
	var random [20]byte
	_, _ = rand.Read(random[:]) // never fails
	var b strings.Builder
	for i, r := range random {
		if i > 0 && i%5 == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(alphabet[int(r)%len(alphabet)])
	}
	return b.String()
}

func (a *App) startFirstDevice(ctx context.Context) error {
	if a.o.FirstDevice == "" {
		return nil
	}
	d := &firstDevice{binary: a.o.FirstDevice, data: filepath.Join(a.o.DataDir, "endpoint"), url: a.url, o: a.o}
	if err := d.prepare(ctx, a.wired.Tenants, a.wired.Fleet); err != nil {
		return err
	}
	d.start(context.WithoutCancel(ctx))
	a.cleanups.add("first device", d.stop)
	return nil
}

// URL is where the server is reached.
func (a *App) URL() string { return a.url }

// MetricsAddr is where /metrics is served; empty when it is not.
func (a *App) MetricsAddr() string { return a.metrics }

// Stop drains requests and puts everything down, the last thing that was started first.
func (a *App) Stop(ctx context.Context) error { return a.cleanups.unwind(ctx) }

// Run serves until the context ends.
func Run(ctx context.Context, o Options) error {
	a, err := Start(scope.AsSystem(ctx, "server"), o)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.o.Out, "\nReeve is ready: open %s in a browser. Ctrl-C stops it.\n", a.url)
	if !portal.Built() {
		fmt.Fprintln(a.o.Out, "The portal is not part of this build; run make portal and build again.")
	}
	select {
	case <-ctx.Done():
		fmt.Fprintln(a.o.Out, "stopping …")
	case err = <-a.served:
	}
	stopping, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return errors.Join(err, a.Stop(stopping))
}
