package raftnode

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// maxTermJump is by how much a term that another server names may be above the own one.
// Each election adds one, so a server that was away does not find more; a term above
// comes of a server that is damaged. Raft would take it over for good, and behind the
// last number there is no next term to elect a leader in. What is bounded is the jump,
// not the number: of the highest number that were allowed the next one would be refused.
const maxTermJump = 1 << 32

// maxFirstTerm is the newest term that a server takes over which knows none yet. What
// the cluster has come to it cannot know, and so the jump is not bounded.
const maxFirstTerm = 1 << 63

// termCheck refuses terms that no cluster has come to.
type termCheck struct {
	own func() uint64 // the term of this server
	log *slog.Logger

	mu         sync.Mutex
	next       time.Time // of a line in the log
	suppressed int       // since the last one
}

// checkRequest refuses a request of raft for the term that it names.
func (c *termCheck) checkRequest(command any) error {
	var term uint64
	switch r := command.(type) {
	case *raft.AppendEntriesRequest:
		term = r.Term
	case *raft.RequestVoteRequest:
		term = r.Term
	case *raft.RequestPreVoteRequest:
		term = r.Term
	case *raft.InstallSnapshotRequest:
		term = r.Term
	default:
		return nil
	}
	if c.believable(term) {
		return nil
	}
	sender := "" // as it calls itself
	if h, ok := command.(raft.WithRPCHeader); ok {
		sender = fmt.Sprintf("%.80s", h.GetRPCHeader().ID)
	}
	return c.refuse("a request of raft is refused: its sender is damaged", sender, term)
}

// checkAnswer refuses a server's answer for the term that it names.
func (c *termCheck) checkAnswer(id raft.ServerID, term uint64) error {
	if c.believable(term) {
		return nil
	}
	return c.refuse("an answer to raft is refused: its sender is damaged", string(id), term)
}

func (c *termCheck) believable(term uint64) bool {
	own := c.own()
	if own == 0 {
		return term <= maxFirstTerm
	}
	return term <= own || term-own <= maxTermJump
}

// refuse logs one line a second, with the number that were held back.
func (c *termCheck) refuse(what, sender string, term uint64) error {
	err := fmt.Errorf("no cluster can have come from term %d to term %d, which %q names", c.own(), term, sender)
	now := time.Now()
	c.mu.Lock()
	if now.Before(c.next) {
		c.suppressed++
		c.mu.Unlock()
		return err
	}
	suppressed := c.suppressed
	c.next, c.suppressed = now.Add(time.Second), 0
	c.mu.Unlock()
	c.log.Error(what, "server", sender, "error", err, "not_logged", suppressed)
	return err
}

// checkedPipeline is a pipeline of which no answer reaches raft with a term that is
// refused: in its place comes one without success, at which raft ends the pipeline and
// asks by single requests.
type checkedPipeline struct {
	raft.AppendPipeline
	answers chan raft.AppendFuture
	closed  chan struct{}
	once    sync.Once
}

func newCheckedPipeline(under raft.AppendPipeline, check func(term uint64) error) *checkedPipeline {
	p := &checkedPipeline{AppendPipeline: under, answers: make(chan raft.AppendFuture), closed: make(chan struct{})}
	go p.forward(check)
	return p
}

func (p *checkedPipeline) forward(check func(term uint64) error) {
	for {
		select {
		case f := <-p.AppendPipeline.Consumer():
			if r := f.Response(); check(r.Term) != nil {
				*r = raft.AppendEntriesResponse{RPCHeader: r.RPCHeader, Term: f.Request().Term}
			}
			select {
			case p.answers <- f:
			case <-p.closed:
				return
			}
		case <-p.closed:
			return
		}
	}
}

// Consumer is where raft takes the answers from.
func (p *checkedPipeline) Consumer() <-chan raft.AppendFuture { return p.answers }

// Close ends the pipeline. What is under way may go unanswered.
func (p *checkedPipeline) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.AppendPipeline.Close()
}
