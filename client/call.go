package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// Send sends a message and waits for its outcome: nil is delivered to the receiver's mailbox. Errors: not_found (nobody
// of that name), busy, too_large, invalid, forbidden; unavailable (it has not left: repeat safely); unknown (it may
// have been delivered: the connection was lost, or ctx ended first). A message without a conversation gets one; nobody
// may change the payload until Send has returned.
func (n *Session) Send(ctx context.Context, m wire.Message) error {
	p := &pending{answer: make(chan outcome, 1)}
	if m.Conversation == ([16]byte{}) {
		m.Conversation = NewConversation()
	}
	ctx, cancel := n.bounded(ctx)
	defer cancel()
	if err := n.queue(ctx, &m, p, false, true); err != nil {
		return err
	}
	out, err := n.await(ctx, p)
	if err != nil {
		return err
	}
	return out.err
}

// Post is Send without waiting for the outcome: done, which may be nil, is called exactly once with it, perhaps before
// Post returns, and must not wait. Post itself waits only for room; its error means that done is not called.
func (n *Session) Post(ctx context.Context, m wire.Message, done func(error)) error {
	if done == nil {
		done = func(error) {}
	}
	if m.Conversation == ([16]byte{}) {
		m.Conversation = NewConversation()
	}
	return n.queue(ctx, &m, &pending{done: done}, false, false)
}

// RPCError is an error that a component answered.
type RPCError struct {
	Code    int // JSON-RPC 2.0
	Message string
	Data    json.RawMessage
}

func (e *RPCError) Error() string { return e.Message }

// Call asks a component's method and reads its result into out (nil: not wanted). Errors: *RPCError as the component
// answered; not_found, busy, unavailable as of Send; unknown when no answer came in time or the connection was lost.
func (n *Session) Call(ctx context.Context, to, method string, params, out any) error {
	answer, err := n.ask(ctx, NewConversation(), to, method, params)
	if err != nil {
		return err
	}
	return result(to, answer, out)
}

// Coordinator asks a method of the coordinator (docs/protocol.md, section 5). Errors are *wire.Error.
func (n *Session) Coordinator(ctx context.Context, method string, params, out any) error {
	return n.Call(ctx, wire.Coordinator, method, params, out)
}

// ask sends a request and waits for the answer.
func (n *Session) ask(ctx context.Context, conversation [16]byte, to, method string, params any) (wire.Message, error) {
	if params == nil {
		params = struct{}{}
	}
	question := jsonrpc.Request{ID: json.RawMessage("1"), Method: method, Params: params}
	content, err := question.Encode()
	if err != nil {
		return wire.Message{}, wire.Invalid("params", "params of %s: %v", method, err)
	}
	p := &pending{answer: make(chan outcome, 1)}
	ctx, cancel := n.bounded(ctx)
	defer cancel()
	m := wire.Message{To: to, Conversation: conversation, Type: wire.TypeJSON, Payload: [][]byte{content}}
	if err := n.queue(ctx, &m, p, true, true); err != nil {
		return wire.Message{}, err
	}
	got, err := n.await(ctx, p)
	if err != nil {
		return wire.Message{}, err
	}
	return got.m, got.err
}

// await waits for the outcome of what was queued.
func (n *Session) await(ctx context.Context, p *pending) (outcome, error) {
	select {
	case o := <-p.answer:
		return o, nil
	case <-ctx.Done():
	}
	n.outgoing.remove(p)
	select {
	case o := <-p.answer: // it came meanwhile
		return o, nil
	default:
		return outcome{}, wire.Unknown(fmt.Errorf("no outcome of the message to %s: %w", p.m.To, context.Cause(ctx)))
	}
}

func (n *Session) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, n.cfg.Timeout)
}

// result reads an answer.
func result(to string, m wire.Message, out any) error {
	var in jsonrpc.Reply
	if len(m.Payload) == 0 {
		return wire.Refuse(wire.CodeInternal, "%s answered nothing", to)
	}
	if err := json.Unmarshal(m.Payload[0], &in); err != nil {
		return wire.Refuse(wire.CodeInternal, "%s answered what is no JSON-RPC: %v", to, err)
	}
	switch {
	case in.Error != nil && fromCoordinator(m.From):
		return in.Error.Refusal()
	case in.Error != nil:
		return &RPCError{Code: in.Error.Code, Message: in.Error.Message, Data: in.Error.Data}
	case out == nil || len(in.Result) == 0:
		return nil
	}
	if err := json.Unmarshal(in.Result, out); err != nil {
		return fmt.Errorf("the result of %s is not what is wanted: %w", to, err)
	}
	return nil
}

