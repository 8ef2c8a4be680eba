package raftnode

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/peer"
)

// A stream goes to the server that is meant, or nowhere: one at its address
// with another disk would acknowledge in its place.
func TestStreamsReachTheIntendedServer(t *testing.T) {
	t.Parallel()
	open := func(id string) *peer.Port {
		p, err := peer.Listen(peer.Config{Addr: "127.0.0.1:0", Self: func() peer.Hello {
			return peer.Hello{Cluster: "c1", ServerID: id + "/a", ID: id, Boot: 1}
		}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		return p
	}
	n1, n2 := open("n1"), open("n2")
	from := streamLayer{n1.RaftLayer()}
	c, err := from.Dial(dialTarget("n2/a", n2.Addr()), 10*time.Second)
	if err != nil {
		t.Fatalf("dial the server that is there: %v", err)
	}
	c.Close()
	if c, err := from.Dial(dialTarget("n2/b", n2.Addr()), 10*time.Second); err == nil {
		c.Close()
		t.Error("n2/a answered in the place of n2/b")
	} else if !strings.Contains(err.Error(), "n2/b") {
		t.Errorf("dial a server that is not there: %v, want it named", err)
	}
}

// unreachableTransport is a transport that fails until it has been tried often enough.
type unreachableTransport struct {
	preVoteTransport
	tries, fails int
	takes        int // bytes of a snapshot that are read before it fails
	requests     map[any]bool
}

var errAway = errors.New("nobody is there")

func (a *unreachableTransport) try(request any) error {
	a.requests[request] = true
	if a.tries++; a.tries <= a.fails {
		return errAway
	}
	return nil
}

func (a *unreachableTransport) AppendEntries(_ raft.ServerID, _ raft.ServerAddress, q *raft.AppendEntriesRequest, r *raft.AppendEntriesResponse) error {
	r.Success = true
	return a.try(q)
}

func (a *unreachableTransport) InstallSnapshot(_ raft.ServerID, _ raft.ServerAddress, q *raft.InstallSnapshotRequest, r *raft.InstallSnapshotResponse, data io.Reader) error {
	io.CopyN(io.Discard, data, int64(a.takes))
	r.Success = true
	return a.try(q)
}

// Raft doubles its pause at every failed request but heartbeats, up to ten
// seconds, so it is told of none that can be repeated; of those that cannot it
// is told at once.
func TestRequestsToAnUnreachablePeerAreHeld(t *testing.T) {
	t.Parallel()
	append := &raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 7, PrevLogTerm: 3}
	for _, c := range []struct {
		what   string
		fails  int
		takes  int
		lasts  time.Duration // for so long the request is of use
		append *raft.AppendEntriesRequest
		tries  int // at least
		err    error
	}{
		{"an append", 500, 0, time.Hour, append, 501, nil},
		{"an append of a leader that is none any more", 500, 0, 10 * time.Second, append, 50, errAway},
		{"a heartbeat", 500, 0, time.Hour, &raft.AppendEntriesRequest{Term: 3}, 1, errAway},
		{"a snapshot of which nothing has left", 500, 0, time.Hour, nil, 501, nil},
		{"a snapshot of which some has left", 500, 1, time.Hour, nil, 1, errAway},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			under := &unreachableTransport{fails: c.fails, takes: c.takes, requests: map[any]bool{}}
			q := &transport{
				preVoteTransport: under, unreachable: &unreachablePeers{}, snapshotsSent: &snapshotsSent{}, log: slog.New(slog.DiscardHandler), closing: t.Context(),
				resolve:     func(_ raft.ServerID, a raft.ServerAddress) raft.ServerAddress { return a },
				stillNeeded: func(_ raft.ServerID, term uint64) bool { return term == 3 && time.Since(began) < c.lasts },
				terms:       termCheck{own: func() uint64 { return 3 }},
			}
			var err error
			var answered bool
			if c.append != nil {
				var r raft.AppendEntriesResponse
				err = q.AppendEntries("n2/a", "n2:1", c.append, &r)
				answered = r.Success
			} else {
				var r raft.InstallSnapshotResponse
				err = q.InstallSnapshot("n2/a", "n2:1", &raft.InstallSnapshotRequest{Term: 3}, &r, strings.NewReader("snapshot"))
				answered = r.Success
			}
			if !errors.Is(err, c.err) || c.err == nil && (err != nil || !answered) {
				t.Errorf("%s: %v, want %v", c.what, err, c.err)
			}
			if under.tries < c.tries || c.tries == 1 && under.tries > 1 || len(under.requests) != 1 {
				t.Errorf("%s: %d tries of %d requests, want %d of one", c.what, under.tries, len(under.requests), c.tries)
			}
			if held := q.unreachable.held.servers(); len(held) > 0 || q.snapshots.to("n2/a") {
				t.Errorf("%s: %v is still held", c.what, held)
			}
		})
	}
}

// A held request is repeated when the server is heard, not when the pause is
// over; and it ends with the node, which raft's own end waits for.
func TestAHeldRequestIsWoken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		var a unreachablePeers
		a.markUnreachable("n2/a")
		began := time.Now()
		go func() {
			time.Sleep(50 * time.Millisecond)
			a.markReachable("n2/a")
		}()
		if !a.waitToRetry(ctx, "n2/a", time.Hour) || time.Since(began) > 51*time.Millisecond {
			t.Errorf("woken after %v, want 50ms", time.Since(began))
		}
		a.markUnreachable("n2/a")
		time.AfterFunc(time.Second, stop)
		if a.waitToRetry(ctx, "n2/a", time.Hour) || time.Since(began) > 2*time.Second {
			t.Errorf("after the end it goes on, at %v", time.Since(began))
		}
	})
}
