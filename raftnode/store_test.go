package raftnode_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/wire"
)

// badDisk is a log that fails, hangs or lies when told to.
type badDisk struct {
	*raft.InmemStore
	mu   sync.Mutex
	fail error
	hang chan struct{}
	spot func(*raft.Log) // changes what is read
}

func (b *badDisk) set(edit func(*badDisk)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	edit(b)
}

func (b *badDisk) StoreLogs(logs []*raft.Log) error {
	b.mu.Lock()
	fail, hang := b.fail, b.hang
	b.mu.Unlock()
	if hang != nil {
		<-hang
	}
	if fail != nil {
		return fail
	}
	return b.InmemStore.StoreLogs(logs)
}

func (b *badDisk) GetLog(i uint64, l *raft.Log) error {
	err := b.InmemStore.GetLog(i, l)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.spot != nil && err == nil {
		b.spot(l)
	}
	return err
}

func startWithBadDisk(w *network, t *testing.T) (*badDisk, []*server) {
	disk := &badDisk{InmemStore: raft.NewInmemStore()}
	first := true
	all := startThree(w, func(s *server) {
		if first {
			s.cfg.Inject.Logs, s.cfg.Inject.Stable = disk, disk
			first = false
		}
	})
	return disk, all
}

// The first error of a disk ends the process, once; the others go on, and a
// write that met the error is not acknowledged.
func TestFirstStorageErrorIsFatal(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		disk, all := startWithBadDisk(w, t)
		defer stopAll(all)
		sick, others := all[0], all[1:]
		eventually(t, "the sick one leads", func() bool {
			l, _ := leaderOf(t, all)
			return l == sick || l.transferTo(sick.cfg.ID) == nil && sick.IsLeader()
		})
		disk.set(func(b *badDisk) { b.fail = errors.New("no space left on device") })
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, _, err := sick.Propose(ctx, []byte("one")); wire.CodeOf(err) != wire.CodeUnknown {
			t.Errorf("a write that met the error: %v, want unknown", err)
		}
		synctest.Wait()
		if len(sick.fatal) != 1 {
			t.Fatalf("fatal was called %d times, want once", len(sick.fatal))
		}
		if err := <-sick.fatal; err.Error() != "append to the log: no space left on device" {
			t.Errorf("fatal: %v", err)
		}
		if err := sick.Live(); err == nil {
			t.Error("a node with a failed disk says that it is alive")
		}
		if ok, why := sick.Health(); ok {
			t.Errorf("a node with a failed disk says that it is ready (%s)", why)
		}
		leaderOf(t, others)
		write(t, others[0], "two")
	})
}

// A disk that does not answer is a failed one.
func TestHangingDiskIsFatal(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		disk, all := startWithBadDisk(w, t)
		eventually(t, "another leads", func() bool {
			l, _ := leaderOf(t, all)
			return l != all[0] || l.transferTo(all[1].cfg.ID) == nil && all[1].IsLeader()
		})
		hang := make(chan struct{})
		disk.set(func(b *badDisk) { b.hang = hang })
		began := time.Now()
		write(t, all[1], "one")
		err := <-all[0].fatal
		if took := time.Since(began); took < 10*time.Second || took > 12*time.Second {
			t.Errorf("%v after %s, want it after 10 s", err, took)
		}
		disk.set(func(b *badDisk) { b.hang = nil })
		close(hang)
		stopAll(all)
	})
}

// An entry that is not what was stored is never used.
func TestChangedEntryIsFatal(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		disk, all := startWithBadDisk(w, t)
		defer func() { stopAll(all) }()
		write(t, all[1], "one")
		requireEqualState(t, all)
		all[0].stop()
		disk.set(func(b *badDisk) {
			b.spot = func(l *raft.Log) {
				if string(l.Data) == "one" {
					l.Data = []byte("two")
				}
			}
		})
		err := all[0].tryStart()
		if err == nil || len(all[0].fatal) > 0 {
			t.Fatalf("it opened over a changed entry (%v)", err)
		}
		t.Log(err)
		disk.set(func(b *badDisk) { b.spot = nil })
		all[0].machine = &recordingMachine{}
		all[0].start()
		requireEqualState(t, all)
	})
}

// observedTransport notes what raft asks of a transport.
type observedTransport struct {
	*raft.InmemTransport
	mu       sync.Mutex
	fastPath bool
	preVotes int
}

func (w *observedTransport) SetHeartbeatHandler(func(raft.RPC)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fastPath = true
}

func (w *observedTransport) RequestPreVote(id raft.ServerID, to raft.ServerAddress, a *raft.RequestPreVoteRequest, r *raft.RequestPreVoteResponse) error {
	w.mu.Lock()
	w.preVotes++
	w.mu.Unlock()
	return w.InmemTransport.RequestPreVote(id, to, a, r)
}

// Heartbeats have no way of their own into raft, and candidates ask first.
func TestNoHeartbeatFastPathButPreVote(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		var seen []*observedTransport
		all := startThree(w, func(s *server) {
			s.wrap = func(i *raft.InmemTransport) raft.Transport {
				seen = append(seen, &observedTransport{InmemTransport: i})
				return seen[len(seen)-1]
			}
		})
		defer stopAll(all)
		if slices.ContainsFunc(seen, func(w *observedTransport) bool { return w.fastPath }) {
			t.Error("raft reached the transport's heartbeat fast path")
		}
		if !slices.ContainsFunc(seen, func(w *observedTransport) bool { return w.preVotes > 0 }) {
			t.Error("a leader was elected without a pre-vote")
		}
	})
}

// Without the quorum nobody's term rises: pre-votes are asked, not votes.
func TestCutOffFollowerDoesNotDisturb(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer stopAll(all)
		leader, others := leaderOf(t, all)
		term := leader.Status().Term
		w.partition(addrs(others[0]), addrs(leader, others[1]))
		time.Sleep(30 * time.Second)
		w.heal()
		time.Sleep(5 * time.Second)
		if s := leader.Status(); s.Term != term || s.State != "leader" {
			t.Errorf("after a follower was away: %s in term %d, want the leader of term %d", s.State, s.Term, term)
		}
		write(t, others[0], "one")
	})
}
