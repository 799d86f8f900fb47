package app

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"reeve/server/rest"
)

// public is what may be answered without credentials: what the contract says so of. Everything else that
// is not the API's is the portal, which is the same for everybody.
func public(c *contract) map[string]bool {
	open := map[string]bool{}
	for _, op := range c.ops {
		if op.spec.Security != nil && len(*op.spec.Security) == 0 {
			open[op.method+" "+op.template] = true
		}
	}
	return open
}

// spellings are ways to write an address that some router might take for another.
func spellings(path string) []string {
	last := path[strings.LastIndexByte(path, '/')+1:]
	parent := strings.TrimSuffix(path, "/"+last)
	list := []string{
		path, path + "/", path + "//", path + "/.", path + "/..", path + "/../" + last, path + "%2f", path + "%00", path + "%20", path + "%09", path + "%0a",
		path + ";", path + ";a=b", path + ".json", path + ".html", path + ".js", path + ".css", path + "/x.png", path + "?x=/healthz", path + "#", path + "%23", path + "%3f",
		path + "\\", path + "/healthz", "/healthz/.." + path, "/healthz/%2e%2e" + path, "/readyz/.." + path, "/assets/.." + path, "/assets/..%2f.." + path,
		"/api/v1/auth/login/../.." + strings.TrimPrefix(path, "/api/v1"), "/api/v1/openapi.json/.." + strings.TrimPrefix(path, "/api/v1"),
		"/" + path, "//" + path, "/." + path, "/x/.." + path, strings.ToUpper(path), strings.Replace(path, "/api/v1/", "/API/v1/", 1),
		strings.Replace(path, "/api/v1/", "/api//v1/", 1), strings.Replace(path, "/api/v1/", "/api/./v1/", 1), strings.Replace(path, "/api/v1/", "/api%2fv1/", 1),
		strings.Replace(path, "/api/v1/", "/%61pi/v1/", 1), strings.Replace(path, "/api/v1/", "/api/v1/%2e/", 1), strings.Replace(path, "/api/v1/", "\\api\\v1\\", 1),
		parent + "//" + last, parent + "/./" + last, parent + "/%2e/" + last, parent + "/x/../" + last,
	}
	if last != "" {
		list = append(list, parent+"/"+strings.ToUpper(last[:1])+last[1:], parent+"/"+fmt.Sprintf("%%%02x", last[0])+last[1:], parent+"/"+last+"\u200b")
	}
	return list
}

// overrides are headers by which some servers let a request be another than it says.
func overrides(method, path string) []http.Header {
	return []http.Header{
		{}, {"X-Http-Method-Override": {method}}, {"X-Method-Override": {method}}, {"X-Http-Method": {method}}, {"X-Original-Url": {path}}, {"X-Rewrite-Url": {path}},
		{"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-User": {"admin"}, "X-Real-Ip": {"127.0.0.1"}}, {"Authorization": {"Bearer "}}, {"Authorization": {"Bearer null"}},
		{"Authorization": {"Basic YWRtaW46YWRtaW4="}}, {"Cookie": {"reeve_refresh=x; access_token=x"}},
	}
}

// raw sends a request line as it is: an HTTP library would mend it.
func (s *site) raw(t *testing.T, method, target string, header http.Header) (status int, kind string) {
	t.Helper()
	u, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	var conn net.Conn
	if u.Scheme == "https" {
		conn, err = tls.Dial("tcp", u.Host, s.http.Transport.(*http.Transport).TLSClientConfig)
	} else {
		conn, err = net.Dial("tcp", u.Host)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience)) // reading tells
	var request strings.Builder
	fmt.Fprintf(&request, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", method, target, u.Host)
	for name, values := range header {
		fmt.Fprintf(&request, "%s: %s\r\n", name, values[0])
	}
	if method != "GET" && method != "HEAD" {
		request.WriteString("Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	} else {
		request.WriteString("\r\n")
	}
	if _, err := conn.Write([]byte(request.String())); err != nil {
		return 0, ""
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return 0, "" // the server hung up on nonsense
	}
	defer response.Body.Close()
	kind, _, _ = strings.Cut(response.Header.Get("Content-Type"), ";")
	return response.StatusCode, kind
}

// TestNoSpellingOfAnAddressOpensIt asks for every operation without credentials, written in many ways:
// none is answered but those that the contract leaves open. What is not the API's is the portal's page.
func TestNoSpellingOfAnAddressOpensIt(t *testing.T) {
	t.Parallel()
	i := start(t, "off")
	open := public(i.contract)
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 1))
	tried, answered := 0, 0
	check := func(op *contractOp, method, target string, header http.Header) {
		status, kind := i.raw(t, method, target, header)
		tried++
		if status == http.StatusTooManyRequests {
			until(t, "the server takes another request", func() bool {
				status, kind = i.raw(t, method, target, header)
				return status != http.StatusTooManyRequests
			})
		}
		if status >= 500 {
			t.Errorf("%s %s %v: %d", method, target, header, status)
		}
		portal := (kind == "text/html" || kind == "text/javascript" || kind == "text/css" || kind == "image/svg+xml") && (method == "GET" || method == "HEAD")
		if status < 200 || status >= 300 || portal {
			return
		}
		path, _, _ := strings.Cut(target, "?")
		if named, _ := i.contract.find(method, path); named != nil && open[named.method+" "+named.template] {
			return
		}
		if open[op.method+" "+op.template] {
			return // another spelling of what is open anyway
		}
		if p, err := url.PathUnescape(path); err == nil && leadsToOpen(i.contract, open, method, p) {
			return
		}
		answered++
		t.Errorf("%s %q %v is answered %d %s without credentials (seed %d)", method, target, header, status, kind, seed)
	}
	methods := []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}
	for _, op := range i.contract.ops {
		path := pathParameter.ReplaceAllStringFunc(op.template, func(string) string { return uuid.Must(uuid.NewV7()).String() })
		check(op, op.method, path, nil)
		list, headers := spellings(path), overrides(op.method, path)
		for range 12 {
			check(op, op.method, list[random.IntN(len(list))], headers[random.IntN(len(headers))])
			check(op, methods[random.IntN(len(methods))], list[random.IntN(len(list))], headers[random.IntN(len(headers))])
		}
		check(op, "GET", "/healthz", http.Header{"X-Original-Url": {path}, "X-Http-Method-Override": {op.method}})
	}
	row(t, object{"check": "unauthenticated addresses", "tried": tried, "answered": answered, "upper95": 3 / float64(tried), "seed": seed})
}

// leadsToOpen tells whether an address is, once its dots are followed, one that is open.
func leadsToOpen(c *contract, open map[string]bool, method, path string) bool {
	joined, err := url.JoinPath("/", path)
	if err != nil {
		return false
	}
	op, _ := c.find(method, strings.TrimSuffix(joined, "/"))
	return op != nil && open[op.method+" "+op.template]
}

// TestThePermitTableLeavesOpenWhatTheContractLeavesOpen holds the two lists of what needs no token
// against each other.
func TestThePermitTableLeavesOpenWhatTheContractLeavesOpen(t *testing.T) {
	t.Parallel()
	c := readContract(t)
	open := public(c)
	for _, op := range c.ops {
		permit, known := rest.Permits[op.spec.OperationID]
		if known && (permit.Access == rest.Public) != open[op.method+" "+op.template] {
			t.Errorf("%s: the permit table and the contract disagree on whether it needs a token", op.spec.OperationID)
		}
	}
}
