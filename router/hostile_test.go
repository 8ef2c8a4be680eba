package router_test

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// linkFrame builds a frame as link/frame.go documents it.
func linkFrame(kind byte, body []byte) []byte {
	f := []byte{kind, 0, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(f[1:], uint32(len(body)))
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.BigEndian.PutUint32(f[5:], crc32.Update(crc32.Checksum(f[:5], table), table, body))
	return append(f, body...)
}

func openFrame(instance byte, number uint64) []byte {
	body := make([]byte, 25)
	body[0], body[1] = 1, instance
	binary.BigEndian.PutUint64(body[17:], number)
	return linkFrame(1, body)
}

// dataBody is a data body for one message to a session of epoch 1.
func dataBody(t testing.TB, id uint32, session string, m wire.Message) []byte {
	b := binary.BigEndian.AppendUint32(nil, id)
	b = binary.BigEndian.AppendUint64(b, 0)
	b = binary.BigEndian.AppendUint32(b, 5000)
	b = binary.BigEndian.AppendUint64(b, 1)
	b = binary.BigEndian.AppendUint16(b, uint16(len(session)))
	b, err := wire.AppendFrame(append(b, session...), &m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func chunkBody(id uint32, flags byte, rest ...byte) []byte {
	return append(append(binary.BigEndian.AppendUint32(nil, id), flags), rest...)
}

// dialAs connects to a node as a coordinator whose router the test plays.
func dialAs(t testing.TB, n *node, as string) net.Conn {
	t.Helper()
	a, b, err := loopback()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	n.accept <- accepted{b, as}
	return a
}

// closes expects the other side to end the connection.
func closes(t testing.TB, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.Copy(io.Discard, c); err != nil {
		if e, ok := err.(net.Error); ok && e.Timeout() {
			t.Fatal("the link is still open after a minute")
		}
	}
}

func head(kind byte, length, crc uint32) []byte {
	f := []byte{kind, 0, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(f[1:], length)
	binary.BigEndian.PutUint32(f[5:], crc)
	return f
}

func u32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// Whatever is wrong with a frame ends the link, costs no memory, and the
// router goes on.
func TestHostileFramesToTheAcceptor(t *testing.T) {
	n := newWorld().start(t, quick, "n1")[0]
	n.signIn(t, "n1.a")
	n.w.change(func() { n.w.rows["x.a"] = row{"x", "s", 1} })
	good := dataBody(t, 1, "session of n1.a", text("x.a", "n1.a", "x"))
	wrongCRC := linkFrame(2, good)
	wrongCRC[8] ^= 1
	damaged := linkFrame(2, good)
	damaged[len(damaged)-1] ^= 1
	inner := func(length uint32) []byte { // a wrong length inside a right frame
		b := append([]byte(nil), good...)
		binary.BigEndian.PutUint32(b[26+len("session of n1.a"):], length)
		return linkFrame(2, b)
	}
	seen := append([]byte(nil), good...)
	seen[11] = 9
	open := openFrame(1, 1)
	with := func(b []byte) []byte { return append(append([]byte(nil), open...), b...) }
	many := open
	for id := range uint32(5) {
		many = append(many[:len(many):len(many)], linkFrame(3, chunkBody(id, 1, append(u32(1<<20), make([]byte, 100)...)...))...)
	}
	for what, b := range map[string][]byte{
		"no open frame":             linkFrame(5, make([]byte, 8)),
		"open frame of 3 bytes":     linkFrame(1, []byte{1, 2, 3}),
		"open of another version":   linkFrame(1, make([]byte, 25)),
		"open twice":                with(open),
		"length 0":                  with(head(2, 0, 0)),
		"length 2^31-1":             with(head(2, 1<<31-1, 0)),
		"length 2^32-1":             with(head(2, 1<<32-1, 0)),
		"length one too much":       with(head(2, 64<<10+1, 0)),
		"wrong checksum":            with(wrongCRC),
		"damaged body":              with(damaged),
		"unknown kind":              with(linkFrame(99, []byte{1})),
		"outcomes to the acceptor":  with(linkFrame(4, make([]byte, 5))),
		"ping of 3 bytes":           with(linkFrame(5, make([]byte, 3))),
		"data of 3 bytes":           with(linkFrame(2, make([]byte, 3))),
		"session beyond the body":   with(linkFrame(2, append(make([]byte, 24), 0xff, 0xff))),
		"message length 0":          with(inner(0)),
		"message length 2^31-1":     with(inner(1<<31 - 1)),
		"message length 2^32-1":     with(inner(1<<32 - 1)),
		"message shorter than body": with(linkFrame(2, append(append([]byte(nil), good...), 1))),
		"refusals never given":      with(linkFrame(2, seen)),
		"chunk of 2 bytes":          with(linkFrame(3, make([]byte, 2))),
		"chunk without a first":     with(linkFrame(3, chunkBody(1, 0, 1, 2, 3))),
		"first chunk without total": with(linkFrame(3, chunkBody(1, 1, 1))),
		"total 0":                   with(linkFrame(3, chunkBody(1, 1, u32(0)...))),
		"total 2^31-1":              with(linkFrame(3, chunkBody(1, 1, u32(1<<31-1)...))),
		"total 2^32-1":              with(linkFrame(3, chunkBody(1, 1, u32(1<<32-1)...))),
		"last chunk too early":      with(linkFrame(3, chunkBody(1, 3, append(u32(1<<20), 1, 2, 3)...))),
		"given up before it began":  with(linkFrame(3, chunkBody(1, 4))),
		"five large ones at once":   many,
	} {
		t.Run(what, func(t *testing.T) {
			c := dialAs(t, n, "x")
			if _, err := c.Write(b); err != nil {
				t.Fatal(err)
			}
			closes(t, c)
		})
	}
	t.Run("cut short", func(t *testing.T) {
		whole := append(open[:len(open):len(open)], linkFrame(2, good)...)
		for i := range len(whole) {
			c := dialAs(t, n, "x")
			if _, err := c.Write(whole[:i]); err != nil {
				t.Fatal(err)
			}
			_ = c.(*net.TCPConn).CloseWrite()
			closes(t, c)
		}
	})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 20 {
		c := dialAs(t, n, "x")
		_, _ = c.Write(append(openFrame(1, 1), linkFrame(3, chunkBody(1, 1, u32(64<<20)...))...))
		closes(t, c) // as an older link: number 1 was there before
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 32<<20 {
		t.Errorf("%d bytes allocated for announcements alone", got)
	}

	box, _ := n.Mailbox("session of n1.a")
	c := dialAs(t, n, "x")
	if _, err := c.Write(append(openFrame(2, 1), linkFrame(2, good)...)); err != nil {
		t.Fatal(err)
	}
	until(t, "a right frame is delivered after all that", func() bool { return box.Len() > 0 })
}

// The same from the side that accepts.
func TestHostileFramesToTheDialler(t *testing.T) {
	for what, b := range map[string][]byte{
		"length 0":                 head(4, 0, 0),
		"length 2^31-1":            head(4, 1<<31-1, 0),
		"length 2^32-1":            head(4, 1<<32-1, 0),
		"wrong checksum":           head(4, 5, 0),
		"unknown kind":             linkFrame(99, []byte{1}),
		"data to the dialler":      linkFrame(2, make([]byte, 100)),
		"half an outcome":          linkFrame(4, make([]byte, 7)),
		"outcome nobody waits for": linkFrame(4, []byte{0, 0, 0, 7, 0}),
		"outcome far away":         linkFrame(4, []byte{0xff, 0xff, 0xff, 0xff, 0}),
		"verdict not known":        linkFrame(4, []byte{0, 0, 0, 0, 77}),
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld()
			n := w.start(t, quick, "n1")[0]
			peer := &node{id: "n2", w: w, accept: make(chan accepted), down: make(chan struct{})}
			w.change(func() {
				w.nodes["n2"] = peer
				w.rows["n2.b"] = row{"n2", "s", 1}
			})
			n.signIn(t, "n1.a")
			answer := make(chan router.Outcome, 1)
			link := (<-peer.accept).conn
			close(peer.down)
			defer link.Close()
			until(t, "link up", func() bool { return n.Links()["n2"] == "up" })
			n.Post(text("n1.a", "n2.b", "x"), func(o router.Outcome, _ error) { answer <- o })
			buf := make([]byte, 9+25+9+8+9+26) // until the message has left
			if _, err := io.ReadFull(link, buf); err != nil {
				t.Fatal(err)
			}
			if _, err := link.Write(append(b, make([]byte, 64)...)); err != nil {
				t.Fatal(err)
			}
			if o := <-answer; o != router.Unknown {
				t.Errorf("the message that had left is %s, want unknown", o)
			}
			closes(t, link)
			until(t, "counted", func() bool { return n.Stats()["link_errors"] == 1 })
		})
	}
}

// A newer link of a coordinator takes the place of the one before; an older
// one never does.
func TestNewerLinkReplacesOlder(t *testing.T) {
	n := newWorld().start(t, quick, "n1")[0]
	box := n.signIn(t, "n1.a")
	n.w.change(func() { n.w.rows["x.a"] = row{"x", "s", 1} })
	send := func(c net.Conn, number uint64, s string) {
		t.Helper()
		f := linkFrame(2, dataBody(t, 1, "session of n1.a", text("x.a", "n1.a", s)))
		if _, err := c.Write(append(openFrame(1, number), f...)); err != nil {
			t.Fatal(err)
		}
	}
	first, second := dialAs(t, n, "x"), dialAs(t, n, "x")
	send(first, 1, "first")
	reads(t, box, 0, "first")
	send(second, 2, "second")
	closes(t, first)
	reads(t, box, 1, "second")
	old := dialAs(t, n, "x")
	send(old, 1, "old")
	closes(t, old)
	if got := box.Unread(); got != 0 {
		t.Errorf("%d messages of an old link were delivered", got)
	}
}

// A newer link delivers nothing before the older one's reader has ended: what
// that still had to deliver was sent before.
func TestNewerLinkWaitsForTheOlderOnesFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newWorld().start(t, router.Limits{}, "n1")[0]
		box := n.signIn(t, "n1.a")
		n.w.change(func() {
			n.w.rows["x.a"] = row{"x", "s", 1}
			n.w.rows["x.b"] = row{"x", "s", 1}
		})
		// The reader of the older link takes its time over a message.
		go1 := make(chan struct{})
		n.mu.Lock()
		n.asked = func(full string) {
			if full == "x.a" {
				<-go1
			}
		}
		n.mu.Unlock()
		open := func(number uint64, from, s string) {
			a, b := net.Pipe()
			t.Cleanup(func() { a.Close() })
			n.accept <- accepted{b, "x"}
			go io.Copy(io.Discard, a)
			_, _ = a.Write(append(openFrame(1, number), linkFrame(2, dataBody(t, 1, "session of n1.a", text(from, "n1.a", s)))...))
		}
		open(1, "x.a", "older")
		synctest.Wait()
		open(2, "x.b", "newer")
		synctest.Wait()
		if got := box.Len(); got != 0 {
			t.Errorf("%d messages of the newer link were delivered while the older one still delivers", got)
		}
		close(go1)
		reads(t, box, 0, "older", "newer")
	})
}

