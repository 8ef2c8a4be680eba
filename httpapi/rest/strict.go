package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

// MaxDepth is how deep objects and lists of a body may be nested: a job's items
// are within two.
const MaxDepth = wire.MaxDepth + 4

// DecodeStrict decodes a body into the struct with these fields that into points
// to. The body must be one JSON object: valid UTF-8, at most MaxDepth deep, no
// unknown field, no field given twice, nothing behind it. Every error is invalid
// and names the field where there is one.
func DecodeStrict(body []byte, fields strictjson.Fields, into any) error {
	if err := bodyLimits(fields).Check(body); err != nil {
		return err
	}
	err := strictjson.Decode(body, into)
	if errors.Is(err, strictjson.ErrTrailing) {
		return wire.Invalid("", "the body goes on behind its JSON object")
	}
	if wrong := (*strictjson.DecodeError)(nil); errors.As(err, &wrong) {
		return explain(wrong.Err, body, into)
	}
	return err
}

// CheckValue refuses what is not one JSON value: valid UTF-8, at most MaxDepth
// deep. Errors: invalid.
func CheckValue(body []byte) error {
	if err := bodyLimits(nil).Check(body); err != nil {
		return err
	}
	if !json.Valid(body) {
		return wire.Invalid("", "the body is not one JSON value")
	}
	return nil
}

// HasField tells whether a body that DecodeStrict took has a field.
func HasField(body []byte, name string) bool {
	var fields map[string]json.RawMessage
	err := json.Unmarshal(body, &fields)
	_, has := fields[name]
	return err == nil && has
}

// bodyLimits are what strictjson checks before a body is decoded; nil fields let
// any JSON value pass.
func bodyLimits(fields strictjson.Fields) *strictjson.Limits {
	return &strictjson.Limits{What: "the body", MaxDepth: MaxDepth, Fields: fields}
}

// explain turns the decoder's error into a refusal that names the field.
func explain(err error, body []byte, into any) error {
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		field = strings.Trim(field, `"`)
		return wire.Invalid(Clip(field), "unknown field %q", Clip(field))
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

// explainField finds the field whose own decoder refused it, by decoding one
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
				return wire.Invalid(name, "%s: %s", name, Clip(e.Error()))
			}
		}
	}
	return wire.Invalid("", "the body does not fit: %s", Clip(err.Error()))
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
