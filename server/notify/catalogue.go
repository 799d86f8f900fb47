package notify

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/text/language"
)

// Template names a message of the catalogue.
type Template string

// The messages with the data that each needs. {provider} and {support} are filled in for all.
const (
	PasswordReset Template = "password_reset" // name, link, expires
	Invitation    Template = "invitation"     // name, link, expires, inviter
	BreakGlass    Template = "break_glass"    // actor, tenant, reason, expires, address
	MailTest      Template = "mail_test"      // actor
)

// text is a message in one language. Placeholders like {name} are replaced and nothing else happens:
// there is no logic in it that data could reach.
type text struct{ subject, body string }

// locales are the languages of the catalogue; the first serves whoever speaks none of them.
var locales = []language.Tag{language.English, language.German}

var matcher = language.NewMatcher(locales)

// catalogue holds every message in every language; a test holds the languages against each other.
var catalogue = map[Template][]text{
	PasswordReset: {{
		"Reset your password",
		`Hello {name},

somebody, hopefully you, asked for a new password for your account at {provider}.
Open this address to choose one. It works once, until {expires}:

{link}

If it was not you, ignore this message: nothing changes without the address above.

{provider}
{support}
`}, {
		"Passwort zurücksetzen",
		`Hallo {name},

jemand, hoffentlich Sie selbst, hat ein neues Passwort für Ihr Konto bei {provider} angefordert.
Unter dieser Adresse legen Sie es fest. Sie gilt einmal, bis {expires}:

{link}

Wenn Sie das nicht waren, tun Sie nichts: Ohne diese Adresse ändert sich nichts.

{provider}
{support}
`}},
	Invitation: {{
		"Your account at {provider}",
		`Hello {name},

{inviter} has made an account for you at {provider}.
Open this address to choose your password. It works once, until {expires}:

{link}

{provider}
{support}
`}, {
		"Ihr Konto bei {provider}",
		`Hallo {name},

{inviter} hat bei {provider} ein Konto für Sie angelegt.
Unter dieser Adresse legen Sie Ihr Passwort fest. Sie gilt einmal, bis {expires}:

{link}

{provider}
{support}
`}},
	BreakGlass: {{
		"Emergency access to {tenant}",
		`{actor} has taken emergency access to {tenant}, from the address {address}, until {expires}.

The reason given:
{reason}

Everything done under it stands in the audit log. If this is not right, end the sessions of this user
in the portal at once.

{provider}
`}, {
		"Notfallzugriff auf {tenant}",
		`{actor} hat von der Adresse {address} aus Notfallzugriff auf {tenant} genommen, bis {expires}.

Der angegebene Grund:
{reason}

Alles, was darunter geschieht, steht im Protokoll. Wenn das nicht stimmt, beenden Sie im Portal sofort
die Sitzungen dieses Benutzers.

{provider}
`}},
	MailTest: {{
		"Test message",
		`This is the test message that {actor} asked for. Mail from {provider} arrives.
`}, {
		"Testnachricht",
		`Das ist die Testnachricht, um die {actor} gebeten hat. Post von {provider} kommt an.
`}},
}

var placeholder = regexp.MustCompile(`\{[a-z]+\}`)

// render fills a message in the language nearest to the locale.
func render(t Template, locale string, data map[string]string) (subject, body string, err error) {
	texts, known := catalogue[t]
	if !known {
		return "", "", fmt.Errorf("notify: no message %q in the catalogue", t)
	}
	_, index := language.MatchStrings(matcher, locale)
	chosen := texts[index]
	var pairs []string
	for _, p := range placeholder.FindAllString(chosen.subject+chosen.body, -1) {
		value, given := data[strings.Trim(p, "{}")]
		if !given {
			return "", "", fmt.Errorf("notify: the message %q needs %s", t, p)
		}
		pairs = append(pairs, p, oneLine(value))
	}
	fill := strings.NewReplacer(pairs...)
	return fill.Replace(chosen.subject), strings.TrimRight(fill.Replace(chosen.body), "\n") + "\n", nil
}

// maxData is the longest value in a message; a reason for emergency access has 1,000 characters.
const maxData = 2000

// oneLine keeps a value from breaking out of its place: no line ends, no control or bidirectional
// formatting characters, no endless text.
func oneLine(value string) string {
	value = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(value, "?"), func(r rune) bool {
		return unicode.IsControl(r) || r == '\u2028' || r == '\u2029'
	}), " ")
	value = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, value)
	if runes := []rune(value); len(runes) > maxData {
		value = string(runes[:maxData]) + "…"
	}
	return value
}
