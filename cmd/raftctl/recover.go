//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/raftnode"
)

func (a *app) recoverCmd() *cobra.Command {
	var peers string
	c := raftnode.RecoverConfig{}
	cmd := &cobra.Command{
		Use: "recover --data-dir DIR --cluster ID --peers n1=HOST:PORT,...", Short: "Make the survivors of a lost majority a cluster again", Args: cobra.NoArgs,
		Long: "For a cluster whose majority is lost for good, disks and all. Works on the data directory of a stopped coordinator: it becomes\n" +
			"a member of a cluster of --peers alone, with all that it holds. Name the survivors, this one among them; the safest is to name\n" +
			"only the one with the highest last term, then index (--dry-run tells them). Give the same --peers at each that is named\n" +
			"before you start any. All others join with empty directories. What the survivors had not yet heard of is lost, and who is left\n" +
			"out must never be started with its old data again: it would be a second cluster.\n\n" +
			"A copy of what was there stays in DIR/before-recover-TIME, for which there must be room. --dry-run tries it all on a copy in\n" +
			"the directory for temporary files, and touches nothing. Needs no cluster.",
		Example: "  raftctl recover --data-dir /var/lib/folkmoot --cluster 5f0c0d9e7c1b2a34 --peers n1=10.0.0.1:7300 --dry-run",

		PersistentPreRunE: a.offline,
		RunE: func(*cobra.Command, []string) error {
			var err error
			if c.Peers, err = raftnode.ParseRecoverPeers(peers); err != nil {
				return usage("--peers: %v", err)
			}
			if c.Cluster == "" || c.Dir == "" {
				return usage("--data-dir and --cluster must not be empty")
			}
			machine := fsm.New()
			var wrong error
			machine.Fatal = func(_ uint64, err error) { wrong = err }
			c.Machine, c.MachineErr = machine, func() error { return wrong }
			r, err := raftnode.Recover(c)
			if err != nil {
				return err
			}
			return a.recovered(r)
		},
	}
	cmd.Flags().StringVar(&c.Dir, "data-dir", "", "`DIR` of the stopped coordinator")
	cmd.Flags().StringVar(&c.Cluster, "cluster", "", "`ID` of the cluster that it must be of")
	cmd.Flags().StringVar(&peers, "peers", "", "the `SURVIVORS`, ID=HOST:PORT separated by commas; the port is --peer-addr's")
	cmd.Flags().BoolVar(&c.DryRun, "dry-run", false, "tell what would be, and touch nothing")
	for _, name := range []string{"data-dir", "cluster", "peers"} {
		cmd.MarkFlagRequired(name)
	}
	return cmd
}

// recovered tells what was found and made.
func (a *app) recovered(r *raftnode.Recovery) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, clean(fmt.Sprintf(format, args...))) }
	say("coordinator %s of cluster %s: the last entry of its log is %d of term %d", r.ID, r.Cluster, r.LastIndex, r.LastTerm)
	say("members before: %s", memberList(r.Before))
	would := "are"
	if r.DryRun {
		would = "would be"
	}
	say("members that %s left, each with a vote: %s", would, memberList(r.After))
	if r.DryRun {
		say("nothing was touched")
	} else {
		say("what was there before is in %s", r.Copy)
	}
	return a.done(body, "cluster/"+r.Cluster, "%s", strings.Join(lines, "\n"))
}

func memberList(members []raftnode.RecoveredMember) string {
	var all []string
	for _, m := range members {
		text := m.ID + " at " + m.Address
		if !m.Voter {
			text += " (no vote)"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}