// FuzzLinkFrames feeds frames with a right checksum, and what follows them, to
// an accepted link.
func FuzzLinkFrames(f *testing.F) {
	w := newWorld()
	n := w.start(f, quick, "n1")[0]
	n.signIn(f, "n1.a")
	w.change(func() { w.rows["x.a"] = row{"x", "s", 1} })
	good := dataBody(f, 1, "session of n1.a", text("x.a", "n1.a", "x"))
	f.Add(byte(2), good, []byte{})
	f.Add(byte(2), good, linkFrame(2, good))
	f.Add(byte(3), chunkBody(1, 1, append(u32(1<<20), 1, 2)...), linkFrame(3, chunkBody(1, 4)))
	f.Add(byte(5), make([]byte, 8), []byte{2, 0, 0})
	f.Add(byte(7), []byte("bye"), []byte{})
	f.Add(byte(8), relayBody(1, 1, []string{"x", "n1"}, good), linkFrame(8, relayBody(1, 0, []string{"x", "n1"}, good)))
	f.Add(byte(8), relayBody(2, 9, []string{"y", "x", "n1", "z"}, good), []byte{})
	f.Add(byte(9), []byte{1, 'x', 0, 0, 0, 0, 0, 0, 0, 7, 0, 1, 2, 'n', '1'}, []byte{})
	number := uint64(0)
	f.Fuzz(func(t *testing.T, kind byte, body, rest []byte) {
		if len(body) > 64<<10 {
			return
		}
		number++
		a, b := net.Pipe()
		n.accept <- accepted{b, "x"}
		go func() {
			_, _ = a.Write(openFrame(1, number))
			_, _ = a.Write(append(linkFrame(kind, body), rest...))
			_, _ = a.Write(linkFrame(7, []byte("end")))
			a.Close()
		}()
		_, _ = io.Copy(io.Discard, a)
		box, _ := n.Mailbox("session of n1.a")
		got, _ := box.Receive(expired(t), 0, 10_000)
		if len(got) > 0 {
			_, _ = box.Receive(expired(t), got[len(got)-1].Number, 1)
		}
	})
}

