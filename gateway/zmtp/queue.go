package zmtp

import (
	"sync"
	"time"
)

// queue is what waits to be sent on one connection, encoded.
type queue struct {
	ready chan struct{} // capacity 1: there is something for the writer

	mu        sync.Mutex
	limit     int
	waiting   []byte
	spare     []byte
	writing   int // bytes the writer has taken and not written
	pings     pingState
	roomMade  chan struct{}
	finishing bool // no more is taken
	closed    bool
}

// keepSpare is the largest buffer kept for the next batch.
const keepSpare = 1 << 20

func (q *queue) init(limit int) {
	q.limit = limit
	q.ready = make(chan struct{}, 1)
}

// enqueue queues what appendTo appends; the caller wakes the writer.
func (q *queue) enqueue(appendTo func([]byte) []byte) error {
	q.mu.Lock()
	switch {
	case q.closed || q.finishing:
		q.mu.Unlock()
		return ErrClosed
	case len(q.waiting)+q.writing >= q.limit:
		q.mu.Unlock()
		return ErrFull
	}
	if q.waiting == nil {
		q.waiting, q.spare = q.spare, nil
	}
	start := len(q.waiting)
	q.waiting = appendTo(q.pings.beforeMessage(q.waiting))
	q.pings.queued += uint64(len(q.waiting) - start)
	q.mu.Unlock()
	return nil
}

func wake(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

func (q *queue) addMessage(frames [][]byte) error {
	return q.enqueue(func(b []byte) []byte { return AppendMessage(b, frames...) })
}

func (q *queue) addEncoded(message []byte) error {
	return q.enqueue(func(b []byte) []byte { return append(b, message...) })
}

// maxCommands is how far beyond the limit commands may go: a peer that sends
// PINGs and reads nothing gets no more PONGs.
const maxCommands = 64 << 10

// addPong queues the answer to a PING, also when the queue is full for messages.
func (q *queue) addPong(context []byte) {
	q.addCommand(func(b []byte) []byte { return appendCommand(b, "PONG", context) })
}

// addPing queues a PING if one is due.
func (q *queue) addPing(quiet bool) {
	q.addCommand(func(b []byte) []byte {
		if q.pings.due(quiet) {
			b = q.pings.appendPing(b)
		}
		return b
	})
}

func (q *queue) addCommand(appendTo func([]byte) []byte) {
	q.mu.Lock()
	if !q.closed && len(q.waiting)+q.writing < q.limit+maxCommands {
		start := len(q.waiting)
		q.waiting = appendTo(q.waiting)
		q.pings.queued += uint64(len(q.waiting) - start)
	}
	q.mu.Unlock()
	wake(q.ready)
}

// pongReceived notes a PONG.
func (q *queue) pongReceived() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pings.pongReceived()
}

// overdue is that of pingState.
func (q *queue) overdue() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pings.overdue()
}

// takeBatch hands all that waits to the writer, which reports every step to wrote
// and recycles the batch when all of it is written.
func (q *queue) takeBatch() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	batch := q.waiting
	q.waiting = nil
	q.writing += len(batch)
	return batch
}

// wrote makes room for what n bytes took.
func (q *queue) wrote(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.writing -= n
	q.pings.wrote(n)
	if q.roomMade != nil {
		close(q.roomMade)
		q.roomMade = nil
	}
}

func (q *queue) recycle(batch []byte) {
	if cap(batch) > keepSpare {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.spare = batch[:0]
	}
}

// room is closed when bytes were written next.
func (q *queue) room() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.roomMade == nil {
		q.roomMade = make(chan struct{})
	}
	return q.roomMade
}

// finish accepts no more; finished reports whether all is written then.
func (q *queue) finish() {
	q.mu.Lock()
	q.finishing = true
	q.mu.Unlock()
	wake(q.ready)
}

func (q *queue) finished() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.finishing && len(q.waiting) == 0
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.waiting, q.spare = nil, nil
}
