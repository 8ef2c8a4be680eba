package router_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// tap counts what is written and notes when a mark is among it.
type tap struct {
	net.Conn
	mu      sync.Mutex
	written int
	mark    []byte
	at      int // written when the mark was
}

func (c *tap) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.written += len(b)
	if len(c.mark) > 0 && bytes.Contains(b, c.mark) {
		c.at, c.mark = c.written, nil
	}
	c.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *tap) SetReadBuffer(n int) error  { return c.Conn.(*net.TCPConn).SetReadBuffer(n) }
func (c *tap) SetWriteBuffer(n int) error { return c.Conn.(*net.TCPConn).SetWriteBuffer(n) }

// expect has the tap look for a mark, and returns what was written so far.
func (c *tap) expect(mark string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mark, c.at = []byte(mark), 0
	return c.written
}

func (c *tap) found() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// While messages of the largest size follow one another over a TCP link, a
// small one between others leaves behind a few of their chunks, and half of the
// small ones arrive within a small part of the time that a large one takes.
// Both are measured together, so the test holds on a busy machine; without
// turns a small one would wait for half of a large one, at times for all.
func TestLargestDoNotDelaySmall(t *testing.T) {
	limits := quick
	limits.LinkBytes = 256 << 20 // two at once
	w := newWorld()
	var link *tap
	w.pipe = func(from, _ string) (net.Conn, net.Conn, error) {
		a, b, err := loopback()
		if from == "n1" {
			link = &tap{Conn: a}
			return link, b, err
		}
		return a, b, err
	}
	n := w.start(t, limits, "n1", "n2")
	linked(t, n...)
	ctx, cancel := context.WithCancel(t.Context())
	var pushers sync.WaitGroup
	var mu sync.Mutex
	var large []time.Duration
	payload := make([]byte, wire.MaxMessage)
	for i := range 2 { // so that there always is one under way
		from, to := fmt.Sprintf("n1.big%d", i), fmt.Sprintf("n2.store%d", i)
		n[0].signIn(t, from)
		box := n[1].signIn(t, to)
		pushers.Go(func() {
			defer cancel()
			for after := uint64(0); ctx.Err() == nil; after++ {
				start := time.Now()
				outcome := make(chan error, 1)
				n[0].PostWith(wire.Message{From: from, To: to, Payload: [][]byte{payload}}, router.PostOptions{Now: start, Timeout: time.Minute, Borrowed: true, Write: router.WriteNow}, func(_ router.Outcome, err error) { outcome <- err })
				if err := <-outcome; err != nil {
					t.Errorf("message of %d bytes: %v", len(payload), err)
					return
				}
				if _, err := box.Receive(t.Context(), after, 1); err != nil {
					t.Error(err)
					return
				}
				_, _ = box.Receive(expired(t), after+1, 1) // acknowledges it
				mu.Lock()
				large = append(large, time.Since(start))
				mu.Unlock()
			}
		})
	}
	stop := func() {
		cancel()
		pushers.Wait()
	}
	defer stop()
	n[0].signIn(t, "n1.small")
	box := n[1].signIn(t, "n2.ear")
	var small []time.Duration
	var ahead []int // bytes that left before it
	for after, done := uint64(0), 0; ctx.Err() == nil && (len(small) < 300 || done < 6); after++ {
		start := time.Now()
		mark := fmt.Sprintf("small message %d", after)
		before := link.expect(mark)
		n[0].sends(t, text("n1.small", "n2.ear", mark), router.Delivered, "")
		ahead = append(ahead, link.found()-before)
		if _, err := box.Receive(t.Context(), after, 1); err != nil {
			t.Fatal(err)
		}
		small = append(small, time.Since(start))
		mu.Lock()
		done = len(large)
		mu.Unlock()
	}
	stop()
	if t.Failed() {
		return
	}
	slices.Sort(small)
	slices.Sort(large)
	slices.Sort(ahead)
	half, most, one := small[len(small)/2], small[len(small)*99/100], large[len(large)/2]
	bytes := ahead[len(ahead)*9/10] // some wait for a processor between mark and post
	t.Logf("%d small messages: half within %v, 99 %% within %v, 90 %% behind %d bytes; %d of 64 MiB: half within %v", len(small), half, most, bytes, len(large), one)
	if bytes > 1<<20 {
		t.Errorf("90 %% of the small messages left behind %d bytes, want at most 1 MiB", bytes)
	}
	if half > one/20 || most > one {
		t.Errorf("half of the small messages took %v and 99 %% %v, while a large one takes %v: want below a twentieth of that, and below it", half, most, one)
	}
}
