package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// healthTimeout is below what supervisors give a health check.
const healthTimeout = 4 * time.Second

// Health asks the server that listens on this machine whether it can do its work.
func Health(ctx context.Context, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	config, err := healthTLS(o)
	if err != nil {
		return err
	}
	scheme := "https"
	if config == nil {
		scheme = "http"
	}
	transport := &http.Transport{TLSClientConfig: config} // no proxy: it is this very machine
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+localAddress(o.Listen)+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return fmt.Errorf("not healthy: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("not healthy: %s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	_, err = fmt.Fprintln(o.Out, "healthy")
	return err
}

// localAddress is how this machine reaches a listener that may listen on every address.
func localAddress(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	switch ip := net.ParseIP(host); {
	case host == "", ip != nil && ip.IsUnspecified() && ip.To4() != nil:
		host = "127.0.0.1"
	case ip != nil && ip.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}

// healthTLS trusts exactly the certificates that the server shows: its private CA, or its file.
func healthTLS(o Options) (*tls.Config, error) {
	switch o.TLS {
	case "off":
		return nil, nil
	case "files":
		expected, err := firstCertificate(o.TLSCertFile)
		if err != nil {
			return nil, err
		}
		// The certificate names the server's public name, not this address: it is compared as a whole.
		return &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 || !s.PeerCertificates[0].Equal(expected) {
				return errors.New("the server shows another certificate than the one in REEVE_TLS_CERT_FILE")
			}
			return nil
		}}, nil
	}
	ca, err := firstCertificate(filepath.Join(o.DataDir, "tls", "ca.pem"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, nil
}

func firstCertificate(path string) (*x509.Certificate, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the server's certificate: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM certificate", path)
	}
	return x509.ParseCertificate(block.Bytes)
}
