package raftnode

import (
	"context"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/raftnode/outcome"
	"github.com/folkmoot/folkmoot/wire"
)

// Group commit: commands that arrive while entries are under way gather and go
// as one entry. Two entries may be under way, so that the disk of one overlaps
// the network of the other; but the second goes only once it carries as much as
// the first. A client that was answered writes again at once, and an entry costs as
// much as some fifteen commands: without that rule entries of nearly all and of
// nearly none would take turns for ever.
const (
	maxInFlight   = 2
	maxEntry      = 512 << 10 // bytes of one entry: raft's own advice
	maxBatch      = 4096      // commands of one entry
	maxEnqueue    = 2 * time.Second
	queueOverhead = 128 // bytes that a waiting command costs beside its own
)

// queue holds the proposals of the leader.
type queue struct {
	node *Node

	mu               sync.Mutex
	waiting          []*proposal
	bytes            int
	inFlight         int // entries
	inFlightCommands int // commands in them
	closed           bool
	idle             chan struct{} // closed when closed and nothing is under way
	lastCommitted    commitPoint   // of the entry that was committed last
	announceTimer    *time.Timer   // fires when no entry was sent for a while: the followers may not know lastCommitted
}

// proposal is one command and, once done is closed, what became of it.
type proposal struct {
	command  []byte
	since    time.Time
	dequeued bool // guarded by queue.mu
	done     chan struct{}
	answer   answer
	err      error
}

// answer is the place of a command in the log and its result.
type answer struct {
	index, term uint64
	result      wire.Result
}

func newQueue(n *Node) *queue {
	q := &queue{node: n, idle: make(chan struct{})}
	q.announceTimer = time.AfterFunc(time.Hour, func() {
		if m, ok := q.idleCommit(); ok {
			n.announceCommit(m)
		}
	})
	q.announceTimer.Stop()
	return q
}

// idleCommit returns what was committed last; false while more is under way, which
// tells of it.
func (q *queue) idleCommit() (commitPoint, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lastCommitted, q.inFlight == 0 && !q.closed && q.lastCommitted.Index > 0
}

// propose proposes command and waits for its result. When ctx ends first, the
// command is withdrawn if it still waits, and its outcome is unknown if not.
func (q *queue) propose(ctx context.Context, command []byte) (answer, error) {
	p := &proposal{command: command, since: time.Now(), done: make(chan struct{})}
	if err := q.enqueue(p); err != nil {
		return answer{}, err
	}
	select {
	case <-p.done:
		return p.answer, p.err
	case <-ctx.Done():
	}
	if q.withdraw(p) {
		return answer{}, wire.NotTried("given up while waiting for its turn: %v", context.Cause(ctx))
	}
	select {
	case <-p.done:
		return p.answer, p.err
	default:
		return answer{}, wire.Unknown(context.Cause(ctx))
	}
}

func (q *queue) enqueue(p *proposal) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	cost := len(p.command) + queueOverhead
	switch {
	case q.closed:
		return errClosed
	case len(q.waiting) >= q.node.cfg.QueueCount || q.bytes+cost > q.node.cfg.QueueBytes:
		return &wire.Error{
			Code: wire.CodeBusy, RetryAfter: 100 * time.Millisecond,
			Message: "the leader has more writes waiting than it takes: try again",
		}
	}
	q.waiting = append(q.waiting, p)
	q.bytes += cost
	if q.mayStart() && q.node.spawn(q.run) {
		q.inFlight++
	}
	return nil
}

// mayStart reports whether one more entry may go now.
func (q *queue) mayStart() bool {
	return q.inFlight == 0 || q.inFlight < maxInFlight && len(q.waiting) >= q.inFlightCommands
}

// withdraw takes p back, unless an entry has it already.
func (q *queue) withdraw(p *proposal) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p.dequeued {
		return false
	}
	for i, w := range q.waiting {
		if w == p {
			q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
			q.bytes -= len(p.command) + queueOverhead
			break
		}
	}
	p.dequeued = true
	return true
}

// next removes what fits into one entry, after one of so many commands; nil
// gives the caller's slot free.
func (q *queue) next(after int) []*proposal {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inFlightCommands -= after
	q.inFlight-- // the caller's own
	if len(q.waiting) == 0 || !q.mayStart() {
		switch {
		case q.inFlight > 0:
		case q.closed:
			close(q.idle)
		default:
			q.announceTimer.Reset(announceDelay)
		}
		return nil
	}
	q.inFlight++
	size, n := 0, 0
	for n < len(q.waiting) && n < maxBatch {
		size += len(q.waiting[n].command) + 1
		if n > 0 && size > maxEntry {
			break
		}
		n++
	}
	q.inFlightCommands += n
	batch := q.waiting[:n:n]
	if q.waiting = q.waiting[n:]; len(q.waiting) == 0 {
		q.waiting = nil
	}
	for _, p := range batch {
		p.dequeued = true
		q.bytes -= len(p.command) + queueOverhead
	}
	return batch
}

// run carries entries through raft, one after the other, while there are any.
// Only this goroutine asks the future.
func (q *queue) run() {
	for batch := q.next(0); batch != nil; batch = q.next(len(batch)) {
		commands := make([][]byte, len(batch))
		for i, p := range batch {
			commands[i] = p.command
		}
		f := q.node.raft.Apply(joinCommands(commands), maxEnqueue)
		err := outcome.Of(f.Error())
		var done applyResult
		if err == nil {
			done = f.Response().(applyResult)
			q.recordCommit(commitPoint{Index: f.Index(), Term: done.term, Leader: q.node.serverID})
		}
		for i, p := range batch {
			if p.err = err; err == nil {
				q.node.timings.Commit.Observe(done.committed.Sub(p.since))
				p.answer = answer{index: f.Index(), term: done.term, result: done.results[i]}
			}
			close(p.done)
		}
	}
}

// recordCommit notes an entry that was committed.
func (q *queue) recordCommit(m commitPoint) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if m.Index > q.lastCommitted.Index {
		q.lastCommitted = m
	}
}

// close refuses new proposals and waits until none is under way, or for ctx.
func (q *queue) close(ctx context.Context) {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		q.announceTimer.Stop()
		if q.inFlight == 0 {
			close(q.idle)
		}
	}
	q.mu.Unlock()
	select {
	case <-q.idle:
	case <-ctx.Done():
	}
}

// length is how many proposals wait.
func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}
