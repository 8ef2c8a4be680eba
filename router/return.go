package router

import (
	"encoding/json"
	"strings"

	"github.com/folkmoot/folkmoot/wire"
)

// codeReceiverUnknown is LECO's RECEIVER_UNKNOWN (LECO control protocol,
// section 2.2): a client treats mail that nobody will read as such.
const codeReceiverUnknown = -32093

// end closes a mailbox that is in no map any more and reports its unread mail.
func (r *Router) end(m *Mailbox, reason string) {
	unread, unacknowledged := m.end(wire.Refuse(wire.CodeNotFound, "the session of %s has ended: %s", m.full, reason))
	r.stats[cUnacknowledged].Add(uint64(unacknowledged))
	for i := range unread {
		r.giveBack(&unread[i].Message, reason)
	}
}

// giveBack tells a sender that its message, once delivered, was never read. A
// coordinator's own mail is not reported, so that reports never circle.
func (r *Router) giveBack(m *wire.Message, reason string) {
	if isCoordinator(m.From) {
		r.stats.add(cNotReturned)
		return
	}
	r.Post(wire.Message{
		To: m.From, From: r.namespace + "." + wire.Coordinator,
		Conversation: m.Conversation, Type: wire.TypeJSON,
		Payload: [][]byte{notRead(m.To, reason)},
	}, func(o Outcome, _ error) {
		if o == Delivered {
			r.stats.add(cReturned)
		} else {
			r.stats.add(cNotReturned)
		}
	})
}

func isCoordinator(full string) bool {
	return full[strings.LastIndexByte(full, '.')+1:] == wire.Coordinator
}

// notRead is the report: a JSON-RPC 2.0 error with exactly the members that
// LECO clients accept.
func notRead(to, reason string) []byte {
	type fault struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Data    string `json:"data"`
	}
	b, err := json.Marshal(struct {
		ID      *int   `json:"id"`
		Error   fault  `json:"error"`
		Version string `json:"jsonrpc"`
	}{Error: fault{codeReceiverUnknown, "The receiver ended before it read the message: " + reason, to}, Version: "2.0"})
	if err != nil {
		panic(err) // strings and numbers only
	}
	return b
}
