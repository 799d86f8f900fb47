package rest

import (
	"sort"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// operation is one method on one path of the contract.
type operation struct {
	id       string
	method   string
	template string // as in the contract: /api/v1/tenants/{id}
	path     *openapi3.PathItem
	spec     *openapi3.Operation
	permit   Permit
}

// routes finds the operation of a request by its path segments; literal segments win over
// parameters, as in the contract (/schedules/preview before /schedules/{id}).
type routes struct{ root *segment }

type segment struct {
	literal map[string]*segment
	param   *segment
	methods map[string]*operation
}

func newRoutes(doc *openapi3.T, permits map[string]Permit) *routes {
	r := &routes{root: &segment{}}
	for template, item := range doc.Paths.Map() {
		for method, spec := range item.Operations() {
			r.add(&operation{id: spec.OperationID, method: method, template: template, path: item, spec: spec, permit: permits[spec.OperationID]})
		}
	}
	return r
}

func (r *routes) add(op *operation) {
	at := r.root
	for _, part := range strings.Split(op.template[1:], "/") {
		if strings.HasPrefix(part, "{") {
			if at.param == nil {
				at.param = &segment{}
			}
			at = at.param
			continue
		}
		if at.literal == nil {
			at.literal = map[string]*segment{}
		}
		if at.literal[part] == nil {
			at.literal[part] = &segment{}
		}
		at = at.literal[part]
	}
	if at.methods == nil {
		at.methods = map[string]*operation{}
	}
	at.methods[op.method] = op
}

// find returns the operation and its path parameters. When the path exists and the method does not,
// allowed lists the methods that do.
func (r *routes) find(method, path string) (op *operation, params map[string]string, allowed []string) {
	if path == "" || path[0] != '/' {
		return nil, nil, nil
	}
	at := r.root
	for _, part := range strings.Split(path[1:], "/") {
		if next := at.literal[part]; next != nil {
			at = next
			continue
		}
		if at.param == nil || part == "" {
			return nil, nil, nil
		}
		at = at.param
	}
	if op = at.methods[method]; op != nil {
		return op, op.params(path), nil
	}
	for m := range at.methods {
		allowed = append(allowed, m)
	}
	sort.Strings(allowed)
	return nil, nil, allowed
}

// params reads the values of the template's parameters out of a path that matched it.
func (o *operation) params(path string) map[string]string {
	if !strings.Contains(o.template, "{") {
		return nil
	}
	out := map[string]string{}
	values := strings.Split(path[1:], "/")
	for i, part := range strings.Split(o.template[1:], "/") {
		if strings.HasPrefix(part, "{") {
			out[part[1:len(part)-1]] = values[i]
		}
	}
	return out
}

// fiberPath is the template as the router of the framework spells it.
func (o *operation) fiberPath() string {
	return strings.NewReplacer("{", ":", "}", "").Replace(o.template)
}
