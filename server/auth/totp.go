package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"

	"reeve/api/fault"
)

const (
	totpPeriod    = 30
	totpDrift     = 1 // steps before and after now that are accepted, for phones with a wrong clock
	recoveryCodes = 10
)

// TOTPSecret is a new second factor as it is shown to its owner once.
type TOTPSecret struct {
	Secret string // base32, for typing in
	URL    string // otpauth://, for the QR code
}

// NewTOTP makes a secret for an account.
func NewTOTP(installation, account string) (TOTPSecret, error) {
	key, err := totp.Generate(totp.GenerateOpts{Issuer: installation, AccountName: account, Period: totpPeriod})
	if err != nil {
		return TOTPSecret{}, fault.Wrap(fault.Internal, "making a second factor", err)
	}
	return TOTPSecret{Secret: key.Secret(), URL: key.URL()}, nil
}

// VerifyTOTP checks a code. It returns the time step that matched, which the caller stores: a step
// is accepted once, so a code that was watched or phished cannot be used behind its owner.
func VerifyTOTP(secret, code string, now time.Time, lastStep int64) (step int64, ok bool) {
	code = strings.ReplaceAll(strings.TrimSpace(code), " ", "")
	if len(code) != 6 {
		return 0, false
	}
	current := now.Unix() / totpPeriod
	for candidate := current - totpDrift; candidate <= current+totpDrift; candidate++ {
		want, err := hotp.GenerateCodeCustom(secret, uint64(candidate),
			hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err != nil {
			return 0, false
		}
		if subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 && candidate > lastStep {
			return candidate, true
		}
	}
	return 0, false
}

// NewRecoveryCodes makes the codes that replace a lost second factor, each good for one sign-in.
func NewRecoveryCodes() (codes []string, stored []Fingerprint) {
	for range recoveryCodes {
		text := strings.ToLower(rand.Text())[:20] // 100 bits: a plain hash is enough
		code := strings.Join([]string{text[:5], text[5:10], text[10:15], text[15:]}, "-")
		codes = append(codes, code)
		stored = append(stored, recoveryFingerprint(code))
	}
	return codes, stored
}

// recoveryFingerprint forgives how a person types a code: case, dashes and spaces do not matter.
func recoveryFingerprint(code string) Fingerprint {
	return FingerprintOf(strings.ToLower(strings.NewReplacer("-", "", " ", "").Replace(code)))
}
