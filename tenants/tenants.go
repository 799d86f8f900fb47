// Package tenants knows the MSP's clients: tenants and their sites, users and what they may do,
// settings, custom fields, and the acts that wait for a second person.
package tenants

import (
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
	"golang.org/x/text/language"
	"golang.org/x/text/unicode/norm"

	"reeve/api/fault"
	"reeve/tenants/calendar"
	"reeve/tenants/scope"
)

// State is where a tenant stands in its life.
type State string

// The states. Sign-in and the gateway read them: only an active tenant is served.
const (
	Active    State = "active"
	Suspended State = "suspended" // its users cannot sign in, its endpoints get no work
	Archived  State = "archived"  // for good
)

// legalMoves is the whole life of a tenant.
var legalMoves = map[State][]State{
	Active:    {Suspended, Archived},
	Suspended: {Active, Archived},
	Archived:  nil,
}

// moveTo decides whether a tenant may change its state.
func (t Tenant) moveTo(to State) error {
	if t.IsProvider() {
		return ErrProviderState
	}
	for _, legal := range legalMoves[t.State] {
		if legal == to {
			return nil
		}
	}
	if t.State == Archived {
		return ErrTenantArchived
	}
	return fault.Newf(fault.Conflict, "the tenant is %s already", t.State)
}

// Tenant is a client of the MSP, or the MSP itself.
type Tenant struct {
	ID                uuid.UUID
	Name              string
	Slug              string // unique and stable: for addresses and file names
	State             State
	Zone              string // IANA; what its sites fall back to
	Locale            string // BCP 47; of its documents and mails
	Notes             string
	EnrolmentApproval bool // new devices wait until somebody approves them
	Version           int64
	CreatedAt         time.Time
	UpdatedAt         time.Time
	ArchivedAt        *time.Time

	// SiteCount and DeviceCount are filled on reading: sites in use, devices not retired.
	SiteCount   int64 `gorm:"-" audit:"-"`
	DeviceCount int64 `gorm:"-" audit:"-"`
}

// IsProvider tells the MSP's own row from its clients.
func (t Tenant) IsProvider() bool { return t.ID == scope.Provider }

// NewTenant is what it takes to create a tenant.
type NewTenant struct {
	Name              string
	Slug              string // made from the name when empty
	Zone              string // the provider's when empty
	Locale            string // the provider's when empty
	Notes             string
	EnrolmentApproval bool
	FirstSite         string // also create a site of this name
}

// Validate reports every faulty field.
func (n NewTenant) Validate() error {
	var f fault.Fields
	checkName(&f, "/name", n.Name)
	if n.Slug != "" {
		f.Check(n.Slug == slugOf(n.Slug), "/slug", "use at most %d lower-case letters, digits and single hyphens between them", maxSlug)
	}
	if n.Zone != "" {
		checkZone(&f, "/zone", n.Zone)
	}
	if n.Locale != "" {
		checkLocale(&f, "/locale", n.Locale)
	}
	checkText(&f, "/notes", n.Notes, maxNotes)
	if n.FirstSite != "" {
		checkName(&f, "/first_site", n.FirstSite)
	}
	return f.Err()
}

// TenantChange names what to change; nil leaves as it is.
type TenantChange struct {
	Version           int64
	Name              *string
	Zone              *string
	Locale            *string
	Notes             *string
	EnrolmentApproval *bool
}

// Validate reports every faulty field.
func (c TenantChange) Validate() error {
	var f fault.Fields
	if c.Name != nil {
		checkName(&f, "/name", *c.Name)
	}
	if c.Zone != nil {
		checkZone(&f, "/zone", *c.Zone)
	}
	if c.Locale != nil {
		checkLocale(&f, "/locale", *c.Locale)
	}
	if c.Notes != nil {
		checkText(&f, "/notes", *c.Notes, maxNotes)
	}
	return f.Err()
}

// apply decides what the tenant becomes.
func (c TenantChange) apply(t Tenant) (Tenant, error) {
	if t.State == Archived {
		return t, ErrTenantArchived
	}
	if t.IsProvider() && (c.Name != nil || c.Zone != nil || c.Locale != nil) {
		return t, ErrProviderProfile
	}
	set(&t.Name, trimmed(c.Name))
	set(&t.Zone, c.Zone)
	set(&t.Locale, c.Locale)
	set(&t.Notes, c.Notes)
	set(&t.EnrolmentApproval, c.EnrolmentApproval)
	return t, nil
}

// TenantFilter narrows a list; nil means any.
type TenantFilter struct {
	State *State
	Query *string // part of the name or slug, in any letter case
}

const (
	maxName  = 120
	maxNotes = 4000
	maxSlug  = 60
)

// slugOf makes an address part of a name: "Café Zürich & Söhne" → "cafe-zurich-sohne".
func slugOf(name string) string {
	var b strings.Builder
	gap := false
	for _, r := range norm.NFKD.String(strings.ToLower(name)) {
		switch {
		case r == 'ß':
			b.WriteString("ss")
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			if gap && b.Len() > 0 {
				b.WriteByte('-')
			}
			gap = false
			b.WriteRune(r)
		case unicode.Is(unicode.Mn, r): // the accent that decomposition split off
		default:
			gap = true
		}
		if b.Len() >= maxSlug {
			break
		}
	}
	s := b.String()
	if len(s) > maxSlug {
		s = s[:maxSlug]
	}
	return strings.TrimRight(s, "-")
}

// numbered is the n-th attempt at a free slug: acme, acme-2, acme-3.
func numbered(slug string, n int) string {
	if n < 2 {
		return slug
	}
	suffix := "-" + strconv.Itoa(n)
	if len(slug)+len(suffix) > maxSlug {
		slug = strings.TrimRight(slug[:maxSlug-len(suffix)], "-")
	}
	return slug + suffix
}

func checkName(f *fault.Fields, pointer, name string) {
	name = strings.TrimSpace(name)
	n := len([]rune(name))
	f.Check(n >= 1 && n <= maxName, pointer, "give 1 to %d characters", maxName)
	f.Check(printable(name, false), pointer, "leave out control characters")
}

func checkText(f *fault.Fields, pointer, text string, limit int) {
	f.Check(len([]rune(text)) <= limit, pointer, "give at most %d characters", limit)
	f.Check(printable(text, true), pointer, "leave out control characters")
}

func checkLocale(f *fault.Fields, pointer, locale string) {
	tag, err := language.Parse(locale)
	f.Check(err == nil && tag != language.Und, pointer, "%q is not a language tag such as en or de-CH", locale)
}

func checkZone(f *fault.Fields, pointer, zone string) {
	_, err := calendar.LoadZone(zone)
	f.Check(err == nil, pointer, "%q is not an IANA time zone such as Europe/Berlin", zone)
}

// printable refuses what a terminal, a mail header or a spreadsheet could take for an instruction,
// and what PostgreSQL cannot store.
func printable(s string, lines bool) bool {
	for _, r := range s {
		if lines && (r == '\n' || r == '\r' || r == '\t') {
			continue
		}
		if r == unicode.ReplacementChar || unicode.IsControl(r) {
			return false
		}
	}
	return true
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

func trimmed(s *string) *string {
	if s == nil {
		return nil
	}
	t := strings.TrimSpace(*s)
	return &t
}
