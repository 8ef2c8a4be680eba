package router_test

import (
	"net"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/flow/slowlink"
)

// slowly returns the two ends of a connection; what the first sends passes with
// at most rate bytes a second, and little of it is under way.
func slowly(t *testing.T, rate int) (first, second net.Conn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if second, err = net.Dial("tcp", slowlink.To(t, l.Addr().String(), rate)); err != nil {
		return nil, nil, err
	}
	if first, err = l.Accept(); err != nil {
		second.Close()
	}
	return first, second, err
}

// While a large message goes over a slow link, its pings wait in the kernel
// behind what was written. The link lives: bytes move.
func TestSlowLinkIsNotDead(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.pipe = func(from, _ string) (net.Conn, net.Conn, error) {
		if from == "n1" {
			return slowly(t, 128<<10)
		}
		return loopback()
	}
	n := w.start(t, router.Limits{Ping: 500 * time.Millisecond, Timeout: time.Minute}, "n1", "n2")
	linked(t, n...)
	n[0].signIn(t, "n1.a")
	store := n[1].signIn(t, "n2.b")
	done := make(chan error, 1)
	m := wire.Message{From: "n1.a", To: "n2.b", Payload: [][]byte{make([]byte, 1<<20)}}
	n[0].PostWith(m, router.PostOptions{Timeout: time.Minute, Borrowed: true, Write: router.WriteNow}, func(_ router.Outcome, err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatalf("1 MiB over a slow link: %v; the links are %v", err, n[0].Links())
	}
	got, err := store.Receive(t.Context(), 0, 1)
	if err != nil || len(got) != 1 || got[0].Message.Size() != 1<<20 {
		t.Errorf("%d messages came, error %v", len(got), err)
	}
}
