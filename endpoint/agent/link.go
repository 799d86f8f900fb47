package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpproxy"

	"reeve/api"
	"reeve/api/client"
	"reeve/api/wire"
)

const (
	exchangeTimeout = 60 * time.Second
	maxProblemBytes = 64 << 10
	maxCABytes      = 64 << 10
)

// problemError is a refusal in the server's words.
type problemError struct{ api.Problem }

func (e *problemError) Error() string {
	text := fmt.Sprintf("the server answers %d %s", e.Status, e.Title)
	if e.Detail != nil {
		text += ": " + *e.Detail
	}
	return wire.Clip(text, 500)
}

// kind is the last part of the problem's type.
func (e *problemError) kind() string { return e.Type[strings.LastIndexByte(e.Type, '/')+1:] }

// retryAfter is how long the server asks to wait.
func (e *problemError) retryAfter() time.Duration {
	if e.RetryAfterSeconds == nil || *e.RetryAfterSeconds < 0 {
		return 0
	}
	return min(time.Duration(*e.RetryAfterSeconds)*time.Second, time.Hour)
}

// parseProblem reads an error answer. What is no problem document (a proxy's page, say) becomes one.
func parseProblem(status int, contentType string, body []byte) *problemError {
	e := &problemError{}
	if kind, _, _ := mime.ParseMediaType(contentType); kind != "application/problem+json" || json.Unmarshal(body, &e.Problem) != nil {
		e.Problem = api.Problem{Title: http.StatusText(status)}
	}
	e.Status = status
	return e
}

// serverURL checks the address of the server: plain HTTP only to this machine or when told so.
func serverURL(raw string, insecureHTTP bool) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(strings.TrimSpace(raw), "/"))
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not the address of a server, such as https://reeve.example", raw)
	}
	switch u.Scheme {
	case "https":
		return u, nil
	case "http":
		if insecureHTTP || isLoopback(u.Hostname()) {
			return u, nil
		}
		return nil, errors.New("plain http would show everything to the network: use https, or --insecure-http if you must")
	}
	return nil, fmt.Errorf("%q is not the address of a server: it begins with neither https:// nor http://", raw)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// newTransport connects directly or through the proxy that the environment names, and trusts only
// the pinned authority when there is one. It speaks HTTP/1.1, which the WebSocket needs.
func newTransport(caPEM string) (*http.Transport, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if caPEM != "" {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM([]byte(caPEM)) {
			return nil, errors.New("the pinned certificate authority is damaged")
		}
	}
	proxy := httpproxy.FromEnvironment().ProxyFunc()
	return &http.Transport{
		Proxy:               func(r *http.Request) (*url.URL, error) { return proxy(r.URL) },
		DialContext:         (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     conf,
		TLSHandshakeTimeout: 15 * time.Second,
		MaxIdleConns:        4,
		IdleConnTimeout:     90 * time.Second,
	}, nil
}

// parseFingerprint reads the part of an enrolment token behind the dot: the SHA-256 of the
// authority's certificate, as base64url or hex.
func parseFingerprint(token string) ([]byte, error) {
	_, text, found := strings.Cut(token, ".")
	if !found {
		return nil, nil
	}
	if raw, err := hex.DecodeString(text); err == nil && len(raw) == sha256.Size {
		return raw, nil
	}
	if raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "=")); err == nil && len(raw) == sha256.Size {
		return raw, nil
	}
	return nil, errors.New("the enrolment token is damaged: the fingerprint behind its dot cannot be read")
}

// fetchCA asks the server for its authority without trusting it, and keeps what has the fingerprint
// that the token carries.
func fetchCA(ctx context.Context, server *url.URL, fingerprint []byte) (caPEM string, err error) {
	transport, err := newTransport("")
	if err != nil {
		return "", err
	}
	defer transport.CloseIdleConnections()
	// The answer is compared with the fingerprint; nothing secret is sent on this connection.
	transport.TLSClientConfig.InsecureSkipVerify = true
	c, err := client.NewClient(server.String(), client.WithHTTPClient(&http.Client{Transport: transport, Timeout: exchangeTimeout}))
	if err != nil {
		return "", fmt.Errorf("asking for the certificate authority: %w", err)
	}
	resp, err := c.AgentCa(ctx)
	if err != nil {
		return "", fmt.Errorf("asking for the certificate authority: %w", err)
	}
	body, err := readAnswer(resp, http.StatusOK, maxCABytes)
	if err != nil {
		return "", fmt.Errorf("asking for the certificate authority: %w", err)
	}
	for block, rest := pem.Decode(body); block != nil; block, rest = pem.Decode(rest) {
		if sum := sha256.Sum256(block.Bytes); bytes.Equal(sum[:], fingerprint) {
			return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes})), nil
		}
	}
	return "", errors.New("the server's certificate authority is not the one that the enrolment token names: somebody may be in between, or the token is of another server")
}

// readAnswer gives the body of a success and the problem of anything else.
func readAnswer(resp *http.Response, want int, limit int64) ([]byte, error) {
	defer resp.Body.Close()
	if resp.StatusCode != want {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblemBytes))
		e := parseProblem(resp.StatusCode, resp.Header.Get("Content-Type"), body)
		if e.RetryAfterSeconds == nil {
			var seconds int
			if _, err := fmt.Sscanf(resp.Header.Get("Retry-After"), "%d", &seconds); err == nil {
				e.RetryAfterSeconds = &seconds
			}
		}
		return nil, e
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("the answer is larger than %d bytes", limit)
	}
	return body, nil
}

// carrier takes one sync to the server and brings the reply.
type carrier interface {
	Sync(ctx context.Context, request []byte) (reply []byte, err error)
}

// httpsLink is the carrier that always works: one request per sync.
type httpsLink struct {
	client *client.Client
	token  func() (string, error)
}

var _ carrier = (*httpsLink)(nil)

func newHTTPSLink(server string, transport http.RoundTripper, token func() (string, error)) (*httpsLink, error) {
	l := &httpsLink{token: token}
	c, err := client.NewClient(server, client.WithHTTPClient(&http.Client{Transport: transport, Timeout: exchangeTimeout, CheckRedirect: noRedirects}))
	if err != nil {
		return nil, fmt.Errorf("the server's address: %w", err)
	}
	l.client = c
	return l, nil
}

// noRedirects keeps the device's token from being sent elsewhere.
func noRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Sync sends one request.
func (l *httpsLink) Sync(ctx context.Context, request []byte) ([]byte, error) {
	token, err := l.token()
	if err != nil {
		return nil, err
	}
	resp, err := l.client.AgentSyncWithBody(ctx, "application/json", bytes.NewReader(request), bearer(token))
	if err != nil {
		return nil, err
	}
	return readAnswer(resp, http.StatusOK, wire.MaxSyncBytes)
}

// observed is a transport that notes the address of the interface which reaches the server.
type observed struct {
	http.RoundTripper
	local atomic.Value // string
}

// RoundTrip sends one request.
func (o *observed) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if host, _, err := net.SplitHostPort(info.Conn.LocalAddr().String()); err == nil {
			o.local.Store(host)
		}
	}})
	return o.RoundTripper.RoundTrip(r.WithContext(ctx))
}

func (o *observed) address() string {
	s, _ := o.local.Load().(string)
	return s
}

func bearer(token string) client.RequestEditorFn {
	return func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+token)
		return nil
	}
}
