package link_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/router/link"
	"github.com/folkmoot/folkmoot/wire"
)

// item is what a test's outbox holds of a message.
type item struct {
	m                  wire.Message
	abandoned, givenUp bool
}

// dialled is an outbox with a connection whose other end the test reads by accepted.
type dialled struct {
	*link.Outbox[item]
	conn     *link.Conn
	accepted *link.Conn
	pipe     net.Conn // below accepted
	stop     context.CancelFunc
	ended    chan error // of the write loop
}

// dial begins a link over a pipe, in a synctest bubble. It is stopped by the test.
func dial(t *testing.T, ping time.Duration) *dialled {
	t.Helper()
	a, b := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	conn, stopA := link.NewConn(ctx, a, ping)
	accepted, stopB := link.NewConn(ctx, b, ping)
	d := &dialled{conn: conn, accepted: accepted, pipe: b, ended: make(chan error, 1)}
	d.Outbox = link.NewOutbox(link.OutboxConfig[item]{
		Peer: "n2", Ping: ping,
		Abandoned: func(i *item) bool { return i.abandoned },
		GiveUp:    func(i *item) { i.givenUp = true },
		AppendReports: func(dst []byte, about []string) []byte {
			return link.AppendFrame(dst, link.KindReport, []byte(strings.Join(about, " ")))
		},
	})
	d.stop = func() {
		stopA()
		stopB()
		cancel()
		a.Close()
		b.Close()
	}
	d.Mu.Lock()
	d.Connect(conn, link.Identity{Number: 7})
	d.Mu.Unlock()
	go func() { d.ended <- d.WriteLoop(ctx, conn.Writer) }()
	return d
}

// send appends a message as the router does.
func (d *dialled) send(i *item, payload ...[]byte) {
	i.m = wire.Message{To: "n2.b", From: "n1.a", Payload: payload}
	out := link.Outgoing{Session: "s", Deadline: time.Now().Add(time.Minute)}
	out.Size = out.BodySize(&i.m)
	d.Mu.Lock()
	d.Append(i, &i.m, &out)
	d.Mu.Unlock()
	d.Wake()
}

// next is the next frame but pings.
func (d *dialled) next(t *testing.T) (kind byte, body []byte) {
	t.Helper()
	for {
		kind, body, err := d.accepted.Next()
		if err != nil {
			t.Fatal(err)
		}
		if kind != link.KindPing {
			return kind, body
		}
	}
}

// open reads the first frames.
func (d *dialled) open(t *testing.T) {
	t.Helper()
	if id, err := d.accepted.ReadOpen(); err != nil || id.Number != 7 {
		t.Fatalf("the link opens as %+v, %v", id, err)
	}
}

// data is the next frame's message and its id.
func (d *dialled) data(t *testing.T) (uint32, wire.Message) {
	t.Helper()
	kind, body := d.next(t)
	if kind != link.KindData {
		t.Fatalf("a frame of kind %d, want a message", kind)
	}
	return parse(t, body)
}

func parse(t *testing.T, body []byte) (uint32, wire.Message) {
	t.Helper()
	data, err := link.ParseData(body)
	if err != nil {
		t.Fatal(err)
	}
	m, err := link.ParseMessage(data.Message, nil)
	if err != nil {
		t.Fatal(err)
	}
	return data.ID, m
}

func outcome(id uint32, v link.Verdict) []byte {
	return append(binary.BigEndian.AppendUint32(nil, id), byte(v))
}

// Messages leave in their order, and a slot is free once the outcome is there.
func TestOutboxReleasesByOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dial(t, time.Second)
		defer d.stop()
		items := make([]item, 3)
		for i := range items {
			d.send(&items[i], []byte{byte(i)})
		}
		d.open(t)
		ids := make([]uint32, len(items))
		for i := range items {
			id, m := d.data(t)
			if ids[i] = id; !bytes.Equal(m.Payload[0], []byte{byte(i)}) {
				t.Fatalf("message %d came with payload %x", i, m.Payload)
			}
		}
		batch := append(outcome(ids[2], link.Accepted), outcome(ids[0], link.MailboxFull)...)
		got, err := d.Release(batch, nil)
		if err != nil || len(got) != 2 || got[0] != &items[2] || got[1] != &items[0] {
			t.Fatalf("released %v, %v", got, err)
		}
		drained := d.Drained()
		select {
		case <-drained:
			t.Fatal("drained, though an outcome is missing")
		default:
		}
		for what, batch := range map[string][]byte{
			"released before": outcome(ids[0], link.Accepted),
			"never given":     outcome(99, link.Accepted),
			"cut short":       outcome(ids[1], link.Accepted)[:4],
		} {
			var p link.ProtocolError
			if got, err := d.Release(batch, nil); !errors.As(err, &p) || len(got) > 0 {
				t.Errorf("%s: released %v, %v, want a protocol error", what, got, err)
			}
		}
		if _, err := d.Release(outcome(ids[1], link.Accepted), nil); err != nil {
			t.Fatal(err)
		}
		<-drained
	})
}

