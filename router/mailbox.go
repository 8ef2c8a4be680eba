package router

import (
	"context"
	"sync/atomic"

	"github.com/folkmoot/folkmoot/router/link"
	"github.com/folkmoot/folkmoot/router/lockorder"
	"github.com/folkmoot/folkmoot/wire"
)

// Numbered is a message in a mailbox. Numbers start at 1 and grow by one; they
// live as long as the mailbox, which a move to another home ends.
type Numbered struct {
	Number  uint64
	Message wire.Message
}

// Mailbox holds the messages for one session at its home, in order, until
// they are acknowledged. All methods are safe for concurrent use.
type Mailbox struct {
	full, session   string
	maxMsgs, maxLen int
	maxConnected    int // instead of maxMsgs, while there is a consumer

	epoch atomic.Uint64

	mu            lockorder.Mutex[lockorder.Mailbox]
	queue         queue      // numbers first .. first+queue.n-1, no gaps
	first         uint64     // number of the first in queue, or of the next message when empty
	bytes         int        // of queue
	handedOut     uint64     // highest number that a reader was given
	recentlyAcked []Numbered // acknowledged of late by number, up to number first-1, no gaps; counts against no bound
	recentBytes   int        // bytes of lately
	reader        *reader    // who waits; nil when nobody does
	consumer      *Consumer  // who takes for a connection; nil when nobody does
	ended         *wire.Error
}

// reader is one Receive that waits.
type reader struct {
	wake    chan struct{} // capacity 1
	evicted bool          // another one took over; guarded by the mailbox's mu
}

func newMailbox(full, session string, epoch uint64, l Limits) *Mailbox {
	m := &Mailbox{full: full, session: session, first: 1, maxMsgs: l.MailboxMessages, maxConnected: l.ConnectedMessages, maxLen: l.MailboxBytes}
	m.epoch.Store(epoch)
	return m
}

// Full returns the full name the mailbox receives for.
func (m *Mailbox) Full() string { return m.full }

// Session returns the id of the session it belongs to.
func (m *Mailbox) Session() string { return m.session }

// Len returns how many messages it holds, those handed out but not
// acknowledged included.
func (m *Mailbox) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.queue.n
}

// Unread returns how many messages no reader was given yet.
func (m *Mailbox) Unread() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.queue.n - m.unacknowledged()
}

// unacknowledged is how many of the queue were given to a reader; mu is held.
func (m *Mailbox) unacknowledged() int {
	if m.handedOut < m.first {
		return 0
	}
	return int(m.handedOut - m.first + 1)
}

// Receive acknowledges and forgets every message up to number after, waits
// until there is one above it, and returns at most limit (at least one) of them
// in order. They stay in the mailbox until a later call acknowledges them; the
// caller does not change them. A reader whose stream broke after more was sent
// than it read goes on from the last number that it has: the newest of what was
// acknowledged, keptMessages and keptBytes of it, is returned once more. An
// after of 0 begins with what is not acknowledged. An after above every number given out is from
// another life of the mailbox (its home was restarted, or moved): it counts as
// 0, so that everything held is returned and nothing is lost.
//
// A mailbox has one reader: a call takes over from one that still waits, which
// then fails with code conflict. When the session ends Receive fails with
// not_found, and when ctx ends with its error.
func (m *Mailbox) Receive(ctx context.Context, after uint64, limit int) ([]Numbered, error) {
	m.mu.Lock()
	if after > m.handedOut {
		after = 0
	}
	m.acknowledge(after)
	m.evict()
	var r *reader
	for {
		if r != nil && r.evicted {
			m.mu.Unlock()
			return nil, wire.Refuse(wire.CodeConflict, "another reader took over the mailbox of %s", m.full)
		}
		if m.ended != nil {
			m.mu.Unlock()
			return nil, m.ended
		}
		if got := m.messagesAfter(after, limit); len(got) > 0 {
			m.reader = nil
			m.mu.Unlock()
			return got, nil
		}
		if r == nil {
			r = &reader{wake: make(chan struct{}, 1)}
			m.reader = r
		}
		m.mu.Unlock()
		select {
		case <-r.wake:
		case <-ctx.Done():
			m.mu.Lock()
			if m.reader == r {
				m.reader = nil
			}
			m.mu.Unlock()
			return nil, ctx.Err()
		}
		m.mu.Lock()
	}
}

