package raftnode

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
)

// reach waits until the own machine has index. The leader of term has said
// that index is committed and that the entry there is of its term, so this
// server may commit it as well, without waiting for the leader's next message:
// see tellCommitted.
func (n *Node) reach(ctx context.Context, index, term uint64) error {
	done, stop := n.progress.at(index)
	defer stop()
	retry := time.NewTicker(time.Millisecond)
	defer retry.Stop()
	for {
		select {
		case <-done:
			return nil
		default:
		}
		n.tellCommitted(ctx, index, term)
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			now, _ := n.progress.now()
			return fmt.Errorf("wait for index %d (at %d): %w", index, now, context.Cause(ctx))
		case <-retry.C:
		}
	}
}

// hearsay is the newest commit that a leader's answer has told this server.
type hearsay struct {
	mu          sync.Mutex
	index, term uint64
	telling     sync.Mutex // held by the one goroutine that tells raft
}

func (h *hearsay) note(index, term uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if term > h.term || term == h.term && index > h.index {
		h.index, h.term = index, term
	}
}

func (h *hearsay) newest() (index, term uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.index, h.term
}

// quietTime is how long after its last entry a leader tells the followers of
// it. While entries go they carry the news themselves.
const quietTime = 10 * time.Millisecond

// tellFollowers tells all members that an entry of this leader's term is
// committed. Raft would do so after its CommitTimeout, and go on to do so for
// ever, which is most of what an idle leader does: that is long, therefore. A
// member that is not reached learns of it then.
func (n *Node) tellFollowers(m mark) {
	body, err := json.Marshal(m)
	if err != nil {
		panic(err) // two numbers and an id
	}
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		addr, ok := n.book.address(string(s.ID))
		if alive, _ := n.contacts.alive(string(s.ID)); !ok || !alive || string(s.ID) == n.serverID {
			continue
		}
		n.spawn(func() {
			ctx, cancel := context.WithTimeout(n.ctx, n.cfg.Ping)
			defer cancel()
			_, _ = n.calls.Call(ctx, addr, methodCommitted, body)
		})
	}
}

// onCommitted serves tellFollowers. What it is told was true when it was said
// and so for ever, whoever leads now.
func (n *Node) onCommitted(ctx context.Context, _ peer.Hello, body []byte) ([]byte, error) {
	var m mark
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, wire.Invalid("mark", "%v", err)
	}
	if now, _ := n.progress.now(); now < m.Index {
		n.tellCommitted(ctx, m.Index, m.Term)
	}
	return nil, nil
}

// tellCommitted tells raft what the leader of term has just told us: the entry
// at index is of that term and committed. An idle leader would say so only
// after its CommitTimeout. The message is the very AppendEntries that the
// leader would send, without entries: raft takes it only if the own log has an
// entry of that term at that index, and then, by log matching, everything below
// is the leader's too. Like a packet that was held on the way it may come late,
// under a newer term: then raft ignores it.
func (n *Node) tellCommitted(ctx context.Context, index, term uint64) {
	n.hearsay.note(index, term)
	if !n.hearsay.telling.TryLock() {
		return // whoever holds it tells the newest
	}
	defer n.hearsay.telling.Unlock()
	for range 2 {
		index, term = n.hearsay.newest()
		if term == 0 || n.raft.CurrentTerm() != term {
			return
		}
		addr, id := n.raft.LeaderWithID()
		// A leader seen between two looks at one term is that term's.
		if id == "" || string(id) == n.serverID || n.suspects(string(id)) || n.raft.CurrentTerm() != term ||
			n.raft.LastIndex() < index || n.raft.CommitIndex() >= index {
			return
		}
		_, _ = n.trans.inject(ctx, &raft.AppendEntriesRequest{
			RPCHeader:         raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(id), Addr: []byte(addr)},
			Term:              term,
			PrevLogEntry:      index,
			PrevLogTerm:       term,
			LeaderCommitIndex: index,
		})
	}
}
