package raftnode

import (
	"context"
	"maps"

	"github.com/folkmoot/folkmoot/raftnode/member"
	"github.com/folkmoot/folkmoot/raftnode/peer"
)

// The methods that a node answers beside those of its membership. Their bodies are JSON, but for a proposal,
// which is the command, and a read, which is its strength. Version 1: 2026-11.
const (
	methodTerm      = "raftnode.term"
	methodRead      = "raftnode.read_index"
	methodPropose   = "raftnode.propose"
	methodCommitted = "raftnode.committed"
)

func (n *Node) registerHandlers() {
	handlers := n.members.Handlers()
	maps.Copy(handlers, map[string]member.Handler{
		methodTerm:      n.handleTerm,
		methodRead:      n.handleReadIndex,
		methodPropose:   n.handlePropose,
		methodCommitted: n.handleCommitted,
	})
	for method, h := range handlers {
		n.calls.Handle(method, func(ctx context.Context, from peer.Hello, body []byte) ([]byte, error) {
			if n.ctx.Err() != nil {
				return nil, errClosed
			}
			n.unreachable.markReachable(from.ServerID)
			return h(ctx, from, body)
		})
	}
}
