package leco_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/gateway/leco"
	"github.com/folkmoot/folkmoot/gateway/zmtp"
	"github.com/folkmoot/folkmoot/wire"
)

// book is what a component is told of names in other namespaces.
func book(p *peer) string {
	return string(p.ask("COORDINATOR", "send_global_components", nil).content.Result)
}

// Two coordinators of different clusters, one of which is told of the other,
// link both ways, tell each other their names and carry messages and errors.
func TestForeignCoordinators(t *testing.T) {
	t.Parallel()
	b := open(t, "n2")
	a := open(t, "n1", func(c *leco.Config) { c.Peers = []string{b.door.Addr()} })
	pa, pb := a.component("CA"), b.component("CB")
	want := `{"n1":["CA"],"n2":["CB"]}`
	eventually(t, "both know all names", func() bool { return book(pa) == want && book(pb) == want })
	eventually(t, "both know both nodes", func() bool {
		nodes := func(p *peer) string { return string(p.ask("COORDINATOR", "send_nodes", nil).content.Result) }
		return nodes(pa) == fmt.Sprintf(`{"n1":%q,"n2":%q}`, a.door.Addr(), b.door.Addr()) &&
			nodes(pb) == fmt.Sprintf(`{"n2":%q,"n1":%q}`, b.door.Addr(), a.door.Addr())
	})
	h := "conversation-16b\x01\x02\x03\xea"
	pa.frames("\x00", "n2.CB", "CA", h, "\x00binary")
	if m := pb.next(); m.from != "n1.CA" || m.to != "n2.CB" || m.header != h || m.payload[0] != "\x00binary" {
		t.Errorf("got %+v", m)
	}
	if m := pa.ask("n2.CX", "pong", nil); m.code() != -32093 || m.from != "n2.COORDINATOR" {
		t.Errorf("an unknown receiver there: got %s from %s", m.raw, m.from)
	}
	if m := pa.ask("n2.COORDINATOR", "send_local_components", nil); string(m.content.Result) != `["CB"]` {
		t.Errorf("the foreign coordinator answers %s", m.raw)
	}
	a.component("CC")
	eventually(t, "the new name is known there", func() bool { return book(pb) == `{"n1":["CA","CC"],"n2":["CB"]}` })

	// A REST component reaches a foreign one and is answered.
	rest, err := a.SignIn(t.Context(), anyone, wire.SignIn{Name: "rest"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Send(t.Context(), by(rest.Secret), wire.SendMessage{To: "n2.CB", Content: json.RawMessage(`{"id":9,"method":"pong"}`)}, ""); err != nil {
		t.Fatal(err)
	}
	m := pb.next()
	pb.frames("\x00", m.from, "CB", m.header, `{"id":9,"result":null,"jsonrpc":"2.0"}`)
	box, err := a.Inbox(t.Context(), by(rest.Secret), "n1.rest")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, err := box.Receive(ctx, 0, 1)
	if err != nil || len(got) != 1 || got[0].From != "n2.CB" {
		t.Errorf("the answer of the foreign component: got %+v, %v", got, err)
	}

	// When it leaves, its names leave too.
	b.close()
	eventually(t, "n2 is forgotten", func() bool { return book(pa) == `{"n1":["CA","CC","rest"]}` })
	if m := pa.ask("n2.CB", "pong", nil); m.code() != -32092 {
		t.Errorf("a node that left: got %s", m.raw)
	}
}

// A configured peer is dialled for ever; when it comes back it is linked
// again, both ways.
func TestPeerComesBack(t *testing.T) {
	t.Parallel()
	l := listen(t, "127.0.0.1:0")
	addr := l.Addr().String()
	l.Close()
	a := open(t, "n1", func(c *leco.Config) { c.Peers = []string{addr} })
	pa := a.component("CA")
	for round := range 2 {
		b := open(t, "n2", func(c *leco.Config) {
			c.Listener.Close()
			c.Listener = listen(t, addr)
		})
		pb := b.component("CB")
		eventually(t, fmt.Sprintf("linked, time %d", round+1), func() bool {
			return strings.Contains(book(pa), "CB") && strings.Contains(book(pb), "CA")
		})
		b.close()
		eventually(t, "forgotten", func() bool { return !strings.Contains(book(pa), "CB") })
	}
}

// fakeNode is a pyleco coordinator as it was seen: a ROUTER, and a DEALER to us.
type fakeNode struct {
	*peer  // the DEALER
	server *zmtp.Server
	heard  chan message // at the ROUTER
	mu     sync.Mutex
	conns  []*zmtp.Conn
}

func fakeCoordinator(t *testing.T, ours string) *fakeNode {
	t.Helper()
	f := &fakeNode{heard: make(chan message, 1000)}
	f.server = zmtp.Serve(listen(t, "127.0.0.1:0"), zmtp.Config{Socket: "ROUTER"}, func(c *zmtp.Conn) {
		f.mu.Lock()
		f.conns = append(f.conns, c)
		f.mu.Unlock()
		for {
			frames, err := c.Receive()
			if err != nil {
				return
			}
			m := message{to: string(frames[1]), from: string(frames[2]), header: string(frames[3])}
			for _, x := range frames[4:] {
				m.payload = append(m.payload, string(x))
			}
			m.raw = m.payload[0]
			if strings.Contains(m.raw, `"coordinator_sign_in"`) {
				_ = c.Send([]byte{0}, []byte("COORDINATOR"), []byte("n2.COORDINATOR"), frames[3], []byte(`{"id":1,"result":null,"jsonrpc":"2.0"}`))
			}
			f.heard <- m
		}
	})
	t.Cleanup(f.server.Close)
	f.peer = connect(t, ours, "n2.COORDINATOR")
	return f
}

func (f *fakeNode) hears(t *testing.T, want string) message {
	t.Helper()
	for {
		select {
		case m := <-f.heard:
			if strings.Contains(m.raw, want) {
				return m
			}
		case <-time.After(patience):
			t.Fatalf("the foreign coordinator never heard %s", want)
		}
	}
}

// The sequence of a link is the one that pyleco's coordinator goes through.
func TestLinkSequence(t *testing.T) {
	t.Parallel()
	s := open(t, "n1", func(c *leco.Config) { c.Cleaning = 50 * time.Millisecond })
	p := s.component("CA")
	f := fakeCoordinator(t, s.door.Addr())
	if m := f.ask("COORDINATOR", "pong", nil); m.code() != -32090 {
		t.Errorf("a coordinator that is not signed in: got %s", m.raw)
	}
	if m := f.ask("COORDINATOR", "coordinator_sign_in", nil); m.code() != 0 || m.to != "COORDINATOR" || m.from != "n1.COORDINATOR" {
		t.Errorf("answer to a coordinator: %s to %q from %q", m.raw, m.to, m.from)
	}
	second := connect(t, s.door.Addr(), "n2.COORDINATOR")
	if m := second.ask("COORDINATOR", "coordinator_sign_in", nil); m.code() != -32091 {
		t.Errorf("a second one of a living namespace: got %s", m.raw)
	}
	f.say("n1.COORDINATOR", "lists", fmt.Sprintf(
		`[{"method":"add_nodes","params":{"nodes":{"n2":%q,"n1":%q}}},{"method":"record_components","params":{"components":["CB","bad.name"]}}]`, f.server.Addr(), s.door.Addr()))
	if m := f.hears(t, "coordinator_sign_in"); m.to != "COORDINATOR" || m.from != "n1.COORDINATOR" {
		t.Errorf("it links back with %+v", m)
	}
	m := f.hears(t, "add_nodes")
	want := fmt.Sprintf(`[{"method":"add_nodes","params":{"nodes":{"n1":%q,"n2":%q}},"jsonrpc":"2.0"},{"method":"record_components","params":{"components":["CA"]},"jsonrpc":"2.0"}]`, s.door.Addr(), f.server.Addr())
	if m.to != "n2.COORDINATOR" || m.raw != want {
		t.Errorf("it tells %s\nwant %s", m.raw, want)
	}
	if m := f.hears(t, `"id":6`); !strings.Contains(m.raw, `{"id":5,"method":"add_nodes"`) {
		t.Errorf("an update is %s", m.raw)
	}
	if got := book(p); got != `{"n1":["CA"],"n2":["CB"]}` {
		t.Errorf("the book is %s", got)
	}
	// Messages of its components come by its DEALER, answers go to its ROUTER.
	f.name = "n2.CB"
	f.say("n1.CX", "an unknown one", "{}")
	if m := f.hears(t, "-32093"); m.to != "n2.CB" || m.from != "n1.COORDINATOR" {
		t.Errorf("got %+v", m)
	}
	f.name = "n5.CB"
	f.say("n1.CA", "another's name", "{}")
	if m := f.next(); m.code() != -32090 {
		t.Errorf("it spoke for n5: got %s", m.raw)
	}
	f.name = "n2.COORDINATOR"
	f.say("n1.CX", "no circles", "{}")
	f.say("n1.COORDINATOR", "no circles", `{"id":null,"error":{"code":-32093,"message":"x"},"jsonrpc":"2.0"}`)
	eventually(t, "both unknown receivers are counted", func() bool { return s.door.Counts()["receiver_unknown"] == 2 })
	for updates := 0; updates < 2; { // what would answer it came before the second
		switch m := f.hears(t, ""); {
		case strings.Contains(m.raw, `"id":6`):
			updates++
		case strings.Contains(m.raw, "error"):
			t.Errorf("a coordinator is answered with an error: %s", m.raw)
		}
	}
	second.say("COORDINATOR", "not its own", `{"id":1,"method":"coordinator_sign_out"}`)
	if m := second.next(); m.code() != -32603 {
		t.Errorf("signed out from the wrong connection: %s", m.raw)
	}
	// It goes, and is told goodbye.
	f.say("COORDINATOR", "goodbye", `{"id":1,"method":"coordinator_sign_out"}`)
	if m := f.hears(t, "coordinator_sign_out"); !strings.Contains(m.raw, `"id":100`) {
		t.Errorf("it signs out in turn with %s", m.raw)
	}
	eventually(t, "its names are gone", func() bool { return book(p) == `{"n1":["CA"]}` })
	if counts := s.door.Counts(); counts["foreign_sender"] == 0 {
		t.Errorf("counts: %v", counts)
	}
}

// A coordinator whose old connection is dead but not closed is let in again.
func TestDeadCoordinatorIsReplaced(t *testing.T) {
	t.Parallel()
	s := open(t, "n1", func(c *leco.Config) {
		c.Transport.Silence = 200 * time.Millisecond
		c.Transport.Ping = 50 * time.Millisecond
		c.Stale = 100 * time.Millisecond
	})
	old := connect(t, s.door.Addr(), "n2.COORDINATOR")
	old.result("null", "COORDINATOR", "coordinator_sign_in", nil)
	old.conn.Close()
	again := connect(t, s.door.Addr(), "n2.COORDINATOR")
	eventually(t, "let in", func() bool { return again.ask("COORDINATOR", "coordinator_sign_in", nil).code() == 0 })
	// And a namespace of our own cluster is none of a foreigner's.
	if m := connect(t, s.door.Addr(), "n1.COORDINATOR").ask("COORDINATOR", "coordinator_sign_in", nil); m.code() != -32090 {
		t.Errorf("our own namespace: got %s", m.raw)
	}
}

// What answers the door's own sign-in at a foreign coordinator may be anything:
// no namespace comes of it, it is counted, and the peer is asked again.
func TestHostileAnswersOfACoordinator(t *testing.T) {
	t.Parallel()
	const good = `{"id":1,"result":null,"jsonrpc":"2.0"}`
	for _, c := range []struct {
		name, counter string
		frames        []string // "H" stands for the request's header
	}{
		{"no payload", "bad_content", []string{"\x00", "COORDINATOR", "n2.COORDINATOR", "H"}},
		{"no JSON", "bad_content", []string{"\x00", "COORDINATOR", "n2.COORDINATOR", "H", "x"}},
		{"no UTF-8", "bad_content", []string{"\x00", "COORDINATOR", "n2.COORDINATOR", "H", "\xff\xfe"}},
		{"deep JSON", "bad_content", []string{"\x00", "COORDINATOR", "n2.COORDINATOR", "H", strings.Repeat("[", 100_000)}},
		{"a list", "bad_content", []string{"\x00", "COORDINATOR", "n2.COORDINATOR", "H", "[]"}},
		{"neither result nor error", "bad_content", []string{"\x00", "COORDINATOR", "n2.COORDINATOR", "H", "{}"}},
		{"three frames", "malformed", []string{"\x00", "COORDINATOR", "n2.COORDINATOR"}},
		{"a short header", "malformed", []string{"\x00", "COORDINATOR", "n2.COORDINATOR", "h", good}},
		{"a namespace that is no UTF-8", "malformed", []string{"\x00", "COORDINATOR", "\xff.COORDINATOR", "H", good}},
		{"no namespace", "malformed", []string{"\x00", "COORDINATOR", "COORDINATOR", "H", good}},
		{"no sender", "malformed", []string{"\x00", "COORDINATOR", "", "H", good}},
		{"a component", "malformed", []string{"\x00", "COORDINATOR", "n2.x", "H", good}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := zmtp.Serve(listen(t, "127.0.0.1:0"), zmtp.Config{Socket: "ROUTER"}, func(conn *zmtp.Conn) {
				asked, err := conn.Receive()
				if err != nil {
					return
				}
				frames := make([][]byte, len(c.frames))
				for i, f := range c.frames {
					if frames[i] = []byte(f); f == "H" {
						frames[i] = asked[3]
					}
				}
				if conn.Send(frames...) == nil {
					_, _ = conn.Receive() // until the door gives it up
				}
			})
			t.Cleanup(server.Close)
			s := open(t, "n1", func(c *leco.Config) {
				c.Peers, c.Expiration = []string{server.Addr()}, 50*time.Millisecond // an answer may take three of it
			})
			p := s.component("CA")
			eventually(t, "it is counted", func() bool { return s.door.Counts()[c.counter] > 1 }) // and it was asked again
			if m := p.ask("COORDINATOR", "sign_in", nil); m.code() != 0 {                         // it may have been silent for too long
				t.Fatal(m.raw)
			}
			if got := book(p); got != `{"n1":["CA"]}` {
				t.Errorf("the book is %s", got)
			}
			p.result(fmt.Sprintf(`{"n1":%q}`, s.door.Addr()), "COORDINATOR", "send_nodes", nil)
		})
	}
}
