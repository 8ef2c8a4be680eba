package raftnode

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/wire/histogram"
)

// RecoverConfig says how the data directory of a stopped coordinator is made that of a
// cluster of the survivors alone, because the others are lost for good.
type RecoverConfig struct {
	Dir     string
	Cluster string        // the id of the cluster that the directory must be of; "": any
	Peers   []RecoverPeer // the survivors, this coordinator among them, which all get a vote
	Word    string        // noted in the directory with a recovery that is done; see Recovered
	DryRun  bool          // carry it out on a copy, which is dropped

	Machine Machine // empty; it is given all that the directory holds
	// MachineErr tells why the machine does not understand what it was given; nil: it always does.
	MachineErr func() error
	Logger     *slog.Logger
}

// RecoverPeer is a coordinator that survives, and where it is dialed.
type RecoverPeer struct{ ID, Address string }

// Recovery is what a recovery found and made.
type Recovery struct {
	ID      string `json:"id"` // of the coordinator whose directory it is
	Cluster string `json:"cluster"`
	// The newest entry of the log. Entries that were not known to be committed count from
	// now on as those before them.
	LastIndex uint64            `json:"last_index"`
	LastTerm  uint64            `json:"last_term"`
	Before    []RecoveredMember `json:"before"` // the members by the directory's newest configuration
	After     []RecoveredMember `json:"after"`
	Copy      string            `json:"copy,omitempty"` // the directory with what was there before; "" for a dry run
	DryRun    bool              `json:"dry_run"`
}

// RecoveredMember is a server of a configuration.
type RecoveredMember struct {
	ID       string `json:"id"`
	ServerID string `json:"server_id"`
	Address  string `json:"address"`
	Voter    bool   `json:"voter"`
}

// ParseRecoverPeers reads n1=HOST:PORT,n2=HOST:PORT.
func ParseRecoverPeers(text string) (peers []RecoverPeer, err error) {
	for entry := range strings.SplitSeq(text, ",") {
		id, addr, ok := strings.Cut(strings.TrimSpace(entry), "=")
		host, port, err := net.SplitHostPort(addr)
		if number, errPort := strconv.ParseUint(port, 10, 16); !ok || id == "" || err != nil || host == "" || errPort != nil || number == 0 {
			return nil, fmt.Errorf("%q is not ID=HOST:PORT", entry)
		}
		if slices.ContainsFunc(peers, func(p RecoverPeer) bool { return p.ID == id }) {
			return nil, fmt.Errorf("%s is named twice", id)
		}
		peers = append(peers, RecoverPeer{id, addr})
	}
	return peers, nil
}

