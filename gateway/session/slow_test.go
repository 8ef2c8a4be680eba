package session_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/folkmoot/folkmoot/gateway/session"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/flow/slowlink"
)

// A message that takes far longer over a slow link than a write may stand still
// arrives: bytes move. The kernel tells a writer only now and then.
func TestLongMessageOverASlowLink(t *testing.T) {
	t.Parallel()
	w := newTestCluster(t, settings{limits: session.Limits{Write: time.Second}}, "n1")
	n1 := w.nodes["n1"]
	conn, err := net.Dial("tcp", slowlink.To(t, n1.addr, 1<<20))
	must(t, err)
	slow := n1.handshake(t, conn, wire.LongestPing)
	slow.signIn(wire.Hello{SignIn: wire.SignIn{Name: "slow", Lease: wire.Duration(time.Hour)}})
	gui := n1.signIn(t, "gui")
	const size = 8 << 20
	gui.send(wire.Message{To: "slow", Conversation: [16]byte{1}, Payload: [][]byte{make([]byte, size)}})
	m, err := slow.nextWithin()
	if err != nil || m.Size() != size {
		t.Errorf("%d bytes came to %q, error %v; the hub counts %v", m.Size(), m.To, err, n1.hub.Counts())
	}
}

// Over a WebSocket too, where a text session gets each message in one piece and
// the coordinator's pings wait behind it. The session lives as long: its lease
// is shorter than that takes, and long enough for a busy machine.
func TestLongMessageOverASlowWebSocket(t *testing.T) {
	t.Parallel()
	w := newTestCluster(t, settings{limits: session.Limits{Write: time.Second}}, "n1")
	n1 := w.nodes["n1"]
	url := n1.serveWS(t)
	slow := dialWS(t, "http://"+slowlink.To(t, strings.TrimPrefix(url, "http://"), 512<<10))
	slow.signIn("slow", `,"lease":"12s"`)
	gui := n1.signIn(t, "gui")
	const size = 8 << 20
	gui.send(wire.Message{To: "slow", Conversation: [16]byte{1}, Payload: [][]byte{make([]byte, size)}})
	if s := slow.receive(); len(s.Payload) != 1 || len(s.Payload[0]) != size {
		t.Errorf("%d frames came from %q; the hub counts %v", len(s.Payload), s.From, n1.hub.Counts())
	}
	if _, live := n1.machine.View().Registry.Session("n1.slow"); !live {
		t.Errorf("its session has ended meanwhile; the hub counts %v", n1.hub.Counts())
	}
}

// One that reads nothing of a long message is cut off.
func TestWebSocketThatReadsNothing(t *testing.T) {
	t.Parallel()
	w := newTestCluster(t, settings{limits: session.Limits{Write: time.Second}}, "n1")
	n1 := w.nodes["n1"]
	slow := dialWS(t, n1.serveWS(t))
	slow.signIn("slow", "")
	gui := n1.signIn(t, "gui")
	gui.send(wire.Message{To: "slow", Conversation: [16]byte{1}, Payload: [][]byte{make([]byte, 15<<20)}})
	// It answers pings until the message begins to come: it is to be cut off for what it does not read of that.
	reading, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	_, _, err := slow.conn.Reader(reading)
	must(t, err)
	for end := time.Now().Add(2 * time.Minute); n1.hub.Counts()["slow"] == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it was not cut off: %v", n1.hub.Counts())
		}
	}
}

