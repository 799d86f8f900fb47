package rest

import (
	"context"
	"crypto/subtle"
	"strings"

	"github.com/gofiber/fiber/v2"

	"reeve/api/fault"
	"reeve/tenants/scope"
)

// Authenticator turns a bearer token (access token or API key) into the scope of its holder, as
// that holder's grants are now.
type Authenticator interface {
	Authenticate(ctx context.Context, bearer, address string) (scope.Scope, error)
}

// bearerToken reads the Authorization header. Tokens never travel in a URL or a cookie, so a
// foreign page cannot make a browser send one.
func bearerToken(c *fiber.Ctx) (string, error) {
	h := c.Get(fiber.HeaderAuthorization)
	kind, token, ok := strings.Cut(h, " ")
	if !ok || subtle.ConstantTimeCompare([]byte(strings.ToLower(kind)), []byte("bearer")) != 1 || token == "" || len(token) > 4096 {
		return "", fault.New(fault.Unauthenticated, "send an access token or an API key as Authorization: Bearer …")
	}
	return token, nil
}

// admit decides whether the caller may call the operation at all.
func (g *gate) admit(c *fiber.Ctx, op *operation) (scope.Scope, error) {
	if op.permit.Access == Public {
		return scope.Scope{Actor: scope.Actor{Address: c.IP(), RequestID: requestID(c)}}, nil
	}
	token, err := bearerToken(c)
	if err != nil {
		return scope.Scope{}, err
	}
	s, err := g.auth.Authenticate(c.UserContext(), token, c.IP())
	if err != nil {
		return scope.Scope{}, err
	}
	s.Actor.Address, s.Actor.RequestID = c.IP(), requestID(c)
	return s, permitted(op.permit, s)
}

// permitted is the decision of the permit table.
func permitted(p Permit, s scope.Scope) error {
	if p.People && s.Actor.Kind != scope.User {
		return fault.New(fault.Forbidden, "API keys may not do this; sign in as a person")
	}
	if s.SetupOnly && p.Access != Setup {
		return fault.New(fault.Forbidden, "your role requires a second factor: set it up first")
	}
	if p.Access == Permitted && !s.MayAnywhere(p.Permission) {
		return fault.Newf(fault.Forbidden, "this needs the permission %s", p.Permission)
	}
	if p.StepUp && s.Actor.Kind == scope.User && !s.SteppedUp {
		return fault.New(fault.StepUp, "confirm your identity first (POST /api/v1/auth/step-up)")
	}
	return nil
}
