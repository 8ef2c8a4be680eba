package raftnode

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/outcome"
	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
)

// Consistency is how fresh a read must be.
type Consistency string

// The three strengths of a read.
const (
	// Stale reads what this coordinator has, now.
	Stale Consistency = "stale"
	// Default reads under the leader's lease: fresh unless clocks run apart or
	// a voter restarted within the last lease.
	Default Consistency = "default"
	// Strict reads are linearizable, whatever the clocks do.
	Strict Consistency = "strict"
)

// Freshness is how fresh a read is.
type Freshness struct {
	Consistency Consistency
	// StaleMs bounds the age of what is read: so long ago it certainly was the
	// newest. 0 for default and strict reads; -1 when this node does not know.
	StaleMs int64
	Leader  string // server id, "" if none is known
}

// Ready waits until the machine may be read: with a view at least as new as
// index (0 for any), and as fresh as c says. The error is unavailable when
// that is not so before ctx, or the patience with missing leaders, ends.
func (n *Node) Ready(ctx context.Context, c Consistency, index uint64) (Freshness, error) {
	f := Freshness{Consistency: c}
	switch c {
	case Stale:
		f.StaleMs = -1
		if index > 0 {
			if err := n.applied.wait(ctx, index, nil); err != nil {
				return f, wire.NotTried("%v", err)
			}
		}
		_, id := n.raft.LeaderWithID()
		f.Leader, f.StaleMs = string(id), n.staleMs()
		return f, nil
	case Default, Strict:
	default:
		return f, wire.Invalid("consistency", "%q is none of %s, %s and %s", c, Stale, Default, Strict)
	}
	err := n.retry(ctx, func() error {
		m, err := n.reads.commitPoint(ctx, c)
		if err != nil {
			return asNotTried(err)
		}
		f.Leader = m.Leader
		if err := n.waitCommitted(ctx, m.Index, m.Term); err != nil {
			return wire.NotTried("%v", err)
		}
		return nil
	})
	if err == nil && index > 0 {
		if err := n.applied.wait(ctx, index, nil); err != nil {
			return f, wire.NotTried("%v", err)
		}
	}
	return f, err
}

// asNotTried is for reads: they change nothing, so no failure leaves doubt.
func asNotTried(err error) error {
	switch wire.CodeOf(err) {
	case wire.CodeUnknown, wire.CodeInternal:
		return wire.NotTried("%v", err)
	}
	return err
}

// readRounds holds the shared rounds. The leader's own are apart from those that
// ask the leader, so that a question never travels twice.
type readRounds struct {
	node   *Node
	local  sharedRound // strict, on the leader
	strict sharedRound // strict, asking the leader
	leased sharedRound // default, asking the leader
}

func (r *readRounds) init(n *Node) {
	r.node = n
	r.local = sharedRound{node: n, do: n.confirmReadIndex}
	r.strict = sharedRound{node: n, do: func(ctx context.Context) (commitPoint, error) { return n.requestReadIndex(ctx, Strict) }}
	r.leased = sharedRound{node: n, do: func(ctx context.Context) (commitPoint, error) { return n.requestReadIndex(ctx, Default) }}
}

// commitPoint finds out what a read that begins now has to wait for.
func (r *readRounds) commitPoint(ctx context.Context, c Consistency) (commitPoint, error) {
	if r.node.raft.State() == raft.Leader {
		return r.localCommitPoint(ctx, c)
	}
	if c == Strict {
		return r.strict.join(ctx)
	}
	return r.leased.join(ctx)
}

// localCommitPoint is for the leader: a default read rides on the lease, if it holds.
func (r *readRounds) localCommitPoint(ctx context.Context, c Consistency) (commitPoint, error) {
	if c == Default {
		if m, ok := r.node.leaseRead(); ok {
			return m, nil
		}
	}
	return r.local.join(ctx)
}

// confirmReadIndex is one strict round on the leader. The commit index is noted
// first. Then a majority of the voters says that its term is not above ours:
// so when the round began no newer leader had been elected, for it would have
// that very majority's newer term, and nothing had been committed that our log
// lacks. The own term's first entry is applied, so the noted index covers all
// that was committed before it.
func (n *Node) confirmReadIndex(ctx context.Context) (commitPoint, error) {
	began := time.Now()
	term, ok := n.leading()
	if !ok {
		return commitPoint{}, outcome.ErrNotLeader
	}
	m := commitPoint{Index: n.raft.CommitIndex(), Term: term, Leader: n.serverID}
	if err := n.confirmLeadership(ctx, term); err != nil {
		return commitPoint{}, err
	}
	if now, ok := n.leading(); !ok || now != term {
		return commitPoint{}, outcome.ErrNotLeader
	}
	n.recordStrictRound(began, m)
	return m, nil
}

// recordStrictRound notes what a strict round that began then and was answered proves.
func (n *Node) recordStrictRound(began time.Time, m commitPoint) {
	n.extendContact(began)
	n.freshness.record(roundStart{began, m.Index}, n.AppliedIndex())
}

