package auth

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"reeve/api/fault"
	"reeve/api/wire"
	"reeve/tenants/scope"
)

// AgentClockLeeway is how far an endpoint's clock may be off before it is told.
const AgentClockLeeway = 30 * time.Second

// ErrClockSkew says that everything about an endpoint's claim is right but its time.
var ErrClockSkew = fault.New(fault.ClockSkew, "the device's clock differs too much from the server's")

// EndpointDevice reads which device a claim says to come from, so that its key can be looked up.
// Nothing is verified yet.
func EndpointDevice(token string) (scope.ID, error) {
	if len(token) == 0 || len(token) > maxTokenSize {
		return scope.ID{}, ErrUnauthenticated
	}
	parsed, _, err := jwt.NewParser(jwt.WithStrictDecoding()).ParseUnverified(token, &jwt.RegisteredClaims{})
	if err != nil {
		return scope.ID{}, unauthenticated(err)
	}
	kid, _ := parsed.Header["kid"].(string)
	id, err := uuid.Parse(kid)
	if err != nil {
		return scope.ID{}, unauthenticated(err)
	}
	return id, nil
}

// VerifyEndpoint checks an endpoint's claim against the public key pinned for the device. It
// answers ErrClockSkew only when the signature and all else hold, so that a stranger learns nothing.
func VerifyEndpoint(token string, device scope.ID, key ed25519.PublicKey, now time.Time) error {
	if len(token) == 0 || len(token) > maxTokenSize {
		return ErrUnauthenticated
	}
	if len(key) != ed25519.PublicKeySize {
		return unauthenticated(errors.New("the device's key has a wrong size"))
	}
	id := uuid.UUID(device).String()
	var claims jwt.RegisteredClaims
	_, err := jwt.ParseWithClaims(token, &claims, func(tok *jwt.Token) (any, error) {
		if tok.Header["typ"] != wire.TokenType || tok.Header["kid"] != id {
			return nil, errors.New("not a claim of this device")
		}
		return key, nil
	}, jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding())
	if err != nil {
		return unauthenticated(err)
	}
	if err := checkEndpointClaims(claims, id); err != nil {
		return unauthenticated(err)
	}
	return checkEndpointTime(claims, now)
}

// checkEndpointClaims validates everything but the present: it takes the claim's own time as now.
func checkEndpointClaims(claims jwt.RegisteredClaims, id string) error {
	if claims.IssuedAt == nil || claims.ExpiresAt == nil {
		return errors.New("iat and exp are required")
	}
	if life := claims.ExpiresAt.Sub(claims.IssuedAt.Time); life <= 0 || life > wire.MaxTokenLife {
		return fmt.Errorf("a life of %s is not allowed", life)
	}
	at := claims.IssuedAt.Time
	if claims.NotBefore != nil && claims.NotBefore.After(at) {
		at = claims.NotBefore.Time
	}
	return jwt.NewValidator(jwt.WithAudience(wire.Audience), jwt.WithIssuer(id), jwt.WithSubject(id),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(func() time.Time { return at })).Validate(claims)
}

func checkEndpointTime(claims jwt.RegisteredClaims, now time.Time) error {
	starts := claims.IssuedAt.Time
	if claims.NotBefore != nil && claims.NotBefore.After(starts) {
		starts = claims.NotBefore.Time
	}
	if now.Before(starts.Add(-AgentClockLeeway)) || now.After(claims.ExpiresAt.Add(AgentClockLeeway)) {
		return ErrClockSkew
	}
	return nil
}

func unauthenticated(cause error) error {
	return fault.Wrap(fault.Unauthenticated, ErrUnauthenticated.Message, cause)
}
