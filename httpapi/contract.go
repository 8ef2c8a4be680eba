package httpapi

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"

	"go.yaml.in/yaml/v3"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/httpapi/rest"
)

// openAPIYAML is the description of everything under /v1; a test holds it and the
// routes to each other, and real answers to it.
//
//go:embed openapi.yaml
var openAPIYAML []byte

// Contract returns the OpenAPI 3 document as JSON.
func Contract() ([]byte, error) {
	var doc any
	if err := yaml.Unmarshal(openAPIYAML, &doc); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	body, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("openapi.yaml as JSON: %w", err)
	}
	return body, nil
}

func (a *API) contractRoutes() {
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/openapi.json", Right: control.AnyRight, Scope: rest.ScopeNone, Params: rest.NoParams, Handle: a.openAPI})
}

func (a *API) openAPI(rq *rest.Request) error {
	doc, err := a.contract()
	if err != nil {
		return err
	}
	rq.Buffer().Write(doc)
	return rq.Send(http.StatusOK)
}
