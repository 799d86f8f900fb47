// Package notify sends what leaves the server for people: mail, and nothing may send mail but it.
package notify

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/mail"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/work"
	"reeve/tenants"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/secrets"
	"reeve/tenants/tenantdb"
)

// ErrMailOff is the fault of sending mail while no mail server is set up.
var ErrMailOff = fault.New(fault.Conflict, "no mail server is set up; see the mail settings")

// Message is a mail to one person.
type Message struct {
	TenantID  scope.ID // whose affair it is: the recipient's tenant
	To        string   // a plain address
	Template  Template
	Locale    string            // of the recipient
	Data      map[string]string // for the placeholders of the template
	ExpiresAt time.Time         // after this it is worth nothing and is not sent; zero: never
}

// Config is what a Mailer needs.
type Config struct {
	DB       *tenantdb.DB
	Settings *tenants.Settings
	Keeper   *secrets.Keeper
	Queue    *work.Queue
	Log      *slog.Logger
	Now      func() time.Time
	// Roots are the authorities that may vouch for mail servers; the system's when nil.
	Roots *x509.CertPool
}

// Mailer sends mail through the provider's mail server.
type Mailer struct{ Config }

// New makes a mailer and registers it as the queue's worker for mail.
func New(c Config) *Mailer {
	m := &Mailer{c}
	work.Register(c.Queue, &mailWorker{mailer: m})
	return m
}

// EnabledTx tells whether mail can be sent. Without it an administrator hands over one-time links.
func (m *Mailer) EnabledTx(tx *gorm.DB) (bool, error) {
	s, err := m.Settings.Mail(tx)
	return s.Enabled(), err
}

// mailPurpose binds a sealed message to this use.
const mailPurpose = "notify.mail"

// mailArgs is a message as it waits in the queue: sealed, because links in it are as good as passwords.
type mailArgs struct {
	TenantID  string    `json:"tenant_id"`
	MessageID uuid.UUID `json:"message_id"`
	Sealed    []byte    `json:"sealed"`
}

// Kind implements river.JobArgs.
func (mailArgs) Kind() string { return "mail" }

// Tenant implements work.TenantArgs.
func (a mailArgs) Tenant() string { return a.TenantID }

// maxAttempts spreads over about an hour and a quarter.
const maxAttempts = 8

// MailTx queues a mail in the caller's transaction; it leaves after the commit. It fails with
// ErrMailOff while mail is not set up: ask EnabledTx first where there is another way.
func (m *Mailer) MailTx(tx *gorm.DB, msg Message) error {
	enabled, err := m.EnabledTx(tx)
	if err != nil {
		return err
	}
	if !enabled {
		return ErrMailOff
	}
	if err := checkRecipient(msg.To); err != nil {
		return err
	}
	if _, _, err := render(msg.Template, msg.Locale, withFilledIn(msg.Data, tenants.ProviderSpec{})); err != nil {
		return err // better now than in the background
	}
	plain, err := json.Marshal(msg)
	if err != nil {
		return fmt.Errorf("queuing mail: %w", err)
	}
	args := mailArgs{TenantID: uuid.UUID(msg.TenantID).String(), MessageID: uuid.Must(uuid.NewV7())}
	if args.Sealed, err = m.Keeper.SealTx(tx, msg.TenantID, mailPurpose, args.MessageID, plain); err != nil {
		return err
	}
	return m.Queue.EnqueueTx(tx, args, &river.InsertOpts{MaxAttempts: maxAttempts})
}

// TestResult is what became of a test message.
type TestResult struct {
	Delivered bool
	Detail    string // what the mail server said
}

// testTimeout bounds how long an administrator waits for the mail server.
const testTimeout = 20 * time.Second

// Test sends a test message with the stored settings and waits for what the mail server says.
func (m *Mailer) Test(ctx context.Context, to string) (TestResult, error) {
	s := scope.From(ctx)
	if !s.May("settings.manage", scope.Provider) {
		return TestResult{}, tenants.ErrNotPermitted
	}
	if err := checkRecipient(to); err != nil {
		return TestResult{}, fault.InvalidField("/to", "give a plain e-mail address")
	}
	msg := Message{TenantID: scope.Provider, To: to, Template: MailTest, Data: map[string]string{"actor": s.Actor.Name}}
	l, err := m.letter(ctx, msg, uuid.Must(uuid.NewV7()))
	if err != nil {
		return TestResult{}, err
	}
	sending, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	result := TestResult{Delivered: true, Detail: "the mail server took the message"}
	if err := m.send(sending, l); err != nil {
		result = TestResult{Detail: oneLine(err.Error())}
	}
	return result, audit.Write(ctx, m.DB, audit.Entry{TenantID: scope.Provider, Action: "mail.tested", ObjectType: "settings",
		ObjectID: "mail", ObjectName: "mail", Detail: map[string]any{"to": to, "delivered": result.Delivered, "answer": result.Detail}})
}

// letter reads all that a message needs to be sent. The person's rights were checked when it was queued.
func (m *Mailer) letter(ctx context.Context, msg Message, id uuid.UUID) (l letter, err error) {
	err = m.DB.System(ctx, func(tx *gorm.DB) error {
		if l.server, err = m.Settings.Mail(tx); err != nil {
			return err
		}
		if !l.server.Enabled() {
			return ErrMailOff
		}
		if l.password, err = m.Settings.MailPassword(tx, l.server); err != nil {
			return err
		}
		provider, err := m.Settings.Provider(tx)
		if err != nil {
			return err
		}
		if msg.Locale == "" {
			msg.Locale = provider.Locale
		}
		l.id, l.to = id, msg.To
		l.subject, l.body, err = render(msg.Template, msg.Locale, withFilledIn(msg.Data, provider))
		return err
	})
	return l, err
}

func withFilledIn(data map[string]string, p tenants.ProviderSpec) map[string]string {
	out := map[string]string{"provider": p.Name, "support": strings.Trim(p.SupportEmail+" "+p.SupportPhone, " ")}
	for k, v := range data {
		if _, ours := out[k]; !ours {
			out[k] = v
		}
	}
	return out
}

// checkRecipient takes a plain address only: no name, no list, nothing that could end a header.
func checkRecipient(to string) error {
	a, err := mail.ParseAddress(to)
	if err != nil || a.Address != to || len(to) > 254 || strings.ContainsFunc(to, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return fault.New(fault.Invalid, "the recipient is not a plain e-mail address")
	}
	return nil
}
