package node

import (
	"fmt"
	"slices"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/raftnode"
	raftdisk "github.com/folkmoot/folkmoot/raftnode/disk"
)

// recoverOnce carries out Config.RecoverPeers, unless this data directory has had its word
// already. The word is also noted in a directory that was empty: it was never one of the
// cluster before, and must not be taken for one at its next start.
func (o *opener) recoverOnce() error {
	if o.cfg.RecoverWord == "" {
		return nil
	}
	word, member, err := raftnode.Recovered(o.cfg.DataDir)
	if err != nil || !member || word == o.cfg.RecoverWord {
		return err
	}
	peers, err := raftnode.ParseRecoverPeers(o.cfg.RecoverPeers)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(peers, func(p raftnode.RecoverPeer) bool { return p.ID == o.cfg.ID }) {
		return o.leaveRecovered()
	}
	machine := fsm.New()
	var wrong error
	machine.Fatal = func(_ uint64, err error) { wrong = err }
	r, err := raftnode.Recover(raftnode.RecoverConfig{
		Dir: o.cfg.DataDir, Peers: peers, Word: o.cfg.RecoverWord, Machine: machine, MachineErr: func() error { return wrong }, Logger: o.log,
	})
	if err != nil {
		return fmt.Errorf("--recover-peers: %w", err)
	}
	o.log.Warn("the cluster was recovered: it goes on with the coordinators of --recover-peers alone", "cluster", r.Cluster,
		"last_index", r.LastIndex, "last_term", r.LastTerm, "members_before", len(r.Before), "members", o.cfg.RecoverPeers, "copy", r.Copy)
	return nil
}

// leaveRecovered is for a coordinator of the cluster before that the others go on without:
// with its data it would be a second cluster.
func (o *opener) leaveRecovered() error {
	if o.cfg.WhenRemoved != WhenRemovedRejoin {
		return fmt.Errorf("the cluster goes on without coordinator %s, which --recover-peers does not name, and %s has the data of before: "+
			"empty it, and it joins as a new one (or start it with --when-removed rejoin)", o.cfg.ID, o.cfg.DataDir)
	}
	aside, err := raftdisk.SetAside(o.cfg.DataDir, time.Now(), keptFiles...)
	if err == nil {
		o.log.Warn("--recover-peers does not name this coordinator: its data is set aside, and it joins as a new one", "aside", aside)
	}
	return err
}
