package peer_test

import (
	"errors"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
)

// Who does not belong is refused on links, raft streams and calls, with words
// that say why, and never reaches Accept or a handler.
func TestHelloRefused(t *testing.T) {
	t.Parallel()
	admit := func(_ peer.Kind, _ string, from peer.Hello) error {
		if from.ID == "removed" {
			return errors.New("removed is no member any more")
		}
		return nil
	}
	n2 := open(t, "n2", func(c *peer.Config) { c.Admit = admit })
	for _, c := range []struct {
		situation string
		hello     peer.Hello
		code      wire.Code
		text      string
	}{
		{"foreign cluster", peer.Hello{Cluster: "c2", ID: "n1"}, wire.CodeForbidden, "foreign cluster: n1 belongs to cluster c2, n2/a to c1"},
		{"version too new", peer.Hello{Version: wire.Version + 1, ID: "n1"}, wire.CodeForbidden, "upgrade it first"},
		{"no version", peer.Hello{Version: -1, ID: "n1"}, wire.CodeInvalid, "without a version"},
		{"not admitted", peer.Hello{ID: "removed"}, wire.CodeForbidden, "no member any more"},
	} {
		n1 := open(t, "n1", says(c.hello))
		_, _, err := n1.DialLink(within(t, 10*time.Second), n2.Addr(), "")
		wantCode(t, c.situation+", link", err, c.code)
		wantText(t, c.situation+", link", err, c.text)
		_, err = n1.RaftLayer().Dial(n2.Addr(), 10*time.Second)
		wantText(t, c.situation+", raft", err, c.text)
		_, err = n1.Call(within(t, 10*time.Second), n2.Addr(), "echo", nil)
		wantCode(t, c.situation+", call", err, wire.CodeUnavailable)
		wantText(t, c.situation+", call", err, c.text)
	}
	eventually(t, "4 times 3 connections are counted as refused, none as taken", func() bool {
		got := n2.Stats()
		return got.Accepted == 0 && got.Refused == 12
	})
}

// A side that has not learnt its cluster yet is let in, either way.
func TestHelloWithoutCluster(t *testing.T) {
	t.Parallel()
	fresh, n2 := open(t, "n1", says(peer.Hello{ID: "n1"})), open(t, "n2")
	for _, d := range [][2]*peer.Port{{fresh, n2}, {n2, fresh}} {
		c, _, err := d[0].DialLink(within(t, 10*time.Second), d[1].Addr(), "")
		if err != nil {
			t.Errorf("link between one that knows its cluster and one that does not: %v", err)
			continue
		}
		c.Close()
	}
}

// A dialer names whom it wants. A server that lost its disk has another server
// id, so it does not answer in the place of the old one.
func TestWant(t *testing.T) {
	t.Parallel()
	n1, n2 := open(t, "n1"), open(t, "n2")
	for _, want := range []string{"", "n2", "n2/a"} {
		c, _, err := n1.DialLink(within(t, 10*time.Second), n2.Addr(), want)
		if err != nil {
			t.Errorf("wanted %q: %v", want, err)
			continue
		}
		c.Close()
	}
	for _, want := range []string{"n3", "n2/b", "n1/a"} {
		_, _, err := n1.DialLink(within(t, 10*time.Second), n2.Addr(), want)
		wantCode(t, "link, wanted "+want, err, wire.CodeForbidden)
		wantText(t, "link, wanted "+want, err, "wanted "+want+", but this is n2/a")
		_, err = n1.RaftLayer().DialServer(n2.Addr(), want, 10*time.Second)
		wantCode(t, "raft, wanted "+want, err, wire.CodeForbidden)
	}
}
