package node

import (
	"context"
	"fmt"
	"time"

	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/audit/trail"
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/raftnode/peer"
)

// openTrail opens the audit trail, if one is kept.
func (o *opener) openTrail(context.Context) (err error) {
	if o.cfg.AuditDir == "" {
		return nil
	}
	if o.trail, err = trail.Open(trail.Config{Dir: o.cfg.AuditDir, Coordinator: o.cfg.ID, Logger: o.log}); err != nil {
		return &ConfigError{fmt.Errorf("--audit-dir: %w", err)}
	}
	o.onRollback(func() { _ = o.closeTrail() })
	return nil
}

// closeTrail writes what there is. It may be called again.
func (n *Node) closeTrail() error {
	if n.trail == nil {
		return nil
	}
	if err := n.trail.Close(); err != nil {
		return fmt.Errorf("audit trail: %w", err)
	}
	return nil
}

// controlTrail is the trail as use cases have it; nil: none is kept.
func (n *Node) controlTrail() control.Trail {
	if n.trail == nil {
		return nil
	}
	return n.trail
}

// recorder is how REST records; nil: no trail is kept.
func (n *Node) recorder() func(audit.Event) {
	if n.trail == nil {
		return nil
	}
	return n.trail.Record
}

// recordPeerRefused tells the trail of somebody whose certificate does not open the peer port. The code of the line is the
// reason, as the metric peer_refused_total has it.
func (n *Node) recordPeerRefused(r peer.Refused) {
	switch {
	case n.trail == nil:
	case r.Reason == peer.ReasonBusy, r.Reason == peer.ReasonTimeout, r.Reason == peer.ReasonProtocol: // it is not about the certificate
	default:
		n.trail.Record(audit.Event{
			Door: audit.DoorPeer, Who: audit.Who{Certificate: r.Certificate, Remote: r.Remote}, What: "connect", Outcome: audit.Refused, Code: string(r.Reason),
		})
	}
}

// The cluster is told the newest line every anchorEvery: within a minute also if some attempts fail.
const (
	anchorEvery = 15 * time.Second
	anchorLevel = 2 // of the commands of the log
)

// anchorTrail tells the cluster the newest line of the trail whenever there is a new one, until ctx ends.
func (n *Node) anchorTrail(ctx context.Context) error {
	if n.trail == nil {
		return nil
	}
	tick := time.NewTicker(anchorEvery)
	defer tick.Stop()
	var told uint64
	for {
		select {
		case <-tick.C:
			told = n.anchorNewest(ctx, told)
		case <-ctx.Done():
			return nil
		}
	}
}

// anchorNewest tells the cluster the newest line behind told and returns which it knows now.
func (n *Node) anchorNewest(ctx context.Context, told uint64) uint64 {
	seq, hash := n.trail.Newest()
	if seq == told || n.machine.View().Level < anchorLevel {
		return told
	}
	if err := n.propose(ctx, audit.KindAnchor, audit.Anchoring{Coordinator: n.cfg.ID, ServerID: n.raft.ServerID(), Seq: seq, Hash: hash}); err != nil {
		n.log.Debug("anchor the audit trail", "seq", seq, "err", err)
		return told
	}
	return seq
}
