package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"reeve/endpoint/agent"
)

func TestCommands(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		args []string
		out  string // part of what is printed
		err  string // part of the error
	}{
		"nothing":             {nil, "", "usage"},
		"unknown":             {[]string{"dance"}, "", "usage"},
		"unknown flag":        {[]string{"status", "--colour"}, "", "usage"},
		"stray argument":      {[]string{"run", "now"}, "", "usage"},
		"help":                {[]string{"help"}, "The owner of a device has the last word", ""},
		"version":             {[]string{"version"}, "reeve-endpoint ", ""},
		"enrol without":       {[]string{"enrol", "--data", dir}, "", "--server and --token"},
		"enrol in the clear":  {[]string{"enrol", "--data", dir, "--server", "http://reeve.example", "--token", "reeve_enrol_x"}, "", "plain http"},
		"run without enrol":   {[]string{"run", "--data", dir}, "", "not enrolled"},
		"install before that": {[]string{"install", "--data", dir}, "", "not enrolled"},
		"status":              {[]string{"status", "--data", dir}, "enrolled         no", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			err := command(c.args, &out, &errs)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v", err)
			}
			if !strings.Contains(out.String(), c.out) {
				t.Errorf("printed %q", out.String())
			}
			if errors.Is(err, errUsage) && errs.Len() == 0 {
				t.Error("the mistake was not told")
			}
		})
	}
	var out bytes.Buffer
	if err := command([]string{"status", "--data", dir, "--json"}, &out, &out); err != nil {
		t.Fatal(err)
	}
	var s agent.Status
	if err := json.Unmarshal(out.Bytes(), &s); err != nil || s.Enrolled || s.Running {
		t.Errorf("%s (%v)", out.Bytes(), err)
	}
}

func TestStatusForPeople(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	text := describe(agent.Status{Enrolled: true, Server: "https://reeve.example", DeviceID: uuid.MustParse("01900000-0000-7000-8000-000000000001"),
		EnrolledAt: now, Running: true, TaskLogLines: 4, KillSwitch: true, DenyKinds: []string{"script.*"}}, now)
	for _, want := range []string{"https://reeve.example", "01900000-0000-7000-8000-000000000001", "CHANGED OR DAMAGED", "STOP", "script.*"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

// The endpoint is a guest on every device: it stays small, and no server's library gets into it.
func TestTheBinaryStaysSmall(t *testing.T) {
	deps, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, heavy := range []string{"kin-openapi", "gofiber", "gorm.io", "jackc/pgx", "nats-io", "riverqueue", "reeve/server", "reeve/tenants"} {
		if strings.Contains(string(deps), heavy) {
			t.Errorf("%s is linked in", heavy)
		}
	}
	binary := filepath.Join(t.TempDir(), "reeve-endpoint")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if info, err := os.Stat(binary); err != nil || info.Size() > 15<<20 {
		t.Errorf("%d bytes (%v)", info.Size(), err)
	}
}
