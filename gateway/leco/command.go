package leco

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/methods"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// handleCommand carries out what a message to COORDINATOR asks for. w was let in.
func (d *Door) handleCommand(from sender, m *wire.Message) {
	if len(m.Payload) == 0 {
		d.counts.add(cHeartbeats)
		return // an empty message is a heartbeat only
	}
	if m.Type != wire.TypeJSON {
		d.counts.add(cBadContent)
		d.respond(from, m, encodeResponse(nil, nil, invalidRequest("COORDINATOR reads messages of type 1, JSON")))
		return
	}
	c := parse(m.Payload[0])
	if c.bad != nil {
		d.counts.add(cBadContent)
		d.respond(from, m, encodeResponse(nil, nil, c.bad))
		return
	}
	if len(c.requests) == 0 {
		d.forwardResponse(from, m)
		return
	}
	var answers []json.RawMessage
	for _, e := range c.requests {
		if a := d.execute(from, m, e); a != nil {
			answers = append(answers, a)
		}
	}
	switch {
	case len(answers) == 0:
		if reg := d.refresh(from).reg; reg != nil {
			reg.allowMail() // its sign-in may have been a notification
		}
	case c.batch:
		d.respond(from, m, jsonrpc.EncodeBatch(answers))
	default:
		d.respond(from, m, answers[0])
	}
}

// execute does one request of a content; nil is no answer.
func (d *Door) execute(from sender, m *wire.Message, e request) json.RawMessage {
	var result any
	var err error
	if e.bad != nil {
		err = e.bad
	} else {
		result, err = d.call(from, m, e)
	}
	if err != nil {
		d.counts.add(cBadContent)
	}
	if e.bad == nil && e.ID == nil {
		return nil
	}
	return encodeResponse(e.ID, result, err)
}

// callTimeout bounds a method that has to ask others.
const callTimeout = 10 * time.Second

// openMethods methods may be asked for by who is not signed in.
var openMethods = map[string]bool{"sign_in": true, "sign_out": true, "coordinator_sign_in": true, "coordinator_sign_out": true}

// call carries out a method: one of LECO's, else one that every session of
// this cluster may use. A batch may begin with a sign-in or a sign-out; what
// follows is judged by what came of it.
func (d *Door) call(from sender, m *wire.Message, rq request) (any, error) {
	if from = d.refresh(from); from.reg == nil && from.node == nil && !openMethods[rq.Method] {
		d.counts.add(cNotSignedIn)
		return nil, notSignedIn()
	}
	way := methods.Way{Door: audit.DoorLECO, From: control.Credentials{Door: control.DoorLECO, Remote: from.conn.conn.RemoteAddr(), Name: from.full}}
	if handle, ok := handlers[rq.Method]; ok {
		return d.carryOut(from, m, rq, way, handle)
	}
	if rq.Method == "rpc.discover" {
		return d.discover(from), nil
	}
	if from.reg == nil {
		return nil, noMethod(rq.Method)
	}
	row, ok := d.cluster.State().Registry.SessionByID(d.sessionOf(from.reg))
	if !ok { // it ended, or its sign-in is not written yet
		return nil, d.dropStale(from.reg)
	}
	ctx, cancel := context.WithTimeout(d.ctx, callTimeout)
	defer cancel()
	result, _, err := d.cluster.CallAs(ctx, way, row, rq.Method, rq.Params)
	if errors.Is(err, jsonrpc.ErrNoMethod) {
		return nil, noMethod(rq.Method)
	}
	return result, err
}

// carryOut carries a method out that is the door's own, if the sender may ask for it.
func (d *Door) carryOut(from sender, m *wire.Message, rq request, way methods.Way, handle handler) (result any, err error) {
	session := ""
	if from.reg != nil {
		session = d.sessionOf(from.reg)
	}
	refused := d.cluster.AuthorizeMethod(way.From, rq.Method)
	if refused != nil {
		d.cluster.RecordMethod(way, session, rq.Method, refused)
		return nil, refused
	}
	result, err = handle(d, from, m, rq.Params)
	if rq.Method != "sign_in" { // which is recorded when it is written
		d.cluster.RecordMethod(way, session, rq.Method, auditedError(err))
	}
	return result, err
}

// auditedError is an error of a handler as the audit trail has it: nothing was done.
func auditedError(err error) error {
	var known *wire.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	var own *jsonrpc.Error
	switch {
	case !errors.As(err, &own):
		return wire.Unknown(err)
	case own.Code == jsonrpc.CodeNotSignedIn:
		return wire.Refuse(wire.CodeUnauthorized, "%s", own.Message)
	case own.Code == jsonrpc.CodeDuplicateName:
		return wire.Refuse(wire.CodeNameTaken, "%s", own.Message)
	case own.Code == jsonrpc.CodeServer:
		return wire.Refuse(wire.CodeConflict, "%s", own.Message)
	}
	return wire.Invalid("params", "%s", own.Message)
}

// refresh looks up what the sender is signed in as now.
func (d *Door) refresh(from sender) sender {
	if from.reg != nil && !from.reg.ended.Load() {
		return from
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	from.reg = nil
	if reg := d.registrations[from.name]; reg != nil && reg.conn == from.conn && from.namespace == d.namespace {
		from.reg = reg
	}
	if n := from.conn.node; from.node == nil && n != nil && n.namespace == from.namespace {
		from.node = n
	}
	return from
}

// forwardResponse passes on a message that is a response. Those of components go
// to the caller on this coordinator; those of coordinators are dropped.
func (d *Door) forwardResponse(from sender, m *wire.Message) {
	if from.name == wire.Coordinator {
		return
	}
	asked := *m
	asked.To, asked.From = d.full, from.full
	d.cluster.Post(asked, router.PostOptions{Borrowed: true, Write: router.WriteNow}, nil)
}

// respond answers m to its sender: on its connection, or for a component of a
// foreign coordinator by the connection to that.
func (d *Door) respond(from sender, m *wire.Message, body []byte) {
	switch {
	case from.node == nil && from.namespace != d.namespace:
		// A coordinator that is just signing in: it has no other connection, and it
		// reads its answer by the plain name.
		from.conn.sendWait(d.responseTo(m, from.name, body))
	case from.node == nil:
		from.conn.sendAnswer(d.responseTo(m, from.frame, body), d.refresh(from).reg)
	default:
		d.sendToNode(from.namespace, d.responseTo(m, from.frame, body))
	}
}
