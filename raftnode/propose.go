package raftnode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/outcome"
	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
)

// readYourWriteTimeout is how long an acknowledged write waits for this node's own
// machine, so that the writer reads its write here.
const readYourWriteTimeout = time.Second

// Propose writes command to the log, from any coordinator: on the leader with
// what else is waiting there, else through one hop to it. The result is the
// command's own: value, or a refusal. Other errors are unavailable, when
// certainly nothing happened, and unknown. A command is one line without its
// end. After nil this node's machine has the command, unless ctx or a second
// ended first.
func (n *Node) Propose(ctx context.Context, command []byte) (index uint64, value any, err error) {
	a, err := n.propose(ctx, command)
	if err == nil && a.result.Err != nil {
		err = a.result.Err
	}
	return a.index, a.result.Value, err
}

func (n *Node) propose(ctx context.Context, command []byte) (a answer, err error) {
	switch {
	case len(command) == 0:
		return a, wire.Invalid("command", "a command is empty")
	case len(command) > wire.MaxCommand:
		return a, wire.Refuse(wire.CodeTooLarge, "a command of %d bytes is larger than %d: do less at once", len(command), wire.MaxCommand)
	case bytes.IndexByte(command, separator) >= 0:
		return a, wire.Invalid("command", "a command contains a line end")
	}
	err = n.retry(ctx, func() (err error) {
		id, addr, here, err := n.leader()
		switch {
		case err != nil:
		case here:
			a, err = n.proposeLocal(ctx, command)
		default:
			a, err = n.forwardProposal(ctx, id, addr, command)
		}
		return err
	})
	if err == nil {
		n.waitReadYourWrite(ctx, a.index, a.term)
	}
	return a, err
}

// proposeLocal is for the leader; the machine's own check comes before the
// queue, so that a bad command never reaches a log.
func (n *Node) proposeLocal(ctx context.Context, command []byte) (answer, error) {
	if err := n.machine.Check(command); err != nil {
		return answer{}, err
	}
	return n.queue.propose(ctx, command)
}

func (n *Node) forwardProposal(ctx context.Context, leader, addr string, command []byte) (a answer, err error) {
	ctx, cancel := n.leaderTracker.untilDeposed(ctx, leader)
	defer cancel()
	body, err := n.calls.Call(ctx, addr, methodPropose, command)
	if err != nil && errors.Is(context.Cause(ctx), errDeposed) && !outcome.NotTried(err) {
		err = wire.Unknown(errDeposed)
	}
	if err != nil {
		return a, outcome.UnknownUnlessCoded(err)
	}
	p, err := decodeProposed(body)
	if err != nil {
		return a, wire.Unknown(fmt.Errorf("answer of the leader: %w", err))
	}
	a = answer{index: p.Index, term: p.Term, result: wire.Result{Err: p.Err}}
	if p.Value != nil {
		a.result.Value = p.Value
	}
	return a, nil
}

// handlePropose serves the one hop; it never makes a second one.
func (n *Node) handlePropose(ctx context.Context, _ peer.Hello, command []byte) ([]byte, error) {
	if n.raft.State() != raft.Leader {
		return nil, outcome.ErrNotLeader
	}
	if len(command) == 0 || len(command) > wire.MaxCommand || bytes.IndexByte(command, separator) >= 0 {
		return nil, wire.Invalid("command", "the forwarded command is empty, too long or of several lines")
	}
	a, err := n.proposeLocal(ctx, command)
	if err != nil {
		return nil, err
	}
	return encodeProposed(&a)
}

// waitReadYourWrite waits, within limits, until the own machine has index, an entry that
// the leader of term says is committed.
func (n *Node) waitReadYourWrite(ctx context.Context, index, term uint64) {
	if now, _ := n.applied.current(); now >= index {
		return // on the leader always
	}
	ctx, cancel := context.WithTimeout(ctx, readYourWriteTimeout)
	defer cancel()
	_ = n.waitCommitted(ctx, index, term) // the write is done either way
}