// After a message was refused because its receiver is elsewhere, none behind it
// is delivered until the dialler knows: it will send the first one again.
func TestNoMessageOvertakesARefusedOne(t *testing.T) {
	n := newWorld().start(t, quick, "n1")[0]
	box := n.signIn(t, "n1.a")
	n.w.change(func() {
		n.w.rows["x.a"] = row{"x", "s", 1}
		n.w.rows["x.b"] = row{"x", "s", 1}
	})
	c := dialAs(t, n, "x")
	data := func(id uint32, session, from, s string, seen byte) []byte {
		b := dataBody(t, id, session, text(from, "n1.a", s))
		b[11] = seen
		return linkFrame(2, b)
	}
	all := openFrame(1, 1)
	all = append(all, data(10, "session of n1.a", "x.a", "0", 0)...)
	all = append(all, data(11, "another session", "x.a", "1", 0)...)
	all = append(all, data(12, "session of n1.a", "x.a", "overtakes", 0)...)
	all = append(all, data(13, "session of n1.a", "x.b", "other stream", 0)...)
	if _, err := c.Write(all); err != nil {
		t.Fatal(err)
	}
	outcomes := func(n int) map[uint32]byte {
		t.Helper()
		got := make(map[uint32]byte)
		for len(got) < n {
			h := make([]byte, 9)
			if _, err := io.ReadFull(c, h); err != nil {
				t.Fatal(err)
			}
			body := make([]byte, binary.BigEndian.Uint32(h[1:]))
			if _, err := io.ReadFull(c, body); err != nil {
				t.Fatal(err)
			}
			for ; h[0] == 4 && len(body) > 0; body = body[5:] {
				got[binary.BigEndian.Uint32(body)] = body[4]
			}
		}
		return got
	}
	got := outcomes(4)
	if got[10] != 0 || got[11] != 2 || got[12] != 2 || got[13] != 0 {
		t.Fatalf("verdicts %v, want 10 accepted, 11 and 12 moved, 13 accepted", got)
	}
	// The dialler has seen both refusals and sends both again.
	if _, err := c.Write(append(data(11, "session of n1.a", "x.a", "1", 2), data(12, "session of n1.a", "x.a", "2", 2)...)); err != nil {
		t.Fatal(err)
	}
	if got := outcomes(2); got[11] != 0 || got[12] != 0 {
		t.Fatalf("verdicts %v, want both accepted", got)
	}
	reads(t, box, 0, "0", "other stream", "1", "2")
}
