package router

import (
	"strings"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// endMailbox closes a mailbox that is in no map any more and reports its unread mail.
func (r *Router) endMailbox(m *Mailbox, reason string) {
	unread, unacknowledged := m.close(wire.Refuse(wire.CodeNotFound, "the session of %s has ended: %s", m.full, reason))
	r.stats[cUnacknowledged].Add(uint64(unacknowledged))
	for i := range unread {
		r.reportUnread(&unread[i].Message, reason)
	}
}

// reportUnread tells a sender that its message, once delivered, was never read. A
// coordinator's own mail is not reported, so that reports never circle.
func (r *Router) reportUnread(m *wire.Message, reason string) {
	if isCoordinator(m.From) {
		r.stats.inc(cUnreadUnreported)
		return
	}
	r.Post(wire.Message{
		To: m.From, From: r.namespace + "." + wire.Coordinator,
		Conversation: m.Conversation, Type: wire.TypeJSON,
		Payload: [][]byte{unreadReport(m.To, reason)},
	}, func(o Outcome, _ error) {
		if o == Delivered {
			r.stats.inc(cUnreadReported)
		} else {
			r.stats.inc(cUnreadUnreported)
		}
	})
}

func isCoordinator(full string) bool {
	return full[strings.LastIndexByte(full, '.')+1:] == wire.Coordinator
}

// unreadReport is the report: an error of JSON-RPC with the code by which LECO clients
// take mail that nobody will read for what it is.
func unreadReport(to, reason string) []byte {
	r := jsonrpc.Response{
		Error: jsonrpc.NewError(jsonrpc.CodeReceiverUnknown, "The receiver ended before it read the message: "+reason, to),
	}
	b, err := r.Encode()
	if err != nil {
		panic(err) // strings and numbers only
	}
	return b
}