// Request is what a Method is asked.
type Request struct {
	From        string // full name
	Method      string
	Params      json.RawMessage // an object or an array; nil when there were none
	Attachments [][]byte        // further payload frames
}

// Decode reads the params, an object, into out.
func (r *Request) Decode(out any) error {
	if len(r.Params) == 0 {
		return nil
	}
	if err := json.Unmarshal(r.Params, out); err != nil {
		return &RPCError{Code: jsonrpc.CodeInvalidParams, Message: "params: " + err.Error()}
	}
	return nil
}

// Method answers a request. Its result is sent as JSON, or an Answer as it says; an *RPCError as it is, another error
// with its text. ctx ends with the session that was asked.
type Method func(ctx context.Context, r *Request) (any, error)

// Answer is a result with attachments.
type Answer struct {
	Result      any
	Attachments [][]byte
}

// Handle adds a method, or replaces it; nil removes it.
func (n *Session) Handle(name string, m Method) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if m == nil {
		delete(n.methods, name)
		return
	}
	n.methods[name] = m
}

// request has a method answer; false means that the message is for Messages.
func (n *Session) request(m *wire.Message, in *jsonrpc.Message) bool {
	n.mu.Lock()
	do, known := n.methods[in.Method]
	life := n.current
	n.mu.Unlock()
	if known && do == nil {
		return false
	}
	if !known {
		switch in.Method {
		case "pong":
			do = func(context.Context, *Request) (any, error) { return nil, nil }
		case "rpc.discover":
			do = n.discover
		default:
			if n.cfg.Inbox {
				return false
			}
			do = func(context.Context, *Request) (any, error) {
				return nil, &RPCError{Code: jsonrpc.CodeNoMethod, Message: fmt.Sprintf("%s has no method %.80q", n.FullName(), in.Method)}
			}
		}
	}
	r := methodCall{
		life: life, do: do, id: in.ID, size: m.FrameSize() + perMessage,
		asked:  Request{From: m.From, Method: in.Method, Params: in.Params, Attachments: m.Payload[1:]},
		answer: wire.Message{To: m.From, Conversation: m.Conversation, Type: wire.TypeJSON},
	}
	if !n.startCall(r) {
		n.refuseBusy(&r)
	}
	return true
}

// answerOf is the payload of an answer: a JSON-RPC 2.0 object with exactly the members that LECO clients accept.
func answerOf(id json.RawMessage, value any, err error) [][]byte {
	var attachments [][]byte
	if a, ok := value.(Answer); ok {
		value, attachments = a.Result, a.Attachments
	}
	if err == nil {
		r := jsonrpc.Response{ID: id, Result: value}
		content, merr := r.Encode()
		if merr == nil {
			return append([][]byte{content}, attachments...)
		}
		err = fmt.Errorf("the result has no JSON: %w", merr)
	}
	r := jsonrpc.Response{ID: id, Error: jsonrpc.NewError(jsonrpc.CodeServer, err.Error(), nil)}
	if known := (*RPCError)(nil); errors.As(err, &known) {
		r.Error = &jsonrpc.Error{Code: known.Code, Message: known.Message, Data: known.Data}
	} else if coded := (*wire.Error)(nil); errors.As(err, &coded) {
		r.Error = jsonrpc.NewError(jsonrpc.CodeServer, err.Error(), coded)
	}
	content, merr := r.Encode()
	if merr != nil { // data of the component's own that is no JSON
		r.Error = jsonrpc.NewError(jsonrpc.CodeInternal, "the error has no JSON", nil)
		content, _ = r.Encode()
	}
	return [][]byte{content}
}

// discover answers rpc.discover with the names of the methods.
func (n *Session) discover(context.Context, *Request) (any, error) {
	type described struct {
		Name   string     `json:"name"`
		Params []struct{} `json:"params"`
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	list := []described{{Name: "pong", Params: []struct{}{}}}
	for name, do := range n.methods {
		if do != nil {
			list = append(list, described{Name: name, Params: []struct{}{}})
		}
	}
	return map[string]any{"openrpc": "1.2.6", "info": map[string]string{"title": n.in.FullName, "version": ""}, "methods": list}, nil
}
