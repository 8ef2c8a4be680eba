package leco

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// command carries out what a message to COORDINATOR asks for. w was let in.
func (d *Door) command(w speaker, m *wire.Message) {
	if len(m.Payload) == 0 {
		d.counts.add(cHeartbeats)
		return // that was all of it: the sender was heard
	}
	if m.Type != wire.TypeJSON {
		d.counts.add(cBadContent)
		d.tell(w, m, encodeResponse(nil, nil, invalidRequest("COORDINATOR reads messages of type 1, JSON")))
		return
	}
	c := parse(m.Payload[0])
	if c.bad != nil {
		d.counts.add(cBadContent)
		d.tell(w, m, encodeResponse(nil, nil, c.bad))
		return
	}
	if len(c.requests) == 0 {
		d.answered(w, m)
		return
	}
	var answers []json.RawMessage
	for _, e := range c.requests {
		if a := d.carryOut(w, m, e); a != nil {
			answers = append(answers, a)
		}
	}
	switch {
	case len(answers) == 0:
		if s := d.again(w).seat; s != nil {
			s.open() // its sign-in may have been a notification
		}
	case c.batch:
		d.tell(w, m, jsonrpc.EncodeBatch(answers))
	default:
		d.tell(w, m, answers[0])
	}
}

// carryOut does one request of a content; nil is no answer.
func (d *Door) carryOut(w speaker, m *wire.Message, e request) json.RawMessage {
	var result any
	var err error
	if e.bad != nil {
		err = e.bad
	} else {
		result, err = d.call(w, m, e)
	}
	if err != nil {
		d.counts.add(cBadContent)
	}
	if e.bad == nil && e.ID == nil {
		return nil
	}
	return encodeResponse(e.ID, result, err)
}

// callTime bounds a method that has to ask others.
const callTime = 10 * time.Second

// opening methods may be asked for by who is not signed in.
var opening = map[string]bool{"sign_in": true, "sign_out": true, "coordinator_sign_in": true, "coordinator_sign_out": true}

// call carries out a method: one of LECO's, else one that every session of
// this cluster may use. A batch may begin with a sign-in or a sign-out; what
// follows is judged by what came of it.
func (d *Door) call(w speaker, m *wire.Message, rq request) (any, error) {
	if w = d.again(w); w.seat == nil && w.node == nil && !opening[rq.Method] {
		d.counts.add(cNotSignedIn)
		return nil, notSignedIn()
	}
	if own, ok := methods[rq.Method]; ok {
		return own.do(d, w, m, rq.Params)
	}
	if rq.Method == "rpc.discover" {
		return d.discover(w), nil
	}
	if w.seat == nil {
		return nil, noMethod(rq.Method)
	}
	row, ok := d.cluster.State().Registry.SessionByID(d.sessionOf(w.seat))
	if !ok { // it ended, or its sign-in is not written yet
		return nil, d.disowned(w.seat)
	}
	ctx, cancel := context.WithTimeout(d.ctx, callTime)
	defer cancel()
	result, _, err := d.cluster.CallAs(ctx, row, rq.Method, rq.Params)
	if errors.Is(err, jsonrpc.ErrNoMethod) {
		return nil, noMethod(rq.Method)
	}
	return result, err
}

// again looks up who a speaker is now.
func (d *Door) again(w speaker) speaker {
	if w.seat != nil && !w.seat.over.Load() {
		return w
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	w.seat = nil
	if s := d.seats[w.name]; s != nil && s.guest == w.g && w.namespace == d.namespace {
		w.seat = s
	}
	if n := w.g.node; w.node == nil && n != nil && n.namespace == w.namespace {
		w.node = n
	}
	return w
}

// answered takes a message that is an answer. Answers of components go on to
// whoever of this coordinator asked; those of coordinators end here.
func (d *Door) answered(w speaker, m *wire.Message) {
	if w.name == wire.Coordinator {
		return
	}
	asked := *m
	asked.To, asked.From = d.full, w.full
	d.cluster.Post(asked, router.PostOptions{Borrowed: true, Write: router.WriteNow}, nil)
}

// tell answers m to its sender: on its connection, or for a component of a
// foreign coordinator by the way to that.
func (d *Door) tell(w speaker, m *wire.Message, body []byte) {
	switch {
	case w.node == nil && w.namespace != d.namespace:
		// A coordinator that is just signing in: it has no other way, and it
		// reads its answer by the plain name.
		w.g.say(d.reply(m, w.name, body))
	case w.node == nil:
		w.g.welcome(d.reply(m, w.frame, body), d.again(w).seat)
	default:
		d.toNode(w.namespace, d.reply(m, w.frame, body))
	}
}
