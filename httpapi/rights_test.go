package httpapi_test

import (
	"regexp"
	"testing"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/httpapi"
	"github.com/folkmoot/folkmoot/httpapi/rest"
)

// rightOf is what each operation needs, and where its namespace comes from. A route that
// is not in it fails the test below: decide who may call it, and write it here.
var rightOf = map[string]struct {
	right control.Right
	scope rest.Scope
}{
	"GET /components":                  {"components:read", "rows"},
	"GET /components/{full}":           {"components:read", "path"},
	"GET /namespaces":                  {"components:read", "rows"},
	"GET /workers":                     {"components:read", "rows"},
	"POST /components":                 {"components:write", "body"},
	"PUT /components/{full}/heartbeat": {"components:write", "path"},
	"GET /components/{full}/messages":  {"components:write", "path"},
	"DELETE /components/{full}":        {"components:write", "path"},
	"POST /messages":                   {"messages:send", "body"},
	"POST /call/{full}/{method}":       {"messages:send", "path"},
	"GET /call/{full}/{method}":        {"messages:send", "path"},
	"GET /session":                     {"any", "session"},
	"GET /openapi.json":                {"any", "none"},
	"GET /leader":                      {"any", "none"},
	"GET /tokens/self":                 {"any", "none"},
	"GET /jobs":                        {"jobs:read", "rows"},
	"GET /jobs/{id}":                   {"jobs:read", "row"},
	"GET /jobs/{id}/parts":             {"jobs:read", "row"},
	"GET /jobs/{id}/results":           {"jobs:read", "row"},
	"GET /jobs/{id}/logs":              {"jobs:read", "row"},
	"POST /jobs":                       {"jobs:write", "body"},
	"DELETE /jobs/{id}":                {"jobs:write", "row"},
	"GET /events":                      {"events", "rows"},
	"GET /status":                      {"cluster:read", "none"},
	"GET /members":                     {"cluster:read", "none"},
	"GET /autopilot":                   {"cluster:read", "none"},
	"GET /digest":                      {"cluster:read", "none"},
	"GET /level":                       {"cluster:read", "none"},
	"POST /members":                    {"cluster:write", "none"},
	"DELETE /members/{id}":             {"cluster:write", "none"},
	"POST /members/{id}/promote":       {"cluster:write", "none"},
	"POST /members/{id}/demote":        {"cluster:write", "none"},
	"POST /leader/transfer":            {"cluster:write", "none"},
	"POST /level":                      {"cluster:write", "none"},
	"PUT /autopilot":                   {"cluster:write", "none"},
	"GET /tokens":                      {"admin", "none"},
	"POST /tokens":                     {"admin", "none"},
	"GET /tokens/{id}":                 {"admin", "none"},
	"DELETE /tokens/{id}":              {"admin", "none"},
	"POST /tokens/join":                {"admin", "none"},
	"GET /snapshot":                    {"admin", "none"},
	"PUT /snapshot":                    {"admin", "none"},
	"GET /audit":                       {"admin", "none"},
	"GET /audit/anchors":               {"admin", "none"},
	"GET /debug/bundle":                {"admin", "none"},
	"POST /ca/sign":                    {"join", "none"},
}

// Every route says what it needs and where the namespace comes from, as the table has
// it, and the contract says the same.
func TestContractTellsTheRightOfEveryRoute(t *testing.T) {
	t.Parallel()
	api, err := httpapi.New(httpapi.Config{Control: newFake()})
	if err != nil {
		t.Fatal(err)
	}
	_, doc := readContract(t)
	template := regexp.MustCompile(`:(\w+)`)
	for _, r := range api.Routes() {
		path := template.ReplaceAllString(r.Path, "{$1}")[len("/v1"):]
		name := r.Method + " " + path
		want, known := rightOf[name]
		switch {
		case r.Right == "" || r.Scope == "":
			t.Errorf("%s has right %q and scope %q: a route needs both", name, r.Right, r.Scope)
			continue
		case !known:
			t.Errorf("%s is not in the table of rights", name)
			continue
		case r.Right != want.right || r.Scope != want.scope:
			t.Errorf("%s needs %s (%s), the table has %s (%s)", name, r.Right, r.Scope, want.right, want.scope)
		}
		op := doc.Paths.Value(path).GetOperation(r.Method)
		without := ""
		if r.RightWithoutSession != "" {
			without = string(r.RightWithoutSession)
		}
		for extension, want := range map[string]string{"x-right": string(r.Right), "x-scope": string(r.Scope), "x-right-without-session": without} {
			if got, _ := op.Extensions[extension].(string); got != want {
				t.Errorf("%s: the contract says %s %q, the route %q", name, extension, got, want)
			}
		}
	}
}
