// Package rest serves the REST API of the contract: every request passes one gate (request id,
// limits, authentication, permit table, validation) before a handler sees it, and every error
// leaves through one door.
package rest

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"

	"reeve/api/fault"
	"reeve/tenants/scope"
)

const requestIDKey = "reeve.request_id"

// requestID is the id of the request, in the log, the audit log and every problem.
func requestID(c *fiber.Ctx) string {
	id, _ := c.Locals(requestIDKey).(string)
	return id
}

// Identify gives the request an id, the address it came from and the security headers every answer
// carries, and leaves no connection half read. It belongs in front of everything the server listens to.
func Identify(c *fiber.Ctx) error {
	id := uuid.Must(uuid.NewV7()).String()
	c.Locals(requestIDKey, id)
	c.Set(fiber.HeaderXRequestID, id)
	c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	c.Set(fiber.HeaderReferrerPolicy, "no-referrer")
	c.Set(fiber.HeaderXFrameOptions, "DENY")
	c.Set("Cross-Origin-Resource-Policy", "same-origin")
	c.Set("Cross-Origin-Opener-Policy", "same-origin")
	nearestStranger(c)
	length := c.Request().Header.ContentLength()
	err := c.Next()
	closeUnlessRead(c, length)
	return err
}

// AccessLog writes one line for each request after it was answered.
func AccessLog(log *slog.Logger, now func() time.Time) fiber.Handler {
	return func(c *fiber.Ctx) error {
		start := now()
		err := c.Next()
		if err != nil {
			// Render here so that the status in the log is the one that was sent.
			if err = c.App().ErrorHandler(c, err); err != nil {
				return err
			}
		}
		s := scope.From(c.UserContext())
		log.LogAttrs(c.UserContext(), slog.LevelInfo, "request",
			slog.String("request_id", requestID(c)), slog.String("method", c.Method()), slog.String("path", c.Path()),
			slog.Int("status", c.Response().StatusCode()), slog.Duration("took", now().Sub(start)),
			slog.String("actor", s.Actor.Name), slog.String("address", c.IP()))
		return nil
	}
}

type exchangeKey struct{}

// exchange reaches the HTTP request behind a handler's context. Only sign-in needs it, for cookies.
func exchange(ctx context.Context) *fiber.Ctx {
	c, _ := ctx.Value(exchangeKey{}).(*fiber.Ctx)
	return c
}

// gate is what stands before every handler.
type gate struct {
	doc    *openapi3.T
	routes *routes
	auth   Authenticator
	flood  *floodGuard
}

// Config is what the API needs.
type Config struct {
	Contract []byte // openapi.yaml
	Auth     Authenticator
	Server   StrictServerInterface
	Once     func(*fiber.Ctx, fiber.Handler) error // repeatable requests; nil: none are
	Now      func() time.Time
}

// Mount registers the operations of the contract on the application.
func Mount(app *fiber.App, c Config) error {
	doc, err := ParseContract(c.Contract)
	if err != nil {
		return err
	}
	g := &gate{doc: doc, routes: newRoutes(doc, Permits), auth: c.Auth, flood: newFloodGuard(c.Now)}
	for _, prefix := range []string{"/api", "/healthz", "/readyz"} {
		app.Use(prefix, g.enter)
	}
	middlewares := []HandlerMiddlewareFunc{g.sameRoute}
	if c.Once != nil {
		middlewares = append(middlewares, c.Once)
	}
	routes := &literalFirst{Router: app}
	RegisterHandlersWithOptions(routes, NewStrictHandler(c.Server, nil), FiberServerOptions{HandlerMiddlewares: middlewares})
	routes.flush()
	return nil
}

// ParseContract reads openapi.yaml.
func ParseContract(text []byte) (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return nil, fmt.Errorf("reading the contract: %w", err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, fmt.Errorf("checking the contract: %w", err)
	}
	return doc, nil
}

var errNoRoute = fault.New(fault.NotFound, "there is nothing at this address; the API is described at /api/v1/openapi.json")

const operationKey = "reeve.operation"

// enter finds the operation, admits the caller and validates the request, in this order: who is not
// signed in learns nothing about the contract's rules.
func (g *gate) enter(c *fiber.Ctx) error {
	op, params, allowed := g.routes.find(c.Method(), c.Path())
	if op == nil {
		if len(allowed) > 0 {
			for _, m := range allowed {
				c.Append(fiber.HeaderAllow, m)
			}
			return fault.Newf(fault.MethodNotAllowed, "%s is not possible here", c.Method())
		}
		return errNoRoute
	}
	c.Locals(operationKey, op)
	if err := g.flood.allowAddress(c.IP()); err != nil {
		return err
	}
	s, err := g.admit(c, op)
	if err != nil {
		return err
	}
	if err := g.flood.allowActor(s.Actor.ID); err != nil {
		return err
	}
	if err := g.validate(c, op, params); err != nil {
		return err
	}
	ctx := scope.With(c.UserContext(), s)
	c.SetUserContext(context.WithValue(ctx, exchangeKey{}, c))
	c.Set(fiber.HeaderCacheControl, "no-store")
	return c.Next()
}

// sameRoute refuses a request that the framework routed to another operation than the one the gate
// admitted: two routers must never disagree about what was permitted.
func (g *gate) sameRoute(c *fiber.Ctx, next fiber.Handler) error {
	op, _ := c.Locals(operationKey).(*operation)
	if op == nil || op.fiberPath() != c.Route().Path {
		return errNoRoute
	}
	return next(c)
}
