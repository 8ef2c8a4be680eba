package jsonrpc

import "encoding/json"

// Request is a request to send, or a notification.
type Request struct {
	ID     json.RawMessage // nil: a notification
	Method string
	Params any // nil: left out
}

// Encode returns the request as JSON.
func (r *Request) Encode() ([]byte, error) {
	return json.Marshal(struct {
		ID      json.RawMessage `json:"id,omitempty"`
		Method  string          `json:"method"`
		Params  any             `json:"params,omitempty"`
		Version string          `json:"jsonrpc"`
	}{r.ID, r.Method, r.Params, Version})
}

// EncodeEvent returns the notification of an event as JSON. Its members are in
// the order of docs/protocol.md.
func EncodeEvent(method string, params any) ([]byte, error) {
	return json.Marshal(struct {
		Version string `json:"jsonrpc"`
		Method  string `json:"method"`
		Params  any    `json:"params"`
	}{Version, method, params})
}

// Response is a response to send: LECO clients accept id, jsonrpc and one of
// result and error, and no other member.
type Response struct {
	ID     json.RawMessage // nil: not known, written as null
	Result any
	Error  *Error // not nil: there is no result
}

// Encode returns the response as JSON. The error is that of a result which has
// no JSON, or of an id or of error data that is none.
func (r *Response) Encode() ([]byte, error) {
	id := r.ID
	if id == nil {
		id = Null
	}
	if r.Error != nil {
		return json.Marshal(struct {
			ID      json.RawMessage `json:"id"`
			Error   *Error          `json:"error"`
			Version string          `json:"jsonrpc"`
		}{id, r.Error, Version})
	}
	if r.Result == nil {
		if b, ok := AppendDone(nil, id); ok {
			return b, nil
		}
	}
	return json.Marshal(struct {
		ID      json.RawMessage `json:"id"`
		Result  any             `json:"result"`
		Version string          `json:"jsonrpc"`
	}{id, r.Result, Version})
}

// EncodeBatch joins encoded responses.
func EncodeBatch(responses []json.RawMessage) []byte {
	b := []byte{'['}
	for i, r := range responses {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, r...)
	}
	return append(b, ']')
}