// A message of exactly the largest size passes a WebSocket both ways.
func TestLargestMessageOverAWebSocket(t *testing.T) {
	w := newTestCluster(t, settings{}, "n1")
	n1 := w.nodes["n1"]
	url := n1.serveWS(t)
	enter := func(name string) *wsClient {
		p := dialWS(t, url)
		b, err := wire.AppendFrame(nil, &wire.Message{
			To: wire.Coordinator, Conversation: [16]byte{1}, Type: wire.TypeJSON,
			Payload: [][]byte{requestOf(t, "sign_in", wire.Hello{SignIn: wire.SignIn{Name: name, Lease: wire.Duration(time.Hour)}})},
		})
		must(t, err)
		p.write(b)
		if a := decodeReply(t, p.frame()); a.Error != nil {
			t.Fatalf("sign in %s: %+v", name, a.Error)
		}
		return p
	}
	gui, store := enter("gui"), enter("store")
	b, err := wire.AppendFrame(nil, &wire.Message{To: "n1.store", ID: 1, Payload: [][]byte{make([]byte, wire.MaxMessage)}})
	must(t, err)
	// Both read all the time: who does not answers no pings, and a busy machine
	// writes this message for longer than a connection may be silent.
	receipt, message := gui.nextFrame(), store.nextFrame()
	gui.writeInPieces(b)
	if m := <-message; m.Size() != wire.MaxMessage {
		t.Errorf("%d bytes came to %q, want %d", m.Size(), m.To, wire.MaxMessage)
	}
	if m := <-receipt; m.Type != wire.TypeReceipt {
		t.Errorf("its sender got %.300s", m.Payload)
	}
}

// writeInPieces writes one message as many frames of WebSocket, so that answers
// to pings leave between them.
func (p *wsClient) writeInPieces(b []byte) {
	p.t.Helper()
	w, err := p.conn.Writer(p.t.Context(), websocket.MessageBinary)
	must(p.t, err)
	for piece := range slices.Chunk(b, 64<<10) {
		_, err = w.Write(piece)
		must(p.t, err)
	}
	must(p.t, w.Close())
}

// nextFrame reads the next frame from now on; a channel without one is closed.
func (p *wsClient) nextFrame() <-chan wire.Message {
	next := make(chan wire.Message, 1)
	go func() {
		defer close(next)
		next <- p.frame()
	}()
	return next
}

// frame returns the next frame of a binary session; chunks are put together.
func (p *wsClient) frame() wire.Message {
	p.t.Helper()
	for {
		_, b, err := p.read()
		must(p.t, err)
		m, _, err := wire.ParseFrame(b, nil)
		must(p.t, err)
		if m.To != "" || m.Type != wire.TypeChunk {
			return m
		}
		whole, ok, err := p.chunks.Add(&m)
		must(p.t, err)
		if ok {
			return whole
		}
	}
}

// A message of exactly the largest size passes the native door both ways.
func TestLargestMessage(t *testing.T) {
	w := newTestCluster(t, settings{}, "n1")
	n1 := w.nodes["n1"]
	enter := func(name string) *testClient {
		g := n1.dial(t, wire.LongestPing)
		g.signIn(wire.Hello{SignIn: wire.SignIn{Name: name, Lease: wire.Duration(time.Hour)}})
		_ = g.conn.SetWriteDeadline(time.Time{})
		return g
	}
	gui, store := enter("gui"), enter("store")
	payload := make([]byte, wire.MaxMessage)
	payload[0], payload[len(payload)-1] = 1, 2
	frame, err := wire.AppendFrame(nil, &wire.Message{To: "n1.store", ID: 1, Payload: [][]byte{payload}})
	must(t, err)
	wrote := make(chan error, 1)
	go func() {
		for at := 0; at < len(frame); {
			var b []byte
			b, at = wire.AppendChunk(nil, 1, frame, at)
			if _, err := gui.conn.Write(b); err != nil {
				wrote <- err
				return
			}
		}
		wrote <- nil
	}()
	m, err := store.nextWithin()
	if err != nil || m.Size() != wire.MaxMessage || m.Payload[0][0] != 1 || m.Payload[0][len(payload)-1] != 2 {
		t.Errorf("%d bytes came to %q, error %v, want %d bytes", m.Size(), m.To, err, wire.MaxMessage)
	}
	must(t, <-wrote)
	if m, err := gui.nextWithin(); err != nil || m.Type != wire.TypeReceipt {
		t.Errorf("its sender got %.300s, error %v", m.Payload, err)
	}
}
