//go:build linux

package privatedb

import (
	"context"
	"log/slog"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
)

func attach(t *testing.T, dir string) *Cluster {
	t.Helper()
	c, err := Attach(t.Context(), Options{Dir: dir, Scratch: true, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, c) })
	return c
}

func answers(t *testing.T, url string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestAttachLeavesAnothersClusterAlone(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	s := startServer(t, os.Args[0], dir, nil)
	c := attach(t, dir)
	answers(t, c.AdminURL)
	if c.AdminURL != s.Cluster.AdminURL || c.BinDir != s.Cluster.BinDir || c.Dir != s.Cluster.Dir {
		t.Errorf("attached to %+v instead of %+v", c, s.Cluster)
	}
	stop(t, c)
	answers(t, s.Cluster.AppURL)
}

func TestAttachStartsWhatNobodyRuns(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	c := attach(t, dir)
	answers(t, c.AppURL)
	stop(t, c)
	if _, err := pgx.Connect(t.Context(), c.AppURL); err == nil {
		t.Error("it runs on")
	}
}
