package link

import "sync/atomic"

// Quota bounds the messages that wait in one place. The bytes of large
// messages are counted apart, so that they never refuse small ones.
type Quota struct {
	msgs              atomic.Int64
	bytes             [2]atomic.Int64 // of small, of large ones
	maxMsgs, maxBytes int64
}

// Limit sets the bounds; it is called before anything else.
func (q *Quota) Limit(messages, bytes int) { q.maxMsgs, q.maxBytes = int64(messages), int64(bytes) }

// Messages is how many are counted in.
func (q *Quota) Messages() int64 { return q.msgs.Load() }

func (q *Quota) bytesFor(size int) *atomic.Int64 {
	if size > MaxBody {
		return &q.bytes[1]
	}
	return &q.bytes[0]
}

// Acquire counts a message in, or is false if the quota is full. One message
// more than the bytes allow is taken.
func (q *Quota) Acquire(size int) bool {
	if q.msgs.Add(1) > q.maxMsgs {
		q.msgs.Add(-1)
		return false
	}
	if q.bytesFor(size).Add(int64(size))-int64(size) >= q.maxBytes {
		q.Release(size)
		return false
	}
	return true
}

// ForceAcquire counts a message in that another quota had let in before.
func (q *Quota) ForceAcquire(size int) {
	q.msgs.Add(1)
	q.bytesFor(size).Add(int64(size))
}

// Release counts a message out; nil is the quota of messages that never wait.
func (q *Quota) Release(size int) {
	if q == nil {
		return
	}
	q.msgs.Add(-1)
	q.bytesFor(size).Add(-int64(size))
}
