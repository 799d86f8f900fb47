package agent

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/google/uuid"

	"reeve/api"
	"reeve/api/client"
	"reeve/api/wire"
)

// Enrolment is what joining needs.
type Enrolment struct {
	Dir          Dir
	Server       string
	Token        string
	InsecureHTTP bool // allow plain HTTP beyond this machine
	Version      string
	Host         Host
}

// Host is what a device says of itself when it joins.
type Host struct {
	Hostname, OSName, OSVersion, MachineID, Serial string
}

// Enrolled is what came of it.
type Enrolled struct {
	DeviceID, TenantID uuid.UUID
	State              api.DeviceState
}

// Enrol joins the server with a token. The key is made first and kept, so that joining again after a
// lost answer is the same device.
func Enrol(ctx context.Context, e Enrolment, log *slog.Logger) (Enrolled, error) {
	server, err := serverURL(e.Server, e.InsecureHTTP)
	if err != nil {
		return Enrolled{}, err
	}
	token := strings.TrimSpace(e.Token)
	fingerprint, err := parseFingerprint(token)
	if err != nil {
		return Enrolled{}, err
	}
	if err := e.Dir.Make(); err != nil {
		return Enrolled{}, err
	}
	if _, err := e.Dir.load(); err == nil {
		return Enrolled{}, ErrEnrolled
	} else if !errors.Is(err, ErrNotEnrolled) {
		return Enrolled{}, err
	}
	key, err := loadOrMakeKey(e.Dir.keyFile())
	if err != nil {
		return Enrolled{}, err
	}
	dev := device{Server: server.String(), InsecureHTTP: e.InsecureHTTP, EnrolledAt: time.Now().UTC()}
	if fingerprint != nil && server.Scheme == "https" {
		if dev.CA, err = fetchCA(ctx, server, fingerprint); err != nil {
			return Enrolled{}, err
		}
		log.InfoContext(ctx, "the server's certificate authority is pinned")
	}
	reply, err := e.ask(ctx, dev, token, key)
	if err != nil {
		return Enrolled{}, fmt.Errorf("joining %s: %w", dev.Server, err)
	}
	if err := dev.take(reply); err != nil {
		return Enrolled{}, err
	}
	if err := e.Dir.save(dev); err != nil {
		return Enrolled{}, err
	}
	return Enrolled{DeviceID: dev.ID, TenantID: dev.TenantID, State: reply.State}, nil
}

// request is what a device sends to join; its key vouches for the token.
func (e Enrolment) request(token string, key ed25519.PrivateKey) api.EnrolRequest {
	return api.EnrolRequest{
		Protocol: wire.Protocol, Token: token, PublicKey: key.Public().(ed25519.PublicKey), Proof: ed25519.Sign(key, []byte(token)),
		Hostname: wire.Clip(e.Host.Hostname, 255), OsFamily: runtime.GOOS, Arch: runtime.GOARCH, AgentVersion: wire.Clip(e.Version, 60),
		OsName: optional(wire.Clip(e.Host.OSName, 120)), OsVersion: optional(wire.Clip(e.Host.OSVersion, 120)),
		MachineID: optional(wire.Clip(e.Host.MachineID, 200)), Serial: optional(wire.Clip(e.Host.Serial, 200)),
	}
}

func (e Enrolment) ask(ctx context.Context, dev device, token string, key ed25519.PrivateKey) (api.EnrolReply, error) {
	var reply api.EnrolReply
	transport, err := newTransport(dev.CA)
	if err != nil {
		return reply, err
	}
	defer transport.CloseIdleConnections()
	c, err := client.NewClient(dev.Server, client.WithHTTPClient(&http.Client{Transport: transport, Timeout: exchangeTimeout, CheckRedirect: noRedirects}))
	if err != nil {
		return reply, err
	}
	resp, err := c.AgentEnrol(ctx, e.request(token, key))
	if err != nil {
		return reply, err
	}
	body, err := readAnswer(resp, http.StatusCreated, wire.MaxSyncBytes)
	if err != nil {
		return reply, err
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return reply, fmt.Errorf("reading the answer: %w", err)
	}
	return reply, nil
}

// take pins what the server answered. At this moment its word is all there is: the connection was
// authenticated by the token's fingerprint or the system's authorities.
func (dev *device) take(reply api.EnrolReply) error {
	if reply.DeviceID == uuid.Nil || reply.TenantID == uuid.Nil {
		return errors.New("the server's answer names no device")
	}
	dev.ID, dev.TenantID, dev.Interval = reply.DeviceID, reply.TenantID, reply.IntervalSeconds
	dev.TaskKeys = map[string]ed25519.PublicKey{}
	for _, k := range reply.TaskKeys {
		if len(k.PublicKey) != ed25519.PublicKeySize || k.Kid == "" || len(dev.TaskKeys) >= maxTaskKeys {
			return errors.New("the server's answer has a task key that cannot be used")
		}
		dev.TaskKeys[k.Kid] = ed25519.PublicKey(k.PublicKey)
	}
	if len(dev.TaskKeys) == 0 {
		return errors.New("the server's answer has no task key")
	}
	return nil
}

// optional leaves an empty text out of a message.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
