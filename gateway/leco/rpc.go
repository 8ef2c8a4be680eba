package leco

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

// Codes of errors: JSON-RPC 2.0, section 5.1, and LECO control protocol, 2.2.
// pyleco clients act on the code alone.
const (
	codeParse           = -32700
	codeInvalidRequest  = -32600
	codeNoMethod        = -32601
	codeBadParams       = -32602
	codeInternal        = -32603
	codeServer          = -32000
	codeNotSignedIn     = -32090
	codeDuplicateName   = -32091
	codeNodeUnknown     = -32092
	codeReceiverUnknown = -32093
)

// fault is a JSON-RPC error. Its members are all a pyleco client accepts.
type fault struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    any    `json:"data,omitempty"`
}

func (f *fault) Error() string { return f.Message + " (" + strconv.Itoa(f.Code) + ")" }

func notSignedIn() *fault { return &fault{codeNotSignedIn, "You did not sign in!", nil} }

func duplicateName() *fault { return &fault{codeDuplicateName, "The name is already taken.", nil} }

func nodeUnknown(namespace string) *fault {
	return &fault{codeNodeUnknown, "Node is not known.", namespace}
}

func receiverUnknown(to string) *fault {
	return &fault{codeReceiverUnknown, "Receiver is not in addresses list.", to}
}

func noMethod(name string) *fault { return &fault{codeNoMethod, "Method not found", name} }

func invalidRequest(why string) *fault {
	return &fault{codeInvalidRequest, "The JSON sent is not a valid Request object", why}
}

func badParams(format string, args ...any) *fault {
	return &fault{codeBadParams, "Invalid method parameter(s)", fmt.Sprintf(format, args...)}
}

// faultOf dresses an error that is none of LECO's.
func faultOf(err error) *fault {
	var f *fault
	var known *wire.Error
	switch {
	case errors.As(err, &f):
		return f
	case !errors.As(err, &known):
		return &fault{codeInternal, "Internal JSON-RPC error", err.Error()}
	case known.Code == wire.CodeInvalid:
		return badParams("%s", known.Message)
	case known.Code == wire.CodeNameTaken:
		return duplicateName()
	}
	return &fault{codeServer, known.Message, map[string]string{"code": string(known.Code)}}
}

// request is one element of a message's content that asks for something.
type request struct {
	id     json.RawMessage // nil: a notification
	method string
	params json.RawMessage
}

// content is what the first payload frame of a message to a coordinator says.
type content struct {
	batch    bool
	requests []element
	answers  int // elements that are results or errors
	bad      *fault
}

// element is one of a batch: a request, or what is wrong with it.
type element struct {
	request
	bad *fault
}

// parse reads a content strictly, but for the member jsonrpc, which pyleco
// does not look at either.
func parse(b []byte) (c content) {
	b = bytes.TrimSpace(b)
	if len(b) == 0 || b[0] != '[' {
		c.element(b)
		return c
	}
	c.batch = true
	var list []json.RawMessage
	if err := json.Unmarshal(b, &list); err != nil {
		c.bad = &fault{codeParse, "Invalid JSON was received by the server", nil}
		return c
	}
	if len(list) == 0 || len(list) > maxBatch {
		c.bad = invalidRequest(fmt.Sprintf("a batch has 1 to %d elements, not %d", maxBatch, len(list)))
		return c
	}
	for _, one := range list {
		c.element(one)
	}
	return c
}

func (c *content) element(b []byte) {
	var in map[string]json.RawMessage
	if err := json.Unmarshal(b, &in); err != nil || in == nil {
		if !json.Valid(b) {
			c.bad = &fault{codeParse, "Invalid JSON was received by the server", nil}
			return
		}
		c.requests = append(c.requests, element{bad: invalidRequest("not an object")})
		return
	}
	twice := strictjson.UniqueKeys(b, &in)
	if _, asks := in["method"]; !asks {
		if in["result"] != nil || in["error"] != nil {
			c.answers++
			return
		}
	}
	e := readRequest(in)
	if twice != nil {
		e.bad = invalidRequest(twice.Error())
	}
	c.requests = append(c.requests, e)
}

