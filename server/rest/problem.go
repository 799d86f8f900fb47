package rest

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"reeve/api"
	"reeve/api/fault"
)

// ProblemJSON is the media type of every error (RFC 9457).
const ProblemJSON = "application/problem+json"

// statusOf is the one place where a kind of fault becomes an HTTP status.
var statusOf = map[fault.Kind]int{
	fault.Invalid:          http.StatusBadRequest,
	fault.Unauthenticated:  http.StatusUnauthorized,
	fault.OTPRequired:      http.StatusUnauthorized,
	fault.ClockSkew:        http.StatusUnauthorized,
	fault.Forbidden:        http.StatusForbidden,
	fault.StepUp:           http.StatusForbidden,
	fault.NotFound:         http.StatusNotFound,
	fault.MethodNotAllowed: http.StatusMethodNotAllowed,
	fault.Conflict:         http.StatusConflict,
	fault.Gone:             http.StatusGone,
	fault.TooLarge:         http.StatusRequestEntityTooLarge,
	fault.UnsupportedMedia: http.StatusUnsupportedMediaType,
	fault.RateLimited:      http.StatusTooManyRequests,
	fault.Unavailable:      http.StatusServiceUnavailable,
	fault.Internal:         http.StatusInternalServerError,
}

var titleOf = map[fault.Kind]string{
	fault.Invalid:          "Invalid request",
	fault.Unauthenticated:  "Sign in first",
	fault.OTPRequired:      "A one-time code is needed",
	fault.ClockSkew:        "The clock is wrong",
	fault.Forbidden:        "Not permitted",
	fault.StepUp:           "Confirm your identity",
	fault.NotFound:         "Not found",
	fault.MethodNotAllowed: "Method not allowed",
	fault.Conflict:         "Conflict",
	fault.Gone:             "No longer valid",
	fault.TooLarge:         "Too large",
	fault.UnsupportedMedia: "Unsupported media type",
	fault.RateLimited:      "Too many requests",
	fault.Unavailable:      "Unavailable",
	fault.Internal:         "Internal error",
}

// kindOfStatus reads the framework's own errors (unparsable requests, missing routes).
var kindOfStatus = map[int]fault.Kind{
	http.StatusNotFound:              fault.NotFound,
	http.StatusMethodNotAllowed:      fault.MethodNotAllowed,
	http.StatusRequestEntityTooLarge: fault.TooLarge,
	http.StatusUnsupportedMediaType:  fault.UnsupportedMedia,
	http.StatusTooManyRequests:       fault.RateLimited,
	http.StatusServiceUnavailable:    fault.Unavailable,
	http.StatusUnauthorized:          fault.Unauthenticated,
	http.StatusForbidden:             fault.Forbidden,
	http.StatusConflict:              fault.Conflict,
}

// ErrorHandler renders every error of the application, and is the only place that does.
// The cause of an internal error is logged under the request's id and never sent.
func ErrorHandler(log *slog.Logger, now func() time.Time) fiber.ErrorHandler {
	return func(c *fiber.Ctx, err error) error {
		f := asFault(err)
		status := statusOf[f.Kind]
		if status == 0 {
			status = http.StatusInternalServerError
		}
		id := requestID(c)
		if status >= 500 {
			log.ErrorContext(c.UserContext(), "request failed", "request_id", id, "method", c.Method(),
				"path", c.Path(), "status", status, "error", err)
		}
		p := api.Problem{
			Type:   "/problems/" + string(f.Kind),
			Title:  titleOf[f.Kind],
			Status: status,
			Detail: optional(f.Message),
		}
		if f.Kind == fault.Internal {
			p.Detail = optional("Something went wrong on our side. The server's log has the details under this request id.")
		}
		p.Instance, p.RequestID = optional(c.Path()), optional(id)
		if len(f.Fields) > 0 {
			fields := make([]api.ProblemField, len(f.Fields))
			for i, x := range f.Fields {
				fields[i] = api.ProblemField{Pointer: x.Pointer, Detail: x.Detail}
			}
			p.Errors = &fields
		}
		if f.RetryAfter > 0 {
			s := int(math.Ceil(f.RetryAfter.Seconds()))
			c.Set(fiber.HeaderRetryAfter, strconv.Itoa(s))
			p.RetryAfterSeconds = &s
		}
		if f.Kind == fault.ClockSkew {
			t := now().UTC()
			p.ServerTime = &t
		}
		if status == http.StatusUnauthorized {
			c.Set(fiber.HeaderWWWAuthenticate, `Bearer realm="reeve"`)
		}
		return c.Status(status).JSON(p, ProblemJSON)
	}
}

func asFault(err error) *fault.Error {
	if f, ok := fault.As(err); ok {
		return f
	}
	var fe *fiber.Error
	if errors.As(err, &fe) {
		if kind, ok := kindOfStatus[fe.Code]; ok {
			return fault.New(kind, fe.Message)
		}
		if fe.Code >= 400 && fe.Code < 500 {
			return fault.New(fault.Invalid, fe.Message)
		}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fault.Wrap(fault.Unavailable, "the request took too long and was given up; try again", err)
	}
	return fault.Wrap(fault.Internal, "internal error", err)
}
