package leco

import (
	"github.com/folkmoot/folkmoot/gateway/zmtp"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// partialFrames is what is known of a message above the limits, as frames: those that
// came whole, and the start of the one that was too much.
func partialFrames(e *zmtp.TooLarge) [][]byte {
	if len(e.Frames) < fixedFrames {
		return e.Frames // names and header are not all there: nobody can be answered
	}
	return append(e.Frames, e.Start)
}

// refuseTooLarge refuses a message that is above a limit. Its sender is answered, and if
// it was a response, so is the caller that waits for it. m is as it came, of its payload
// perhaps only the start.
func (d *Door) refuseTooLarge(from sender, m *wire.Message, dst destination, why error) {
	d.warnLimited("a LECO message above the limits was refused", "from", from.full, "to", m.To, "reason", why)
	f := errorOf(why)
	d.reportFailure(from, m, m.To, f)
	if dst.kind == destInvalid || m.Type != wire.TypeJSON || len(m.Payload) == 0 {
		return
	}
	id, ok := jsonrpc.ResponseID(m.Payload[0])
	if !ok {
		return
	}
	f = &jsonrpc.Error{Code: jsonrpc.CodeServer, Message: "The answer of " + from.full + " was not delivered: " + f.Message, Data: f.Data}
	answer := wire.Message{
		To: dst.full, From: d.full, Conversation: m.Conversation, Type: wire.TypeJSON, Payload: [][]byte{encodeResponse(id, nil, f)},
	}
	if dst.kind == destForeign && !d.inCluster(dst.namespace) {
		d.sendToNode(dst.namespace, &answer)
		return
	}
	d.cluster.Post(answer, router.PostOptions{Borrowed: true, Write: router.WriteNow}, nil)
}

// warnLimited logs a warning, unless there were many a moment ago.
func (d *Door) warnLimited(what string, args ...any) {
	if d.warnLimit.Allow() {
		d.log.Warn(what, args...)
	}
}
