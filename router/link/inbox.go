package link

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/folkmoot/folkmoot/router/lockorder"
)

// maxOutcomes bounds the bytes that wait for a dialler that does not read.
const maxOutcomes = 4 << 20

// Inbox is the accepting side of a link: it reads messages, answers pings and writes
// outcomes. It lasts as long as its connection.
type Inbox struct {
	// Mu guards the inbox, and what its owner keeps under the same lock.
	Mu lockorder.Mutex[lockorder.Link]

	conn *Conn
	peer string        // id of the other coordinator
	wake chan struct{} // capacity 1: the writer has work

	writeLock lockorder.Mutex[lockorder.WriteLock] // held by who writes; taken before Mu
	spare     []byte                               // what was written last, guarded by writeLock

	out   []byte // frames not yet written
	batch []byte // outcomes not yet framed
}

// NewInbox returns the inbox of a connection that the coordinator peer dialled.
func NewInbox(conn *Conn, peer string) *Inbox {
	return &Inbox{conn: conn, peer: peer, wake: make(chan struct{}, 1)}
}

// Close closes the connection at once.
func (in *Inbox) Close() { in.conn.Close() }

// Ready tells whether the next frame can be had without waiting. It is for the reader.
func (in *Inbox) Ready() bool { return in.conn.Ready() }

// Next waits for the next frame that is neither a ping nor a bye; its body is valid
// until the next call. Outcomes are flushed when everything that came with one
// read of the socket is handled. It is for the one reader.
func (in *Inbox) Next() (kind byte, body []byte, err error) {
	for {
		if !in.conn.Ready() {
			if err := in.Flush(); err != nil {
				return 0, nil, err
			}
		}
		kind, body, err := in.conn.Next()
		if err != nil {
			return 0, nil, err
		}
		switch kind {
		case KindPing:
			pong, err := AppendPong(nil, body)
			if err != nil {
				return 0, nil, err
			}
			if err := in.Enqueue(pong); err != nil {
				return 0, nil, err
			}
		case KindBye:
			return 0, nil, fmt.Errorf("coordinator %s said bye: %q", in.peer, body)
		default:
			return kind, body, nil
		}
	}
}

// Enqueue appends one frame for the writer. It takes Mu. The error is of a dialler
// that does not read: nothing is appended then.
func (in *Inbox) Enqueue(frame []byte) error {
	in.Mu.Lock()
	defer in.Mu.Unlock()
	if err := in.hasRoom(); err != nil {
		return err
	}
	in.out = append(in.out, frame...)
	in.Wake()
	return nil
}

// Wake wakes the writer. It does not block.
func (in *Inbox) Wake() { wake(in.wake) }

// AppendOutcome notes the outcome of one message for Flush, or for the writer once it
// is woken; Mu is held.
func (in *Inbox) AppendOutcome(id uint32, v Verdict) {
	in.batch = append(binary.BigEndian.AppendUint32(in.batch, id), byte(v))
}

// Flush writes the outcomes noted so far, if nobody else writes; what the socket
// does not take at once is the writer's. It takes Mu. The error is of a dialler
// that does not read.
func (in *Inbox) Flush() error {
	in.Mu.Lock()
	if len(in.batch) == 0 {
		in.Mu.Unlock()
		return nil
	}
	err := in.frameBatch()
	in.Mu.Unlock()
	if err != nil {
		return err
	}
	if in.conn.Direct == nil || !in.writeLock.TryLock() {
		in.Wake()
		return nil
	}
	defer in.writeLock.Unlock()
	in.Mu.Lock()
	out := in.out
	in.out = in.spare[:0]
	in.Mu.Unlock()
	n := in.conn.Direct.Write(out)
	in.spare = out
	if n == len(out) {
		return nil
	}
	in.Mu.Lock()
	in.out = append(append([]byte(nil), out[n:]...), in.out...)
	in.Mu.Unlock()
	in.Wake()
	return nil
}

// frameBatch makes frames of the outcomes noted so far; Mu is held.
func (in *Inbox) frameBatch() error {
	for rest := in.batch; len(rest) > 0; {
		n := min(len(rest), MaxBody/OutcomeSize*OutcomeSize)
		in.out = AppendFrame(in.out, KindOutcomes, rest[:n])
		rest = rest[n:]
	}
	in.batch = in.batch[:0]
	return in.hasRoom()
}

// hasRoom refuses a dialler that does not read; Mu is held.
func (in *Inbox) hasRoom() error {
	if len(in.out) > maxOutcomes {
		return Malformed("coordinator %s does not read its outcomes: %d bytes wait", in.peer, len(in.out))
	}
	return nil
}

// WriteLoop writes what Enqueue and Flush left, and the rest and a bye once ctx has
// ended. It ends earlier for a dialler that takes nothing.
func (in *Inbox) WriteLoop(ctx context.Context) {
	for last := false; !last; {
		select {
		case <-in.wake:
		case <-ctx.Done():
		}
		last = ctx.Err() != nil
		var bye []byte
		if last {
			bye = byeText
		}
		if err := in.writeOnce(bye); err != nil {
			return
		}
	}
}

// writeOnce writes what waits, and bye if there is one.
func (in *Inbox) writeOnce(bye []byte) error {
	in.writeLock.Lock()
	defer in.writeLock.Unlock()
	in.Mu.Lock()
	err := in.frameBatch() // what came back for others' messages since
	out := in.out
	in.out = in.spare[:0]
	in.Mu.Unlock()
	in.spare = out // of maxOutcomes and one batch at most
	if err != nil {
		return err
	}
	if bye != nil {
		out = AppendFrame(out, KindBye, bye)
		in.conn.FinishSoon()
	}
	if len(out) > 0 {
		_, err = in.conn.Writer.Write(out)
	}
	return err
}
