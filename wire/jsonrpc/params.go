package jsonrpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

// CountError is the error of more params in an array than the method takes.
type CountError struct{ Takes, Given int }

func (e *CountError) Error() string {
	return fmt.Sprintf("the method takes %d params, not %d", e.Takes, e.Given)
}

// ObjectParams returns params as an object: those in an array get names, in
// their order, and missing ones are an empty object. With nil names an array
// stays as it is. Errors: *CountError, or that of an array which is no JSON.
func ObjectParams(raw json.RawMessage, names []string) (json.RawMessage, error) {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0 || bytes.Equal(raw, Null):
		return json.RawMessage("{}"), nil
	case raw[0] != '[' || names == nil:
		return raw, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	if len(list) > len(names) {
		return nil, &CountError{len(names), len(list)}
	}
	object := map[string]json.RawMessage{}
	for i, v := range list {
		object[names[i]] = v
	}
	return json.Marshal(object)
}

// DecodeParams decodes params, an object or, unless names is nil, an array in
// the order of names, strictly (strictjson.Decode). Errors: invalid.
func DecodeParams(raw json.RawMessage, names []string, into any) error {
	raw, err := ObjectParams(raw, names)
	if count := (*CountError)(nil); errors.As(err, &count) {
		return wire.Invalid("params", "%v", count)
	} else if err != nil {
		return wire.Invalid("params", "params are not JSON: %v", err)
	}
	err = strictjson.Decode(raw, into)
	if wrong := (*strictjson.DecodeError)(nil); errors.As(err, &wrong) {
		return wire.Invalid("params", "params: %s", strings.TrimPrefix(wrong.Error(), "json: "))
	}
	if errors.Is(err, strictjson.ErrTrailing) {
		return wire.Invalid("params", "something follows the params")
	}
	return err
}
