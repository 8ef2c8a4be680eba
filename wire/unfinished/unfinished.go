// Package unfinished bounds what a process holds of messages that have begun to come and not
// ended, over all connections together.
package unfinished

import (
	"container/list"
	"sync"
)

// Budget is a number of bytes. When more is held, the message that began longest ago is given
// up: one that comes quickly is over before, and one that is withheld goes. A nil Budget has
// no limit. It is safe for concurrent use.
type Budget struct {
	limit int64

	mu    sync.Mutex
	used  int64
	held  *list.List // of *Message, that began longest ago first
	given uint64
}

// New returns a Budget of limit bytes.
func New(limit int64) *Budget { return &Budget{limit: limit, held: list.New()} }

// Message is one that has begun.
type Message struct {
	budget *Budget
	giveUp func()
	bytes  int64
	at     *list.Element // nil: it is over
}

// Begin counts a message from now on. giveUp is called once, within Grow of this or another
// message, if the message has to go: it ends the connection by which the message comes, and
// waits neither for its reader nor for what Grow is called under.
func (b *Budget) Begin(giveUp func()) *Message {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	m := &Message{budget: b, giveUp: giveUp}
	m.at = b.held.PushBack(m)
	return m
}

// Grow counts n more bytes, before they are held. False is that the message has been given up,
// and nothing more of it is to be read.
func (m *Message) Grow(n int) bool {
	if m == nil {
		return true
	}
	late, held := m.budget.grow(m, int64(n))
	for _, m := range late {
		m.giveUp()
	}
	return held
}

// grow counts n more bytes of m, and returns the messages that have to go for them, and
// whether m is none of them.
func (b *Budget) grow(m *Message, n int64) (late []*Message, held bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.at == nil {
		return nil, false
	}
	m.bytes += n
	for b.used += n; b.used > b.limit; b.given++ {
		oldest := b.held.Front().Value.(*Message)
		oldest.end()
		late = append(late, oldest)
	}
	return late, m.at != nil
}

// End says that the message has come, or never will. It may be called again.
func (m *Message) End() {
	if m == nil {
		return
	}
	m.budget.mu.Lock()
	defer m.budget.mu.Unlock()
	m.end()
}

// end takes the message off the budget; its mu is held.
func (m *Message) end() {
	if m.at == nil {
		return
	}
	m.budget.held.Remove(m.at)
	m.budget.used -= m.bytes
	m.at = nil
}

// Counts returns the bytes that are held now, and how many messages were ever given up.
func (b *Budget) Counts() (used int64, givenUp uint64) {
	if b == nil {
		return 0, 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used, b.given
}
