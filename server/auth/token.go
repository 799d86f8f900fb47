package auth

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"reeve/tenants/scope"
)

// Names inside the tokens. Audience and type differ between people and endpoints, so that neither
// kind of token is ever taken for the other.
const (
	issuer       = "reeve"
	apiAudience  = "reeve-api"
	accessType   = "reeve-access+jwt"
	maxTokenSize = 4096

	// AccessTTL is how long an access token lives; what it allows is looked up anew at every request.
	AccessTTL = 10 * time.Minute
)

// Use says what an access token is good for.
type Use string

// The uses.
const (
	UseFull  Use = "full"
	UseEnrol Use = "enrol-second-factor" // sign-in is complete only after a second factor is set up
)

// KeyRing holds the keys that sign access tokens; secrets.Keys is one.
type KeyRing interface {
	// Signer is the key to sign with now.
	Signer(ctx context.Context) (kid string, key ed25519.PrivateKey, err error)
	// Public is a key that may still have signed living tokens.
	Public(ctx context.Context, kid string) (ed25519.PublicKey, error)
}

// Access is what an access token says.
type Access struct {
	User      scope.ID
	Tenant    scope.ID // where the user lives
	Session   scope.ID
	AuthTime  time.Time // when the user signed in
	SteppedUp time.Time // when the user last confirmed their identity; zero when never since
	Use       Use
}

type accessClaims struct {
	jwt.RegisteredClaims
	Tenant   string `json:"tid"`
	Session  string `json:"sid"`
	AuthTime int64  `json:"auth_time"`
	StepUp   int64  `json:"step_up,omitempty"`
	Use      Use    `json:"use"`
}

// Tokens issues and reads access tokens.
type Tokens struct {
	keys KeyRing
	now  func() time.Time
}

// NewTokens returns an issuer over a key ring.
func NewTokens(keys KeyRing, now func() time.Time) *Tokens { return &Tokens{keys, now} }

// Issue signs an access token.
func (t *Tokens) Issue(ctx context.Context, a Access) (token string, ttl time.Duration, err error) {
	kid, key, err := t.keys.Signer(ctx)
	if err != nil {
		return "", 0, fmt.Errorf("finding the access-token key: %w", err)
	}
	now := t.now()
	claims := accessClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Subject: uuid.UUID(a.User).String(), Audience: jwt.ClaimStrings{apiAudience},
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(AccessTTL)),
			ID: uuid.UUID(newID()).String(),
		},
		Tenant: uuid.UUID(a.Tenant).String(), Session: uuid.UUID(a.Session).String(),
		AuthTime: a.AuthTime.Unix(), Use: a.Use,
	}
	if !a.SteppedUp.IsZero() {
		claims.StepUp = a.SteppedUp.Unix()
	}
	unsigned := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	unsigned.Header["typ"], unsigned.Header["kid"] = accessType, kid
	token, err = unsigned.SignedString(key)
	return token, AccessTTL, err
}

// Read verifies an access token. It says who claims to act; whether the session still stands is
// for the service to look up.
func (t *Tokens) Read(ctx context.Context, token string) (Access, error) {
	if len(token) == 0 || len(token) > maxTokenSize {
		return Access{}, ErrUnauthenticated
	}
	var claims accessClaims
	_, err := jwt.ParseWithClaims(token, &claims, func(tok *jwt.Token) (any, error) {
		kid, _ := tok.Header["kid"].(string)
		if tok.Header["typ"] != accessType || kid == "" {
			return nil, errors.New("not an access token")
		}
		return t.keys.Public(ctx, kid)
	},
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithIssuer(issuer), jwt.WithAudience(apiAudience),
		jwt.WithExpirationRequired(), jwt.WithNotBeforeRequired(), jwt.WithIssuedAt(),
		jwt.WithTimeFunc(t.now), jwt.WithLeeway(5*time.Second), jwt.WithStrictDecoding())
	if err != nil {
		return Access{}, unauthenticated(err)
	}
	if claims.ExpiresAt.Sub(claims.NotBefore.Time) > AccessTTL {
		return Access{}, unauthenticated(errors.New("the token lives longer than any that is issued"))
	}
	return claims.access()
}

func (c *accessClaims) access() (Access, error) {
	user, err1 := uuid.Parse(c.Subject)
	tenant, err2 := uuid.Parse(c.Tenant)
	session, err3 := uuid.Parse(c.Session)
	if err := errors.Join(err1, err2, err3); err != nil {
		return Access{}, unauthenticated(err)
	}
	if c.Use != UseFull && c.Use != UseEnrol {
		return Access{}, unauthenticated(fmt.Errorf("unknown use %q", c.Use))
	}
	a := Access{User: user, Tenant: tenant, Session: session, AuthTime: time.Unix(c.AuthTime, 0), Use: c.Use}
	if c.StepUp != 0 {
		a.SteppedUp = time.Unix(c.StepUp, 0)
	}
	return a, nil
}
