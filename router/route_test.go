package router_test

import (
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"net"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/router/route"
	"github.com/folkmoot/folkmoot/wire"
)

// relayBody builds the body of a relay as link/frame.go documents it.
func relayBody(hops byte, epoch uint64, ids []string, data []byte) []byte {
	b := binary.BigEndian.AppendUint64([]byte{hops}, epoch)
	var code []byte
	for _, id := range ids {
		code = append(append(code, byte(len(id))), id...)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(code)))
	return append(append(b, code...), data...)
}

// fakePeer is a coordinator that the test plays: links to it are accepted as
// they are dialled.
func (w *world) fakePeer(id string) *node {
	n := &node{id: id, w: w, accept: make(chan accepted), down: make(chan struct{})}
	w.change(func() { w.nodes[id] = n })
	return n
}

// frame reads the next frame of a link and answers pings on the route, with the
// version after the eight bytes if it is above 1.
func frame(t testing.TB, c net.Conn, version byte) (kind byte, body []byte) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		h := make([]byte, 9)
		if _, err := io.ReadFull(c, h); err != nil {
			t.Fatalf("waiting for a frame: %v", err)
		}
		body := make([]byte, binary.BigEndian.Uint32(h[1:]))
		if _, err := io.ReadFull(c, body); err != nil {
			t.Fatalf("reading a frame of kind %d: %v", h[0], err)
		}
		if h[0] != 5 {
			return h[0], body
		}
		if version > 1 {
			body = append(body, version)
		}
		if _, err := c.Write(linkFrame(6, body)); err != nil {
			t.Fatal(err)
		}
	}
}

// nextOf reads frames until one of a kind comes.
func nextOf(t testing.TB, c net.Conn, version, want byte) []byte {
	t.Helper()
	for {
		if kind, body := frame(t, c, version); kind == want {
			return body
		}
	}
}

// verdicts reads n outcomes, by message.
func verdicts(t testing.TB, c net.Conn, n int) map[uint32]byte {
	t.Helper()
	got := map[uint32]byte{}
	for len(got) < n {
		for body := nextOf(t, c, 2, 4); len(body) > 0; body = body[5:] {
			got[binary.BigEndian.Uint32(body)] = body[4]
		}
	}
	return got
}

func write(t testing.TB, c net.Conn, frames ...[]byte) {
	t.Helper()
	for _, f := range frames {
		if _, err := c.Write(f); err != nil {
			t.Fatal(err)
		}
	}
}

