package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/google/uuid"

	"reeve/api/fault"
	"reeve/tenants/scope"
)

// The prefixes of opaque credentials: a person, a log filter and a secret scanner recognise them.
const (
	refreshPrefix = "reeve_refresh_"
	apiKeyPrefix  = "reeve_key_"
	enrolPrefix   = "reeve_enrol_"
	linkPrefix    = "reeve_link_"
)

// secretBytes of randomness make guessing hopeless, so a plain SHA-256 is enough to store them.
const secretBytes = 32

// Fingerprint is the SHA-256 of an opaque credential: what the database keeps of it.
type Fingerprint = [sha256.Size]byte

// FingerprintOf hashes an opaque credential as it was given.
func FingerprintOf(credential string) Fingerprint { return sha256.Sum256([]byte(credential)) }

func randomSecret() string {
	b := make([]byte, secretBytes)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// NewRefreshToken makes a refresh token and what to store of it.
func NewRefreshToken() (token string, stored Fingerprint) {
	token = refreshPrefix + randomSecret()
	return token, FingerprintOf(token)
}

// NewOneTimeLink makes the secret of a link that works once.
func NewOneTimeLink() (token string, stored Fingerprint) {
	token = linkPrefix + randomSecret()
	return token, FingerprintOf(token)
}

// NewAPIKeySecret makes an API key "reeve_key_<id>_<secret>".
func NewAPIKeySecret(id scope.ID) (key string, stored Fingerprint) {
	key = apiKeyPrefix + hex.EncodeToString(id[:]) + "_" + randomSecret()
	return key, FingerprintOf(key)
}

// IsAPIKey tells an API key from an access token.
func IsAPIKey(bearer string) bool { return strings.HasPrefix(bearer, apiKeyPrefix) }

// ParseAPIKey reads the id out of an API key; the whole key is what is compared.
func ParseAPIKey(key string) (id scope.ID, stored Fingerprint, err error) {
	rest, found := strings.CutPrefix(key, apiKeyPrefix)
	idText, secret, split := strings.Cut(rest, "_")
	if !found || !split || len(secret) != base64.RawURLEncoding.EncodedLen(secretBytes) || len(idText) != 32 {
		return id, stored, ErrUnauthenticated
	}
	raw, err := hex.DecodeString(idText)
	if err != nil {
		return id, stored, ErrUnauthenticated
	}
	return scope.ID(raw), FingerprintOf(key), nil
}

// NewEnrolmentToken makes "reeve_enrol_<random>" and, when the server uses its private CA, appends
// "." and the CA's fingerprint, which the endpoint pins. Only the random part is fingerprinted, so
// that a renewed CA does not void tokens that were handed out.
func NewEnrolmentToken(caFingerprint string) (token string, stored Fingerprint) {
	token = enrolPrefix + randomSecret()
	stored = FingerprintOf(token)
	if caFingerprint != "" {
		token += "." + caFingerprint
	}
	return token, stored
}

// ParseEnrolmentToken gives what is stored of a token, and the CA fingerprint it carries, if any.
func ParseEnrolmentToken(token string) (stored Fingerprint, caFingerprint string, err error) {
	body, ca, _ := strings.Cut(token, ".")
	secret, found := strings.CutPrefix(body, enrolPrefix)
	if !found || len(secret) != base64.RawURLEncoding.EncodedLen(secretBytes) {
		return stored, "", fault.New(fault.Unauthenticated, "the enrolment token is not valid")
	}
	return FingerprintOf(body), ca, nil
}

func newID() scope.ID { return uuid.Must(uuid.NewV7()) }
