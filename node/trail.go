package node

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/audit/trail"
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/raftnode"
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

// The cluster is told the newest line every anchorEvery: within a minute also if some attempts fail. At the end it is told
// the last one, for which lastAnchor is the time.
const (
	anchorEvery = 15 * time.Second
	anchorLate  = time.Minute // after which it is logged that the cluster is told nothing
	lastAnchor  = 2 * time.Second
)

// anchorer tells the cluster the newest line of the trail whenever there is a new one.
type anchorer struct {
	log    *slog.Logger
	now    func() time.Time
	newest func() (seq uint64, hash string)
	// hold looks once whether the trail is the one that the cluster was told of before; the error is that it does not know yet.
	hold func(context.Context) error
	// tell tells the cluster a line. told is false where there are no anchors yet.
	tell func(_ context.Context, seq uint64, hash string) (told bool, err error)

	held   bool      // hold is done
	told   uint64    // the newest line that the cluster knows
	late   time.Time // since when it could not be told one; zero: it could
	warned bool
}

// step tells the cluster the newest line if it does not know it.
func (a *anchorer) step(ctx context.Context) {
	err := a.try(ctx)
	switch {
	case err == nil:
		if a.warned {
			a.log.Info("the cluster is told of the audit trail again")
		}
		a.late, a.warned = time.Time{}, false
		return
	case a.late.IsZero():
		a.late = a.now()
	case !a.warned && a.now().Sub(a.late) > anchorLate:
		a.warned = true
		a.log.Warn("the cluster is told nothing of the audit trail: what is cut from its end since then does not show", "since", a.late, "error", err)
	}
	a.log.Debug("anchor the audit trail", "error", err)
}

func (a *anchorer) try(ctx context.Context) error {
	if !a.held {
		if err := a.hold(ctx); err != nil {
			return err
		}
		a.held = true
	}
	seq, hash := a.newest()
	if seq == a.told {
		return nil
	}
	told, err := a.tell(ctx, seq, hash)
	if err == nil && told {
		a.told = seq
	}
	return err
}

// anchorTrail tells the cluster the newest line of the trail until ctx ends, and the last one once nothing comes to the
// trail any more: ended is closed then.
func (n *Node) anchorTrail(ctx context.Context, ended <-chan struct{}) error {
	if n.trail == nil {
		return nil
	}
	a := anchorer{log: n.log, now: time.Now, newest: n.trail.Newest, hold: n.holdTrail, tell: n.anchor}
	tick := time.NewTicker(anchorEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		a.step(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	<-ended
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastAnchor)
	defer cancel()
	if err := n.trail.Settle(ctx); err != nil {
		n.log.Debug("write the last lines of the audit trail", "error", err)
	}
	a.step(ctx)
	return nil
}

// anchor tells the cluster a line of the trail, unless it is at a level without anchors.
func (n *Node) anchor(ctx context.Context, seq uint64, hash string) (told bool, err error) {
	if n.machine.View().Level < audit.Level {
		return false, nil
	}
	err = n.propose(ctx, audit.KindAnchor, audit.Anchoring{Coordinator: n.cfg.ID, ServerID: n.raft.ServerID(), Seq: seq, Hash: hash})
	return err == nil, err
}

// holdTrail holds the trail to the newest line that the cluster was told of it before this start. What is wrong is logged
// and recorded; the error is that the cluster cannot be asked.
func (n *Node) holdTrail(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	if _, err := n.raft.Ready(ctx, raftnode.Default, 0); err != nil {
		return err
	}
	var newest audit.Anchor
	for _, a := range n.machine.View().Audit.Of(n.cfg.ID) {
		if a.ServerID == n.raft.ServerID() && a.Seq >= newest.Seq {
			newest = a
		}
	}
	if newest.Seq == 0 {
		return nil
	}
	page, err := n.trail.Read(newest.Seq-1, 1)
	if err != nil {
		n.log.Error("the audit trail cannot be held to what the cluster was told of it", "dir", n.cfg.AuditDir, "error", err)
		return nil
	}
	if fault := newest.Holds(page); fault != nil {
		n.log.Error("the audit trail is not what was written: raftctl audit verify says where", "dir", n.cfg.AuditDir, "fault", fault)
		n.trail.Record(audit.Event{What: "find a fault in the trail", Target: fault.Error(), Outcome: audit.Done})
	}
	return nil
}
