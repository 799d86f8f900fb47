package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"reeve/endpoint/agent"
)

// roleVariable makes this test binary be another program of the product, so that tests can kill a real
// process of it.
const roleVariable = "REEVE_TEST_ROLE"

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		code := m.Run()
		_ = os.RemoveAll(scratch()) // a folder too many harms nobody
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	var err error
	switch role {
	case "server":
		err = Run(ctx, Options{Listen: os.Getenv("REEVE_LISTEN"), DataDir: os.Getenv("REEVE_DATA_DIR"), MetricsListen: os.Getenv("REEVE_METRICS_LISTEN"),
			DatabaseURL: os.Getenv("REEVE_DATABASE_URL"), MigrationURL: os.Getenv("REEVE_MIGRATION_DATABASE_URL"),
			TLS: os.Getenv("REEVE_TLS"), AdminEmail: adminEmail, AdminPassword: os.Getenv("REEVE_ADMIN_PASSWORD"), Log: log})
	case "endpoint":
		err = agent.Run(ctx, agent.Options{Dir: agent.Dir(os.Getenv("REEVE_DATA_DIR")), Version: "test", Log: log, Now: time.Now})
	case "connections":
		err = holdConnections(os.Getenv("REEVE_LISTEN"), os.Getenv("REEVE_DATA_DIR"))
	default:
		err = fmt.Errorf("there is no role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// holdConnections is a server that does nothing but hold TLS connections, a goroutine each.
func holdConnections(address, dir string) error {
	certs, err := loadCertificates(Options{TLS: "auto", Listen: address, DataDir: dir}, "https://"+address, time.Now())
	if err != nil {
		return err
	}
	listener, err := tls.Listen("tcp", address, certs.config)
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func(conn net.Conn) {
			defer conn.Close()
			var one [1]byte
			_, _ = conn.Read(one[:]) // until the other side goes
		}(conn)
	}
}
