package zmtp

import (
	"encoding/binary"
	"time"

	"github.com/folkmoot/folkmoot/wire/flow"
)

// pingState is what PINGs prove of how far the peer has read. At most one is
// under way: the peer's stack reads it behind all that was sent before, and a
// libzmq peer whose own queue is full reads nothing, so that only a PING behind
// which it cannot be stuck proves anything. It is guarded by the queue's mu.
type pingState struct {
	peerAnswers  bool // the peer has answered one
	outstanding  bool // one is under way
	conclusive   bool // it: all messages before it were read
	queuedBehind bool // messages were queued behind it
	unconfirmed  bool // messages were queued that no answered PING came behind

	queued, written uint64        // bytes of the connection since its handshake
	end             uint64        // where the one under way ends
	sent            bool          // it was written
	sentAt          time.Duration // when (flow.Now)
}

// appendPing appends a PING. The TTL is 0: the peer need not judge us by it.
func (p *pingState) appendPing(dst []byte) []byte {
	start := len(dst)
	dst = appendCommand(dst, "PING", binary.BigEndian.AppendUint16(nil, 0))
	p.end = p.queued + uint64(len(dst)-start)
	p.outstanding, p.conclusive, p.queuedBehind, p.sent = true, !p.unconfirmed, false, false
	return dst
}

// beforeMessage is asked before a message is queued: it appends a PING if that is the
// last moment for a clear one.
func (p *pingState) beforeMessage(dst []byte) []byte {
	if p.peerAnswers && !p.outstanding && !p.unconfirmed {
		dst = p.appendPing(dst)
	}
	if p.outstanding {
		p.queuedBehind = true
	} else {
		p.unconfirmed = true
	}
	return dst
}

// wrote counts n bytes as written.
func (p *pingState) wrote(n int) {
	p.written += uint64(n)
	if p.outstanding && !p.sent && p.written >= p.end {
		p.sent, p.sentAt = true, flow.Now()
	}
}

// pongReceived notes a PONG.
func (p *pingState) pongReceived() {
	p.peerAnswers = true
	if p.outstanding {
		p.unconfirmed = p.queuedBehind
		p.outstanding, p.queuedBehind = false, false
	}
}

// due reports whether a PING is worth its bytes, when nothing came for a while if
// quiet is set.
func (p *pingState) due(quiet bool) bool {
	return !p.outstanding && (quiet || p.unconfirmed && p.peerAnswers)
}

// overdue returns for how long the peer has owed an answer that its own full
// queue cannot keep it from; 0: it owes none.
func (p *pingState) overdue() time.Duration {
	if !p.peerAnswers || !p.outstanding || !p.conclusive || !p.sent {
		return 0
	}
	return flow.Now() - p.sentAt
}
