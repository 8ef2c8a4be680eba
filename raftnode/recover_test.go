package raftnode_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/raftnode/disk"
)

// recoverDir recovers the directory of a server that is stopped.
func recoverDir(t *testing.T, s *server, edit func(*raftnode.RecoverConfig)) (*raftnode.Recovery, error) {
	t.Helper()
	c := raftnode.RecoverConfig{Dir: s.cfg.Dir, Machine: &recordingMachine{}}
	if edit != nil {
		edit(&c)
	}
	if c.Peers == nil {
		c.Peers = []raftnode.RecoverPeer{{ID: s.cfg.ID, Address: s.addr}}
	}
	return raftnode.Recover(c)
}

// contents is what every file below a directory holds.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all = append(all, fmt.Sprintf("%s %x", path, sha256.Sum256(text)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, "\n")
}

// restart gives a stopped server an empty machine and starts it.
func (s *server) restart() {
	s.w.t.Helper()
	s.machine = &recordingMachine{}
	s.start()
}

// membersOf are the members as a server sees them.
func membersOf(s *server) []raftnode.MemberInfo {
	all, err := s.Members(s.w.t.Context())
	if err != nil {
		s.w.t.Fatal(err)
	}
	return all
}

// Of three the disks of two are lost. The third goes on alone with all that was
// acknowledged, another with an empty directory joins, and one that was lost after all
// comes back with its old data and is out.
func TestRecover(t *testing.T) {
	for _, store := range []string{raftnode.LogStoreBolt, raftnode.LogStoreWAL} {
		for _, threshold := range []uint64{0, 5} { // without and with a snapshot
			t.Run(fmt.Sprintf("%s/%d", store, threshold), func(t *testing.T) {
				synctestNetwork(t, func(t *testing.T, w *network) {
					all := startThree(w, onFiles, quickPromotion, withConfig(func(c *raftnode.Config) {
						c.LogStore, c.SnapshotThreshold, c.SnapshotInterval = store, threshold, 50*time.Millisecond
					}))
					defer stopAll(all)
					leader, others := leaderOf(t, all)
					survivor, late := others[0], others[1]
					late.stop()
					for i := range 20 {
						write(t, leader, fmt.Sprint("w", i))
					}
					if threshold > 0 {
						eventually(t, "the survivor makes a snapshot", func() bool { return survivor.Status().LastSnapshot > 0 })
					}
					cluster := survivor.ClusterID()
					survivor.stop()
					leader.stop()

					before := contents(t, survivor.cfg.Dir)
					dry, err := recoverDir(t, survivor, func(c *raftnode.RecoverConfig) { c.DryRun, c.Cluster = true, cluster })
					if err != nil || dry.Copy != "" || len(dry.Before) != 3 || len(dry.After) != 1 || dry.LastIndex < 20 {
						t.Fatalf("dry run: %+v, %v", dry, err)
					}
					if after := contents(t, survivor.cfg.Dir); after != before {
						t.Fatalf("a dry run changed files:\n%s\nnow\n%s", before, after)
					}
					done, err := recoverDir(t, survivor, func(c *raftnode.RecoverConfig) { c.Cluster = cluster })
					if err != nil || done.LastIndex != dry.LastIndex || done.LastTerm != dry.LastTerm || !slices.Equal(done.After, dry.After) {
						t.Fatalf("%+v, %v; the dry run said %+v", done, err, dry)
					}
					if copied := contents(t, done.Copy); strings.Count(copied, "\n") < strings.Count(before, "\n") {
						t.Errorf("the copy has %s, there was %s", copied, before)
					}

					survivor.restart()
					eventually(t, "the survivor leads", survivor.IsLeader)
					write(t, survivor, "alone")
					for i := range 20 {
						if !survivor.machine.has(fmt.Sprint("w", i)) {
							t.Errorf("w%d was acknowledged and is lost", i)
						}
					}
					if got := survivor.ClusterID(); got != cluster {
						t.Errorf("the cluster is %s, was %s", got, cluster)
					}

					if err := os.RemoveAll(leader.cfg.Dir); err != nil {
						t.Fatal(err)
					}
					leader.cfg.Expect = 0
					leader.restart()
					eventually(t, "one with an empty directory gets its vote", func() bool {
						members := membersOf(survivor)
						return len(members) == 2 && members[0].Suffrage == "voter" && members[1].Suffrage == "voter"
					})
					write(t, leader, "together")

					late.restart()
					eventually(t, "one that comes back with its old data is out", func() bool { return late.Status().Removed })
					if late.machine.has("alone") {
						t.Error("who is no member was given the log")
					}
					eventually(t, "both have the same", func() bool { return survivor.machine.text() == leader.machine.text() })
				})
			})
		}
	}
}

