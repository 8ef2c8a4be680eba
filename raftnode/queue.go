package raftnode

import (
	"context"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Group commit: commands that arrive while entries are under way gather and go
// as one entry. Two entries may be under way, so that the disk of one overlaps
// the network of the other; but the second goes only once it carries as much as
// the first. Whoever was answered writes again at once, and an entry costs as
// much as some fifteen commands: without that rule entries of nearly all and of
// nearly none would take turns for ever.
const (
	maxUnderWay   = 2
	maxEntry      = 512 << 10 // bytes of one entry: raft's own advice
	maxBatch      = 4096      // commands of one entry
	maxEnqueue    = 2 * time.Second
	queueOverhead = 128 // bytes that a waiting command costs beside its own
)

// queue holds the proposals of the leader.
type queue struct {
	node *Node

	mu       sync.Mutex
	waiting  []*proposal
	bytes    int
	underWay int // entries
	carried  int // commands in them
	closed   bool
	idle     chan struct{} // closed when closed and nothing is under way
	last     mark          // of the entry that was committed last
	quiet    *time.Timer   // fires when no entry has gone for a while: last is news to the followers
}

// proposal is one command and, once done is closed, what became of it.
type proposal struct {
	command []byte
	taken   bool // guarded by queue.mu
	done    chan struct{}
	answer  answer
	err     error
}

// answer is the place of a command in the log and its result.
type answer struct {
	index, term uint64
	result      wire.Result
}

func newQueue(n *Node) *queue {
	q := &queue{node: n, idle: make(chan struct{})}
	q.quiet = time.AfterFunc(time.Hour, func() {
		if m, ok := q.resting(); ok {
			n.tellFollowers(m)
		}
	})
	q.quiet.Stop()
	return q
}

// resting returns what was committed last; false while more is under way, which
// tells of it.
func (q *queue) resting() (mark, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.last, q.underWay == 0 && !q.closed && q.last.Index > 0
}

// put proposes command and waits for its result. When ctx ends first, the
// command is withdrawn if it still waits, and its outcome is unknown if not.
func (q *queue) put(ctx context.Context, command []byte) (answer, error) {
	p := &proposal{command: command, done: make(chan struct{})}
	if err := q.add(p); err != nil {
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

func (q *queue) add(p *proposal) error {
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
	if q.due() && q.node.spawn(q.work) {
		q.underWay++
	}
	return nil
}

// due tells whether one more entry may go now.
func (q *queue) due() bool {
	return q.underWay == 0 || q.underWay < maxUnderWay && len(q.waiting) >= q.carried
}

// withdraw takes p back, unless an entry has it already.
func (q *queue) withdraw(p *proposal) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p.taken {
		return false
	}
	for i, w := range q.waiting {
		if w == p {
			q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
			q.bytes -= len(p.command) + queueOverhead
			break
		}
	}
	p.taken = true
	return true
}

// take removes what fits into one entry, after one of so many commands; nil
// gives the caller's slot free.
func (q *queue) take(after int) []*proposal {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.carried -= after
	q.underWay-- // the caller's own
	if len(q.waiting) == 0 || !q.due() {
		switch {
		case q.underWay > 0:
		case q.closed:
			close(q.idle)
		default:
			q.quiet.Reset(quietTime)
		}
		return nil
	}
	q.underWay++
	size, n := 0, 0
	for n < len(q.waiting) && n < maxBatch {
		size += len(q.waiting[n].command) + 1
		if n > 0 && size > maxEntry {
			break
		}
		n++
	}
	q.carried += n
	batch := q.waiting[:n:n]
	if q.waiting = q.waiting[n:]; len(q.waiting) == 0 {
		q.waiting = nil
	}
	for _, p := range batch {
		p.taken = true
		q.bytes -= len(p.command) + queueOverhead
	}
	return batch
}

// work carries entries through raft, one after the other, while there are any.
// Only this goroutine asks the future.
func (q *queue) work() {
	for batch := q.take(0); batch != nil; batch = q.take(len(batch)) {
		commands := make([][]byte, len(batch))
		for i, p := range batch {
			commands[i] = p.command
		}
		f := q.node.raft.Apply(joinCommands(commands), maxEnqueue)
		err := outcome(f.Error())
		var done applied
		if err == nil {
			done = f.Response().(applied)
			q.committed(mark{Index: f.Index(), Term: done.term, Leader: q.node.serverID})
		}
		for i, p := range batch {
			if p.err = err; err == nil {
				p.answer = answer{index: f.Index(), term: done.term, result: done.results[i]}
			}
			close(p.done)
		}
	}
}

// committed notes an entry that was committed.
func (q *queue) committed(m mark) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if m.Index > q.last.Index {
		q.last = m
	}
}

// close refuses new proposals and waits until none is under way, or for ctx.
func (q *queue) close(ctx context.Context) {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		q.quiet.Stop()
		if q.underWay == 0 {
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
