package leco

import (
	"github.com/folkmoot/folkmoot/gateway/zmtp"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// start is what is known of a message above the limits, as frames: those that
// came whole, and the start of the one that was too much.
func start(e *zmtp.TooLarge) [][]byte {
	if len(e.Frames) < fixedFrames {
		return e.Frames // names and header are not all there: nobody can be told
	}
	return append(e.Frames, e.Start)
}

// tooLarge refuses a message that is above a limit. Its sender is told, and if
// it was an answer, whoever waits for it. m is as it came, of its payload
// perhaps only the start.
func (d *Door) tooLarge(w speaker, m *wire.Message, r receiver, why error) {
	d.complain("a LECO message above the limits was refused", "from", w.full, "to", m.To, "reason", why)
	f := errorOf(why)
	d.failed(w, m, m.To, f)
	if r.kind == toNowhere || m.Type != wire.TypeJSON || len(m.Payload) == 0 {
		return
	}
	id, ok := jsonrpc.ResponseID(m.Payload[0])
	if !ok {
		return
	}
	f = &jsonrpc.Error{Code: jsonrpc.CodeServer, Message: "The answer of " + w.full + " was not delivered: " + f.Message, Data: f.Data}
	answer := wire.Message{
		To: r.full, From: d.full, Conversation: m.Conversation, Type: wire.TypeJSON, Payload: [][]byte{encodeResponse(id, nil, f)},
	}
	if r.kind == toOther && !d.inCluster(r.namespace) {
		d.toNode(r.namespace, &answer)
		return
	}
	d.cluster.Post(answer, router.PostOptions{Borrowed: true, Write: router.WriteNow}, nil)
}

// complain logs a warning, unless there were many a moment ago.
func (d *Door) complain(what string, args ...any) {
	if d.complaints.Allow() {
		d.log.Warn(what, args...)
	}
}