// Recover makes the data directory of a stopped coordinator that of a member of a cluster
// of c.Peers alone, with all that the directory holds; see DESIGN.md. The others of its
// configuration must never run again with their data: they would be a second cluster.
// What was there before is copied first, to a directory within it, so there must be
// room for that. Before the copy nothing is changed; if anything fails after it, the
// directory is not started until the recovery was repeated.
func Recover(c RecoverConfig) (*Recovery, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	id, err := disk.OpenStopped(c.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { id.Close() }()
	if err := c.suits(id.Record()); err != nil {
		return nil, err
	}
	if !c.DryRun {
		return c.recover(id)
	}
	rehearsal, err := os.MkdirTemp("", "folkmoot-recover-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(rehearsal)
	if err := disk.CopyState(c.Dir, rehearsal); err != nil {
		return nil, fmt.Errorf("a dry run works on a copy: %w", err)
	}
	copied, err := disk.OpenStopped(rehearsal)
	if err != nil {
		return nil, err
	}
	defer copied.Close()
	return c.recover(copied)
}

// suits refuses a directory that is not the one that is meant.
func (c RecoverConfig) suits(self disk.SelfRecord) error {
	switch {
	case self.Cluster == "" || !self.Member:
		return fmt.Errorf("%s: coordinator %s was never a member of a cluster, so there is nothing to recover: it joins with an empty directory", c.Dir, self.ID)
	case c.Cluster != "" && c.Cluster != self.Cluster:
		return fmt.Errorf("%s is of cluster %s, not of %s", c.Dir, self.Cluster, c.Cluster)
	case !slices.ContainsFunc(c.Peers, func(p RecoverPeer) bool { return p.ID == self.ID }):
		return fmt.Errorf("%s is that of coordinator %s, which is not among those that are named", c.Dir, self.ID)
	}
	return nil
}

// recover works on the files of id's directory. The stores end the goroutine that meets
// a failed disk, so it is one of its own.
func (c RecoverConfig) recover(id *disk.Identity) (r *Recovery, err error) {
	var failed error
	stop := disk.NewFailStop(func(err error) { failed = err }, func(error) {})
	done := make(chan struct{})
	go func() {
		defer close(done)
		stoppedAt := id.Record().Last
		var stores *disk.Stores
		if stores, err = disk.Open(disk.Config{Dir: id.Dir(), Logger: adaptLogger(c.Logger)}, id, stop); err != nil {
			return
		}
		defer func() { err = errors.Join(err, stores.Close()) }()
		if r, err = c.rebuild(id, stores); err != nil && id.Record().Recovering == "" {
			err = errors.Join(err, id.Update(func(l *disk.SelfRecord) { l.Last = stoppedAt })) // as it was
		}
	}()
	<-done
	if failed != nil {
		return nil, failed
	}
	return r, err
}

// rebuild gives the machine all that there is, and makes of it a snapshot in which only
// the survivors are members, and no log behind it: in the log of another survivor there
// may be older changes of the membership, which this one would follow.
func (c RecoverConfig) rebuild(id *disk.Identity, stores *disk.Stores) (*Recovery, error) {
	replica := &replica{machine: c.Machine, applied: &appliedIndex{}, progress: &progress{}, took: new(histogram.Histogram)}
	last, err := c.replay(stores, replica)
	if err != nil {
		return nil, err
	}
	self := id.Record()
	r := &Recovery{ID: self.ID, Cluster: self.Cluster, LastIndex: last.index, LastTerm: last.term, DryRun: c.DryRun}
	for _, s := range last.config.Servers {
		r.Before = append(r.Before, recoveredMember(s))
	}
	survivors, err := c.survivors(id.ServerID(), last.config)
	if err != nil {
		return nil, err
	}
	for _, s := range survivors.Servers {
		r.After = append(r.After, recoveredMember(s))
	}
	if !c.DryRun {
		before := self.Recovering // what an earlier try left in the middle is not what was there before
		if before == "" {
			if before, err = disk.CopyAside(c.Dir, time.Now()); err != nil {
				return nil, fmt.Errorf("nothing was changed: %w", err)
			}
		}
		r.Copy = filepath.Join(c.Dir, before)
		if err := id.Update(func(l *disk.SelfRecord) { l.Recovering = before }); err != nil {
			return nil, err
		}
	}
	if err := writeRecovered(stores, replica, last, survivors); err != nil {
		return nil, fmt.Errorf("the recovery did not end, repeat it: %w", err)
	}
	var peers []disk.Peer
	for _, m := range r.After {
		if p, _ := id.Peer(m.ServerID); m.ServerID != id.ServerID() {
			p.ServerID, p.ID, p.Address = m.ServerID, m.ID, m.Address
			peers = append(peers, p)
		}
	}
	if err := id.ReplacePeers(peers); err != nil {
		return nil, err
	}
	if err := stores.Snapshots.GiveToOwner(id.Dir()); err != nil {
		return nil, err
	}
	return r, id.Update(func(l *disk.SelfRecord) {
		l.Boot = max(l.Boot, l.Superseded.Boot) // this is the newest process of this server from now on
		l.Recovering, l.Recovered, l.Removed, l.Role, l.Superseded = "", c.Word, false, disk.RoleVoter, disk.Peer{}
	})
}

func recoveredMember(s raft.Server) RecoveredMember {
	id := string(s.ID)
	return RecoveredMember{ID: disk.CoordinatorID(id), ServerID: id, Address: string(s.Address), Voter: s.Suffrage == raft.Voter}
}

// logEnd is the newest entry of a directory, and the newest configuration up to it.
type logEnd struct {
	index, term uint64
	config      raft.Configuration
}

// replay gives the machine what the newest snapshot and the log hold.
func (c RecoverConfig) replay(stores *disk.Stores, replica *replica) (end logEnd, err error) {
	list, err := stores.Snapshots.List()
	if err != nil {
		return end, err
	}
	if len(list) > 0 {
		meta, in, err := stores.Snapshots.Open(list[0].ID)
		if err != nil {
			return end, err
		}
		if err := replica.Restore(in); err != nil {
			return end, err
		}
		end = logEnd{meta.Index, meta.Term, meta.Configuration}
	}
	last, err := stores.Log.LastIndex()
	if err != nil {
		return end, err
	}
	for index := end.index + 1; index <= last; index++ {
		var entry raft.Log
		if err := stores.Log.GetLog(index, &entry); err != nil {
			return end, fmt.Errorf("log %d: %w", index, err)
		}
		end.index, end.term = index, entry.Term
		switch entry.Type {
		case raft.LogConfiguration:
			end.config = raft.DecodeConfiguration(entry.Data)
			fallthrough
		case raft.LogCommand:
			replica.Apply(&entry)
		}
		if c.MachineErr == nil {
			continue
		}
		if err := c.MachineErr(); err != nil {
			return end, err
		}
	}
	if len(end.config.Servers) == 0 {
		return end, errors.New("neither the log nor a snapshot names a member: there is nothing to recover")
	}
	return end, nil
}

// survivors is the configuration of those that are named. They keep the identity that
// they have on disk, so they are among the members of now.
func (c RecoverConfig) survivors(self string, now raft.Configuration) (after raft.Configuration, err error) {
	var members []string
	for _, s := range now.Servers {
		members = append(members, disk.CoordinatorID(string(s.ID)))
	}
	for _, p := range c.Peers {
		i := slices.Index(members, p.ID)
		if i < 0 {
			return after, fmt.Errorf("%s is no member by what this directory holds (members: %s): with an empty directory it joins by itself, so leave it out",
				p.ID, strings.Join(members, ", "))
		}
		after.Servers = append(after.Servers, raft.Server{Suffrage: raft.Voter, ID: now.Servers[i].ID, Address: raft.ServerAddress(p.Address)})
	}
	if !slices.ContainsFunc(after.Servers, func(s raft.Server) bool { return string(s.ID) == self }) {
		return after, fmt.Errorf("this directory was removed from the cluster, or replaced by another: the member of that name is not %s (members: %s)", self, members)
	}
	return after, nil
}

// writeRecovered makes the snapshot and drops the log.
func writeRecovered(stores *disk.Stores, replica *replica, end logEnd, members raft.Configuration) error {
	frozen, err := replica.Snapshot()
	if err != nil {
		return err
	}
	_, encoder := raft.NewInmemTransport("")
	sink, err := stores.Snapshots.Create(raft.SnapshotVersionMax, end.index, end.term, members, end.index, encoder)
	if err != nil {
		return err
	}
	if err := frozen.Persist(sink); err != nil {
		return err
	}
	first, err := stores.Log.FirstIndex()
	if err != nil {
		return err
	}
	last, err := stores.Log.LastIndex()
	if err != nil || last == 0 {
		return err
	}
	return stores.Log.DeleteRange(first, last)
}

// Recovered is the word of the last recovery of a data directory, and whether a server of
// a cluster is in it at all. The directory must not be in use. A directory in which no
// coordinator has run holds nobody.
func Recovered(dir string) (word string, member bool, err error) {
	id, err := disk.OpenStopped(dir)
	if errors.Is(err, disk.ErrNeverRun) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	self := id.Record()
	return self.Recovered, self.Member && self.Cluster != "", id.Close()
}
