package raftnode

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
)

// waitCommitted waits until the own machine has index. The leader of term has said
// that index is committed and that the entry there is of its term, so this
// server may commit it as well, without waiting for the leader's next message:
// see injectCommit.
func (n *Node) waitCommitted(ctx context.Context, index, term uint64) error {
	if n.cfg.DisableCommitInjection {
		return n.applied.wait(ctx, index, nil)
	}
	return n.applied.wait(ctx, index, func() { n.injectCommit(ctx, index, term) })
}

// observedCommit is the newest commit that a leader has reported to this server.
type observedCommit struct {
	mu          sync.Mutex
	index, term uint64
	injecting   sync.Mutex // held by the one goroutine that injects
}

func (h *observedCommit) record(index, term uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if term > h.term || term == h.term && index > h.index {
		h.index, h.term = index, term
	}
}

func (h *observedCommit) newest() (index, term uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.index, h.term
}

// announceDelay is how long after its last entry a leader announces that entry's
// commit. Until then the entries themselves carry the commit index.
const announceDelay = 10 * time.Millisecond

// announceCommit announces to all members that an entry of this leader's term is
// committed. Raft would do so after its CommitTimeout, and go on to do so for
// ever, which is most of what an idle leader does: that is long, therefore. A
// member that is not reached learns of it then.
func (n *Node) announceCommit(m commitPoint) {
	if n.cfg.DisableCommitInjection {
		return
	}
	body, err := json.Marshal(m)
	if err != nil {
		panic(err) // two numbers and an id
	}
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		addr, ok := n.members.Address(string(s.ID))
		if !ok || !n.members.Answers(string(s.ID)) || string(s.ID) == n.serverID {
			continue
		}
		n.spawn(func() {
			ctx, cancel := context.WithTimeout(n.ctx, n.cfg.Ping)
			defer cancel()
			_, _ = n.calls.Call(ctx, addr, methodCommitted, body)
		})
	}
}

// handleCommitted serves announceCommit. What it receives was true when it was sent
// and so for ever, under any leader.
func (n *Node) handleCommitted(ctx context.Context, _ peer.Hello, body []byte) ([]byte, error) {
	var m commitPoint
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, wire.Invalid("mark", "%v", err)
	}
	if now, _ := n.applied.current(); now < m.Index && !n.cfg.DisableCommitInjection {
		n.injectCommit(ctx, m.Index, m.Term)
	}
	return nil, nil
}

// injectCommit passes to raft what the leader of term has just reported: the entry
// at index is of that term and committed. An idle leader would announce it only
// after its CommitTimeout. The message is the very AppendEntries that the
// leader would send, without entries: raft takes it only if the own log has an
// entry of that term at that index, and then, by log matching, everything below
// is the leader's too. Like a packet that was held on the way it may come late,
// under a newer term: then raft ignores it.
func (n *Node) injectCommit(ctx context.Context, index, term uint64) {
	n.observedCommit.record(index, term)
	if !n.observedCommit.injecting.TryLock() {
		return // the holder injects the newest
	}
	defer n.observedCommit.injecting.Unlock()
	for range 2 {
		index, term = n.observedCommit.newest()
		if term == 0 || n.raft.CurrentTerm() != term {
			return
		}
		addr, id := n.raft.LeaderWithID()
		// A leader seen between two looks at one term is that term's.
		if id == "" || string(id) == n.serverID || n.isSuspected(string(id)) || n.raft.CurrentTerm() != term ||
			n.raft.LastIndex() < index || n.raft.CommitIndex() >= index {
			return
		}
		_, _ = n.transport.inject(ctx, &raft.AppendEntriesRequest{
			RPCHeader:         raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(id), Addr: []byte(addr)},
			Term:              term,
			PrevLogEntry:      index,
			PrevLogTerm:       term,
			LeaderCommitIndex: index,
		})
	}
}