// Of five, two survive, one of which had not heard of the last writes. Both are given the
// same members, each on its own; the one that has more leads, and the other has it soon.
func TestRecoverTwoWithDifferentLogs(t *testing.T) {
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w, onFiles)
		defer stopAll(all)
		leader, others := leaderOf(t, all)
		ahead, behind := others[0], others[1]
		write(t, leader, "both")
		eventually(t, "both have it", func() bool { return behind.machine.has("both") && ahead.machine.has("both") })
		behind.stop()
		write(t, leader, "one")
		newcomer := w.addServer("n4", withConfig(func(c *raftnode.Config) { c.Join = addrs(leader) }))
		eventually(t, "the one that is ahead knows of another member", func() bool { return len(membersOf(ahead)) == 4 })
		newcomer.stop()
		ahead.stop()
		leader.stop()

		peers := []raftnode.RecoverPeer{{ID: ahead.cfg.ID, Address: ahead.addr}, {ID: behind.cfg.ID, Address: behind.addr}}
		var last []uint64
		for _, s := range []*server{behind, ahead} {
			r, err := recoverDir(t, s, func(c *raftnode.RecoverConfig) { c.Peers = peers })
			if err != nil || len(r.After) != 2 {
				t.Fatalf("%s: %+v, %v", s.cfg.ID, r, err)
			}
			last = append(last, r.LastIndex)
		}
		if last[0] >= last[1] {
			t.Fatalf("last entries %d: the first should have less", last)
		}
		behind.restart()
		ahead.restart()
		survivors := []*server{behind, ahead}
		if first, _ := leaderOf(t, survivors); first != ahead {
			t.Errorf("%s leads, which has less", first.cfg.ID)
		}
		write(t, behind, "after")
		if got := requireEqualState(t, survivors); got != "both one after" {
			t.Errorf("both have %q", got)
		}
		for _, s := range survivors {
			if got := membersOf(s); len(got) != 2 {
				t.Errorf("%s has the members %v", s.cfg.ID, got)
			}
		}
	})
}

// What cannot be meant is refused, and nothing is touched.
func TestRecoverRefusals(t *testing.T) {
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w, onFiles)
		defer stopAll(all)
		leader, others := leaderOf(t, all)
		write(t, leader, "w")
		s := others[0]
		if _, err := recoverDir(t, s, nil); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("a directory in use: %v", err)
		}
		stopAll(all)
		record := func() (all string) {
			id, err := disk.OpenStopped(s.cfg.Dir)
			if err != nil {
				t.Fatal(err)
			}
			defer id.Close()
			peers := id.Peers()
			slices.SortFunc(peers, func(a, b disk.Peer) int { return strings.Compare(a.ServerID, b.ServerID) })
			return fmt.Sprint(id.Record(), peers)
		}
		own := raftnode.RecoverPeer{ID: s.cfg.ID, Address: s.addr}
		before := record()
		for _, c := range []struct {
			what, want string
			edit       func(*raftnode.RecoverConfig)
		}{
			{"another cluster", "is of cluster", func(c *raftnode.RecoverConfig) { c.Cluster = "0123456789abcdef" }},
			{"a survivor that is not named", "not among those that are named", func(c *raftnode.RecoverConfig) {
				c.Peers = []raftnode.RecoverPeer{{ID: leader.cfg.ID, Address: leader.addr}}
			}},
			{"one that is no member", "n9 is no member", func(c *raftnode.RecoverConfig) { c.Peers = []raftnode.RecoverPeer{own, {ID: "n9", Address: "n9:1"}} }},
			{"an empty directory", "is no data directory", func(c *raftnode.RecoverConfig) { c.Dir = t.TempDir() }},
			{"a directory that is not there", "is no data directory", func(c *raftnode.RecoverConfig) { c.Dir = filepath.Join(s.cfg.Dir, "nothing") }},
			{"a log that is not understood", "from a newer version", func(c *raftnode.RecoverConfig) {
				c.MachineErr = func() error { return errors.New("a command from a newer version") }
			}},
		} {
			for _, dry := range []bool{true, false} {
				_, err := recoverDir(t, s, func(r *raftnode.RecoverConfig) { r.DryRun = dry; c.edit(r) })
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s (dry run %v): %v, want %q", c.what, dry, err, c.want)
				}
			}
		}
		if after := record(); after != before {
			t.Errorf("the directory says %s, said %s", after, before)
		}
		if copies, _ := filepath.Glob(filepath.Join(s.cfg.Dir, "before-recover-*")); len(copies) > 0 {
			t.Errorf("%s was made for what was refused", copies)
		}
		s.restart()
	})
}

