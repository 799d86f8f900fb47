package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// certificates is what the listener needs to speak TLS, and what endpoints pin.
type certificates struct {
	config *tls.Config
	caPEM  []byte // of the private CA; empty when the certificate came from files
}

// fingerprint is the SHA-256 of the CA's DER, which enrolment tokens carry; nil without a private CA.
func (c *certificates) fingerprint() []byte {
	if c == nil || len(c.caPEM) == 0 {
		return nil
	}
	block, _ := pem.Decode(c.caPEM)
	sum := sha256.Sum256(block.Bytes)
	return sum[:]
}

// pem is the private CA's certificate; empty without one.
func (c *certificates) pem() []byte {
	if c == nil {
		return nil
	}
	return c.caPEM
}

func loadCertificates(o Options, publicURL string, now time.Time) (*certificates, error) {
	switch o.TLS {
	case "off":
		return nil, nil
	case "files":
		loader := &fileCertificate{cert: o.TLSCertFile, key: o.TLSKeyFile}
		if _, err := loader.get(nil); err != nil {
			return nil, err
		}
		return &certificates{config: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: loader.get}}, nil
	}
	return autoCertificates(filepath.Join(o.DataDir, "tls"), o.Listen, publicURL, now)
}

// fileCertificate reads the pair again when the file changes, so that a renewed certificate needs
// no restart.
type fileCertificate struct {
	cert, key string
	mu        sync.Mutex
	stamp     time.Time
	current   *tls.Certificate
}

func (f *fileCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.cert)
	if err != nil {
		return nil, fmt.Errorf("reading REEVE_TLS_CERT_FILE: %w", err)
	}
	if f.current != nil && info.ModTime().Equal(f.stamp) {
		return f.current, nil
	}
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		if f.current != nil {
			return f.current, nil // half-written renewal: keep the old one until the pair fits
		}
		return nil, fmt.Errorf("loading the TLS certificate: %w", err)
	}
	f.current, f.stamp = &pair, info.ModTime()
	return f.current, nil
}

// autoCertificates makes a private CA at first start and a fresh server certificate at every start.
func autoCertificates(dir, listen, publicURL string, now time.Time) (*certificates, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the TLS folder: %w", err)
	}
	ca, caKey, caPEM, err := loadOrMakeCA(dir, now)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the TLS key: %w", err)
	}
	leaf := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Reeve server"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	leaf.DNSNames, leaf.IPAddresses = certificateNames(listen, publicURL)
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return nil, fmt.Errorf("signing the server certificate: %w", err)
	}
	cert := tls.Certificate{Certificate: [][]byte{der, ca.Raw}, PrivateKey: key}
	return &certificates{config: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}, caPEM: caPEM}, nil
}

func loadOrMakeCA(dir string, now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, []byte, error) {
	certFile, keyFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")
	caPEM, err := os.ReadFile(certFile)
	if errors.Is(err, os.ErrNotExist) {
		return makeCA(certFile, keyFile, now)
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("reading the CA: %w", err)
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("reading the CA key: %w", err)
	}
	pair, err := tls.X509KeyPair(caPEM, keyPEM)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("the CA in %s does not fit its key: %w", dir, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, nil, fmt.Errorf("the CA key in %s is not an ECDSA key", dir)
	}
	return pair.Leaf, key, caPEM, nil
}

func makeCA(certFile, keyFile string, now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("making the CA key: %w", err)
	}
	ca := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Reeve private CA"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(20, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("making the CA: %w", err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("encoding the CA key: %w", err)
	}
	caPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	// The key first: a certificate without its key would stop the next start.
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		return nil, nil, nil, fmt.Errorf("storing the CA key: %w", err)
	}
	if err := os.WriteFile(certFile, caPEM, 0o644); err != nil {
		return nil, nil, nil, fmt.Errorf("storing the CA: %w", err)
	}
	parsed, err := x509.ParseCertificate(der)
	return parsed, key, caPEM, err
}

// certificateNames are all names by which somebody may reach the server.
func certificateNames(listen, publicURL string) (names []string, ips []net.IP) {
	names, ips = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	add := func(host string) {
		if ip := net.ParseIP(host); ip != nil {
			if !ip.IsUnspecified() {
				ips = append(ips, ip)
			}
		} else if host != "" && host != "localhost" {
			names = append(names, host)
		}
	}
	if host, _, err := net.SplitHostPort(listen); err == nil {
		add(host)
	}
	if u, err := url.Parse(publicURL); err == nil {
		add(u.Hostname())
	}
	if h, err := os.Hostname(); err == nil {
		add(h)
	}
	if addrs, err := net.InterfaceAddrs(); err == nil {
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
				ips = append(ips, n.IP)
			}
		}
	}
	return names, ips
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand does not fail on supported systems
	}
	return n
}
