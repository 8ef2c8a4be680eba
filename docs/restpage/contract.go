package main

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// contract is what the page shows of an OpenAPI document.
type contract struct {
	Info struct {
		Description string `yaml:"description"`
	} `yaml:"info"`
	Servers []struct {
		URL string `yaml:"url"`
	} `yaml:"servers"`
	Tags []struct {
		Name        string `yaml:"name"`
		Description string `yaml:"description"`
	} `yaml:"tags"`
	Paths      ordered[ordered[yaml.Node]] `yaml:"paths"`
	Components struct {
		Headers    ordered[parameter] `yaml:"headers"`
		Parameters ordered[parameter] `yaml:"parameters"`
		Schemas    ordered[schema]    `yaml:"schemas"`
	} `yaml:"components"`
}

type operation struct {
	Right          string      `yaml:"x-right"`
	RightNoSession string      `yaml:"x-right-without-session"`
	Scope          string      `yaml:"x-scope"`
	Tags           []string    `yaml:"tags"`
	Summary        string      `yaml:"summary"`
	Description    string      `yaml:"description"`
	Parameters     []parameter `yaml:"parameters"`
	RequestBody    struct {
		Content ordered[media] `yaml:"content"`
	} `yaml:"requestBody"`
	Responses ordered[response] `yaml:"responses"`
}

type parameter struct {
	Ref         string `yaml:"$ref"`
	Name        string `yaml:"name"`
	In          string `yaml:"in"`
	Required    bool   `yaml:"required"`
	Description string `yaml:"description"`
	Schema      schema `yaml:"schema"`
}

type response struct {
	Ref         string         `yaml:"$ref"`
	Description string         `yaml:"description"`
	Content     ordered[media] `yaml:"content"`
}

type media struct {
	Schema schema `yaml:"schema"`
}

type schema struct {
	Ref         string          `yaml:"$ref"`
	Type        string          `yaml:"type"`
	Format      string          `yaml:"format"`
	Description string          `yaml:"description"`
	Enum        []string        `yaml:"enum"`
	Required    []string        `yaml:"required"`
	Properties  ordered[schema] `yaml:"properties"`
	Items       *schema         `yaml:"items"`
	OneOf       []schema        `yaml:"oneOf"`
	AllOf       []schema        `yaml:"allOf"`
	Additional  yaml.Node       `yaml:"additionalProperties"`
}

// ordered is a mapping in the order of the document.
type ordered[T any] []entry[T]

type entry[T any] struct {
	key   string
	value T
}

// UnmarshalYAML decodes a mapping.
func (o *ordered[T]) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: want a mapping", n.Line)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		e := entry[T]{key: n.Content[i].Value}
		if err := n.Content[i+1].Decode(&e.value); err != nil {
			return err
		}
		*o = append(*o, e)
	}
	return nil
}

func (o ordered[T]) find(key string) (found T, ok bool) {
	for _, e := range o {
		if e.key == key {
			return e.value, true
		}
	}
	return found, false
}

// refName is the last part of a reference.
func refName(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }

// request is one operation at its place.
type request struct {
	method, path string
	operation
}

var errNoRequests = errors.New("there are no paths")

// requests returns all operations in the order of the document, with the
// parameters of their path before their own.
func (c *contract) requests() ([]request, error) {
	var all []request
	for _, p := range c.Paths {
		var shared []parameter
		if n, ok := p.value.find("parameters"); ok {
			if err := n.Decode(&shared); err != nil {
				return nil, err
			}
		}
		for _, m := range p.value {
			if m.key == "parameters" {
				continue
			}
			r := request{method: strings.ToUpper(m.key), path: p.key}
			if err := m.value.Decode(&r.operation); err != nil {
				return nil, fmt.Errorf("%s %s: %w", r.method, r.path, err)
			}
			r.Parameters = append(append([]parameter{}, shared...), r.Parameters...)
			for i, param := range r.Parameters {
				if param.Ref == "" {
					continue
				}
				var ok bool
				if r.Parameters[i], ok = c.Components.Parameters.find(refName(param.Ref)); !ok {
					return nil, fmt.Errorf("%s %s: there is no %s", r.method, r.path, param.Ref)
				}
			}
			all = append(all, r)
		}
	}
	if len(all) == 0 {
		return nil, errNoRequests
	}
	return all, nil
}