// brokenMachine cannot write a snapshot.
type brokenMachine struct{ recordingMachine }

func (*brokenMachine) Freeze() io.WriterTo { return brokenWriter{} }

type brokenWriter struct{}

func (brokenWriter) WriteTo(io.Writer) (int64, error) { return 0, errors.New("the volume is full") }

// A recovery that fails in its middle leaves a directory that does not start, and is
// carried out when it is repeated; the copy is the first one.
func TestRecoverIsRepeated(t *testing.T) {
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w, onFiles)
		defer stopAll(all)
		leader, _ := leaderOf(t, all)
		write(t, leader, "w")
		stopAll(all)
		if _, err := recoverDir(t, leader, func(c *raftnode.RecoverConfig) { c.Machine = &brokenMachine{} }); err == nil || !strings.Contains(err.Error(), "volume is full") {
			t.Fatalf("a snapshot that cannot be written: %v", err)
		}
		leader.machine = &recordingMachine{}
		if err := leader.tryStart(); err == nil || !strings.Contains(err.Error(), "did not end: repeat raftctl recover") {
			t.Fatalf("started in the middle of a recovery: %v", err)
		}
		r, err := recoverDir(t, leader, func(c *raftnode.RecoverConfig) { c.Word = "monday" })
		if err != nil {
			t.Fatal(err)
		}
		copies, err := filepath.Glob(filepath.Join(leader.cfg.Dir, "before-recover-*"))
		if err != nil || len(copies) != 1 || copies[0] != r.Copy {
			t.Errorf("copies %v, %v; told of %s", copies, err, r.Copy)
		}
		if word, member, err := raftnode.Recovered(leader.cfg.Dir); word != "monday" || !member || err != nil {
			t.Errorf("the directory says %q, member %v, %v", word, member, err)
		}
		leader.start()
		eventually(t, "it leads", leader.IsLeader)
		if !leader.machine.has("w") {
			t.Error("what was acknowledged is lost")
		}
	})
}

func TestParseRecoverPeers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"n1=a:1":             "[{n1 a:1}]",
		"n1=a:1, n2=[::1]:7": "[{n1 a:1} {n2 [::1]:7}]",
		"":                   "is not ID=HOST:PORT",
		"n1":                 "is not ID=HOST:PORT",
		"n1=a":               "is not ID=HOST:PORT",
		"n1=:1":              "is not ID=HOST:PORT",
		"n1=a:0":             "is not ID=HOST:PORT",
		"n1=a:70000":         "is not ID=HOST:PORT",
		"=a:1":               "is not ID=HOST:PORT",
		"n1=a:1,n1=b:2":      "n1 is named twice",
		"n1=a:1,":            "is not ID=HOST:PORT",
	} {
		peers, err := raftnode.ParseRecoverPeers(text)
		if got := fmt.Sprint(peers, err); !strings.Contains(got, want) {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
