package rest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/mail"
	"net/url"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"

	"reeve/api/fault"
)

// maxJSONDepth bounds the nesting of request bodies; the deepest legal one (a device filter inside
// targets inside a schedule) needs ten.
const maxJSONDepth = 32

// bodyLimits are the largest request bodies by operation, in bytes.
var bodyLimits = map[string]int{
	"createScript": 1 << 20, "updateScript": 1 << 20, "createJob": 2 << 20, "previewJob": 2 << 20,
	"createSchedule": 2 << 20, "updateSchedule": 2 << 20, "tagDevices": 256 << 10,
}

const defaultBodyLimit = 64 << 10

func (o *operation) bodyLimit() int {
	if n, ok := bodyLimits[o.id]; ok {
		return n
	}
	return defaultBodyLimit
}

func init() {
	openapi3.DefineStringFormatValidator("uuid", openapi3.NewCallbackValidator(func(s string) error {
		if len(s) != 36 {
			return errors.New("must be a UUID such as 01920000-0000-7000-8000-000000000000")
		}
		if _, err := uuid.Parse(s); err != nil {
			return errors.New("must be a UUID such as 01920000-0000-7000-8000-000000000000")
		}
		return nil
	}))
	openapi3.DefineStringFormatValidator("email", openapi3.NewCallbackValidator(func(s string) error {
		a, err := mail.ParseAddress(s)
		if err != nil || a.Address != s || a.Name != "" {
			return errors.New("must be an e-mail address such as ada@example.com")
		}
		return nil
	}))
}

// readBody reads at most limit bytes. With streamed request bodies the framework's own limit does
// not hold, so this is the one that does.
func readBody(c *fiber.Ctx, limit int) ([]byte, error) {
	tooLarge := fault.Newf(fault.TooLarge, "the request body is larger than %d bytes", limit)
	if c.Request().Header.ContentLength() > limit {
		return nil, tooLarge
	}
	stream := c.Context().RequestBodyStream()
	if stream == nil {
		b := c.Request().Body()
		if len(b) > limit {
			return nil, tooLarge
		}
		return b, nil
	}
	b, err := io.ReadAll(io.LimitReader(stream, int64(limit)+1))
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "the request body could not be read to its end", err)
	}
	if len(b) > limit {
		return nil, tooLarge
	}
	c.Request().SetBodyRaw(b)
	return b, nil
}

// tooDeep tells whether JSON nests deeper than maxJSONDepth, before any decoder recurses into it.
func tooDeep(b []byte) bool {
	depth, inString := 0, false
	for i := 0; i < len(b); i++ {
		switch ch := b[i]; {
		case inString && ch == '\\':
			i++
		case ch == '"':
			inString = !inString
		case inString:
		case ch == '{' || ch == '[':
			if depth++; depth > maxJSONDepth {
				return true
			}
		case ch == '}' || ch == ']':
			depth--
		}
	}
	return false
}

// validate checks a request against its operation and hands the *validated* body on: a second,
// case-insensitive decode of the raw bytes could see something else.
func (g *gate) validate(c *fiber.Ctx, op *operation, params map[string]string) error {
	body, err := readBody(c, op.bodyLimit())
	if err != nil {
		return err
	}
	query, err := url.ParseQuery(string(c.Request().URI().QueryString()))
	if err != nil {
		return fault.New(fault.Invalid, "the query string is malformed")
	}
	if err := knownParameters(op, query); err != nil {
		return err
	}
	if op.spec.RequestBody == nil {
		if len(bytes.TrimSpace(body)) > 0 && c.Method() != fiber.MethodDelete && string(bytes.TrimSpace(body)) != "{}" {
			return fault.New(fault.Invalid, "this operation takes no request body")
		}
		body = nil
	} else {
		mediaType, _, _ := strings.Cut(c.Get(fiber.HeaderContentType), ";")
		if !strings.EqualFold(strings.TrimSpace(mediaType), fiber.MIMEApplicationJSON) {
			return fault.New(fault.UnsupportedMedia, "send the body as application/json")
		}
		if tooDeep(body) {
			return fault.Newf(fault.Invalid, "the request body nests deeper than %d levels", maxJSONDepth)
		}
	}
	header := http.Header{}
	if op.spec.RequestBody != nil {
		header.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	}
	if k := c.Get("Idempotency-Key"); k != "" {
		header.Set("Idempotency-Key", k)
	}
	req := &http.Request{Method: op.method, URL: &url.URL{Path: c.Path(), RawQuery: string(c.Request().URI().QueryString())}, Header: header}
	if body != nil {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	err = openapi3filter.ValidateRequest(context.Background(), &openapi3filter.RequestValidationInput{
		Request: req, PathParams: params, QueryParams: query,
		Route:   &routers.Route{Spec: g.doc, Path: op.template, PathItem: op.path, Method: op.method, Operation: op.spec},
		Options: &openapi3filter.Options{MultiError: true, KeepValidatedValue: true, SkipSettingDefaults: false, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	})
	if err != nil {
		return asInvalid(err)
	}
	if v, ok := req.Body.(interface{ ValidatedValue() any }); ok && body != nil {
		c.Locals(validatedBodyLocalsKey, v.ValidatedValue())
	}
	return nil
}

func knownParameters(op *operation, query url.Values) error {
	var fields fault.Fields
	for name := range query {
		if op.spec.Parameters.GetByInAndName(openapi3.ParameterInQuery, name) == nil {
			fields.Add("?"+name, "there is no such parameter")
		}
	}
	return fields.Err()
}

// asInvalid turns the validator's tree of errors into fields with pointers.
func asInvalid(err error) error {
	var fields fault.Fields
	collect(err, "", &fields)
	if len(fields) == 0 {
		return fault.Wrap(fault.Invalid, "the request does not match the contract", err)
	}
	return fields.Err()
}

func collect(err error, prefix string, fields *fault.Fields) {
	switch e := err.(type) {
	case openapi3.MultiError:
		for _, x := range e {
			collect(x, prefix, fields)
		}
	case *openapi3filter.RequestError:
		if e.Parameter != nil {
			prefix = "?" + e.Parameter.Name
			if e.Parameter.In == openapi3.ParameterInPath || e.Parameter.In == openapi3.ParameterInHeader {
				prefix = e.Parameter.In + ":" + e.Parameter.Name
			}
		}
		if e.Err == nil {
			fields.Add(prefix, "%s", e.Reason)
			return
		}
		before := len(*fields)
		collect(e.Err, prefix, fields)
		if len(*fields) == before {
			fields.Add(prefix, "%s", firstLine(e.Error()))
		}
	case *openapi3filter.ParseError:
		fields.Add(prefix, "%s", firstLine(e.Error()))
	case *openapi3.SchemaError:
		if e.Origin != nil {
			var nested openapi3.MultiError
			if errors.As(e.Origin, &nested) {
				collect(nested, prefix, fields)
				return
			}
		}
		pointer := prefix
		if path := e.JSONPointer(); len(path) > 0 {
			pointer += "/" + strings.Join(path, "/")
		}
		fields.Add(pointer, "%s", e.Reason)
	default:
		if u := errors.Unwrap(err); u != nil {
			collect(u, prefix, fields)
			return
		}
		fields.Add(prefix, "%s", firstLine(err.Error()))
	}
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}
