package router

import "github.com/folkmoot/folkmoot/wire"

// Consumer takes the messages of one mailbox for a connection: a message that
// was taken is acknowledged, since it is on its way. Its methods are for one
// goroutine at a time.
type Consumer struct {
	r      *Router
	box    *Mailbox
	notify func(mode WriteMode)

	// Guarded by the mailbox's mu.
	idle    bool // the last Take found nothing: notify is due
	evicted bool // another one took over
}

// Consume makes the caller the one who takes from a session's mailbox; whoever
// did before fails with code conflict. notify is called when there may be
// something to take again after a Take found nothing, or was refused; it must
// not wait. With WriteNow it may take and write to a socket itself; with WriteLater
// locks may be held, or more is coming: it must not call the mailbox. A session that is not
// attached here is not_found.
func (r *Router) Consume(session string, notify func(mode WriteMode)) (*Consumer, error) {
	m, ok := r.Mailbox(session)
	if !ok {
		return nil, wire.Refuse(wire.CodeNotFound, "session %s has no mailbox here", session)
	}
	c := &Consumer{r: r, box: m, notify: notify, idle: true}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended != nil {
		return nil, m.ended
	}
	m.evict()
	m.consumer = c
	if m.queue.n > 0 {
		c.wakeLater()
	}
	return c, nil
}

// evict ends whoever reads from the mailbox; mu is held.
func (m *Mailbox) evict() {
	if m.reader != nil {
		m.reader.evicted = true
		wake(m.reader.wake)
		m.reader = nil
	}
	if m.consumer != nil {
		m.consumer.evicted = true
		m.consumer.wakeLater()
		m.consumer = nil
	}
}

// wakeLater tells the consumer; the mailbox's mu is held.
func (c *Consumer) wakeLater() {
	if c.idle {
		c.idle = false
		c.notify(WriteLater)
	}
}

// wake passes on that a put asks for; nil is nobody.
func (c *Consumer) wake(mode WriteMode) {
	if c != nil {
		c.notify(mode)
	}
}

// Take appends to dst what is in the mailbox, in order, until that is limit
// messages or size bytes and one message; it does not wait. The error is
// not_found when the session ended here, with the reason, and conflict when
// another one took over.
func (c *Consumer) Take(dst []wire.Message, limit, size int) ([]wire.Message, error) {
	m := c.box
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.ended != nil:
		return dst, m.ended
	case c.evicted:
		return dst, wire.Refuse(wire.CodeConflict, "another connection took over the mailbox of %s", m.full)
	}
	if m.queue.n == 0 {
		c.idle = true
		return dst, nil
	}
	for n := min(limit, m.queue.n); n > 0 && size > 0; n-- {
		dst = append(dst, m.queue.at(0).Message)
		size -= cost(&dst[len(dst)-1])
		m.dropFirst()
	}
	m.handedOut = max(m.handedOut, m.first-1)
	m.recentlyAcked, m.recentBytes = nil, 0 // no number of a connection's is ever asked for again
	return dst, nil
}

// Return puts messages that were taken last, and of which nothing has left,
// back in front of the others. If the session ended meanwhile they are reported to their
// senders like all unread mail.
func (c *Consumer) Return(msgs []wire.Message) {
	if len(msgs) == 0 {
		return
	}
	m := c.box
	m.mu.Lock()
	ended := m.ended
	if ended == nil {
		first := m.first - uint64(len(msgs))
		behind := m.queue.drain()
		for i := range msgs {
			*m.queue.push() = Numbered{Number: first + uint64(i), Message: msgs[i]}
			m.bytes += cost(&msgs[i])
		}
		for i := range behind {
			*m.queue.push() = behind[i]
		}
		m.first = first
		m.handedOut = first - 1
		if m.consumer != nil {
			m.consumer.wakeLater()
		}
	}
	m.mu.Unlock()
	if ended == nil {
		return
	}
	for i := range msgs {
		c.r.reportUnread(&msgs[i], "its session ended")
	}
}

// Current tells whether nobody has taken the mailbox over and the session has
// not ended here.
func (c *Consumer) Current() bool {
	c.box.mu.Lock()
	defer c.box.mu.Unlock()
	return !c.evicted && c.box.ended == nil
}

// Close stops taking; the mailbox goes on to hold what comes.
func (c *Consumer) Close() {
	c.box.mu.Lock()
	defer c.box.mu.Unlock()
	if c.box.consumer == c {
		c.box.consumer = nil
	}
	c.evicted = true
}
