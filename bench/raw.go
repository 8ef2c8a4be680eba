package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/folkmoot/folkmoot/wire"
)

// rawPair sends and receives native frames without a client library, to see
// what the coordinators can do when the client is not the limit.
type rawPair struct {
	out, in  *session
	receipts bool   // every message asks for its outcome; else only failures are told
	frame    []byte // of a message
	idAt     int    // where in it the message id is
	seqAt    int    // and the message's number
	buf      []byte
	id       uint32
	told     struct{ delivered, failed atomic.Int64 }
	last     atomic.Pointer[error]
}

func openRaw(ctx context.Context, c *cluster, name string, size int, t *tally) (sender, error) {
	return openPair(ctx, c, name, size, t, true)
}

func openSilent(ctx context.Context, c *cluster, name string, size int, t *tally) (sender, error) {
	return openPair(ctx, c, name, size, t, false)
}

// twoSessions is one session at each of the first two coordinators.
func twoSessions(ctx context.Context, c *cluster, name string) (out, in *session, err error) {
	h := longLived(name + "in")
	if in, err = openSession(ctx, c.servers[1].native, h); err != nil {
		return nil, nil, err
	}
	h.name = name + "out"
	if out, err = openSession(ctx, c.servers[0].native, h); err != nil {
		in.close()
		return nil, nil, err
	}
	go out.keep(h.ping)
	go in.keep(h.ping)
	return out, in, nil
}

func openPair(ctx context.Context, c *cluster, name string, size int, t *tally, receipts bool) (sender, error) {
	p := &rawPair{receipts: receipts}
	var err error
	if p.out, p.in, err = twoSessions(ctx, c, name); err != nil {
		return nil, err
	}
	m := wire.Message{To: p.in.full, Conversation: conversation(), Type: 200, Payload: [][]byte{make([]byte, size)}}
	if p.frame, err = wire.AppendFrame(nil, &m); err != nil {
		p.close()
		return nil, err
	}
	p.seqAt = len(p.frame) - size
	p.idAt = p.seqAt - 4 - 2 - 1 - 3 // length and number of the payload frames, type, id
	go p.receive(t)
	go p.hear()
	return p, nil
}

// receive counts what comes, until the session is closed.
func (p *rawPair) receive(t *tally) {
	for {
		f, err := p.in.next()
		if err != nil {
			return
		}
		if !f.about && len(f.payload) >= 8 {
			t.arrived(binary.BigEndian.Uint64(f.payload))
		}
	}
}

// hear counts outcomes, until the session is closed.
func (p *rawPair) hear() {
	for {
		f, err := p.out.next()
		switch {
		case err != nil:
			return
		case f.about && f.kind == wire.TypeReceipt:
			p.told.delivered.Add(int64(len(f.payload) / 3))
		case f.about && f.kind != wire.TypeBye:
		default:
			err := fmt.Errorf("%.300s", f.payload)
			p.last.Store(&err)
			p.told.failed.Add(1)
		}
	}
}

// batch is how much is written at once.
const batch = 64 << 10

func (p *rawPair) send(_ context.Context, seq uint64) error {
	at := len(p.buf)
	p.buf = append(p.buf, p.frame...)
	binary.BigEndian.PutUint64(p.buf[at+p.seqAt:], seq)
	if p.receipts {
		p.id = p.id%wire.MaxID + 1
		id := p.buf[at+p.idAt:]
		id[0], id[1], id[2] = byte(p.id>>16), byte(p.id>>8), byte(p.id)
	}
	if len(p.buf) < batch {
		return nil
	}
	return p.flush()
}

func (p *rawPair) flush() error {
	_, err := p.out.conn.Write(p.buf)
	p.buf = p.buf[:0]
	return err
}

func (p *rawPair) outcomes() outcomes {
	o := outcomes{none: !p.receipts, delivered: p.told.delivered.Load(), failed: p.told.failed.Load()}
	if e := p.last.Load(); e != nil {
		o.last = *e
	}
	return o
}

func (p *rawPair) close() {
	p.out.close()
	p.in.close()
}

// askRaw sends a plain message to a session at the second coordinator, which
// sends it back.
func askRaw(ctx context.Context, c *cluster, name string, payload []byte) (asker, error) {
	out, in, err := twoSessions(ctx, c, name)
	if err != nil {
		return asker{}, err
	}
	go sendBack(in)
	m := wire.Message{To: in.full, Type: 200, Payload: [][]byte{payload}}
	var b []byte
	return asker{
		close: func() { out.close(); in.close() },
		ask: func(ctx context.Context, _ int) error {
			if d, ok := ctx.Deadline(); ok {
				out.conn.SetDeadline(d)
			}
			m.Conversation = conversation()
			var err error
			if b, err = wire.AppendFrame(b[:0], &m); err != nil {
				return err
			}
			if _, err := out.conn.Write(b); err != nil {
				return err
			}
			return back(out, m)
		},
	}, nil
}

// back waits for the answer to a message.
func back(s *session, m wire.Message) error {
	for {
		f, err := s.next()
		switch {
		case err != nil:
			return err
		case f.about && f.kind == wire.TypeBye:
			return fmt.Errorf("the coordinator says bye: %s", f.payload)
		case f.about:
		case !bytes.Equal(f.conversation, m.Conversation[:]):
			return errors.New("an answer to another request")
		case f.kind != m.Type:
			return fmt.Errorf("not delivered: %.300s", f.payload)
		default:
			return nil
		}
	}
}

// sendBack answers every message with itself until the session is closed.
func sendBack(s *session) {
	var b []byte
	for {
		f, err := s.next()
		if err != nil {
			return
		}
		if f.about {
			continue
		}
		m := wire.Message{To: string(f.from), Conversation: [16]byte(f.conversation), Type: f.kind, Payload: [][]byte{f.payload}}
		if b, err = wire.AppendFrame(b[:0], &m); err != nil {
			return
		}
		if _, err := s.conn.Write(b); err != nil {
			return
		}
	}
}
