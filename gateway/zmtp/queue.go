package zmtp

import (
	"sync"
	"time"
)

// queue is what waits to be sent on one connection, encoded.
type queue struct {
	filled chan struct{} // capacity 1: there is something for the writer

	mu      sync.Mutex
	limit   int
	waiting []byte
	spare   []byte
	writing int // bytes the writer has taken and not written
	pings   pings
	freed   chan struct{}
	last    bool // no more is taken
	closed  bool
}

// keepSpare is the largest buffer kept for the next batch.
const keepSpare = 1 << 20

func (q *queue) init(limit int) {
	q.limit = limit
	q.filled = make(chan struct{}, 1)
}

// put queues what fill appends; the writer is to be roused.
func (q *queue) put(fill func([]byte) []byte) error {
	q.mu.Lock()
	switch {
	case q.closed || q.last:
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
	q.waiting = fill(q.pings.before(q.waiting))
	q.pings.queued += uint64(len(q.waiting) - start)
	q.mu.Unlock()
	return nil
}

func rouse(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

func (q *queue) add(frames [][]byte) error {
	return q.put(func(b []byte) []byte { return AppendMessage(b, frames...) })
}

func (q *queue) encoded(message []byte) error {
	return q.put(func(b []byte) []byte { return append(b, message...) })
}

// maxCommands is how far beyond the limit commands may go: a peer that sends
// PINGs and reads nothing gets no more PONGs.
const maxCommands = 64 << 10

// pong queues the answer to a PING, also when the queue is full for messages.
func (q *queue) pong(context []byte) {
	q.command(func(b []byte) []byte { return appendCommand(b, "PONG", context) })
}

// ping queues a PING if one is due.
func (q *queue) ping(quiet bool) {
	q.command(func(b []byte) []byte {
		if q.pings.due(quiet) {
			b = q.pings.ping(b)
		}
		return b
	})
}

func (q *queue) command(fill func([]byte) []byte) {
	q.mu.Lock()
	if !q.closed && len(q.waiting)+q.writing < q.limit+maxCommands {
		start := len(q.waiting)
		q.waiting = fill(q.waiting)
		q.pings.queued += uint64(len(q.waiting) - start)
	}
	q.mu.Unlock()
	rouse(q.filled)
}

// answered notes a PONG.
func (q *queue) answered() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pings.answered()
}

// ignored is that of pings.
func (q *queue) ignored() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pings.ignored()
}

// take hands all that waits to the writer, which tells wrote of every step and
// gives the batch back when all of it is written.
func (q *queue) take() []byte {
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
	if q.freed != nil {
		close(q.freed)
		q.freed = nil
	}
}

func (q *queue) give(batch []byte) {
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
	if q.freed == nil {
		q.freed = make(chan struct{})
	}
	return q.freed
}

// finish takes no more; finished tells whether all is written then.
func (q *queue) finish() {
	q.mu.Lock()
	q.last = true
	q.mu.Unlock()
	rouse(q.filled)
}

func (q *queue) finished() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.last && len(q.waiting) == 0
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.waiting, q.spare = nil, nil
}
