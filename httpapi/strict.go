package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/folkmoot/folkmoot/wire"
)

// MaxDepth is how deep objects and lists of a body may be nested: a job's items
// are within two.
const MaxDepth = wire.MaxDepth + 4

// shape knows the fields of one kind of body.
type shape map[string]bool

// shapeOf lists the JSON names of the fields of T; it panics for anything
// but a struct and is meant for package variables.
func shapeOf[T any]() shape {
	t := reflect.TypeFor[T]()
	s := shape{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		s[name] = true
	}
	return s
}

// decodeStrict fills into, a pointer to a struct with the fields of s, from a
// body that must be one JSON object: valid UTF-8, at most MaxDepth deep, no
// field that s does not know, no field told twice, nothing behind it. Every
// error is invalid and names the field where there is one.
func decodeStrict(body []byte, s shape, into any) error {
	if err := scan(body, s); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return explain(err, body, into)
	}
	if rest := bytes.TrimLeft(body[dec.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return wire.Invalid("", "the body goes on behind its JSON object")
	}
	if err := wire.Unique(body, into); err != nil {
		return err
	}
	return wire.Whole(body, into)
}

// tells says whether a body that decodeStrict took has a field.
func tells(body []byte, field string) bool {
	var fields map[string]json.RawMessage
	err := json.Unmarshal(body, &fields)
	_, told := fields[field]
	return err == nil && told
}

// scan refuses what is cheap to refuse before anything is built from body. A
// nil shape lets any JSON value pass.
func scan(body []byte, s shape) error {
	if !utf8.Valid(body) {
		return wire.Invalid("", "the body is not valid UTF-8")
	}
	start := bytes.TrimLeft(body, " \t\r\n")
	if len(start) == 0 {
		return wire.Invalid("", "the body is empty: a JSON object is wanted")
	}
	if s != nil && start[0] != '{' {
		return wire.Invalid("", "the body is not a JSON object")
	}
	depth, key := 0, false // key: the next string at depth 1 is a field's name
	var field []byte       // the last of those, with its quotes
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '{', '[':
			if depth++; depth > MaxDepth {
				return tooDeep(field)
			}
			key = depth == 1
		case '}', ']':
			depth--
		case ',':
			key = depth == 1
		case '"':
			end := endOfString(body, i+1)
			if key {
				field = body[i:end]
			}
			if key && s != nil {
				if err := s.know(field); err != nil {
					return err
				}
			}
			key = false
			i = end - 1
		}
	}
	return nil
}

// tooDeep refuses a body for one of its fields, given with its quotes; nil is the
// body itself.
func tooDeep(quoted []byte) error {
	var name string
	if quoted == nil || json.Unmarshal(quoted, &name) != nil {
		return wire.Invalid("", "the body is nested deeper than %d", MaxDepth)
	}
	return wire.Invalid(short(name), "%s is nested too deep: the body may be nested %d deep", short(name), MaxDepth)
}

// endOfString returns the place behind the quote that ends the string whose
// text starts at i.
func endOfString(body []byte, i int) int {
	for ; i < len(body); i++ {
		switch body[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(body)
}

// know refuses a field, given with its quotes, that is not in s. Names are
// compared exactly: the decoder alone would take "NAME" for "name".
func (s shape) know(quoted []byte) error {
	if len(quoted) < 2 {
		return nil // cut off: the decoder says so
	}
	if s[string(quoted[1:len(quoted)-1])] {
		return nil
	}
	var name string
	if json.Unmarshal(quoted, &name) == nil && !s[name] {
		return wire.Invalid(short(name), "unknown field %q", short(name))
	}
	return nil
}

// explain turns the decoder's error into a refusal that names the field.
func explain(err error, body []byte, into any) error {
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		field = strings.Trim(field, `"`)
		return wire.Invalid(short(field), "unknown field %q", short(field))
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) || strings.Contains(err.Error(), "unexpected EOF") {
		return wire.Invalid("", "the body is not JSON: %v", err)
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return wire.Invalid(wrong.Field, "%s is %s, not %s", wrong.Field, article(kindName(wrong.Type)), article(wrong.Value))
	}
	return explainField(err, body, into)
}

// explainField finds the field whose own reader refused it, by trying one
// field after the other.
func explainField(err error, body []byte, into any) error {
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) == nil {
		for name, value := range fields {
			one, e := json.Marshal(map[string]json.RawMessage{name: value})
			if e != nil {
				continue
			}
			fresh := reflect.New(reflect.TypeOf(into).Elem())
			if e := json.Unmarshal(one, fresh.Interface()); e != nil {
				return wire.Invalid(name, "%s: %s", name, short(e.Error()))
			}
		}
	}
	return wire.Invalid("", "the body does not fit: %s", short(err.Error()))
}

func article(noun string) string {
	if strings.HasPrefix(noun, "o") || strings.HasPrefix(noun, "a") {
		return "an " + noun
	}
	return "a " + noun
}

func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "base64 string"
		}
		return "list"
	case reflect.Map, reflect.Struct:
		return "object"
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint64:
		return "whole number in range"
	default:
		return fmt.Sprint(t)
	}
}

// short keeps what a caller sent from filling the answer that refuses it.
func short(s string) string {
	const limit = 120
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "..."
}
