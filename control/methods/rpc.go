package methods

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// serve answers the content of a message to COORDINATOR, one request or a
// batch, and returns the content of the answer; nil is no answer. own (nil:
// none) are the methods of the door that the session came by.
func (c *Coordinator) serve(ctx context.Context, s registry.Session, content []byte, own DoorMethods) []byte {
	from := c.asSession(s, Way{})
	if own != nil {
		from.way = own.Way()
	}
	elements, batch, err := jsonrpc.Split(content)
	switch {
	case err != nil:
		return c.encode(s, badRequest(jsonrpc.CodeParse, err))
	case !batch:
		return c.encode(s, c.serveOne(ctx, from, elements[0], own))
	case len(elements) == 0 || len(elements) > jsonrpc.MaxBatch:
		return c.encode(s, badRequest(jsonrpc.CodeInvalidRequest, errBatchSize))
	}
	var answers []json.RawMessage
	complete := true
	for _, one := range elements {
		if r := c.serveOne(ctx, from, one, own); r != nil {
			body := c.encode(s, r)
			complete = complete && body != nil
			answers = append(answers, body)
		}
	}
	if len(answers) == 0 || !complete {
		return nil
	}
	return jsonrpc.EncodeBatch(answers)
}

var (
	errBatchSize = errors.New("a batch has 1 to 100 requests")
	errNoName    = errors.New("the request has no method")
)

// serveOne answers one element; nil is no answer.
func (c *Coordinator) serveOne(ctx context.Context, from caller, content []byte, own DoorMethods) *jsonrpc.Response {
	in, err := jsonrpc.Parse(content)
	switch {
	case errors.Is(err, jsonrpc.ErrNotJSON):
		return badRequest(jsonrpc.CodeParse, err)
	case err != nil:
		return badRequest(jsonrpc.CodeInvalidRequest, err)
	case in.IsResponse():
		return nil // to a request of ours: swallowed, never answered
	case in.Method == "":
		return badRequest(jsonrpc.CodeInvalidRequest, errNoName)
	}
	var result any
	var known bool
	if own != nil && table[in.Method].atNative {
		if err = c.Authorize(from.who, rightFor(in.Method), control.Thing{}); err == nil {
			result, known, err = own.Carry(ctx, in.Method, in.Params)
		} else {
			c.record(from, in.Method, in.Params, nil, 0, err)
		}
	}
	if !known && err == nil {
		result, _, err = c.call(ctx, from, in.Method, in.Params)
	}
	switch {
	case in.ID == nil:
		return nil
	case err != nil:
		return &jsonrpc.Response{ID: in.ID, Error: jsonrpc.ErrorOf(err)}
	}
	return &jsonrpc.Response{ID: in.ID, Result: result}
}

func badRequest(code int, why error) *jsonrpc.Response {
	return &jsonrpc.Response{Error: &jsonrpc.Error{Code: code, Message: why.Error()}}
}

// encode encodes an answer to s; nil if there is none, or if it has no JSON.
func (c *Coordinator) encode(s registry.Session, r *jsonrpc.Response) []byte {
	if r == nil {
		return nil
	}
	body, err := r.Encode()
	if err != nil {
		c.Log().Error("an answer of COORDINATOR is no JSON", "to", s.FullName, "error", err)
		return nil
	}
	return body
}

// DoorMethods are the methods of COORDINATOR that only a door can carry out,
// since they are about the connection.
type DoorMethods interface {
	// Carry carries out one of them, for which the sender has the right; known is
	// false, and nothing was done, when the door has no such method.
	Carry(ctx context.Context, method string, params json.RawMessage) (result any, known bool, err error)
	// Way is by which door the sender came, and from where.
	Way() Way
}
