package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

// JSON-RPC 2.0 as LECO speaks it (LECO control protocol): a reply holds id,
// jsonrpc and either result or error, and nothing else.
type (
	rpcRequest struct {
		ID      json.RawMessage `json:"id"` // nil: a notification
		Method  string          `json:"method"`
		Params  json.RawMessage `json:"params"`
		Version string          `json:"jsonrpc"`
		Result  json.RawMessage `json:"result"`
		Error   json.RawMessage `json:"error"`
	}
	rpcCall struct {
		ID      int             `json:"id"`
		Method  string          `json:"method"`
		Params  json.RawMessage `json:"params,omitempty"`
		Version string          `json:"jsonrpc"`
	}
	rpcNote struct {
		Method  string `json:"method"`
		Params  any    `json:"params,omitempty"`
		Version string `json:"jsonrpc"`
	}
	rpcResult struct {
		ID      json.RawMessage `json:"id"`
		Result  any             `json:"result"`
		Version string          `json:"jsonrpc"`
	}
	rpcFailure struct {
		ID      json.RawMessage `json:"id"`
		Error   rpcError        `json:"error"`
		Version string          `json:"jsonrpc"`
	}
	rpcError struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Data    any    `json:"data,omitempty"`
	}
)

// Codes of JSON-RPC 2.0, section 5.1, and LECO's for all else.
const (
	rpcParse     = -32700
	rpcRefused   = -32600 // not a request
	rpcNoMethod  = -32601
	rpcBadParams = -32602
	rpcServer    = -32000
)

// maxBatch bounds the requests of one JSON-RPC batch.
const maxBatch = 100

// rpcNull is the id of an answer to nobody knows what.
var rpcNull = json.RawMessage("null")

// errNoMethod marks the not_found of a method from other ones.
type errNoMethod struct{ refusal *wire.Error }

func (e errNoMethod) Error() string { return e.refusal.Message }
func (e errNoMethod) Unwrap() error { return e.refusal }

// rpcErrorOf dresses an error for JSON-RPC; the code of ours is in its data.
func rpcErrorOf(err error) rpcError {
	var missing errNoMethod
	if errors.As(err, &missing) {
		return rpcError{Code: rpcNoMethod, Message: missing.Error()}
	}
	var known *wire.Error
	if !errors.As(err, &known) {
		return rpcError{Code: rpcServer, Message: err.Error(), Data: wire.Error{Code: wire.CodeInternal, Message: err.Error()}}
	}
	code := rpcServer
	switch known.Code {
	case wire.CodeInvalid:
		code = rpcBadParams
	case wire.CodeNameTaken:
		code = wire.RPCDuplicateName
	}
	return rpcError{Code: code, Message: known.Message, Data: known}
}

// serve answers the content of a message to COORDINATOR: one request or a
// batch. nil is no answer.
func (c *Control) serve(ctx context.Context, s registry.Session, content []byte) any {
	return c.serveWith(ctx, s, content, nil)
}

// serveWith is serve with the methods of the door that the session came by.
func (c *Control) serveWith(ctx context.Context, s registry.Session, content []byte, own DoorMethods) any {
	content = bytes.TrimSpace(content)
	if len(content) > 0 && content[0] == '[' {
		var batch []json.RawMessage
		if json.Unmarshal(content, &batch) != nil {
			return failure(rpcNull, rpcParse, "the content is not JSON")
		}
		if len(batch) == 0 || len(batch) > maxBatch {
			return failure(rpcNull, rpcRefused, "a batch has 1 to 100 requests")
		}
		answers := []any{}
		for _, one := range batch {
			if a := c.serveOne(ctx, s, one, own); a != nil {
				answers = append(answers, a)
			}
		}
		if len(answers) == 0 {
			return nil
		}
		return answers
	}
	return c.serveOne(ctx, s, content, own)
}

func (c *Control) serveOne(ctx context.Context, s registry.Session, content []byte, own DoorMethods) any {
	var in rpcRequest
	var quick bool
	if in.ID, in.Method, in.Params, quick = wire.ParsePlain(content); !quick {
		if err := json.Unmarshal(content, &in); err != nil {
			if !json.Valid(content) {
				return failure(rpcNull, rpcParse, "the content is not JSON")
			}
			return failure(rpcNull, rpcRefused, "the content is not a JSON-RPC request")
		}
		if err := strictjson.UniqueKeys(content, &in); err != nil {
			return failure(rpcNull, rpcRefused, "the content is not a JSON-RPC request: "+err.Error())
		}
	}
	if in.Method == "" {
		if in.Result != nil || in.Error != nil {
			return nil // an answer to one of ours: swallowed, never answered
		}
		return failure(rpcNull, rpcRefused, "the request has no method")
	}
	var result any
	var known bool
	var err error
	if own != nil {
		result, known, err = own.Carry(ctx, in.Method, in.Params)
	}
	if !known {
		result, _, err = c.call(ctx, s, in.Method, in.Params)
	}
	switch {
	case in.ID == nil:
		return nil
	case err != nil:
		return rpcFailure{ID: in.ID, Error: rpcErrorOf(err), Version: "2.0"}
	}
	return rpcResult{ID: in.ID, Result: result, Version: "2.0"}
}

// RPCFailure is the content of an error answer to the request with this id (nil:
// not known), as COORDINATOR words it.
func RPCFailure(id json.RawMessage, err error) []byte {
	if id == nil {
		id = rpcNull
	}
	b, merr := json.Marshal(rpcFailure{ID: id, Error: rpcErrorOf(err), Version: "2.0"})
	if merr != nil {
		panic(merr) // strings and numbers only, and an id that was JSON
	}
	return b
}

func failure(id json.RawMessage, code int, message string) rpcFailure {
	return rpcFailure{ID: id, Error: rpcError{Code: code, Message: message}, Version: "2.0"}
}

// params decodes params, an object or an array in the order of names, strictly.
func params(raw json.RawMessage, names []string, into any) error {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || bytes.Equal(raw, rpcNull) {
		raw = json.RawMessage("{}")
	}
	if raw[0] == '[' {
		var list []json.RawMessage
		if err := json.Unmarshal(raw, &list); err != nil {
			return wire.Invalid("params", "params are not JSON: %v", err)
		}
		if len(list) > len(names) {
			return wire.Invalid("params", "the method takes %d params, not %d", len(names), len(list))
		}
		object := map[string]json.RawMessage{}
		for i, v := range list {
			object[names[i]] = v
		}
		var err error
		if raw, err = json.Marshal(object); err != nil {
			return wire.Invalid("params", "params are not JSON: %v", err)
		}
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return wire.Invalid("params", "params: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return wire.Invalid("params", "something follows the params")
	}
	if err := strictjson.UniqueKeys(raw, into); err != nil {
		return err
	}
	return strictjson.ValidText(raw, into)
}
