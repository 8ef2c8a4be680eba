package zmtp

import (
	"encoding/binary"
	"time"

	"github.com/folkmoot/folkmoot/wire/flow"
)

// pings is what is known by PINGs of how far the peer has read. At most one is
// under way: the peer's stack reads it behind all that was sent before, and a
// libzmq peer whose own queue is full reads nothing, so that only a PING behind
// which it cannot be stuck proves anything. It is guarded by the queue's mu.
type pings struct {
	answers bool // the peer has answered one
	asked   bool // one is under way
	clear   bool // it: all messages before it were read
	behind  bool // messages were queued behind it
	unread  bool // messages were queued that no answered PING came behind

	queued, written uint64        // bytes of the connection since its handshake
	end             uint64        // where the one under way ends
	gone            bool          // it was written
	at              time.Duration // when (flow.Now)
}

// ping appends a PING. The TTL is 0: the peer need not judge us by it.
func (p *pings) ping(dst []byte) []byte {
	start := len(dst)
	dst = appendCommand(dst, "PING", binary.BigEndian.AppendUint16(nil, 0))
	p.end = p.queued + uint64(len(dst)-start)
	p.asked, p.clear, p.behind, p.gone = true, !p.unread, false, false
	return dst
}

// before is asked before a message is queued: it appends a PING if that is the
// last moment for a clear one.
func (p *pings) before(dst []byte) []byte {
	if p.answers && !p.asked && !p.unread {
		dst = p.ping(dst)
	}
	if p.asked {
		p.behind = true
	} else {
		p.unread = true
	}
	return dst
}

// wrote counts n bytes out.
func (p *pings) wrote(n int) {
	p.written += uint64(n)
	if p.asked && !p.gone && p.written >= p.end {
		p.gone, p.at = true, flow.Now()
	}
}

// answered notes a PONG.
func (p *pings) answered() {
	p.answers = true
	if p.asked {
		p.unread = p.behind
		p.asked, p.behind = false, false
	}
}

// due tells whether a PING is worth its bytes, when nothing came for a while if
// quiet is set.
func (p *pings) due(quiet bool) bool { return !p.asked && (quiet || p.unread && p.answers) }

// ignored returns for how long the peer has owed an answer that its own full
// queue cannot keep it from; 0: it owes none.
func (p *pings) ignored() time.Duration {
	if !p.answers || !p.asked || !p.clear || !p.gone {
		return 0
	}
	return flow.Now() - p.at
}
