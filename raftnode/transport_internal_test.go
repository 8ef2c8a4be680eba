package raftnode

import (
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/raftnode/peer"
)

// A stream goes to the server that is meant, or nowhere: one at its address
// with another disk would acknowledge in its place.
func TestStreamsReachWhoIsMeant(t *testing.T) {
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
	c, err := from.Dial(at("n2/a", n2.Addr()), 10*time.Second)
	if err != nil {
		t.Fatalf("dial the server that is there: %v", err)
	}
	c.Close()
	if c, err := from.Dial(at("n2/b", n2.Addr()), 10*time.Second); err == nil {
		c.Close()
		t.Error("n2/a answered in the place of n2/b")
	} else if !strings.Contains(err.Error(), "n2/b") {
		t.Errorf("dial a server that is not there: %v, want it named", err)
	}
}
