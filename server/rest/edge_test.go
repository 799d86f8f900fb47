package rest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
)

func TestTheAddressIsTheOneThatTheProxiesVouchFor(t *testing.T) {
	const peer = "0.0.0.0" // of requests that the framework makes for tests
	for _, c := range []struct {
		name    string
		headers []string
		want    string
	}{
		{"no header", nil, peer},
		{"one hop", []string{"203.0.113.9"}, "203.0.113.9"},
		{"written by the client", []string{"10.9.9.9, 203.0.113.9"}, "203.0.113.9"},
		{"written by the client on a line of its own", []string{"10.9.9.9", "203.0.113.9"}, "203.0.113.9"},
		{"two proxies", []string{"10.9.9.9, 203.0.113.9, 192.0.2.7"}, "203.0.113.9"},
		{"with a port", []string{"10.9.9.9, 203.0.113.9:4711"}, "203.0.113.9"},
		{"IPv6", []string{"10.9.9.9, 2001:db8::1"}, "2001:db8::1"},
		{"mapped", []string{"::ffff:203.0.113.9"}, "203.0.113.9"},
		{"garbage in between", []string{"10.9.9.9, unknown, 192.0.2.7"}, "192.0.2.7"},
		{"garbage", []string{"10.9.9.9, <script>"}, peer},
		{"only proxies", []string{"192.0.2.7, 192.0.2.8"}, "192.0.2.7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := fiber.New(fiber.Config{EnableTrustedProxyCheck: true, TrustedProxies: []string{peer, "192.0.2.0/24"},
				ProxyHeader: fiber.HeaderXForwardedFor, EnableIPValidation: true})
			app.Use(Identify)
			app.Get("/", func(c *fiber.Ctx) error { return c.SendString(c.IP()) })
			req := httptest.NewRequest("GET", "/", nil)
			for _, h := range c.headers {
				req.Header.Add("X-Forwarded-For", h)
			}
			resp, err := app.Test(req)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(resp.Body)
			if string(got) != c.want {
				t.Errorf("the address is %s, want %s", got, c.want)
			}
		})
	}
}

// A body that nobody reads must not become the next request on its connection: behind a proxy that would
// be somebody else's.
func TestAnUnreadBodyIsNotTakenForTheNextRequest(t *testing.T) {
	app := fiber.New(fiber.Config{StreamRequestBody: true, DisableStartupMessage: true})
	served := make(chan string, 1000)
	app.Use(Identify)
	app.Post("/unread", func(c *fiber.Ctx) error { return c.SendStatus(fiber.StatusUnauthorized) })
	app.Get("/inner", func(c *fiber.Ctx) error { served <- "inner"; return nil })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = app.Listener(listener) }()
	t.Cleanup(func() { _ = app.Shutdown() })

	inner := []byte("GET /inner HTTP/1.1\r\nHost: smuggled\r\nX: ")
	inner = append(append(inner, bytes.Repeat([]byte("p"), 64-len(inner)-4)...), "\r\n\r\n"...)
	body := bytes.Repeat(inner, 700) // whole requests at every multiple of 64: the framework reads ahead in such steps
	for name, head := range map[string]string{
		"with a length": fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)),
		"in chunks":     "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = conn.Write([]byte("POST /unread HTTP/1.1\r\nHost: x\r\n" + head)) // the server may hang up before the end
			_, _ = conn.Write(body)
			answer, _ := io.ReadAll(conn) // to the end that the server makes
			if n := bytes.Count(answer, []byte("HTTP/1.1 ")); n > 1 {
				t.Errorf("%d answers to one request", n)
			}
			if len(served) > 0 {
				t.Errorf("%d requests were served out of a body", len(served))
			}
		})
	}
}
