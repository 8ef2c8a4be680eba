package router_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// sluggish is a connection whose reader takes a little at a time, so that the
// writer's socket is full again and again. Its bytes are counted.
type sluggish struct {
	net.Conn
	read atomic.Int64
}

func (s *sluggish) Read(b []byte) (int, error) {
	time.Sleep(time.Millisecond)
	n, err := s.Conn.Read(b[:min(len(b), 32<<10)])
	s.read.Add(int64(n))
	return n, err
}

// Who posts writes to the link itself. What the socket does not take is left to
// the link's writer, and nothing is lost, repeated or overtaken. There is one
// poster: of several, one would find another at it and leave it to the writer.
func TestPostWritesInline(t *testing.T) {
	const posters, each, size = 1, 1000, 9000 // 9 MB; the sockets hold less than one
	limits := quick
	limits.MailboxMessages, limits.MailboxBytes, limits.LinkBytes = 1<<20, 1<<40, 1<<40
	w := newWorld()
	w.pipe = func(_, _ string) (net.Conn, net.Conn, error) {
		a, b, err := loopback()
		return a, &sluggish{Conn: b}, err
	}
	n := w.start(t, limits, "n1", "n2")
	linked(t, n...)
	box := n[1].signIn(t, "n2.b")
	var senders sync.WaitGroup
	var outcomes sync.WaitGroup
	outcomes.Add(posters * each)
	for p := range posters {
		from := fmt.Sprintf("n1.p%d", p)
		n[0].signIn(t, from)
		senders.Go(func() {
			for i := range each {
				n[0].PostWith(numbered(from, "n2.b", i, size), router.PostOptions{Timeout: time.Minute, Borrowed: true, Write: router.WriteNow}, func(o router.Outcome, err error) {
					if err != nil {
						t.Errorf("message %d of %s: %v", i, from, err)
					}
					outcomes.Done()
				})
			}
		})
	}
	senders.Wait()
	outcomes.Wait()
	next := map[string]int{}
	got, err := box.Receive(t.Context(), 0, posters*each+1)
	if err != nil || len(got) != posters*each {
		t.Fatalf("%d messages came of %d, error %v", len(got), posters*each, err)
	}
	for _, g := range got {
		if number := numberOf(g.Message); number != next[g.Message.From] || g.Message.Size() != size {
			t.Fatalf("message %d of %s came with %d bytes where %d was due", number, g.Message.From, g.Message.Size(), next[g.Message.From])
		}
		next[g.Message.From]++
	}
	if s := n[0].Stats(); s["links_lost"] != 0 || s["links_opened"] != 1 {
		t.Errorf("links opened %d, lost %d", s["links_opened"], s["links_lost"])
	}
}

// A consumer that is notified with WriteNow may take from the mailbox in the call.
func TestConsumerWriteNow(t *testing.T) {
	w := newWorld()
	n := w.start(t, quick, "n1", "n2")
	linked(t, n...)
	n[0].signIn(t, "n1.a")
	n[1].signIn(t, "n2.b")
	var mail *router.Consumer
	var mu sync.Mutex
	got := make(chan wire.Message, 100)
	take := func(mode router.WriteMode) {
		if mode == router.WriteLater {
			go func() {
				mu.Lock()
				defer mu.Unlock()
				msgs, _ := mail.Take(nil, 10, 1<<20)
				for _, m := range msgs {
					got <- m
				}
				_, _ = mail.Take(nil, 10, 1<<20) // nothing: it is notified again
			}()
			return
		}
		mu.Lock()
		defer mu.Unlock()
		msgs, err := mail.Take(nil, 10, 1<<20)
		if err != nil || len(msgs) == 0 {
			t.Errorf("notified, but took %d messages, error %v", len(msgs), err)
		}
		for _, m := range msgs {
			got <- m
		}
		_, _ = mail.Take(nil, 10, 1<<20)
	}
	mu.Lock()
	var err error
	if mail, err = n[1].Consume("session of n2.b", take); err != nil {
		t.Fatal(err)
	}
	mu.Unlock()
	for i := range 50 {
		n[0].PostWith(numbered("n1.a", "n2.b", i, 8), router.PostOptions{Timeout: time.Minute, Borrowed: true, Write: router.WriteNow}, func(_ router.Outcome, err error) {
			if err != nil {
				t.Errorf("message %d: %v", i, err)
			}
		})
		select {
		case m := <-got:
			if numberOf(m) != i {
				t.Fatalf("message %d came where %d was due", numberOf(m), i)
			}
		case <-time.After(time.Minute):
			t.Fatalf("message %d did not come", i)
		}
	}
}

// narrow is a connection whose kernel buffer for writing stays small.
type narrow struct{ *net.TCPConn }

func (n narrow) SetWriteBuffer(int) error { return n.TCPConn.SetWriteBuffer(4 << 10) }

// Outcomes that a dialler's socket does not take at once reach it later, whole
// and each once.
func TestOutcomesForSlowDialler(t *testing.T) {
	const messages = 20_000 // of outcomes, 5 bytes each at least: the sockets hold less
	limits := quick
	limits.Ping = time.Minute // a dialler that reads nothing for three of them is dead
	w := newWorld()
	n := w.start(t, limits, "n1")[0]
	n.signIn(t, "n1.a")
	w.change(func() { w.rows["x.a"] = row{"x", "s", 1} })
	c, theirs, err := loopback()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.(*net.TCPConn).SetReadBuffer(16 << 10)
	n.accept <- accepted{narrow{theirs.(*net.TCPConn)}, "x"}
	write(t, c, openFrame(1, 1))
	for id := range uint32(messages) {
		write(t, c, linkFrame(2, dataBody(t, id, "session of n1.a", text("x.a", "n1.a", "x"))))
	}
	got := map[uint32]int{}
	for count := 0; count < messages; {
		for body := nextOf(t, c, 2, 4); len(body) > 0; body = body[5:] {
			got[binary.BigEndian.Uint32(body)]++
			count++
		}
	}
	for id := range uint32(messages) {
		if got[id] != 1 {
			t.Fatalf("%d outcomes of message %d, want 1", got[id], id)
		}
	}
}

// A dialler that says it has read no refusal, however many there are, is
// given up: what is kept of them has a bound.
func TestDiallerThatReadsNoRefusals(t *testing.T) {
	n := newWorld().start(t, quick, "n1")[0]
	n.w.change(func() { n.w.rows["x.a"] = row{"x", "s", 1} })
	c := dialAs(t, n, "x")
	write(t, c, openFrame(1, 1))
	many := bytes.Repeat(linkFrame(2, dataBody(t, 1, "no session", text("x.a", "n1.nobody", "x"))), 1024)
	go func() {
		for range 256 { // twice what is kept
			if _, err := c.Write(many); err != nil {
				return
			}
		}
	}()
	closes(t, c)
	until(t, "counted", func() bool { return n.Stats()["link_errors"] == 1 }) // after it is closed
}
