package jsonrpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/folkmoot/folkmoot/wire/strictjson"
)

// ErrNotJSON is the error of content that is no JSON at all.
var ErrNotJSON = errors.New("the content is not JSON")

// InvalidRequest is the error of JSON that is no request.
type InvalidRequest struct {
	Reason string // "" when there is no more to say
}

func (e *InvalidRequest) Error() string {
	if e.Reason == "" {
		return "the content is not a JSON-RPC request"
	}
	return "the content is not a JSON-RPC request: " + e.Reason
}

// Message is a received request, notification or response. Its fields may alias
// what it was parsed from.
type Message struct {
	ID      json.RawMessage `json:"id"` // nil: a notification
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params"`
	Version json.RawMessage `json:"jsonrpc"`
	Result  json.RawMessage `json:"result"`
	Error   json.RawMessage `json:"error"`
}

// IsResponse reports whether the message is a response and no request.
func (m *Message) IsResponse() bool {
	return m.Method == "" && (m.Result != nil || m.Error != nil)
}

// Fault decodes the error of a response; nil when there is none.
func (m *Message) Fault() (fault *Error, err error) {
	if m.Error == nil {
		return nil, nil
	}
	err = json.Unmarshal(m.Error, &fault)
	return fault, err
}

// Split returns the elements of a batch, or content itself, trimmed, as the one
// element when it is no batch. Errors: ErrNotJSON for a batch that is none.
func Split(content []byte) (elements []json.RawMessage, batch bool, err error) {
	content = bytes.TrimSpace(content)
	if len(content) == 0 || content[0] != '[' {
		return []json.RawMessage{content}, false, nil
	}
	if json.Unmarshal(content, &elements) != nil {
		return nil, true, ErrNotJSON
	}
	return elements, true, nil
}

// Parse parses one message, no batch. Members that JSON-RPC does not know are
// ignored. Errors: ErrNotJSON, *InvalidRequest.
func Parse(content []byte) (m Message, err error) {
	var fast bool
	if m.ID, m.Method, m.Params, fast = parseBare(content); fast {
		return m, nil
	}
	if err := json.Unmarshal(content, &m); err != nil {
		if !json.Valid(content) {
			return m, ErrNotJSON
		}
		return m, &InvalidRequest{}
	}
	if v := m.Version; len(v) > 0 && v[0] != '"' && !bytes.Equal(v, Null) {
		return m, &InvalidRequest{}
	}
	if err := strictjson.UniqueKeys(content, &m); err != nil {
		return m, &InvalidRequest{err.Error()}
	}
	return m, nil
}

// maxBare bounds the requests that parseBare looks at, in bytes.
const maxBare = 512

// parseBare parses a request or notification whose params are missing or {}. The
// answers are what encoding/json would make of the members; id is nil when it
// is missing. id and params alias content. ok is false when it is declined.
func parseBare(content []byte) (id json.RawMessage, method string, params json.RawMessage, ok bool) {
	if len(content) > maxBare {
		return nil, "", nil, false
	}
	r := fastReader{text: string(content)}
	var seen uint
	r.expect('{')
	for n := 0; r.element(&n, '}'); {
		switch r.key() {
		case "id":
			r.first(&seen, 1)
			id = r.id(content)
		case "method":
			r.first(&seen, 2)
			method = r.str()
		case "params":
			r.first(&seen, 4)
			r.skipBlanks()
			from := r.at
			r.expect('{')
			r.expect('}')
			params = content[from:r.at:r.at]
		case "jsonrpc":
			r.first(&seen, 8)
			r.str()
		default:
			r.failed = true
		}
	}
	if !r.complete() {
		return nil, "", nil, false
	}
	return id, method, params, true
}

// ParseStrict parses one message, no batch, and refuses a request with members
// that JSON-RPC does not know or that are not of its types; the member jsonrpc
// is not looked at. The message is returned with the error too, with its id if
// that is fine. Errors: ErrNotJSON, *InvalidRequest.
func ParseStrict(content []byte) (m Message, err error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(content, &members); err != nil || members == nil {
		if !json.Valid(content) {
			return m, ErrNotJSON
		}
		return m, &InvalidRequest{"not an object"}
	}
	if _, asks := members["method"]; !asks {
		if m.Result, m.Error = members["result"], members["error"]; m.IsResponse() {
			return m, nil
		}
	}
	m, err = requestOf(members)
	if twice := strictjson.UniqueKeys(content, &members); twice != nil {
		err = &InvalidRequest{twice.Error()}
	}
	return m, err
}

// maxMethod bounds the name of a method, in bytes.
const maxMethod = 256

func requestOf(members map[string]json.RawMessage) (m Message, err error) {
	refuse := func(format string, args ...any) {
		if err == nil {
			err = &InvalidRequest{fmt.Sprintf(format, args...)}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value := members[name]
		switch name {
		case "jsonrpc":
		case "id":
			if !validID(value) {
				refuse("an id is a string, an integer or null")
				continue
			}
			m.ID = value
		case "method":
			if json.Unmarshal(value, &m.Method) != nil || m.Method == "" || len(m.Method) > maxMethod {
				refuse("a method is a string of 1 to %d bytes", maxMethod)
			}
		case "params":
			m.Params = value
			if v := bytes.TrimSpace(value); v[0] != '{' && v[0] != '[' && !bytes.Equal(v, Null) {
				refuse("params are an object or an array")
			}
		default:
			refuse("member %.80q is none of a request", name)
		}
	}
	if m.Method == "" {
		refuse("there is no method")
	}
	return m, err
}

func validID(id json.RawMessage) bool {
	if id[0] == '"' || bytes.Equal(id, Null) {
		return true
	}
	return strings.Trim(strings.TrimPrefix(string(id), "-"), "0123456789") == ""
}

// Reply is what of a received response counts for the caller.
type Reply struct {
	Result json.RawMessage `json:"result"`
	Error  *Error          `json:"error"`
}

// ParseReply parses one response, no batch. The error is that of content which
// is none; a reply with neither result nor error is the caller's to refuse.
func ParseReply(content []byte) (r Reply, err error) {
	if err := json.Unmarshal(content, &r); err != nil {
		return r, err
	}
	return r, strictjson.UniqueKeys(content, &r)
}

// ResponseID reports whether start is how a response, or a batch of them, begins,
// and returns its id if that comes before the result. start may be cut off
// anywhere.
func ResponseID(start []byte) (id json.RawMessage, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(start))
	t, err := dec.Token()
	if t == json.Delim('[') {
		t, err = dec.Token()
	}
	if err != nil || t != json.Delim('{') {
		return nil, false
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, false
		}
		switch name {
		case "result", "error":
			return id, true
		case "method":
			return nil, false
		}
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return nil, false
		}
		if name == "id" && validID(value) {
			id = value
		}
	}
	return nil, false
}
