package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// docs/rest.md says what the contract says.
func TestPagesAreFresh(t *testing.T) {
	if err := run("../..", true); err != nil {
		t.Error(err)
	}
}

const small = `
info: {description: "Any coordinator takes any request."}
servers: [{url: /v1}]
tags: [{name: things, description: All there is.}]
paths:
  /things/{id}:
    parameters: [{$ref: "#/components/parameters/id"}]
    put:
      tags: [things]
      summary: Change a thing.
      parameters: [{name: force, in: query, description: "a | b", schema: {type: string}}]
      requestBody: {content: {application/json: {schema: {$ref: "#/components/schemas/Thing"}}}}
      responses: {"200": {description: Changed.}, default: {description: A problem.}}
components:
  parameters: {id: {name: id, in: path, required: true, schema: {type: string}}}
  schemas:
    Thing: {type: object, required: [name], properties: {name: {type: string}, at: {type: object, properties: {x: {type: integer}}}}}
`

// A request, its parameters and its bodies are on the page.
func TestPage(t *testing.T) {
	got, err := page([]byte(small))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"## Requests: things\n", "### PUT /v1/things/{id}\n\nChange a thing.\n", "Takes `id` ", "| `force` | query | string | a \\| b |",
		"- body: [Thing](#thing)", "- 200: Changed.", "| **`name`** | string |", "| `at.x` | integer |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page has no %q:\n%s", want, got)
		}
	}
	if _, err := page([]byte(strings.Replace(small, "parameters/id", "parameters/name", 1))); err == nil || !strings.Contains(err.Error(), "parameters/name") {
		t.Errorf("a reference to nothing: %v", err)
	}
}

// A page that was changed by hand is stale until it is written again.
func TestStalePage(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{contractPath: small, pagePath: "# REST\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(root, true); !errors.Is(err, errStale) {
		t.Errorf("got %v, want %v", err, errStale)
	}
	if err := errors.Join(run(root, false), run(root, true)); err != nil {
		t.Errorf("written again: %v", err)
	}
}
