package gateway

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"reeve/api/wire"
	"reeve/server/fleet"
)

// A device that opens many requests and never finishes their bodies must not fill the memory with what
// has come of them, and holds up nobody but itself.
func TestADeviceHasFewRequestsOpenAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.token(t, 2)
	slow, other := w.enrol(t, token), w.enrol(t, token)
	begin := func() net.Conn {
		conn, err := net.Dial("tcp", w.address)
		must(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		must(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
		_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
			wire.PathSync, slow.claim(t), wire.MaxSyncBytes, strings.Repeat(" ", 1<<20))
		must(t, err)
		return conn
	}
	var open []net.Conn
	for range maxOpen {
		open = append(open, begin())
	}
	device, err := w.devices.find(t.Context(), slow.id)
	must(t, err)
	wait := func(n int32) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); device.open.Load() != n; {
			if time.Now().After(end) {
				t.Fatalf("%d requests are open, want %d", device.open.Load(), n)
			}
			if status, _ := w.post(t, wire.PathSync, other.claim(t), other.message(nil)); status != http.StatusOK && status != http.StatusTooManyRequests {
				t.Fatalf("another device: %d", status)
			}
		}
	}
	wait(maxOpen)
	answer, _ := io.ReadAll(begin()) // to the end that the server makes
	if !strings.HasPrefix(string(answer), "HTTP/1.1 429") {
		t.Errorf("one more request: %.40q", answer)
	}
	for _, conn := range open {
		must(t, conn.Close())
	}
	wait(0)
	slow.sync(t, nil)
}

// A key under which one signature fits many messages would make a device that anybody can be.
func TestKeysThatAnybodySignsWithAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.token(t, 1000)
	for _, text := range smallOrder {
		for _, sign := range []byte{0, 0x80} {
			key, err := hex.DecodeString(text)
			must(t, err)
			key[31] |= sign
			for _, proof := range [][]byte{make([]byte, 64), append(slices.Clone(key), make([]byte, 32)...)} {
				status, answer := w.post(t, wire.PathEnrol, "", map[string]any{"protocol": 1, "token": token, "public_key": key, "proof": proof,
					"hostname": "h", "os_family": "linux", "arch": "a", "agent_version": "1"})
				if status != http.StatusBadRequest {
					t.Errorf("%x: %d %s", key, status, answer)
				}
			}
		}
	}
	w.enrol(t, token)
}

// An endpoint that ignores that its socket was ended must not keep it: it could gather any number of them.
func TestAnEndedSocketIsClosedWhateverTheOtherSideDoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.enrol(t, w.token(t, 1))
	stubborn := func() net.Conn {
		before := w.hub.find(e.id)
		conn, err := net.Dial("tcp", w.address)
		must(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		must(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
		_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"+
			"Sec-WebSocket-Version: 13\r\nAuthorization: Bearer %s\r\n\r\n", wire.PathConnect, e.claim(t))
		must(t, err)
		// The head of a large message, the rest of which never comes.
		_, err = conn.Write([]byte{0x82, 0xff, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 2, 0, 0})
		must(t, err)
		waitFor(t, func() bool { k := w.hub.find(e.id); return k != nil && k != before })
		return conn
	}
	ended := func(why string, conn net.Conn) {
		t.Helper()
		answer, err := io.ReadAll(conn) // which a reset may end as well, for what came of the message was not read
		if errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(string(answer), why) {
			t.Errorf("%s: %q, %v", why, answer, err)
		}
	}
	first := stubborn()
	second := stubborn()
	ended("replaced", first)
	w.hub.changed(e.id, fleet.Retired)
	ended("retired", second)
}
