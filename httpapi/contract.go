package httpapi

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"

	"go.yaml.in/yaml/v3"
)

// contract is the description of everything under /v1; a test holds it and the
// routes to each other, and real answers to it.
//
//go:embed openapi.yaml
var contract []byte

// Contract returns the OpenAPI 3 document as JSON.
func Contract() ([]byte, error) {
	var doc any
	if err := yaml.Unmarshal(contract, &doc); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	body, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("openapi.yaml as JSON: %w", err)
	}
	return body, nil
}

func (a *API) contractRoutes() {
	a.add(route{method: http.MethodGet, path: "/openapi.json", params: none, handle: a.openAPI})
}

func (a *API) openAPI(rq *request) error {
	doc, err := a.doc()
	if err != nil {
		return err
	}
	rq.out.Write(doc)
	return rq.send(http.StatusOK)
}
