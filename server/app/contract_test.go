package app

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"reeve/server/rest"
)

// contract holds answers against openapi.yaml.
type contract struct {
	doc *openapi3.T
	ops []*contractOp
}

type contractOp struct {
	method, template string
	item             *openapi3.PathItem
	spec             *openapi3.Operation
	pattern          *regexp.Regexp
	names            []string // of the path parameters
}

var pathParameter = regexp.MustCompile(`\{([^}]+)\}`)

func readContract(t testing.TB) *contract {
	t.Helper()
	doc, err := rest.ParseContract(rest.Contract)
	if err != nil {
		t.Fatal(err)
	}
	c := &contract{doc: doc}
	for template, item := range doc.Paths.Map() {
		pattern := regexp.MustCompile("^" + pathParameter.ReplaceAllString(template, "([^/]+)") + "$")
		var names []string
		for _, m := range pathParameter.FindAllStringSubmatch(template, -1) {
			names = append(names, m[1])
		}
		for method, spec := range item.Operations() {
			c.ops = append(c.ops, &contractOp{method, template, item, spec, pattern, names})
		}
	}
	slices.SortFunc(c.ops, func(a, b *contractOp) int {
		// What is written out goes before what a parameter would also fit.
		if n := len(a.names) - len(b.names); n != 0 {
			return n
		}
		return strings.Compare(a.spec.OperationID, b.spec.OperationID)
	})
	return c
}

func (c *contract) find(method, path string) (*contractOp, map[string]string) {
	for _, op := range c.ops {
		m := op.pattern.FindStringSubmatch(path)
		if op.method != method || m == nil {
			continue
		}
		params := map[string]string{}
		for i, name := range op.names {
			params[name] = m[i+1]
		}
		return op, params
	}
	return nil, nil
}

// check fails the test when an answer is not what the contract promises for the operation.
func (c *contract) check(t testing.TB, method string, u *url.URL, status int, header http.Header, body []byte) {
	t.Helper()
	op, params := c.find(method, u.Path)
	if op == nil {
		return // the contract says nothing about what it does not name
	}
	err := openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request:    &http.Request{Method: method, URL: u, Header: http.Header{}},
			PathParams: params, QueryParams: u.Query(),
			Route: &routers.Route{Spec: c.doc, Path: op.template, PathItem: op.item, Method: method, Operation: op.spec},
		},
		Status: status, Header: header, Body: io.NopCloser(bytes.NewReader(body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	})
	if err != nil {
		t.Errorf("%s %s: the answer %d breaks the contract of %s: %v\n%s", method, u.Path, status, op.spec.OperationID, err, body)
	}
}