func readRequest(in map[string]json.RawMessage) (e element) {
	for name, value := range in {
		switch name {
		case "jsonrpc":
		case "id":
			if !validID(value) {
				e.bad = invalidRequest("an id is a string, an integer or null")
				continue
			}
			e.id = value
		case "method":
			if json.Unmarshal(value, &e.method) != nil || e.method == "" || len(e.method) > 256 {
				e.bad = invalidRequest("a method is a string of 1 to 256 bytes")
			}
		case "params":
			e.params = value
			if v := bytes.TrimSpace(value); v[0] != '{' && v[0] != '[' && !bytes.Equal(v, null) {
				e.bad = invalidRequest("params are an object or an array")
			}
		default:
			e.bad = invalidRequest(fmt.Sprintf("member %.80q is none of a request", name))
		}
	}
	if e.method == "" && e.bad == nil {
		e.bad = invalidRequest("there is no method")
	}
	return e
}

var null = json.RawMessage("null")

func validID(id json.RawMessage) bool {
	if id[0] == '"' || bytes.Equal(id, null) {
		return true
	}
	return strings.Trim(strings.TrimPrefix(string(id), "-"), "0123456789") == ""
}

// asksOnly tells whether the content is one request, or a batch that begins
// with one, of one of these methods.
func (c *content) asks(methods ...string) bool {
	if c.bad != nil || len(c.requests) == 0 || c.requests[0].bad != nil {
		return false
	}
	for _, m := range methods {
		if c.requests[0].method == m {
			return true
		}
	}
	return false
}

// answerTo is a reply as pyleco reads it: id, jsonrpc, and result or error.
func answerTo(id json.RawMessage, result any, err error) []byte {
	if id == nil {
		id = null
	}
	if err == nil {
		b, jerr := json.Marshal(struct {
			ID      json.RawMessage `json:"id"`
			Result  any             `json:"result"`
			Version string          `json:"jsonrpc"`
		}{id, result, "2.0"})
		if jerr == nil {
			return b
		}
		err = jerr
	}
	f := faultOf(err)
	b, jerr := json.Marshal(struct {
		ID      json.RawMessage `json:"id"`
		Error   *fault          `json:"error"`
		Version string          `json:"jsonrpc"`
	}{id, f, "2.0"})
	if jerr != nil { // data that is no JSON; ours always is
		return answerTo(id, nil, &fault{f.Code, f.Message, nil})
	}
	return b
}

// call is a request of ours; a negative id makes a notification.
func call(id int, method string, params any) json.RawMessage {
	type body struct {
		ID      *int   `json:"id,omitempty"`
		Method  string `json:"method"`
		Params  any    `json:"params,omitempty"`
		Version string `json:"jsonrpc"`
	}
	in := body{Method: method, Params: params, Version: "2.0"}
	if id >= 0 {
		in.ID = &id
	}
	b, err := json.Marshal(in)
	if err != nil {
		panic(err) // names and addresses only
	}
	return b
}

// read decodes params, an object or an array in the order of names, strictly.
func read(raw json.RawMessage, into any, names ...string) error {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || bytes.Equal(raw, null) {
		raw = json.RawMessage("{}")
	}
	if raw[0] == '[' {
		var list []json.RawMessage
		if err := json.Unmarshal(raw, &list); err != nil {
			return badParams("%v", err)
		}
		if len(list) > len(names) {
			return badParams("the method takes %d, not %d", len(names), len(list))
		}
		object := map[string]json.RawMessage{}
		for i, v := range list {
			object[names[i]] = v
		}
		raw, _ = json.Marshal(object) // it was JSON
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(raw, &given); err != nil {
		return badParams("%v", err)
	}
	for _, name := range names {
		if given[name] == nil || bytes.Equal(given[name], null) {
			return badParams("%s is missing", name)
		}
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return badParams("%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return badParams("something follows the params")
	}
	if err := errors.Join(strictjson.UniqueKeys(raw, into), strictjson.ValidText(raw, into)); err != nil {
		return badParams("%v", err)
	}
	return nil
}
