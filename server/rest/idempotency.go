package rest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/gofiber/fiber/v2"
	"gorm.io/gorm"

	"reeve/tenants/scope"
	"reeve/tenants/secrets"
	"reeve/tenants/tenantdb"
)

const idempotencyHeader = "Idempotency-Key"

// ReplayedHeader marks an answer that was given before.
const ReplayedHeader = "Idempotency-Replayed"

// idempotency makes creating operations safe to repeat: under an Idempotency-Key the whole request is
// one transaction, in which its answer is stored, and a repetition is answered from there.
type idempotency struct {
	db     *tenantdb.DB
	keeper *secrets.Keeper // some answers carry what is shown only once, such as a token
}

// sealPurpose binds a stored answer to this use.
const sealPurpose = "idempotency.result"

// answer is what a repetition gets.
type answer struct {
	Status int    `json:"status"`
	Type   string `json:"type"`
	Body   []byte `json:"body"`
}

// errAnswered undoes a request whose handler answered with an error by itself.
var errAnswered = errors.New("answered with an error")

// Once makes the middleware of Config.Once.
func Once(db *tenantdb.DB, keeper *secrets.Keeper) HandlerMiddlewareFunc {
	return (&idempotency{db: db, keeper: keeper}).once
}

// once is the middleware; it stands behind the gate, where actor and operation are known.
func (i *idempotency) once(c *fiber.Ctx, next fiber.Handler) error {
	op, _ := c.Locals(operationKey).(*operation)
	name := c.Get(idempotencyHeader)
	if name == "" || op == nil || !op.repeatable() {
		return next(c)
	}
	ctx := c.UserContext()
	key := tenantdb.Key{ActorID: scope.From(ctx).Actor.ID, Operation: op.id, Key: name, BodyHash: requestHash(c)}
	stored, replayed, err := i.db.Once(ctx, key, func(joined context.Context) ([]byte, error) {
		c.SetUserContext(joined)
		defer c.SetUserContext(ctx)
		return i.act(joined, c, next)
	})
	switch {
	case errors.Is(err, errAnswered):
		return nil
	case err != nil || !replayed:
		return err
	}
	return i.replay(ctx, c, stored)
}

// act lets the handler answer, and returns the answer as it is to be stored.
func (i *idempotency) act(ctx context.Context, c *fiber.Ctx, next fiber.Handler) ([]byte, error) {
	if err := next(c); err != nil {
		return nil, err
	}
	status := c.Response().StatusCode()
	if status >= http.StatusBadRequest {
		return nil, errAnswered
	}
	plain, err := json.Marshal(answer{Status: status, Type: string(c.Response().Header.ContentType()), Body: c.Response().Body()})
	if err != nil {
		return nil, fmt.Errorf("storing the answer: %w", err)
	}
	var sealed []byte
	err = i.db.System(ctx, func(tx *gorm.DB) error {
		sealed, err = i.keeper.SealTx(tx, scope.Provider, sealPurpose, scope.From(ctx).Actor.ID, plain)
		return err
	})
	return sealed, err
}

func (i *idempotency) replay(ctx context.Context, c *fiber.Ctx, stored []byte) error {
	plain, err := i.keeper.Open(ctx, scope.Provider, sealPurpose, scope.From(ctx).Actor.ID, stored)
	if err != nil {
		return fmt.Errorf("opening a stored answer: %w", err)
	}
	var a answer
	if err := json.Unmarshal(plain, &a); err != nil {
		return fmt.Errorf("reading a stored answer: %w", err)
	}
	c.Set(ReplayedHeader, "true")
	c.Set(fiber.HeaderContentType, a.Type)
	return c.Status(a.Status).Send(a.Body)
}

// requestHash is a digest of what was asked for. It takes the validated body, so that white space and
// the order of fields do not count.
func requestHash(c *fiber.Ctx) []byte {
	h := sha256.New()
	fmt.Fprintf(h, "%s %s?%s\n", c.Method(), c.Path(), c.Context().QueryArgs().QueryString())
	body, err := json.Marshal(c.Locals(validatedBodyLocalsKey))
	if err != nil || c.Locals(validatedBodyLocalsKey) == nil {
		body = c.Body()
	}
	h.Write(body)
	return h.Sum(nil)
}

// repeatable tells whether the contract offers an Idempotency-Key for the operation.
func (o *operation) repeatable() bool {
	return o.spec.Parameters.GetByInAndName(openapi3.ParameterInHeader, idempotencyHeader) != nil
}
