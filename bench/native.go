package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// session is a native session (docs/protocol.md) spoken with as little work as
// possible, as a load generator should. Writes are safe for concurrent use;
// reads are one goroutine's.
type session struct {
	conn net.Conn
	r    *bufio.Reader
	full string // its full name
	once sync.Once
	over chan struct{}
}

// hello says who signs in.
type hello struct {
	name   string
	ping   time.Duration // whole seconds
	lease  time.Duration
	buffer int // for reading; no frame may be longer
}

// longLived is a session that hardly needs signs of life while a load runs.
func longLived(name string) hello {
	return hello{name: name, ping: time.Minute, lease: time.Hour, buffer: 256 << 10}
}

// openSession connects and signs in.
func openSession(ctx context.Context, addr string, h hello) (*session, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &session{conn: conn, r: bufio.NewReaderSize(conn, h.buffer), over: make(chan struct{})}
	if err := s.signIn(ctx, h); err != nil {
		conn.Close()
		return nil, fmt.Errorf("sign %s in: %w", h.name, err)
	}
	return s, nil
}

func (s *session) signIn(ctx context.Context, h hello) error {
	if d, ok := ctx.Deadline(); ok {
		s.conn.SetDeadline(d)
	}
	b := wire.Preamble{Version: wire.SessionVersion, Ping: h.ping}.Append(nil)
	if _, err := s.conn.Write(appendSignIn(b, h.name, h.lease, "")); err != nil {
		return err
	}
	var preamble [wire.PreambleSize]byte
	if _, err := io.ReadFull(s.r, preamble[:]); err != nil {
		return fmt.Errorf("no preamble: %w", err)
	}
	answer, err := s.answer()
	if err != nil {
		return err
	}
	s.conn.SetDeadline(time.Time{})
	var welcome struct {
		Result wire.Welcome `json:"result"`
	}
	if err := json.Unmarshal(answer, &welcome); err != nil {
		return err
	}
	s.full = welcome.Result.FullName
	return nil
}

func (s *session) close() {
	s.once.Do(func() {
		close(s.over)
		s.conn.Close()
	})
}

// appendSignIn appends the request for a session; v, if not empty, is a label.
func appendSignIn(b []byte, name string, lease time.Duration, v string) []byte {
	in := fmt.Appendf(nil, `{"jsonrpc":"2.0","id":1,"method":"sign_in","params":{"name":%q,"lease":%q`, name, lease)
	if v != "" {
		in = fmt.Appendf(in, `,"labels":{"v":%q}`, v)
	}
	return appendAsk(b, append(in, "}}"...))
}

// appendAsk appends a request to COORDINATOR.
func appendAsk(b, content []byte) []byte {
	m := wire.Message{To: wire.Coordinator, Conversation: conversation(), Type: wire.TypeJSON, Payload: [][]byte{content}}
	b, err := wire.AppendFrame(b, &m)
	if err != nil {
		panic(err) // short names and contents
	}
	return b
}

var conversations atomic.Uint64

func conversation() (c [16]byte) {
	binary.BigEndian.PutUint64(c[8:], conversations.Add(1))
	return c
}

// frame is what a load generator looks at in a frame. It aliases the reader's
// buffer and holds until the next one.
type frame struct {
	from         []byte
	about        bool // the connection, not from anybody
	conversation []byte
	kind         byte
	payload      []byte // the first payload frame
}

// next reads a frame.
func (s *session) next() (frame, error) {
	head, err := s.r.Peek(4)
	if err != nil {
		return frame{}, err
	}
	n := int(binary.BigEndian.Uint32(head))
	b, err := s.r.Peek(4 + n)
	if err != nil {
		return frame{}, fmt.Errorf("a frame of %d bytes: %w", n, err)
	}
	if _, err := s.r.Discard(len(b)); err != nil {
		return frame{}, err
	}
	return parse(b[4:])
}

var errFrame = errors.New("a frame ends too early")

// parse reads what follows the length of a frame.
func parse(b []byte) (f frame, err error) {
	if len(b) < 27 {
		return f, errFrame
	}
	to := int(binary.BigEndian.Uint16(b[1:]))
	if len(b) < 27+to {
		return f, errFrame
	}
	f.about = to == 0
	b = b[3+to:]
	from := int(binary.BigEndian.Uint16(b))
	if len(b) < 24+from {
		return f, errFrame
	}
	f.from, b = b[2:2+from], b[2+from:]
	f.conversation, f.kind = b[:16], b[19]
	count := binary.BigEndian.Uint16(b[20:])
	if b = b[22:]; count == 0 {
		return f, nil
	}
	if len(b) < 4 {
		return f, errFrame
	}
	n := int(binary.BigEndian.Uint32(b))
	if len(b) < 4+n {
		return f, errFrame
	}
	f.payload = b[4 : 4+n]
	return f, nil
}

// answer waits for COORDINATOR's answer and returns its content; it holds
// until the next frame is read. It is for those with one request under way.
func (s *session) answer() ([]byte, error) {
	for {
		f, err := s.next()
		switch {
		case err != nil:
			return nil, err
		case f.about && f.kind == wire.TypeBye:
			return nil, fmt.Errorf("the coordinator says bye: %s", f.payload)
		case f.about:
		case !bytes.HasPrefix(f.payload, []byte(`{"id":1,"result":`)):
			return nil, fmt.Errorf("the coordinator refuses: %.300s", f.payload)
		default:
			return f.payload, nil
		}
	}
}

// keep pings in time until the session is closed.
func (s *session) keep(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if s.ping() != nil {
				return
			}
		case <-s.over:
			return
		}
	}
}

// ping says that the session lives.
func (s *session) ping() error {
	_, err := s.conn.Write(wire.AppendControlFrame(nil, wire.TypePing, nil))
	return err
}
