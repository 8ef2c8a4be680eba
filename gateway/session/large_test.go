package session_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/unfinished"
)

// nextWithin is next for what may take long.
func (g *testClient) nextWithin() (wire.Message, error) {
	for {
		_ = g.conn.SetReadDeadline(time.Now().Add(time.Minute)) // of one frame
		m, err := g.in.Next()
		if err != nil || m.To != "" || m.Type != wire.TypeChunk {
			return m, err
		}
		if whole, ok, err := g.chunks.Add(&m); err != nil || ok {
			return whole, err
		}
	}
}

// While large messages go from one native session to another at another
// coordinator, one after the other, short ones of others arrive within a small
// part of the time that those take. Both are measured together, so the test
// holds on a busy machine; without turns half of the short ones would wait for
// half of a large one, a sixteenth of all. They are not of the largest size:
// each must be there within control.PostTime.
func TestLargeMessagesDoNotDelayShortOnes(t *testing.T) {
	w := newTestCluster(t, settings{}, "n1", "n2")
	quiet := func(at, name string) *testClient {
		g := w.nodes[at].dial(t, wire.LongestPing)
		g.signIn(wire.Hello{SignIn: wire.SignIn{Name: name, Lease: wire.Duration(time.Hour)}})
		return g
	}
	pump, store := quiet("n1", "pump"), quiet("n2", "store")
	gui, laser := quiet("n1", "gui"), quiet("n2", "laser")
	const rounds, size = 8, 8 << 20
	frame, err := wire.AppendFrame(nil, &wire.Message{To: "n2.store", ID: 1, Payload: [][]byte{make([]byte, size)}})
	must(t, err)
	_ = pump.conn.SetWriteDeadline(time.Time{})
	var large time.Duration // all of them
	var ended atomic.Bool
	pumped, stored := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stored)
		for range rounds {
			m, err := store.nextWithin()
			for err == nil && m.To == "" {
				m, err = store.nextWithin()
			}
			if err != nil || m.Size() != size {
				t.Errorf("got a message of %d bytes (%v), want %d", m.Size(), err, size)
				return
			}
		}
	}()
	go func() {
		defer close(pumped)
		defer ended.Store(true)
		start := time.Now()
		for i := range rounds {
			for at := 0; at < len(frame); {
				var b []byte
				b, at = wire.AppendChunk(nil, uint32(i), frame, at)
				if _, err := pump.conn.Write(b); err != nil {
					t.Error(err)
					return
				}
			}
			m, err := pump.nextWithin()
			if err != nil || m.Type != wire.TypeReceipt {
				t.Errorf("a large message was answered by %.300s (%v)", m.Payload, err)
				return
			}
		}
		large = time.Since(start)
	}()
	var short []time.Duration
	for !ended.Load() {
		start := time.Now()
		gui.send(text("n2.laser", "x", 0))
		if m := laser.message(); m.From != "n1.gui" {
			t.Fatalf("got %+v", m)
		}
		short = append(short, time.Since(start))
	}
	<-pumped
	<-stored
	if t.Failed() {
		return
	}
	slices.Sort(short)
	half, most := short[len(short)/2], short[len(short)*99/100]
	t.Logf("%d short messages: half within %v, 99 %% within %v; %d large ones within %v", len(short), half, most, rounds, large)
	if half > large/40 || most > large/2 {
		t.Errorf("half of the short messages took %v and 99 %% %v, while the large ones take %v: want below a fortieth of that, and below half", half, most, large)
	}
}

// Long messages that begin and never end do not add up: of too many the one that began first
// ends its connection, whichever way it comes, and one that comes quickly gets through.
func TestMessagesWithoutEndAreBounded(t *testing.T) {
	t.Parallel()
	const limit = 8 << 20
	budget := unfinished.New(limit)
	w := newTestCluster(t, settings{unfinished: budget}, "n1")
	n1 := w.nodes["n1"]
	url := n1.serveWS(t)
	piece := make([]byte, wire.MaxPiece)
	stuck := make(chan string, 40)
	signIn := func(name string) *testClient {
		p := n1.dial(t, time.Minute)
		p.signIn(wire.Hello{SignIn: wire.SignIn{Name: name, Lease: wire.Duration(10 * time.Minute)}})
		return p
	}
	begin := map[string]func(name string) *testClient{
		"chunks": func(name string) *testClient {
			p := signIn(name)
			head := []byte{wire.ChunkFirst, 0x02, 0, 0, 0}
			for range 3 << 20 / wire.MaxPiece {
				b, err := wire.AppendFrame(nil, &wire.Message{Type: wire.TypeChunk, ID: 1, Payload: [][]byte{head, piece}})
				must(t, err)
				p.write(b)
				head = []byte{0}
			}
			return p
		},
		"a frame": func(name string) *testClient {
			p := signIn(name)
			p.write(append([]byte{0x02, 0, 0, 0}, make([]byte, 3<<20)...))
			return p
		},
	}
	for way, of := range begin {
		for i := range 8 {
			p := of(fmt.Sprint(way[:1], way[2:3], i))
			go func() { stuck <- string(p.bye().Code) }()
		}
		for range 4 {
			if code := <-stuck; code != string(wire.CodeBusy) {
				t.Errorf("%s without end: a connection ended with %q, want busy", way, code)
			}
		}
	}
	page := dialWS(t, url)
	page.signIn("page", "")
	body := make([]byte, 3<<20)
	writer, err := page.conn.Writer(t.Context(), websocket.MessageBinary)
	must(t, err)
	_, err = writer.Write(body)
	must(t, err)

	from, to := n1.signIn(t, "from"), n1.signIn(t, "to")
	from.send(wire.Message{To: "n1.to", ID: 1, Payload: [][]byte{make([]byte, 5<<20)}})
	if m := to.message(); m.Size() != 5<<20 {
		t.Errorf("a message of %d bytes came", m.Size())
	}
	if used, given := budget.Counts(); used > limit || given < 8 {
		t.Errorf("%d bytes are held and %d messages were given up, want at most %d, and at least 8", used, given, limit)
	}
}
