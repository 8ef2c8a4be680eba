package leco

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

// The errors of LECO in the words of pyleco.

func notSignedIn() *jsonrpc.Error { return notSignedInSince(nil) }

// notSignedInSince says why somebody who was signed in is not any more.
func notSignedInSince(why any) *jsonrpc.Error {
	return jsonrpc.NewError(jsonrpc.CodeNotSignedIn, "You did not sign in!", why)
}

func duplicateName(why any) *jsonrpc.Error {
	return jsonrpc.NewError(jsonrpc.CodeDuplicateName, "The name is already taken.", why)
}

func nodeUnknown(namespace string) *jsonrpc.Error {
	return jsonrpc.NewError(jsonrpc.CodeNodeUnknown, "Node is not known.", namespace)
}

func receiverUnknown(to string) *jsonrpc.Error {
	return jsonrpc.NewError(jsonrpc.CodeReceiverUnknown, "Receiver is not in addresses list.", to)
}

func noMethod(name string) *jsonrpc.Error {
	return jsonrpc.NewError(jsonrpc.CodeNoMethod, "Method not found", name)
}

func notJSON() *jsonrpc.Error {
	return jsonrpc.NewError(jsonrpc.CodeParse, "Invalid JSON was received by the server", nil)
}

func invalidRequest(why string) *jsonrpc.Error {
	return jsonrpc.NewError(jsonrpc.CodeInvalidRequest, "The JSON sent is not a valid Request object", why)
}

func badParams(format string, args ...any) *jsonrpc.Error {
	return jsonrpc.NewError(jsonrpc.CodeInvalidParams, "Invalid method parameter(s)", fmt.Sprintf(format, args...))
}

func internalError(why string) *jsonrpc.Error {
	return jsonrpc.NewError(jsonrpc.CodeInternal, "Internal JSON-RPC error", why)
}

// errorOf converts an error that is none of LECO's.
func errorOf(err error) *jsonrpc.Error {
	var own *jsonrpc.Error
	var known *wire.Error
	switch {
	case errors.As(err, &own):
		return own
	case !errors.As(err, &known):
		return internalError(err.Error())
	case known.Code == wire.CodeInvalid:
		return badParams("%s", known.Message)
	case known.Code == wire.CodeNameTaken:
		return duplicateName(nil)
	}
	return jsonrpc.NewError(jsonrpc.CodeServer, known.Message, map[string]string{"code": string(known.Code)})
}

// content is what the first payload frame of a message to a coordinator says.
type content struct {
	batch     bool
	requests  []request
	responses int            // elements that are results or errors
	bad       *jsonrpc.Error // why nothing of it can be carried out
}

// request is one element that asks for something, or what is wrong with it.
type request struct {
	jsonrpc.Message
	bad *jsonrpc.Error
}

// parse parses a content strictly, but for the member jsonrpc, which pyleco
// does not look at either.
func parse(b []byte) (c content) {
	elements, batch, err := jsonrpc.Split(b)
	c.batch = batch
	switch {
	case err != nil:
		c.bad = notJSON()
		return c
	case len(elements) == 0 || len(elements) > jsonrpc.MaxBatch:
		c.bad = invalidRequest(fmt.Sprintf("a batch has 1 to %d elements, not %d", jsonrpc.MaxBatch, len(elements)))
		return c
	}
	for _, one := range elements {
		c.parseElement(one)
	}
	return c
}

func (c *content) parseElement(b []byte) {
	m, err := jsonrpc.ParseStrict(b)
	var invalid *jsonrpc.InvalidRequest
	switch {
	case errors.Is(err, jsonrpc.ErrNotJSON):
		c.bad = notJSON()
	case errors.As(err, &invalid):
		c.requests = append(c.requests, request{m, invalidRequest(invalid.Reason)})
	case m.IsResponse():
		c.responses++
	default:
		c.requests = append(c.requests, request{m, nil})
	}
}

// requestsMethod reports whether the content is one request, or a batch that begins with
// one, of one of these methods.
func (c *content) requestsMethod(methods ...string) bool {
	if c.bad != nil || len(c.requests) == 0 || c.requests[0].bad != nil {
		return false
	}
	for _, m := range methods {
		if c.requests[0].Method == m {
			return true
		}
	}
	return false
}

// encodeResponse encodes a response as pyleco reads it: id, jsonrpc, and result
// or error.
func encodeResponse(id json.RawMessage, result any, err error) []byte {
	r := jsonrpc.Response{ID: id, Result: result}
	if err != nil {
		r.Error = errorOf(err)
	}
	b, failed := r.Encode()
	if failed != nil && r.Error == nil {
		r.Error = errorOf(failed)
		b, failed = r.Encode()
	}
	if failed != nil {
		panic(failed) // the id was JSON, and error data is
	}
	return b
}

// encodeRequest encodes a request of ours; a negative id makes a notification.
func encodeRequest(id int, method string, params any) json.RawMessage {
	r := jsonrpc.Request{Method: method, Params: params}
	if id >= 0 {
		r.ID = strconv.AppendInt(nil, int64(id), 10)
	}
	b, err := r.Encode()
	if err != nil {
		panic(err) // names and addresses only
	}
	return b
}

// decodeParams decodes params, an object or an array in the order of names,
// strictly; none of them may be missing.
func decodeParams(raw json.RawMessage, into any, names ...string) error {
	raw, err := jsonrpc.ObjectParams(raw, append([]string{}, names...))
	if count := (*jsonrpc.CountError)(nil); errors.As(err, &count) {
		return badParams("the method takes %d, not %d", count.Takes, count.Given)
	} else if err != nil {
		return badParams("%v", err)
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(raw, &given); err != nil {
		return badParams("%v", err)
	}
	for _, name := range names {
		if given[name] == nil || bytes.Equal(given[name], jsonrpc.Null) {
			return badParams("%s is missing", name)
		}
	}
	err = strictjson.Decode(raw, into)
	if errors.Is(err, strictjson.ErrTrailing) {
		return badParams("something follows the params")
	}
	if err != nil {
		return badParams("%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}