// termResponse is a voter's answer to the question for its term.
type termResponse struct {
	ServerID string `json:"server_id"`
	Term     uint64 `json:"term"`
	Leader   string `json:"leader"` // server id, as the voter knows it
	// Promise is how long, from the answer on, the voter will not vote for
	// anybody but Leader of its own accord, in milliseconds: at most its
	// LeaderLease.
	Promise int64 `json:"promise"`
}

// confirmLeadership asks the other voters for their terms until a majority, this server
// included, is not above term. Their promises make the lease.
func (n *Node) confirmLeadership(ctx context.Context, term uint64) error {
	began := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	servers := n.raft.GetConfiguration().Configuration().Servers
	answers := make(chan termResponse, len(servers)) // never blocks an asker
	var askers sync.WaitGroup
	defer askers.Wait()
	defer cancel()
	voters, asked := 0, 0
	for _, s := range servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if string(s.ID) != n.serverID {
			asked++
			askers.Go(func() { answers <- n.requestTerm(ctx, string(s.ID)) })
		}
	}
	need := voters/2 + 1 - (voters - asked) // this server's own term counts, if it votes
	lease := n.cfg.LeaderLease
	for got := 0; need > 0; got++ {
		if got == asked {
			return wire.NotTried("a majority of the voters did not confirm the leader")
		}
		select {
		case a := <-answers:
			if a.ServerID == "" || a.Term > term {
				continue
			}
			need--
			promise := time.Duration(a.Promise) * time.Millisecond
			if a.Leader != n.serverID || a.Term != term {
				promise = 0
			}
			lease = min(lease, promise)
		case <-ctx.Done():
			return wire.NotTried("a majority of the voters did not confirm the leader in time")
		}
	}
	n.lease.extend(term, began.Add(lease))
	return nil
}

// requestTerm asks one voter. An answer of another server, one that took over the
// address, counts as none.
func (n *Node) requestTerm(ctx context.Context, serverID string) termResponse {
	addr, ok := n.members.Address(serverID)
	if !ok {
		return termResponse{}
	}
	body, err := n.calls.Call(ctx, addr, methodTerm, nil)
	var a termResponse
	if err != nil || json.Unmarshal(body, &a) != nil || a.ServerID != serverID {
		return termResponse{}
	}
	return a
}

// handleTerm answers with the term as it is now. It is on disk before any vote of
// that term is sent, so an answer that is not above the asker's term means that
// this server has not helped to elect anybody newer.
func (n *Node) handleTerm(context.Context, peer.Hello, []byte) ([]byte, error) {
	_, leader := n.raft.LeaderWithID()
	promise := n.votePromise()
	return json.Marshal(termResponse{
		ServerID: n.serverID,
		Term:     n.raft.CurrentTerm(),
		Leader:   string(leader),
		Promise:  max(0, promise.Milliseconds()-1),
	})
}

// requestReadIndex is one round of a follower.
func (n *Node) requestReadIndex(ctx context.Context, c Consistency) (m commitPoint, err error) {
	id, addr, here, err := n.leader()
	if err != nil {
		return m, err
	}
	ctx, cancel := n.leaderTracker.untilDeposed(ctx, id)
	defer cancel()
	if here {
		return m, outcome.ErrNotLeader // it became leader meanwhile; the caller comes again
	}
	began := time.Now()
	body, err := n.calls.Call(ctx, addr, methodRead, []byte(c))
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return m, fmt.Errorf("answer of the leader: %w", err)
	}
	if c == Strict {
		n.recordStrictRound(began, m)
	}
	return m, nil
}

// handleReadIndex serves the followers' rounds. A server that asks is alive: that is recorded first,
// since the answer proves to the other that it is.
func (n *Node) handleReadIndex(ctx context.Context, from peer.Hello, body []byte) ([]byte, error) {
	c := Consistency(body)
	if c != Strict && c != Default {
		return nil, wire.Invalid("consistency", "%q is neither %s nor %s", c, Default, Strict)
	}
	if n.raft.State() != raft.Leader {
		return nil, outcome.ErrNotLeader
	}
	n.members.RecordCall(from.ServerID)
	m, err := n.reads.localCommitPoint(ctx, c)
	if err != nil {
		return nil, asNotTried(err)
	}
	return json.Marshal(m)
}

// catchUpOnce notes when this server, a member, has for the first time since its
// start all that was committed when it looked.
func (n *Node) catchUpOnce() {
	for {
		ctx, cancel := context.WithTimeout(n.ctx, 5*time.Second)
		_, err := n.Ready(ctx, Strict, 0)
		cancel()
		// One that was removed while it was away may still be sent the end of the log, its removal in it.
		if err == nil && n.members.IsMember() {
			n.caughtUp.Store(true)
			return
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-n.ctx.Done():
			return
		}
	}
}
