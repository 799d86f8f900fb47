package tenants

import (
	"net/mail"
	"slices"
	"strings"

	"reeve/api/fault"
)

// Document is one domain of settings as somebody reads and replaces it.
type Document[T any] struct {
	Version   int64 // 0 while the defaults hold
	Value     T
	Inherited bool // the tenant has none of its own; the provider's apply
}

// The domains of settings: each is one row per tenant.
const (
	domainProvider = "provider"
	domainSecurity = "security"
	domainMail     = "mail"
	domainJobs     = "jobs"
)

// ProviderSpec is how the MSP presents itself. Name, zone and locale are those of its tenant row.
type ProviderSpec struct {
	Name         string `json:"-"`
	Zone         string `json:"-"`
	Locale       string `json:"-"`
	SupportEmail string `json:"support_email"`
	SupportPhone string `json:"support_phone"`
}

// Validate reports every faulty field.
func (s ProviderSpec) Validate() error {
	var f fault.Fields
	checkName(&f, "/value/name", s.Name)
	checkZone(&f, "/value/zone", s.Zone)
	checkLocale(&f, "/value/locale", s.Locale)
	if s.SupportEmail != "" {
		checkAddress(&f, "/value/support_email", s.SupportEmail)
	}
	f.Check(len(s.SupportPhone) <= 60 && printable(s.SupportPhone, false), "/value/support_phone",
		"give at most 60 characters without control characters")
	return f.Err()
}

// SecuritySpec is how hard it is to get in.
type SecuritySpec struct {
	SecondFactorRequiredRoles []string `json:"second_factor_required_roles"`
	PasswordMinLength         int      `json:"password_min_length"`
	SessionIdleHours          int      `json:"session_idle_hours"` // a session ends when unused for so long
	SessionMaxDays            int      `json:"session_max_days"`   // and after so long in any case
	StepUpMinutes             int      `json:"step_up_minutes"`    // how long a confirmed identity counts
}

func defaultSecurity() SecuritySpec {
	return SecuritySpec{SecondFactorRequiredRoles: []string{}, PasswordMinLength: 12, SessionIdleHours: 72,
		SessionMaxDays: 30, StepUpMinutes: 15}
}

// Validate reports every faulty field.
func (s SecuritySpec) Validate() error {
	var f fault.Fields
	for i, role := range s.SecondFactorRequiredRoles {
		f.Check(slices.ContainsFunc(roles, func(r Role) bool { return string(r.Name) == role }),
			pointerAt("/value/second_factor_required_roles", i), "there is no role %q", role)
		f.Check(!slices.Contains(s.SecondFactorRequiredRoles[:i], role), pointerAt("/value/second_factor_required_roles", i),
			"%q stands here twice", role)
	}
	checkRange(&f, "/value/password_min_length", s.PasswordMinLength, 12, 128)
	checkRange(&f, "/value/session_idle_hours", s.SessionIdleHours, 1, 720)
	checkRange(&f, "/value/session_max_days", s.SessionMaxDays, 1, 365)
	checkRange(&f, "/value/step_up_minutes", s.StepUpMinutes, 1, 120)
	return f.Err()
}

// MailSecurity is how the connection to the mail server is protected.
type MailSecurity string

// The ways to protect it. None is for a relay on the same machine: it never carries a password.
const (
	MailPlain    MailSecurity = "none"
	MailStartTLS MailSecurity = "starttls" // refused when the server does not offer it
	MailTLS      MailSecurity = "tls"
)

// MailSpec is how mail leaves. Without a host none does, and administrators hand out one-time links.
type MailSpec struct {
	Host     string       `json:"host"`
	Port     int          `json:"port"`
	Security MailSecurity `json:"security"`
	Username string       `json:"username"`
	From     string       `json:"from"`
	FromName string       `json:"from_name"`
	// Sealed is the password as it is stored; nil when there is none.
	Sealed []byte `json:"sealed,omitempty"`
}

// PasswordSet tells whether a password is stored.
func (s MailSpec) PasswordSet() bool { return len(s.Sealed) > 0 }

// Enabled tells whether mail can be sent at all.
func (s MailSpec) Enabled() bool { return s.Host != "" }

func defaultMail() MailSpec { return MailSpec{Port: 587, Security: MailStartTLS} }

// Validate reports every faulty field.
func (s MailSpec) Validate() error {
	var f fault.Fields
	checkRange(&f, "/value/port", s.Port, 1, 65535)
	f.Check(slices.Contains([]MailSecurity{MailPlain, MailStartTLS, MailTLS}, s.Security), "/value/security",
		"use none, starttls or tls")
	f.Check(plainHost(s.Host), "/value/host", "give a host name or an IP address, without scheme and port")
	f.Check(len(s.Username) <= 254 && printable(s.Username, false), "/value/username", "give at most 254 characters without control characters")
	f.Check(len(s.FromName) <= maxName && printable(s.FromName, false), "/value/from_name",
		"give at most %d characters without control characters", maxName)
	if s.Host != "" || s.From != "" {
		checkAddress(&f, "/value/from", s.From)
	}
	f.Check(s.Security != MailPlain || !s.PasswordSet(), "/value/security",
		"a password never travels unprotected: use starttls or tls, or clear the password")
	return f.Err()
}

// MailChange is a MailSpec as an administrator sends it.
type MailChange struct {
	MailSpec
	Password *string // nil keeps the stored one, empty clears it
}

// JobSpec is the blast-radius brake: a job beyond a limit waits for a second person.
type JobSpec struct {
	MaxDevices         int `json:"max_devices"`
	MaxTenants         int `json:"max_tenants"`
	CanaryPercent      int `json:"canary_percent"`       // share that goes first; 0 switches it off
	StopFailurePercent int `json:"stop_failure_percent"` // stop at this share of failures; 0 switches it off
}

func defaultJobs() JobSpec { return JobSpec{MaxDevices: 100, MaxTenants: 1} }

// Validate reports every faulty field.
func (s JobSpec) Validate() error {
	var f fault.Fields
	checkRange(&f, "/value/max_devices", s.MaxDevices, 1, 1_000_000)
	checkRange(&f, "/value/max_tenants", s.MaxTenants, 1, 100_000)
	checkRange(&f, "/value/canary_percent", s.CanaryPercent, 0, 100)
	checkRange(&f, "/value/stop_failure_percent", s.StopFailurePercent, 0, 100)
	return f.Err()
}

func checkRange(f *fault.Fields, pointer string, n, low, high int) {
	f.Check(n >= low && n <= high, pointer, "give a number from %d to %d", low, high)
}

func checkAddress(f *fault.Fields, pointer, address string) {
	a, err := mail.ParseAddress(address)
	f.Check(err == nil && a.Address == address && len(address) <= 254 && printable(address, false), pointer,
		"give a plain e-mail address such as help@example.com")
}

// plainHost accepts the empty host, which switches mail off.
func plainHost(host string) bool {
	if len(host) > 253 {
		return false
	}
	return strings.IndexFunc(host, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".-:_", r))
	}) < 0 && (strings.Count(host, ":") != 1)
}