// chain is the topology n1 - n2 - n3.
func chain(t testing.TB) route.Policy {
	t.Helper()
	p, err := route.ParseFile([]byte("n1: n2\nn2: n3\nn3:"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A relay whose route cannot be true is dropped and counted, wherever it goes;
// one over a link that is not there comes back; one that cannot be read ends
// the link.
func TestForgedRoutes(t *testing.T) {
	w := newWorld()
	w.topology = chain(t)
	n := w.start(t, quick, "n2")[0]
	w.fakePeer("n1")
	w.fakePeer("n3")
	w.change(func() { w.rows["n1.a"] = row{"n1", "s", 1} })
	box := n.signIn(t, "n2.b")
	data := func(id uint32) []byte { return dataBody(t, id, box.Session(), text("n1.a", "n2.b", "x")) }
	c := dialAs(t, n, "n1")
	write(t, c, openFrame(1, 1))
	const forged, noRoute = 4, 8
	seen := uint64(0) // of those that came back
	for i, x := range []struct {
		what string
		hops byte
		ids  []string
		want byte
	}{
		{"said to come from n3", 1, []string{"n3", "n2"}, forged},
		{"said to come from n3 over n1", 2, []string{"n3", "n1", "n2"}, noRoute}, // no such link
		{"said to come from a stranger over n1", 2, []string{"x", "n1", "n2"}, forged},
		{"not for here", 1, []string{"n1", "n3"}, forged},
		{"in a circle", 1, []string{"n1", "n2", "n1"}, forged},
		{"back again", 3, []string{"n1", "n2", "n1", "n2"}, forged},
		{"over a link that is not there", 1, []string{"n1", "n2", "n4"}, noRoute},
		{"over a link that is down", 1, []string{"n1", "n2", "n3"}, noRoute},
		{"right", 1, []string{"n1", "n2"}, 0},
	} {
		before := n.Stats()["forged_way"]
		id := uint32(100 + i)
		d := data(id)
		binary.BigEndian.PutUint64(d[4:], seen)
		write(t, c, linkFrame(8, relayBody(x.hops, 1, x.ids, d)))
		got := verdicts(t, c, 1)
		if got[id] != x.want {
			t.Errorf("%s: verdicts %v, want %d", x.what, got, x.want)
		}
		if x.want == noRoute {
			seen++
		}
		if counted := n.Stats()["forged_way"] - before; (counted == 1) != (x.want == forged) {
			t.Errorf("%s: counted as forged %d times", x.what, counted)
		}
	}
	if n.fresh == 0 {
		t.Error("called a coordinator a stranger without a fresh directory")
	}
	if got := box.Len(); got != 1 {
		t.Errorf("%d messages were delivered, want the right one only", got)
	}
	ids := []string{"n1", "n2"}
	cut := relayBody(1, 1, ids, data(1))
	binary.BigEndian.PutUint16(cut[9:], 5)
	long := relayBody(1, 1, ids, nil)
	binary.BigEndian.PutUint16(long[9:], 60000)
	number := uint64(1)
	for what, body := range map[string][]byte{
		"relay of 3 bytes":       make([]byte, 3),
		"no hops":                relayBody(0, 1, ids, data(1)),
		"more hops than ids":     relayBody(2, 1, ids, data(1)),
		"no route":               relayBody(1, 1, nil, data(1)),
		"an empty id":            relayBody(1, 1, []string{"n1", ""}, data(1)),
		"an id cut short":        cut,
		"a route beyond the end": long,
		"no data":                relayBody(1, 1, ids, nil),
	} {
		t.Run(what, func(t *testing.T) {
			number++
			c := dialAs(t, n, "n1")
			write(t, c, openFrame(1, number), linkFrame(8, body))
			closes(t, c)
		})
	}
	for what, body := range map[string][]byte{
		"report of nothing":     {0},
		"report without number": {2, 'n', '1', 0},
		"report cut short":      append(append([]byte{2, 'n', '1'}, make([]byte, 8)...), 0, 2, 1, 'x'),
		"report with a rest":    append(append([]byte{2, 'n', '1'}, make([]byte, 8)...), 0, 0, 1),
	} {
		t.Run(what, func(t *testing.T) {
			number++
			c := dialAs(t, n, "n1")
			write(t, c, openFrame(1, number), linkFrame(9, body))
			closes(t, c)
		})
	}
}

// A message that cannot go on comes back and takes the route that is left, even
// if its sender could not know.
func TestRerouteAfterNoRoute(t *testing.T) {
	w := newWorld()
	w.topology = route.Ring()
	w.pipe = func(from, to string) (net.Conn, net.Conn, error) {
		if from+to == "n2n3" || from+to == "n3n2" {
			return nil, nil, errors.New("the cable is cut")
		}
		return loopback()
	}
	n := w.start(t, quick, ids(5)...)
	n[0].signIn(t, "n1.a")
	box := n[2].signIn(t, "n3.b")
	n[0].sends(t, text("n1.a", "n3.b", "x"), router.Delivered, "")
	reads(t, box, 0, "x")
	if n[3].Stats()["relayed"] == 0 {
		t.Error("n4 passed no message on")
	}
}

// A coordinator on the route that cannot send on any more says so in any order; the messages
// leave again in their own.
func TestReturnedMessagesKeepTheirOrder(t *testing.T) {
	w := newWorld()
	w.topology = chain(t)
	n := w.start(t, quick, "n1")[0]
	middle := w.fakePeer("n2")
	w.fakePeer("n3")
	w.change(func() { w.rows["n3.b"] = row{"n3", "s", 1} })
	n.signIn(t, "n1.a")
	c := (<-middle.accept).conn
	defer c.Close()
	close(middle.down)
	nextOf(t, c, 2, 9) // so it knows our version
	done := make(chan router.Outcome, 3)
	for i := range 3 {
		n.Post(numbered("n1.a", "n3.b", i, 8), func(o router.Outcome, _ error) { done <- o })
	}
	next := func() (id uint32, place int) {
		b := nextOf(t, c, 2, 8)
		n := int(binary.BigEndian.Uint16(b[9:]))
		if b[0] != 1 || string(b[11:11+n]) != "\x02n1\x02n2\x02n3" {
			t.Fatalf("hop %d of route %q", b[0], b[11:11+n])
		}
		b = b[11+n:]
		return binary.BigEndian.Uint32(b), int(binary.BigEndian.Uint64(b[len(b)-8:]))
	}
	var id [3]uint32
	for i := range 3 {
		id[i], _ = next()
	}
	const accepted, noRoute = 0, 8
	tell := func(id uint32, v byte) []byte { return linkFrame(4, append(u32(id), v)) }
	write(t, c, tell(id[0], noRoute), tell(id[2], noRoute), tell(id[1], noRoute))
	for i := range 3 {
		id, place := next()
		if place != i {
			t.Fatalf("message %d leaves again as number %d", place, i)
		}
		write(t, c, tell(id, accepted))
	}
	for range 3 {
		if o := <-done; o != router.Delivered {
			t.Errorf("got %s, want delivered", o)
		}
	}
}

// When a message comes back through a middle, those of its stream that still
// wait there come back too.
func TestForwarderReturnsWaiting(t *testing.T) {
	w := newWorld()
	w.topology = chain(t)
	n := w.start(t, quick, "n2")[0]
	w.fakePeer("n1")
	end := w.fakePeer("n3")
	out := (<-end.accept).conn
	defer out.Close()
	close(end.down)
	nextOf(t, out, 2, 9)
	in := dialAs(t, n, "n1")
	write(t, in, openFrame(1, 1))
	ids := []string{"n1", "n2", "n3"}
	relay := func(id uint32, size int) []byte {
		return relayBody(1, 1, ids, dataBody(t, id, "s", numbered("n1.a", "n3.b", int(id), size)))
	}
	write(t, in, linkFrame(8, relay(1, 8)))
	nextOf(t, out, 2, 8) // 1 is on its route; 2 waits, since a large one goes alone
	large := relay(2, 16<<20)
	for i, total := 0, len(large); len(large) > 0; i++ {
		piece := large[:min(len(large), 60<<10)]
		large = large[len(piece):]
		flags, head := byte(0), []byte(nil)
		if i == 0 {
			flags, head = 1|8, u32(uint32(total))
		}
		if len(large) == 0 {
			flags |= 2
		}
		write(t, in, linkFrame(3, chunkBody(2, flags, append(head, piece...)...)))
	}
	write(t, in, linkFrame(5, make([]byte, 8)))
	nextOf(t, in, 2, 6) // all before is here
	const noRoute = 8
	write(t, out, linkFrame(4, append(u32(0), noRoute)))
	if got, want := verdicts(t, in, 2), map[uint32]byte{1: noRoute, 2: noRoute}; !maps.Equal(got, want) {
		t.Errorf("verdicts %v, want %v", got, want)
	}
	// What comes behind them comes back too, until n1 says that it knows.
	write(t, in, linkFrame(8, relay(4, 8)))
	if got := verdicts(t, in, 1); got[4] != noRoute {
		t.Errorf("verdicts %v, want message 4 back", got)
	}
}

// The link by which a message came to the middle ends before the message comes
// back. Those behind it came by the next link, and none overtakes another.
func TestReturnOverNextLink(t *testing.T) {
	w := newWorld()
	w.topology = chain(t)
	n := w.start(t, quick, "n2")[0]
	w.fakePeer("n1")
	end := w.fakePeer("n3")
	out := (<-end.accept).conn
	defer out.Close()
	close(end.down)
	nextOf(t, out, 2, 9)
	relay := func(id uint32, from string) []byte {
		return linkFrame(8, relayBody(1, 1, []string{"n1", "n2", "n3"}, dataBody(t, id, "s", numbered(from, "n3.b", int(id), 8))))
	}
	first := dialAs(t, n, "n1")
	write(t, first, openFrame(1, 1), relay(1, "n1.a"))
	nextOf(t, out, 2, 8)
	second := dialAs(t, n, "n1")
	write(t, second, openFrame(1, 2), relay(2, "n1.a"), relay(3, "n1.other"))
	nextOf(t, out, 2, 8)
	nextOf(t, out, 2, 8)
	const accepted, noRoute = 0, 8
	tell := func(slot uint32, v byte) []byte { return linkFrame(4, append(u32(slot), v)) }
	write(t, out, tell(0, noRoute), tell(2, accepted))
	if got := verdicts(t, second, 1); got[3] != accepted {
		t.Fatalf("verdicts %v, want message 3 accepted", got)
	}
	write(t, second, relay(4, "n1.a")) // behind 2, which will come back
	if got := verdicts(t, second, 1); got[4] != noRoute {
		t.Errorf("verdicts %v, want message 4 back", got)
	}
	write(t, out, tell(1, noRoute))
	if got := verdicts(t, second, 1); got[2] != noRoute {
		t.Errorf("verdicts %v, want message 2 back", got)
	}
}

// A coordinator that has restarted with its clock set back is followed all the
// same, soon: what it says of its links, and its messages.
func TestEpochAfterClockSetBack(t *testing.T) {
	w := newWorld()
	w.topology = chain(t)
	future := uint64(time.Now().Add(10 * 365 * 24 * time.Hour).UnixMilli())
	n := w.start(t, quick, "n1", "n2")
	end := w.fakePeer("n3")
	out := (<-end.accept).conn // of n2
	defer out.Close()
	close(end.down)
	until(t, "n3 learns that n2 has all its links", func() bool {
		b := nextOf(t, out, 2, 9)
		return string(b[1:3]) == "n2" && b[12] == 0
	})
	box := n[1].signIn(t, "n2.b")
	n[0].signIn(t, "n1.a")
	n[0].sends(t, text("n1.a", "n2.b", "1"), router.Delivered, "")

	// The process before n1's, as n2 knows it.
	past := dialAs(t, n[1], "n1")
	write(t, past, openFrame(9, 1), linkFrame(8, relayBody(1, future, []string{"n1", "n2"}, dataBody(t, 1, box.Session(), text("n1.a", "n2.b", "2")))))
	reads(t, box, 0, "1", "2")
	past.Close()
	until(t, "n1 has dialled again", func() bool { return n[0].Stats()["links_lost"] > 0 && n[0].Links()["n2"] == "up" })
	n[0].sends(t, text("n1.a", "n2.b", "3"), router.Delivered, "")
	reads(t, box, 2, "3")
	if n[1].Stats()["out_of_turn"] == 0 {
		t.Error("nothing was of an old epoch: this test shows nothing")
	}

	// And the process before n2's, as n3 knows it.
	c := dialAs(t, n[1], "n3")
	report := append([]byte{2, 'n', '2'}, binary.BigEndian.AppendUint64(nil, future)...)
	write(t, c, openFrame(1, 1), linkFrame(9, append(report, 0, 1, 2, 'n', '1')))
	for {
		b := nextOf(t, out, 2, 9)
		if string(b[1:3]) == "n2" && binary.BigEndian.Uint64(b[3:]) > future && b[12] == 0 {
			return
		}
	}
}

// Older builds have no relays: they get plain messages from their neighbours,
// and nobody's route leads over them.
func TestNeighbourOfVersionOne(t *testing.T) {
	w := newWorld()
	w.topology = route.Ring()
	n := w.start(t, quick, "n1", "n3", "n4") // n2 is the old one
	old := w.fakePeer("n2")
	w.change(func() {
		w.rows["n2.b"] = row{"n2", "s", 1}
		w.rows["n2.a"] = row{"n2", "s", 1}
	})
	n[0].signIn(t, "n1.a")
	box := n[1].signIn(t, "n3.b")
	conns := make(chan net.Conn, 2)
	for range 2 {
		conns <- (<-old.accept).conn
	}
	close(old.down)
	close(conns)
	kinds := make(chan byte, 100)
	for c := range conns {
		t.Cleanup(func() { c.Close() })
		go func() { // all it understands
			for {
				h := make([]byte, 9)
				if _, err := io.ReadFull(c, h); err != nil {
					return
				}
				body := make([]byte, binary.BigEndian.Uint32(h[1:]))
				if _, err := io.ReadFull(c, body); err != nil {
					return
				}
				kinds <- h[0]
				switch h[0] {
				case 2:
					_, _ = c.Write(linkFrame(4, append(body[:4:4], 0)))
				case 5:
					_, _ = c.Write(linkFrame(6, body))
				}
			}
		}()
	}
	n[0].sends(t, text("n1.a", "n2.b", "x"), router.Delivered, "")
	n[0].sends(t, text("n1.a", "n3.b", "by the long route"), router.Delivered, "")
	reads(t, box, 0, "by the long route")
	// Its own messages are taken as ever.
	c := dialAs(t, n[0], "n2")
	m := wire.Message{From: "n2.a", To: "n1.a", Payload: [][]byte{[]byte("x")}}
	write(t, c, openFrame(1, 1), linkFrame(2, dataBody(t, 1, "session of n1.a", m)))
	if got := verdicts(t, c, 1); got[1] != 0 {
		t.Errorf("a plain message of an older build got verdict %d", got[1])
	}
	for len(kinds) > 0 {
		if k := <-kinds; k > 7 {
			t.Errorf("an older build got a frame of kind %d", k)
		}
	}
}

// The ring closes behind one who leaves, and opens for one who comes.
func TestMembersComeAndGo(t *testing.T) {
	w := newWorld()
	w.topology = route.Ring()
	n := w.start(t, quick, ids(5)...)
	joined(t, n...)
	n[0].signIn(t, "n1.a")
	box := n[2].signIn(t, "n3.b")
	n[0].sends(t, text("n1.a", "n3.b", "1"), router.Delivered, "")
	n[1].Close()
	w.change(func() { delete(w.nodes, "n2") })
	rest := append(n[:1:1], n[2:]...)
	joined(t, rest...) // n1 to n3 now
	n[0].sends(t, text("n1.a", "n3.b", "2"), router.Delivered, "")
	rest = append(rest, w.start(t, quick, "n2x")...)
	joined(t, rest...)
	reads(t, box, 0, "1", "2")
	until(t, "the new coordinator passes messages on", func() bool {
		n[0].sends(t, text("n1.a", "n3.b", "3"), router.Delivered, "")
		return rest[len(rest)-1].Stats()["relayed"] > 0
	})
	if got := sum(n, "forged_way"); got > 0 {
		t.Errorf("%d routes were taken for forged", got)
	}
}

// A message that comes late is refused, and what follows of its stream is turned
// back until the dialler is known to have read the refusal of each: the late
// one's alone does not let others pass those that were turned back because of it.
func TestLateRefusalKeepsFence(t *testing.T) {
	w := newWorld()
	w.topology = chain(t)
	n := w.start(t, quick, "n2")[0]
	w.fakePeer("n1")
	w.change(func() { w.rows["n1.a"] = row{"n1", "s", 1} })
	box := n.signIn(t, "n2.b")
	c := dialAs(t, n, "n1")
	write(t, c, openFrame(1, 1))
	const accepted, noRoute, epoch = 0, 8, uint64(1 << 60)
	for i, x := range []struct {
		what  string
		epoch uint64
		seen  uint64
		want  func(byte) bool
	}{
		{"the first one", epoch, 0, func(v byte) bool { return v == accepted }},
		{"one that comes late", epoch - 1, 0, func(v byte) bool { return v != accepted }},
		{"the second one", epoch, 0, func(v byte) bool { return v == noRoute }},
		{"the third one", epoch, 1, func(v byte) bool { return v == noRoute }},
		{"the second one again", epoch, 3, func(v byte) bool { return v == accepted }},
		{"the third one again", epoch, 3, func(v byte) bool { return v == accepted }},
	} {
		id := uint32(i)
		d := dataBody(t, id, box.Session(), text("n1.a", "n2.b", x.what))
		binary.BigEndian.PutUint64(d[4:], x.seen)
		write(t, c, linkFrame(8, relayBody(1, x.epoch, []string{"n1", "n2"}, d)))
		if got := verdicts(t, c, 1); !x.want(got[id]) {
			t.Errorf("%s got verdict %d", x.what, got[id])
		}
	}
	reads(t, box, 0, "the first one", "the second one again", "the third one again")
}
