package main

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const intro = `# REST

All requests of the REST API, from the contract that every coordinator serves at ` + "`/v1/openapi.json`" + `. This page is
written by ` + "`go generate ./docs/restpage`" + `; a test fails when it is stale. [messages.md](messages.md) and
[jobs.md](jobs.md) say what may be concluded from the answers.

`

// page returns the page of a contract.
func page(openapi []byte) (string, error) {
	var c contract
	if err := yaml.Unmarshal(openapi, &c); err != nil {
		return "", err
	}
	all, err := c.requests()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(intro)
	b.WriteString(wrap(c.Info.Description))
	for _, tag := range c.Tags {
		fmt.Fprintf(&b, "## Requests: %s\n\n%s", tag.Name, wrap(tag.Description))
		for _, r := range all {
			if slices.Contains(r.Tags, tag.Name) {
				c.request(&b, r)
			}
		}
	}
	b.WriteString("## Parameters of many requests\n\n| parameter | in | type | what |\n| --- | --- | --- | --- |\n")
	for _, p := range c.Components.Parameters {
		parameterRow(&b, p.value)
	}
	b.WriteString("\n## Headers of answers\n\n| header | type | what |\n| --- | --- | --- |\n")
	for _, h := range c.Components.Headers {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", h.key, h.value.Schema.kind(), cell(h.value.Description))
	}
	b.WriteString("\n## Bodies\n\nFields in bold are always there.\n\n")
	for _, s := range c.Components.Schemas {
		body(&b, s.key, s.value)
	}
	return strings.TrimRight(b.String(), "\n") + "\n", nil
}

// request describes one operation.
func (c *contract) request(b *strings.Builder, r request) {
	base := ""
	if len(c.Servers) > 0 {
		base = c.Servers[0].URL
	}
	fmt.Fprintf(b, "### %s %s%s\n\n%s%s", r.method, base, r.path, wrap(r.Summary), wrap(r.Description))
	b.WriteString(wrap(r.needs()))
	var shared []string
	var own []parameter
	for _, p := range r.Parameters {
		if common, ok := c.Components.Parameters.find(p.Name); ok && common.In == p.In || p.In == "header" {
			shared = append(shared, "`"+p.Name+"`")
		} else {
			own = append(own, p)
		}
	}
	if len(shared) > 0 {
		b.WriteString(wrap("Takes " + strings.Join(shared, ", ") + " ([see below](#parameters-of-many-requests))."))
	}
	if len(own) > 0 {
		b.WriteString("| parameter | in | type | what |\n| --- | --- | --- | --- |\n")
		for _, p := range own {
			parameterRow(b, p)
		}
		b.WriteString("\n")
	}
	for _, m := range r.RequestBody.Content {
		fmt.Fprintf(b, "- body: %s\n", m.describe())
	}
	for _, a := range r.Responses {
		if a.key == "default" {
			continue // a problem, everywhere
		}
		line := fmt.Sprintf("- %s: %s", a.key, cell(a.value.Description))
		for _, m := range a.value.Content {
			line += " " + m.describe()
		}
		b.WriteString(line + "\n")
	}
	b.WriteString("\n")
}

// where says of each scope where the namespace of a right comes from.
var where = map[string]string{
	"path":    " in the namespace that the path names",
	"body":    " in the namespace that the body names",
	"row":     " in the namespace of what it is about; who may not is told 404",
	"rows":    "; what may not be read is left out",
	"session": "; each frame is judged as the request that it stands for",
	"none":    "",
}

// needs says what a token needs for an operation.
func (o *operation) needs() string {
	switch o.Right {
	case "":
		return ""
	case "any":
		return "Needs: any valid token" + where[o.Scope] + "."
	case "join":
		return "Needs: a join token."
	case "events":
		return "Needs: the :read of what the events are about" + where[o.Scope] + "."
	}
	text := "Needs: " + code(o.Right) + where[o.Scope]
	if o.RightNoSession != "" {
		text += "; without X-Session " + code(o.RightNoSession) + " there"
	}
	return text + "."
}

func code(s string) string { return "`" + s + "`" }

func (e entry[T]) describe() string {
	m, ok := any(e.value).(media)
	if !ok {
		return e.key
	}
	if e.key == "application/json" {
		return m.Schema.kind()
	}
	return fmt.Sprintf("%s (%s)", m.Schema.kind(), e.key)
}

func parameterRow(b *strings.Builder, p parameter) {
	name := "`" + p.Name + "`"
	if p.Required {
		name = "**" + name + "**"
	}
	fmt.Fprintf(b, "| %s | %s | %s | %s |\n", name, p.In, p.Schema.kind(), cell(p.Description))
}

// body describes one schema.
func body(b *strings.Builder, name string, s schema) {
	fmt.Fprintf(b, "### %s\n\n", name)
	b.WriteString(wrap(s.Description))
	if len(s.Properties) == 0 {
		fmt.Fprintf(b, "%s\n\n", s.kind())
		return
	}
	b.WriteString("| field | type | what |\n| --- | --- | --- |\n")
	fields(b, "", s)
	b.WriteString("\n")
}

// fields writes a row for each property of s, and below it those of an object or
// a list of objects that has no name of its own.
func fields(b *strings.Builder, path string, s schema) {
	for _, p := range s.Properties {
		field := "`" + path + p.key + "`"
		if slices.Contains(s.Required, p.key) {
			field = "**" + field + "**"
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", field, p.value.kind(), cell(p.value.Description))
		fields(b, path+p.key+".", p.value)
		if p.value.Items != nil {
			fields(b, path+p.key+"[].", *p.value.Items)
		}
	}
}

// kind is the type of a schema in a few words.
func (s schema) kind() string {
	switch {
	case s.Ref != "":
		name := refName(s.Ref)
		return fmt.Sprintf("[%s](#%s)", name, strings.ToLower(name))
	case len(s.AllOf) == 1:
		return s.AllOf[0].kind()
	case len(s.OneOf) > 0:
		var kinds []string
		for _, one := range s.OneOf {
			kinds = append(kinds, one.kind())
		}
		return strings.Join(kinds, " or ")
	case len(s.Enum) > 0:
		return "`" + strings.Join(s.Enum, "`, `") + "`"
	case s.Items != nil:
		return "list of " + s.Items.kind()
	case s.Type == "":
		return "any"
	case s.Type == "object" && s.Additional.Kind == yaml.MappingNode:
		var of schema
		if s.Additional.Decode(&of) == nil {
			return "object of " + of.kind()
		}
	case s.Format != "":
		return s.Type + ", " + s.Format
	}
	return s.Type
}

// cell is a text in one line of a table.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}

// wrap is a paragraph of lines up to 120 columns, and a blank line; nothing of
// nothing.
func wrap(text string) string {
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		switch {
		case column == 0:
		case column+1+len(word) > 120:
			b.WriteString("\n")
			column = 0
		default:
			b.WriteString(" ")
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	if column == 0 {
		return ""
	}
	return b.String() + "\n\n"
}
