package router_test

import (
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/router"
)

// A coordinator that was away for long gets its links at its first sign of life,
// in both directions: who dials it, and whom it dials, learns of it by that.
func TestRedialAfterPeerAlive(t *testing.T) {
	for _, away := range []time.Duration{5 * time.Second, time.Minute, 10 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			var there atomic.Bool
			w := newWorld()
			w.pipe = func(a, b string) (net.Conn, net.Conn, error) {
				if !there.Load() {
					return nil, nil, errors.New("nobody is there")
				}
				return inMemory(a, b)
			}
			n := w.start(t, router.Limits{}, "n1", "n2")
			time.Sleep(away)
			there.Store(true)
			n[0].PeerAlive("n2")
			time.Sleep(500 * time.Millisecond)
			for i, other := range []string{"n2", "n1"} {
				if got := n[i].Links()[other]; got != "up" {
					t.Errorf("away for %v, half a second after the return the link from %s is %q, want it up", away, n[i].id, got)
				}
			}
		})
	}
}

// Signs of life of a coordinator whose links do not last are no reason to dial
// it all the time.
func TestBackoffOfShortLivedLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int32
		w := newWorld()
		w.pipe = func(from, to string) (net.Conn, net.Conn, error) {
			dials.Add(1)
			a, b, err := inMemory(from, to)
			a.Close()
			return a, b, err
		}
		n := w.start(t, router.Limits{}, "n1", "n2")
		for range 6000 {
			time.Sleep(10 * time.Millisecond)
			n[0].PeerAlive("n2")
			n[1].PeerAlive("n1")
		}
		if got := dials.Load(); got > 100 {
			t.Errorf("%d dials in a minute, want fewer than 100", got)
		}
	})
}