// acknowledge forgets all messages up to number after, which was given out; mu
// is held.
func (m *Mailbox) acknowledge(after uint64) {
	if after < m.first {
		return
	}
	for m.first <= after {
		m.rememberAcked(*m.queue.at(0))
		m.dropFirst()
	}
}

// dropFirst drops the first message; mu is held.
func (m *Mailbox) dropFirst() {
	m.bytes -= cost(&m.queue.at(0).Message)
	m.queue.pop()
	m.first++
}

// What is kept of acknowledged messages: a stream acknowledges what it has
// written, and what it has written may never have been read.
const (
	keptMessages = 256
	keptBytes    = 256 << 10
)

// rememberAcked adds the message that follows those acknowledged of late; mu is held.
func (m *Mailbox) rememberAcked(n Numbered) {
	m.recentlyAcked = append(m.recentlyAcked, n)
	m.recentBytes += cost(&n.Message)
	drop := 0
	for drop < len(m.recentlyAcked) && (len(m.recentlyAcked)-drop > keptMessages || m.recentBytes > keptBytes) {
		m.recentBytes -= cost(&m.recentlyAcked[drop].Message)
		m.recentlyAcked[drop].Message = wire.Message{}
		drop++
	}
	m.recentlyAcked = m.recentlyAcked[drop:]
	if len(m.recentlyAcked) == 0 {
		m.recentlyAcked = nil
	}
}

// messagesAfter returns a copy of at most limit messages above number after; mu is held.
func (m *Mailbox) messagesAfter(after uint64, limit int) []Numbered {
	limit = max(limit, 1)
	var got []Numbered
	if after > 0 && after+1 < m.first {
		again := m.recentlyAcked[len(m.recentlyAcked)-int(min(uint64(len(m.recentlyAcked)), m.first-1-after)):]
		got = append(got, again[:min(limit, len(again))]...)
	}
	skip := 0
	if after >= m.first {
		skip = int(after - m.first + 1)
	}
	for ; skip < m.queue.n && len(got) < limit; skip++ {
		got = append(got, *m.queue.at(skip))
	}
	if len(got) == 0 {
		return nil
	}
	m.handedOut = max(m.handedOut, got[len(got)-1].Number)
	return got
}

// cost is what a message weighs against the bounds in bytes.
func cost(m *wire.Message) int { return m.FrameSize() + 64 }

// put appends a message, or says why not. It never waits. A consumer that it
// returns is to be told, with no lock of a mailbox held.
func (m *Mailbox) put(msg *wire.Message) (link.Verdict, *Consumer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended != nil {
		return link.UnknownReceiver, nil
	}
	// One message more than the bytes allow is taken, so that even the largest
	// fits an empty mailbox.
	most := m.maxMsgs
	if m.consumer != nil {
		most = m.maxConnected
	}
	if m.queue.n >= most || m.bytes >= m.maxLen {
		return link.MailboxFull, nil
	}
	number := m.first + uint64(m.queue.n)
	*m.queue.push() = Numbered{Number: number, Message: *msg}
	m.bytes += cost(msg)
	if m.reader != nil {
		wake(m.reader.wake)
	}
	if m.consumer != nil && m.consumer.idle {
		m.consumer.idle = false
		return link.Accepted, m.consumer
	}
	return link.Accepted, nil
}

// close closes the mailbox and returns what no reader was ever given, and how
// many messages were given out but not acknowledged.
func (m *Mailbox) close(err *wire.Error) (unread []Numbered, unacknowledged int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended != nil {
		return nil, 0
	}
	m.ended = err
	unacknowledged = m.unacknowledged()
	unread = m.queue.drain()[unacknowledged:]
	m.bytes = 0
	m.recentlyAcked, m.recentBytes = nil, 0
	m.first += uint64(unacknowledged + len(unread))
	if m.reader != nil {
		wake(m.reader.wake)
	}
	if m.consumer != nil {
		m.consumer.wakeLater()
	}
	return unread, unacknowledged
}

// raiseEpoch takes over a higher epoch of the same session; the router's mu is held.
func (m *Mailbox) raiseEpoch(epoch uint64) bool {
	if epoch < m.epoch.Load() {
		return false
	}
	m.epoch.Store(epoch)
	return true
}

func (m *Mailbox) hasEpoch(epoch uint64) bool { return m.epoch.Load() == epoch }
