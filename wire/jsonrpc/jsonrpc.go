// Package jsonrpc is JSON-RPC 2.0 as LECO speaks it (LECO control protocol,
// section 2): codes, requests, responses and batches, for every door and the SDK.
package jsonrpc

import (
	"encoding/json"
	"errors"
	"strconv"

	"github.com/folkmoot/folkmoot/wire"
)

// Version is the value of the member jsonrpc.
const Version = "2.0"

// Codes of JSON-RPC 2.0, section 5.1.
const (
	CodeParse          = -32700 // the content is not JSON
	CodeInvalidRequest = -32600 // the content is not a request
	CodeNoMethod       = -32601
	CodeInvalidParams  = -32602
	CodeInternal       = -32603
	CodeServer         = -32000 // all that has no code of its own
)

// Codes of LECO control protocol, section 2.2. Clients of LECO act on the code
// alone.
const (
	CodeNotSignedIn     = -32090
	CodeDuplicateName   = -32091
	CodeNodeUnknown     = -32092
	CodeReceiverUnknown = -32093
)

// MaxBatch bounds the elements of one batch.
const MaxBatch = 100

// Null is the id of a response to a request that has none that is known.
var Null = json.RawMessage("null")

// Error is the error of a response. Its members are all that LECO clients
// accept.
type Error struct {
	Code    int             `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// NewError returns an error with data as JSON; data that is nil or has no JSON
// is left out.
func NewError(code int, message string, data any) *Error {
	e := &Error{Code: code, Message: message}
	if data != nil {
		if b, err := json.Marshal(data); err == nil {
			e.Data = b
		}
	}
	return e
}

func (e *Error) Error() string { return e.Message + " (" + strconv.Itoa(e.Code) + ")" }

// ErrNoMethod is wrapped by the error of a method that does not exist, and by no
// other not_found.
var ErrNoMethod = errors.New("no such method")

type noMethod struct{ refusal *wire.Error }

func (e noMethod) Error() string   { return e.refusal.Message }
func (e noMethod) Unwrap() []error { return []error{ErrNoMethod, e.refusal} }

// NoMethod refuses (not_found) a method that receiver does not have. The error
// wraps ErrNoMethod.
func NoMethod(receiver, method string) error {
	return noMethod{wire.Refuse(wire.CodeNotFound, "%s has no method %.80q", receiver, method)}
}

// ErrorOf converts an error of a use case; its code of ours and its field are in
// the data.
func ErrorOf(err error) *Error {
	if errors.Is(err, ErrNoMethod) {
		return &Error{Code: CodeNoMethod, Message: err.Error()}
	}
	var known *wire.Error
	if !errors.As(err, &known) {
		return NewError(CodeServer, err.Error(), wire.Error{Code: wire.CodeInternal, Message: err.Error()})
	}
	code := CodeServer
	switch known.Code {
	case wire.CodeInvalid:
		code = CodeInvalidParams
	case wire.CodeNameTaken:
		code = CodeDuplicateName
	}
	return NewError(code, known.Message, known)
}

// Refusal is the reverse of ErrorOf: the error that COORDINATOR answered.
func (e *Error) Refusal() *wire.Error {
	var known wire.Error
	if json.Unmarshal(e.Data, &known) == nil && known.Code != "" {
		return &known
	}
	switch e.Code {
	case CodeReceiverUnknown, CodeNoMethod:
		return wire.Refuse(wire.CodeNotFound, "%s", e.Message)
	case CodeInvalidParams:
		return wire.Invalid("params", "%s", e.Message)
	}
	return wire.Refuse(wire.CodeInternal, "%s (%d)", e.Message, e.Code)
}
