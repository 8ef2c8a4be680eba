package httpapi_test

import (
	"context"
	"encoding/json"
	"regexp"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/folkmoot/folkmoot/httpapi"
	"github.com/folkmoot/folkmoot/httpapi/rest"
)

// The contract is a valid OpenAPI 3 document and is served as it is.
func TestContractIsValid(t *testing.T) {
	t.Parallel()
	d := serve(t)
	a := d.do("GET", "/v1/openapi.json", "").wantStatus(200)
	doc, err := openapi3.NewLoader().LoadFromData([]byte(a.body))
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		t.Fatalf("the contract is not valid: %.600v", err)
	}
}

// loadContract returns what GET /v1/openapi.json is answered, and the same read.
func loadContract() (body []byte, doc *openapi3.T, err error) {
	if body, err = httpapi.Contract(); err != nil {
		return nil, nil, err
	}
	doc, err = openapi3.NewLoader().LoadFromData(body)
	return body, doc, err
}

func readContract(t *testing.T) (body []byte, doc *openapi3.T) {
	t.Helper()
	body, doc, err := loadContract()
	if err != nil {
		t.Fatal(err)
	}
	return body, doc
}

// Every route is in the contract, and everything in the contract is a route.
func TestContractAndRoutesAreTheSame(t *testing.T) {
	t.Parallel()
	api, err := httpapi.New(httpapi.Config{Control: newFake()})
	if err != nil {
		t.Fatal(err)
	}
	body, doc := readContract(t)
	written := map[rest.RouteInfo]bool{}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			written[rest.RouteInfo{Method: method, Path: "/v1" + path}] = true
		}
	}
	template := regexp.MustCompile(`:(\w+)`)
	for _, r := range api.Routes() {
		r := rest.RouteInfo{Method: r.Method, Path: template.ReplaceAllString(r.Path, "{$1}")}
		if !written[r] {
			t.Errorf("route %s %s is not in the contract", r.Method, r.Path)
		}
		delete(written, r)
	}
	for r := range written {
		t.Errorf("the contract has %s %s, which is no route", r.Method, r.Path)
	}
	if !json.Valid(body) {
		t.Error("the contract is not JSON")
	}
}

// What the door takes without a value (?follow) the contract says so of, wherever it is taken.
func TestContractHasParametersWithoutValue(t *testing.T) {
	t.Parallel()
	_, doc := readContract(t)
	bare := map[string]int{"stale": 0, "default": 0, "consistent": 0, "follow": 0, "foreign": 0, "forget": 0}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			for _, ref := range op.Parameters {
				p := ref.Value
				if _, ok := bare[p.Name]; !ok || p.In != openapi3.ParameterInQuery {
					continue
				}
				bare[p.Name]++
				if !p.AllowEmptyValue || p.Schema.Value.VisitJSON("") != nil {
					t.Errorf("%s %s: the contract does not allow a bare ?%s", method, path, p.Name)
				}
			}
		}
	}
	for name, n := range bare {
		if n == 0 {
			t.Errorf("no request takes ?%s", name)
		}
	}
}