// No outcome is taken of a message that has not left: nobody can know one.
func TestOutboxRefusesEarlyOutcomes(t *testing.T) {
	o := link.NewOutbox(link.OutboxConfig[item]{Peer: "n2", Ping: time.Second})
	d := &dialled{Outbox: o}
	var i item
	d.send(&i, []byte("x"))
	var p link.ProtocolError
	if got, err := o.Release(outcome(0, link.Accepted), nil); !errors.As(err, &p) {
		t.Fatalf("released %v, %v, want a protocol error", got, err)
	}
}

// What the writer has taken may have left; what it has not taken has not. Both come
// back in their order.
func TestOutboxDisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dial(t, time.Second)
		var left, waits [2]item
		d.send(&left[0], []byte("0"))
		d.send(&left[1], []byte("1"))
		d.open(t)
		d.data(t)
		synctest.Wait() // the writer waits in the pipe with the rest of its batch, or has written it
		d.stop()
		<-d.ended
		d.send(&waits[0], []byte("2"))
		d.send(&waits[1], []byte("3"))
		down := false
		lost := d.Disconnect(func() { down = true })
		want := []*item{&left[0], &left[1], &waits[0], &waits[1]}
		if len(lost) != len(want) || !down {
			t.Fatalf("%d messages came back, want %d; down was called: %t", len(lost), len(want), down)
		}
		for i, l := range lost {
			if l.Item != want[i] || l.MayHaveLeft != (i < 2) {
				t.Errorf("number %d: item right: %t, may have left: %t", i, l.Item == want[i], l.MayHaveLeft)
			}
		}
		<-d.Drained()
	})
}

// A message above one frame is cut; small ones go in between, and it is whole at the
// other side. One that is abandoned halfway is taken back there.
func TestLargeMessageInChunks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dial(t, time.Minute)
		defer d.stop()
		var whole, small, dropped item
		payload := bytes.Repeat([]byte("0123456789abcde"), 20_000)
		d.send(&whole, payload[:1000], payload[1000:])
		d.send(&small, []byte("small"))
		d.open(t)
		var chunks link.Chunks
		var between bool
		for {
			kind, body := d.next(t)
			if kind == link.KindData {
				between = true
				continue
			}
			p, err := chunks.Add(body)
			if err != nil {
				t.Fatal(err)
			}
			if p == nil {
				continue
			}
			if _, m := parse(t, p.Join()); !bytes.Equal(bytes.Join(m.Payload, nil), payload) {
				t.Fatal("the payload is another one")
			}
			break
		}
		if !between {
			t.Error("the small message waited for the whole large one")
		}
		d.send(&dropped, payload)
		if _, body := d.next(t); body[4] == 0 {
			t.Fatal("the first chunk is not marked as such")
		} else if _, err := chunks.Add(body); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		dropped.abandoned = true // the writer waits in the pipe
		for !dropped.givenUp {
			_, body := d.next(t)
			if p, err := chunks.Add(body); p != nil || err != nil {
				t.Fatalf("an abandoned message came whole: %t, %v", p != nil, err)
			}
			synctest.Wait()
		}
	})
}

// A link on which nothing comes for three pings is dead; one that is pinged lives.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dial(t, time.Second)
		defer d.stop()
		d.open(t)
		for range 10 { // 10 s
			if kind, _, err := d.accepted.Next(); kind != link.KindPing || err != nil {
				t.Fatalf("frame of kind %d, %v, want a ping", kind, err)
			}
		}
		began := time.Now()
		_, err := d.Next(d.conn, func(byte) {})
		if took := time.Since(began); err == nil || took > 3*time.Second {
			t.Errorf("a side that says nothing is given up after %v with %v", took, err)
		}
	})
}

// A payload that was borrowed is found in the outbox until its outcome comes, and is
// the message's own if it may have to leave once more.
func TestBorrowedPayload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dial(t, time.Minute)
		defer d.stop()
		d.open(t)
		buf := []byte("payload")
		i := item{m: wire.Message{To: "n2.b", From: "n1.a", Payload: [][]byte{buf}}}
		out := link.Outgoing{Session: "s", Deadline: time.Now().Add(time.Minute), Borrowed: true}
		out.Size = out.BodySize(&i.m)
		d.Mu.Lock()
		d.Append(&i, &i.m, &out)
		d.Mu.Unlock()
		copy(buf, "another")
		d.Wake()
		id, _ := d.data(t)
		if _, err := d.Release(outcome(id, link.Moved), nil); err != nil {
			t.Fatal(err)
		}
		var others [8]item
		for k := range others { // they take the memory
			d.send(&others[k], []byte("something else"))
			d.data(t)
		}
		if got := string(i.m.Payload[0]); got != "payload" {
			t.Errorf("the payload is %q by now", got)
		}
	})
}
