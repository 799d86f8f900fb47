package auth

import (
	_ "embed"
	"strings"
	"unicode"
	"unicode/utf8"

	"reeve/api/fault"
)

//go:embed common_passwords.txt
var commonPasswordsText string

var commonPasswords = readCommonPasswords(commonPasswordsText)

// minPassword is the shortest password there is; the security settings may ask for more.
const minPassword = 12

// PasswordOwner is what the policy must know about the person who chooses a password.
type PasswordOwner struct {
	Email     string
	Name      string
	MinLength int
}

// CheckPassword refuses a password that is short, common, or made of what others know about its owner.
// It asks for no character classes: they make passwords worse. field is the pointer of the input.
func CheckPassword(field, password string, owner PasswordOwner) error {
	shortest := max(minPassword, owner.MinLength)
	var faults fault.Fields
	faults.Check(utf8.ValidString(password), field, "must be text")
	faults.Check(utf8.RuneCountInString(password) >= shortest, field, "must have at least %d characters", shortest)
	faults.Check(len(password) <= maxPasswordBytes, field, "must be at most %d bytes long", maxPasswordBytes)
	if len(faults) > 0 {
		return faults.Err()
	}
	folded := foldPassword(password)
	faults.Check(!isCommon(password), field, "is one of the passwords that are guessed first")
	faults.Check(distinctRunes(folded) >= 5, field, "repeats too few different characters")
	faults.Check(!isRun(folded), field, "follows a sequence of the keyboard or the alphabet")
	faults.Check(!containsPersonal(folded, owner), field, "must not contain the e-mail address or the name")
	return faults.Err()
}

func readCommonPasswords(text string) map[string]bool {
	set := map[string]bool{}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			set[foldPassword(line)] = true
		}
	}
	return set
}

// foldPassword undoes the substitutions that guessing programs undo first.
func foldPassword(s string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '0':
			return 'o'
		case '1', '!', '|':
			return 'i'
		case '3':
			return 'e'
		case '4', '@':
			return 'a'
		case '5', '$':
			return 's'
		case '7':
			return 't'
		}
		if unicode.IsSpace(r) || r == '-' || r == '_' || r == '.' {
			return -1
		}
		return unicode.ToLower(r)
	}, s)
}

// isCommon knows the word itself, the word with digits and marks around it, and the word repeated.
func isCommon(password string) bool {
	core := strings.TrimFunc(password, func(r rune) bool { return !unicode.IsLetter(r) })
	for _, s := range []string{foldPassword(password), foldPassword(core)} {
		if commonPasswords[s] || commonPasswords[halved(s)] {
			return true
		}
	}
	return false
}

func halved(s string) string {
	for n := 2; n <= 4; n++ {
		if len(s)%n == 0 && len(s) > 0 && strings.Repeat(s[:len(s)/n], n) == s {
			return s[:len(s)/n]
		}
	}
	return s
}

func distinctRunes(s string) int {
	seen := map[rune]bool{}
	for _, r := range s {
		seen[r] = true
	}
	return len(seen)
}

// isRun tells whether the whole password walks along one of the well-known sequences.
func isRun(folded string) bool {
	for _, run := range []string{
		"abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm", "qwertzuiopasdfghjklyxcvbnm",
		foldPassword("12345678901234567890"), foldPassword("98765432109876543210"),
	} {
		if strings.Contains(run+run, folded) || strings.Contains(reversed(run+run), folded) {
			return true
		}
	}
	return false
}

func reversed(s string) string {
	b := []byte(s)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}

// containsPersonal looks for the parts of name and address that are long enough to be recognised.
func containsPersonal(folded string, owner PasswordOwner) bool {
	local, domain, _ := strings.Cut(owner.Email, "@")
	label, _, _ := strings.Cut(domain, ".")
	parts := []string{local, label}
	parts = append(parts, strings.FieldsFunc(local, func(r rune) bool { return !unicode.IsLetter(r) })...)
	parts = append(parts, strings.Fields(owner.Name)...)
	for _, part := range parts {
		if part = foldPassword(part); utf8.RuneCountInString(part) >= 4 && strings.Contains(folded, part) {
			return true
		}
	}
	return false
}
