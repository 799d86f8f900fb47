package notify

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	gomail "github.com/wneessen/go-mail"
	"gorm.io/gorm"

	"reeve/tenants"
)

// letter is a message ready to go, with the server it goes through.
type letter struct {
	id       uuid.UUID
	to       string
	subject  string
	body     string
	server   tenants.MailSpec
	password string
}

// dialTimeout bounds each step of the conversation with the mail server.
const dialTimeout = 15 * time.Second

// send hands a letter to the mail server, and returns what the server said when it refuses.
func (m *Mailer) send(ctx context.Context, l letter) error {
	msg, err := l.compose(m.Now())
	if err != nil {
		return err
	}
	client, err := m.client(l)
	if err != nil {
		return fmt.Errorf("preparing the mail server's connection: %w", err)
	}
	return client.DialAndSendWithContext(ctx, msg)
}

// compose writes the headers. Addresses were parsed, and the subject has no line ends left; the library
// encodes what is not plain ASCII.
func (l letter) compose(now time.Time) (*gomail.Msg, error) {
	msg := gomail.NewMsg(gomail.WithCharset(gomail.CharsetUTF8), gomail.WithEncoding(gomail.EncodingQP))
	if err := msg.FromFormat(l.server.FromName, l.server.From); err != nil {
		return nil, fmt.Errorf("the sender's address: %w", err)
	}
	if err := msg.To(l.to); err != nil {
		return nil, fmt.Errorf("the recipient's address: %w", err)
	}
	msg.Subject(oneLine(l.subject))
	msg.SetDateWithValue(now)
	// The same id on every try, so that a server which took it twice can drop one.
	msg.SetMessageIDWithValue(l.id.String() + "@" + domainOf(l.server.From))
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetGenHeader("X-Auto-Response-Suppress", "All")
	msg.SetBodyString(gomail.TypeTextPlain, l.body)
	return msg, nil
}

func domainOf(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }

func (m *Mailer) client(l letter) (*gomail.Client, error) {
	options := []gomail.Option{
		gomail.WithPort(l.server.Port), gomail.WithTimeout(dialTimeout),
		gomail.WithTLSConfig(&tls.Config{ServerName: l.server.Host, RootCAs: m.Roots, MinVersion: tls.VersionTLS12}),
	}
	switch l.server.Security {
	case tenants.MailTLS:
		options = append(options, gomail.WithSSL())
	case tenants.MailStartTLS:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	default:
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	}
	if l.server.Username != "" && l.password != "" {
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover),
			gomail.WithUsername(l.server.Username), gomail.WithPassword(l.password))
	}
	return gomail.NewClient(l.server.Host, options...)
}

// mailWorker sends what MailTx queued.
type mailWorker struct {
	river.WorkerDefaults[mailArgs]
	mailer *Mailer
}

// Timeout implements river.Worker.
func (*mailWorker) Timeout(*river.Job[mailArgs]) time.Duration { return 45 * time.Second }

// Work implements river.Worker. An error is tried again later, a cancelled job is not.
func (w *mailWorker) Work(ctx context.Context, job *river.Job[mailArgs]) error {
	msg, err := w.mailer.open(ctx, job.Args)
	if err != nil {
		return err
	}
	if !msg.ExpiresAt.IsZero() && w.mailer.Now().After(msg.ExpiresAt) {
		return river.JobCancel(errors.New("the message is worth nothing any more"))
	}
	l, err := w.mailer.letter(ctx, msg, job.Args.MessageID)
	if errors.Is(err, ErrMailOff) {
		return river.JobCancel(err)
	}
	if err != nil {
		return err
	}
	if err := w.mailer.send(ctx, l); err != nil {
		if permanent(err) {
			w.mailer.Log.ErrorContext(ctx, "mail refused", "message_id", l.id, "template", string(msg.Template), "error", err)
			return river.JobCancel(err)
		}
		return fmt.Errorf("sending mail: %w", err)
	}
	return nil
}

func (m *Mailer) open(ctx context.Context, args mailArgs) (msg Message, err error) {
	tenant, err := uuid.Parse(args.TenantID)
	if err != nil {
		return msg, river.JobCancel(err)
	}
	err = m.DB.System(ctx, func(tx *gorm.DB) error {
		plain, err := m.Keeper.OpenTx(tx, tenant, mailPurpose, args.MessageID, args.Sealed)
		if err != nil {
			return err
		}
		return json.Unmarshal(plain, &msg)
	})
	return msg, err
}

// permanent tells whether the server refused this message for good (5xx), other than for reasons that
// an administrator may mend meanwhile, such as a wrong password.
func permanent(err error) bool {
	var sending *gomail.SendError
	var network net.Error
	if errors.As(err, &network) || !errors.As(err, &sending) {
		return false
	}
	return !sending.IsTemp() && sending.ErrorCode() >= 500
}
