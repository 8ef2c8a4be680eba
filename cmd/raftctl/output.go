package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// answer is what a command shows, in whichever way was asked for.
type answer struct {
	body  []byte // JSON, as REST gave it
	table func(wide bool) *table
	names []string        // for -o name: kind/name
	below func(io.Writer) // of the table; nil: nothing
}

// show prints an answer to w.
func (a *app) show(w io.Writer, v answer) error {
	switch a.flags.output {
	case "json":
		return writeJSON(w, v.body)
	case "yaml":
		return writeYAML(w, v.body)
	case "name":
		for _, n := range v.names {
			if _, err := fmt.Fprintln(w, n); err != nil {
				return err
			}
		}
		return nil
	}
	err := v.table(a.flags.output == "wide").render(w)
	if err == nil && v.below != nil {
		v.below(w)
	}
	return err
}

// done prints that something was carried out: one line, or the answer itself for programs.
func (a *app) done(body []byte, name, format string, args ...any) error {
	switch a.flags.output {
	case "json":
		return writeJSON(a.out, body)
	case "yaml":
		return writeYAML(a.out, body)
	case "name":
		_, err := fmt.Fprintln(a.out, name)
		return err
	}
	_, err := fmt.Fprintf(a.out, format+"\n", args...)
	return err
}

func writeJSON(w io.Writer, body []byte) error {
	if len(body) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "%s\n", bytes.TrimRight(body, "\r\n"))
	return err
}

func writeYAML(w io.Writer, body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	n, err := yamlOf(dec)
	if err != nil {
		return fmt.Errorf("the answer is no JSON: %w", err)
	}
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(n); err != nil {
		return err
	}
	return enc.Close()
}

// oldBooleans are words that readers of YAML 1.1 take for true and false.
var oldBooleans = []string{"y", "n", "yes", "no", "on", "off"}

// yamlOf turns the next JSON value into YAML with the keys in their order.
func yamlOf(dec *json.Decoder) (*yaml.Node, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch v := tok.(type) {
	case json.Delim:
		n := &yaml.Node{Kind: yaml.MappingNode}
		if v == '[' {
			n.Kind = yaml.SequenceNode
		}
		for dec.More() {
			// A key is a string, so it reads as any value does.
			child, err := yamlOf(dec)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		_, err := dec.Token()
		return n, err
	case string:
		n := &yaml.Node{}
		n.SetString(v)
		if slices.Contains(oldBooleans, strings.ToLower(v)) {
			n.Style = yaml.DoubleQuotedStyle
		}
		return n, nil
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: v.String()}, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(v)}, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
}
