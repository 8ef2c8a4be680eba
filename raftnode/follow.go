package raftnode

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
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
