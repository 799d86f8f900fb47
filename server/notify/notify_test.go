package notify

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/google/uuid"
	"gorm.io/gorm"
	"pgregory.net/rapid"

	"reeve/server/dbtest"
	"reeve/server/work"
	"reeve/tenants"
	"reeve/tenants/scope"
	"reeve/tenants/secrets"
	"reeve/tenants/tenantdb"
)

type office struct {
	*Mailer
	db       *tenantdb.DB
	settings *tenants.Settings
	roots    *x509.CertPool
	url      string
	version  int64
}

func newOffice(t *testing.T) *office {
	t.Helper()
	urls := dbtest.NewURLs(t)
	db := dbtest.Open(t, urls.App)
	master, err := secrets.OpenMaster(filepath.Join(t.TempDir(), "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	keeper := secrets.NewKeeper(db, master, time.Now)
	queue, err := work.NewQueue(dbtest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	o := &office{db: db, settings: tenants.NewSettings(db, keeper), roots: x509.NewCertPool(), url: urls.App}
	o.Mailer = New(Config{DB: db, Settings: o.settings, Keeper: keeper, Queue: queue, Log: dbtest.Log(t), Now: time.Now, Roots: o.roots})
	return o
}

func (o *office) open(t *testing.T) {
	t.Helper()
	if err := o.Queue.Start(t.Context(), o.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Queue.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func admin(t *testing.T) context.Context {
	return dbtest.Staff(t, "settings.read", "settings.manage")
}

func (o *office) use(t *testing.T, s *sink, security tenants.MailSecurity, password string) {
	t.Helper()
	c := tenants.MailChange{MailSpec: tenants.MailSpec{Host: "localhost", Port: s.port, Security: security, From: "reeve@msp.example", FromName: "Nordlicht ☼ IT"}, Password: &password}
	if password != "" {
		c.Username = "reeve"
	}
	d, err := o.settings.PutMail(admin(t), o.version, c)
	if err != nil {
		t.Fatal(err)
	}
	o.version = d.Version
}

func (o *office) mail(t *testing.T, msg Message) error {
	t.Helper()
	return o.db.Tx(dbtest.System(t), func(tx *gorm.DB) error { return o.MailTx(tx, msg) })
}

func reset(to string) Message {
	return Message{TenantID: scope.Provider, To: to, Template: PasswordReset, Locale: "en-GB",
		Data: map[string]string{"name": "Ada", "link": "https://reeve.example/reset#canary-token-5d1f", "expires": "12:00 UTC"}}
}

func (r received) text(t *testing.T) string {
	t.Helper()
	raw, err := io.ReadAll(quotedprintable.NewReader(r.message.Body))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func decoded(t *testing.T, header string) string {
	t.Helper()
	s, err := new(mime.WordDecoder).DecodeHeader(header)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMailLeavesAfterTheCommit(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.open(t)
	for name, c := range map[string]struct {
		security tenants.MailSecurity
		password string
	}{
		"starttls": {tenants.MailStartTLS, "opensesame"},
		"tls":      {tenants.MailTLS, "opensesame"},
		"plain":    {tenants.MailPlain, ""},
	} {
		s := newSink(t, c.security == tenants.MailTLS, o.roots)
		o.use(t, s, c.security, c.password)
		if err := o.mail(t, reset("ada@client.example")); err != nil {
			t.Fatal(err)
		}
		m := s.receive(t)
		if m.from != "reeve@msp.example" || m.to != "ada@client.example" || m.tls != (c.security != tenants.MailPlain) || (m.user == "reeve") != (c.password != "") {
			t.Errorf("%s: %+v", name, m)
		}
		if got := m.text(t); !strings.Contains(got, "\nhttps://reeve.example/reset#canary-token-5d1f\r\n") && !strings.Contains(got, "\nhttps://reeve.example/reset#canary-token-5d1f\n") {
			t.Errorf("%s: body %q", name, got)
		}
		h := m.message.Header
		if h.Get("Subject") != "Reset your password" || decoded(t, h.Get("From")) != `"Nordlicht ☼ IT" <reeve@msp.example>` && decoded(t, h.Get("From")) != "Nordlicht ☼ IT <reeve@msp.example>" ||
			h.Get("Auto-Submitted") != "auto-generated" || !strings.HasSuffix(h.Get("Message-ID"), "@msp.example>") {
			t.Errorf("%s: headers %v", name, h)
		}
		s.empty(t)
	}
}

func TestMailIsSealedWhileItWaits(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.use(t, newSink(t, false, o.roots), tenants.MailStartTLS, "opensesame")
	if err := o.mail(t, reset("ada@client.example")); err != nil {
		t.Fatal(err)
	}
	var stored string
	if err := o.db.Tx(dbtest.System(t), func(tx *gorm.DB) error {
		return tx.Raw("SELECT args::text FROM river.river_job").Scan(&stored).Error
	}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(stored, "canary-token") || strings.Contains(stored, "ada@") || !strings.Contains(stored, "sealed") {
		t.Errorf("stored %s", stored)
	}
}

func TestWithoutAServerNothingIsQueued(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	if err := o.mail(t, reset("ada@client.example")); !errors.Is(err, ErrMailOff) {
		t.Errorf("queued: %v", err)
	}
	if _, err := o.Test(admin(t), "ada@client.example"); !errors.Is(err, ErrMailOff) {
		t.Errorf("tested: %v", err)
	}
}

func TestRefusalsForGoodAreNotRepeated(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	s := newSink(t, false, o.roots)
	o.use(t, s, tenants.MailStartTLS, "opensesame")
	s.refusals <- &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "come back later"}
	o.open(t)
	if err := o.mail(t, reset("later@client.example")); err != nil {
		t.Fatal(err)
	}
	if m := s.receive(t); m.to != "later@client.example" {
		t.Errorf("after a temporary refusal: %+v", m)
	}
	s.refusals <- &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	if err := o.mail(t, reset("nobody@client.example")); err != nil {
		t.Fatal(err)
	}
	o.waitFor(t, "nobody", "cancelled")
	late := reset("late@client.example")
	late.ExpiresAt = time.Now().Add(-time.Second)
	if err := o.mail(t, late); err != nil {
		t.Fatal(err)
	}
	o.waitFor(t, "late", "cancelled")
	s.empty(t)
}

// waitFor polls until the youngest job has the state.
func (o *office) waitFor(t *testing.T, what, state string) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-tick.C {
		var got string
		if err := o.db.Tx(dbtest.System(t), func(tx *gorm.DB) error {
			return tx.Raw("SELECT state::text FROM river.river_job ORDER BY id DESC LIMIT 1").Scan(&got).Error
		}); err != nil {
			t.Fatal(err)
		}
		if got == state {
			return
		}
	}
	t.Fatalf("the mail to %s never became %s", what, state)
}

func TestTheTestMessageTellsWhatTheServerSaid(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	s := newSink(t, false, o.roots)
	o.use(t, s, tenants.MailStartTLS, "opensesame")
	result, err := o.Test(admin(t), "admin@msp.example")
	if err != nil || !result.Delivered {
		t.Fatalf("%+v, %v", result, err)
	}
	if m := s.receive(t); !strings.Contains(m.text(t), "staff@example.test") {
		t.Errorf("body %s", m.text(t))
	}
	o.use(t, s, tenants.MailStartTLS, "wrong")
	if result, err = o.Test(admin(t), "admin@msp.example"); err != nil || result.Delivered || result.Detail == "" {
		t.Errorf("with a wrong password: %+v, %v", result, err)
	}
	untrusted := newSink(t, false, nil)
	o.use(t, untrusted, tenants.MailStartTLS, "opensesame")
	if result, err = o.Test(admin(t), "admin@msp.example"); err != nil || result.Delivered || !strings.Contains(result.Detail, "certificate") {
		t.Errorf("with an unknown certificate: %+v, %v", result, err)
	}
	untrusted.empty(t)
	if _, err := o.Test(dbtest.Staff(t, "settings.read"), "admin@msp.example"); !errors.Is(err, tenants.ErrNotPermitted) {
		t.Errorf("without the permission: %v", err)
	}
}

func TestATenantMailsOnlyInItsOwnName(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.use(t, newSink(t, false, o.roots), tenants.MailStartTLS, "opensesame")
	mine, err := tenants.NewService(o.db).Create(dbtest.Staff(t, "tenants.manage"), tenants.NewTenant{Name: "Mine"})
	if err != nil {
		t.Fatal(err)
	}
	for tenant, allowed := range map[uuid.UUID]bool{mine.ID: true, scope.Provider: false} {
		msg := reset("ada@client.example")
		msg.TenantID = tenant
		err := o.db.Tx(dbtest.Tenant(t, mine.ID), func(tx *gorm.DB) error { return o.MailTx(tx, msg) })
		if (err == nil) != allowed {
			t.Errorf("%s: %v", tenant, err)
		}
	}
}

func TestNoHeaderIsInjected(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	for _, to := range []string{"a@b.example\r\nBcc: x@y.example", "Ada <a@b.example>", "a@b.example, c@d.example", "", "a b@c.example", "a@b.example\n"} {
		o.use(t, &sink{port: 25}, tenants.MailStartTLS, "x")
		if err := o.mail(t, reset(to)); err == nil {
			t.Errorf("%q was queued", to)
		}
	}
}

func TestHostileDataStaysInItsPlace(t *testing.T) {
	t.Parallel()
	server := tenants.MailSpec{From: "reeve@msp.example", FromName: "x"}
	rapid.Check(t, func(t *rapid.T) {
		hostile := rapid.StringOf(rapid.RuneFrom([]rune("ab:@<>\r\n\x00\u2028\u202e\x1b[{}=?.☼ ü"))).Draw(t, "hostile")
		subject, body, err := render(Invitation, "de", map[string]string{"name": hostile, "link": "L", "expires": "E", "inviter": hostile, "provider": hostile, "support": "S"})
		if err != nil {
			t.Fatal(err)
		}
		_, plain, err := render(Invitation, "de", map[string]string{"name": "", "link": "L", "expires": "E", "inviter": "", "provider": "", "support": "S"})
		if err != nil || strings.ContainsAny(subject, "\r\n\x00\u2028\u202e\x1b") || strings.Count(body, "\n") != strings.Count(plain, "\n") {
			t.Fatalf("%q %q (%q)", subject, body, plain)
		}
		l := letter{to: "a@b.example", subject: subject, body: body, server: server}
		msg, err := l.compose(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		var raw strings.Builder
		if _, err := msg.WriteTo(&raw); err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(raw.String(), "\r\n\r\n")
		var names []string
		for _, line := range strings.Split(head, "\r\n") {
			if name, _, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "\t") {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		want := []string{"Auto-Submitted", "Content-Transfer-Encoding", "Content-Type", "Date", "From", "MIME-Version", "Message-ID", "Subject", "To", "User-Agent", "X-Auto-Response-Suppress", "X-Mailer"}
		if !reflect.DeepEqual(names, want) {
			t.Fatalf("headers %v", names)
		}
	})
}

func TestTheCatalogueIsWholeInEveryLanguage(t *testing.T) {
	t.Parallel()
	for name, texts := range catalogue {
		if len(texts) != len(locales) {
			t.Errorf("%s has %d languages", name, len(texts))
			continue
		}
		var sets [][]string
		for _, x := range texts {
			found := placeholder.FindAllString(x.subject+x.body, -1)
			slices.Sort(found)
			sets = append(sets, slices.Compact(found))
			if strings.Contains(x.subject, "\n") {
				t.Errorf("%s: a subject of several lines", name)
			}
		}
		for _, set := range sets[1:] {
			if !reflect.DeepEqual(set, sets[0]) {
				t.Errorf("%s: %v and %v", name, sets[0], set)
			}
		}
	}
	for locale, want := range map[string]string{"de-CH": "Testnachricht", "de": "Testnachricht", "en-US": "Test message", "fr": "Test message", "": "Test message", "x\r\n": "Test message"} {
		subject, _, err := render(MailTest, locale, map[string]string{"actor": "a", "provider": "p"})
		if err != nil || subject != want {
			t.Errorf("%q: %q, %v", locale, subject, err)
		}
	}
	if _, _, err := render(PasswordReset, "en", map[string]string{"name": "Ada"}); err == nil {
		t.Error("a message without its link was written")
	}
}
