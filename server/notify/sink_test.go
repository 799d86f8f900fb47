package notify

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// received is a mail as the sink took it.
type received struct {
	from, to string
	user     string // who signed in
	tls      bool
	message  *mail.Message
	raw      string
}

// sink is a real SMTP server that keeps what it gets.
type sink struct {
	port  int
	mails chan received
	// refusals are answered to the next messages, one each.
	refusals chan *smtp.SMTPError
	password string
}

func newSink(t *testing.T, implicitTLS bool, roots *x509.CertPool) *sink {
	t.Helper()
	s := &sink{mails: make(chan received, 10), refusals: make(chan *smtp.SMTPError, 10), password: "opensesame"}
	server := smtp.NewServer(s)
	server.Domain = "localhost"
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate(t, roots)}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.port = listener.Addr().(*net.TCPAddr).Port
	if implicitTLS {
		listener = tls.NewListener(listener, server.TLSConfig)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return s
}

// certificate makes one for localhost, and trusts it in roots unless that is nil.
func certificate(t *testing.T, roots *x509.CertPool) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if roots != nil {
		roots.AddCert(parsed)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (s *sink) receive(t *testing.T) received {
	t.Helper()
	select {
	case m := <-s.mails:
		return m
	case <-time.After(30 * time.Second):
		t.Fatal("no mail came")
		return received{}
	}
}

func (s *sink) empty(t *testing.T) {
	t.Helper()
	select {
	case m := <-s.mails:
		t.Errorf("a mail came:\n%s", m.raw)
	default:
	}
}

// NewSession implements smtp.Backend.
func (s *sink) NewSession(c *smtp.Conn) (smtp.Session, error) {
	_, secure := c.TLSConnectionState()
	return &session{sink: s, mail: received{tls: secure}}, nil
}

type session struct {
	sink *sink
	mail received
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }
func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.mail.from = from
	return nil
}
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.mail.to += to
	return nil
}
func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }
func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if password != s.sink.password {
			return errors.New("wrong password")
		}
		s.mail.user = user
		return nil
	}), nil
}

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	select {
	case refusal := <-s.sink.refusals:
		return refusal
	default:
	}
	m := s.mail
	m.raw = string(raw)
	if m.message, err = mail.ReadMessage(strings.NewReader(m.raw)); err != nil {
		return err
	}
	s.sink.mails <- m
	return nil
}
