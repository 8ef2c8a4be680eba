package link

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/folkmoot/folkmoot/router/lockorder"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/trywrite"
)

// Outbox is the dialling side of a link: what waits to be written, in two lanes,
// and the slots of the messages whose outcome is not there, each with an item of
// its owner. It lasts from connection to connection.
type Outbox[E any] struct {
	// Mu guards the outbox, and what its owner keeps under the same lock.
	Mu lockorder.Mutex[lockorder.Link]

	cfg       OutboxConfig[E]
	writeLock lockorder.Mutex[lockorder.WriteLock] // held by who writes to the connection; taken before Mu
	wake      chan struct{}                        // capacity 1: the writer has work

	direct    *trywrite.Writer // of the connection; nil: none
	unwritten []byte           // what TryWrite could not write: it goes first
	reports   []string         // coordinators whose report is to be sent
	backlog   Backlog          // frames not yet taken by the writer
	control   []byte           // the same, first lane
	slots     []slot[E]        // by id; an empty one has no item
	unused    []uint32         // empty slots
	seq       uint64           // of the last message appended
	takenSeq  uint64           // of the last message the writer has taken: it and those before may have left
	active    []*large[E]      // being cut, in turn
	queued    []*large[E]      // to be cut after them
	drained   chan struct{}    // closed when all slots are empty; nil: nobody waits for that
}

// OutboxConfig is what NewOutbox needs. Its functions are called by the writer,
// without a lock but the write lock.
type OutboxConfig[E any] struct {
	Peer string        // id of the other coordinator
	Ping time.Duration // between two pings
	// Abandoned tells whether a large message need not be sent any more, asked
	// before each of its chunks.
	Abandoned func(item *E) bool
	// GiveUp is told of a large message that was abandoned, or whose deadline was
	// over, before its last chunk. It has left its slot.
	GiveUp func(item *E)
	// AppendReports appends the reports of these coordinators as they are now.
	AppendReports func(dst []byte, about []string) []byte
}

// slot holds a message until its outcome comes.
type slot[E any] struct {
	item    *E
	seq     uint64        // order of appending
	pinned  *Segment      // not nil: the payload of message is in there, which is not reused meanwhile
	message *wire.Message // set with pinned
	large   *large[E]     // not nil until its last chunk was cut
}

// NewOutbox returns an empty outbox without a connection.
func NewOutbox[E any](cfg OutboxConfig[E]) *Outbox[E] {
	return &Outbox[E]{cfg: cfg, wake: make(chan struct{}, 1)}
}

// Outgoing is what a frame says of a message besides the message.
type Outgoing struct {
	Data     Data // but the ID, which Append sets
	Session  string
	Relay    bool        // it goes by Route
	Route    SourceRoute // a value: a pointer would cost an allocation
	Size     int         // BodySize
	Deadline time.Time
	Borrowed bool // the payload is valid until Append returns: it is then found in the outbox, or copied
}

// BodySize is the size of the message's body in a frame. Above MaxBody it is cut into
// chunks.
func (out *Outgoing) BodySize(m *wire.Message) int {
	return out.route().Size() + DataHead + len(out.Session) + m.FrameSize()
}

// route returns the route; nil is none.
func (out *Outgoing) route() *SourceRoute {
	if !out.Relay {
		return nil
	}
	return &out.Route
}

// Append gives a message a slot and appends it to what waits to be written; seq tells
// the order. The writer is not woken. The message's payload may be moved until its
// outcome comes. Mu is held.
func (o *Outbox[E]) Append(item *E, m *wire.Message, out *Outgoing) (seq uint64) {
	id, s := o.takeSlot()
	o.seq++
	s.item, s.seq = item, o.seq
	out.Data.ID = id
	if out.Size > MaxBody {
		if out.Borrowed {
			m.CopyPayload()
		}
		s.large = &large[E]{
			Chunker: NewChunker(m, &out.Data, out.Session, out.route(), out.Size, out.Deadline),
			item:    item, id: id, seq: o.seq,
		}
		o.startLarge(s.large)
		return o.seq
	}
	seg := o.backlog.Room(FrameSize(out.Size))
	seg.B, seg.Last = appendMessage(seg.B, m, out), o.seq
	if out.Borrowed {
		if o.backlog.Pin(seg, m) {
			s.pinned, s.message = seg, m
		} else {
			m.CopyPayload()
		}
	}
	return o.seq
}

// appendMessage appends the one frame of a message.
func appendMessage(b []byte, m *wire.Message, out *Outgoing) []byte {
	start := len(b)
	if sr := out.route(); sr == nil {
		b = BeginFrame(b, KindData)
	} else {
		b = AppendSourceRoute(BeginFrame(b, KindRelay), sr)
	}
	b = AppendDataHead(b, &out.Data, out.Session)
	b = wire.AppendFrameHead(b, m)
	for _, f := range m.Payload {
		b = binary.BigEndian.AppendUint32(b, uint32(len(f)))
		b = append(b, f...)
	}
	EndFrame(b, start)
	return b
}

// takeSlot returns an empty slot; Mu is held.
func (o *Outbox[E]) takeSlot() (id uint32, s *slot[E]) {
	if n := len(o.unused); n > 0 {
		id = o.unused[n-1]
		o.unused = o.unused[:n-1]
		return id, &o.slots[id]
	}
	id = uint32(len(o.slots))
	o.slots = append(o.slots, slot[E]{})
	return id, &o.slots[id]
}

// freeSlot empties a slot; Mu is held.
func (o *Outbox[E]) freeSlot(id uint32) {
	o.slots[id] = slot[E]{}
	o.unused = append(o.unused, id)
	if o.drained != nil && len(o.unused) == len(o.slots) {
		close(o.drained)
		o.drained = nil
	}
}

// Release empties the slots of a batch of outcomes and appends their items to dst, in
// order. An id that is not in use, or whose message has not left whole, is an
// error. It takes Mu.
func (o *Outbox[E]) Release(batch []byte, dst []*E) ([]*E, error) {
	if len(batch)%OutcomeSize != 0 {
		return dst, Malformed("outcomes of %d bytes", len(batch))
	}
	o.Mu.Lock()
	defer o.Mu.Unlock()
	for ; len(batch) > 0; batch = batch[OutcomeSize:] {
		id := binary.BigEndian.Uint32(batch)
		if uint64(id) >= uint64(len(o.slots)) {
			return dst, Malformed("an outcome for message %d, which is not under way", id)
		}
		s := &o.slots[id]
		if s.item == nil || s.large != nil || s.seq > o.takenSeq {
			return dst, Malformed("an outcome for message %d, which is not under way", id)
		}
		if s.pinned != nil {
			if Verdict(batch[4]).ComesBack() {
				s.message.CopyPayload() // it may have to leave once more
			}
			o.backlog.Unpin(s.pinned)
		}
		dst = append(dst, s.item)
		o.freeSlot(id)
	}
	return dst, nil
}

// InFlight returns the items of the messages that were appended and not released,
// but for those of which chunks are still to be cut. Mu is held.
func (o *Outbox[E]) InFlight(yield func(item *E) bool) {
	if len(o.slots) == len(o.unused) {
		return
	}
	for i := range o.slots {
		if s := &o.slots[i]; s.item != nil && s.large == nil && !yield(s.item) {
			return
		}
	}
}

// Drained returns a channel that is closed when no outcome is missing. It takes Mu.
func (o *Outbox[E]) Drained() <-chan struct{} {
	o.Mu.Lock()
	defer o.Mu.Unlock()
	c := make(chan struct{})
	if len(o.unused) == len(o.slots) {
		close(c)
	} else {
		o.drained = c
	}
	return c
}

// QueueReport has the writer send a coordinator's report as it is then; Mu is held.
func (o *Outbox[E]) QueueReport(about string) {
	if slices.Contains(o.reports, about) {
		return
	}
	o.reports = append(o.reports, about)
	o.Wake()
}

// Connect begins a connection: its first frames open the link and ping. Mu is held.
func (o *Outbox[E]) Connect(c *Conn, id Identity) {
	o.control = AppendPing(AppendOpen(o.control[:0], id))
	o.seq, o.takenSeq = 0, 0
	o.direct, o.reports = c.Direct, nil
}

// Lost is a message that had a slot when its connection ended.
type Lost[E any] struct {
	Item        *E
	MayHaveLeft bool // else it certainly was not delivered
	seq         uint64
}

// Disconnect ends a connection whose reader and writer have ended, and returns what
// had a slot, in order. down is called with Mu held, before anything may be
// appended for the next one. It takes Mu and the write lock.
func (o *Outbox[E]) Disconnect(down func()) (lost []Lost[E]) {
	o.writeLock.Lock()
	defer o.writeLock.Unlock()
	o.Mu.Lock()
	defer o.Mu.Unlock()
	down()
	for i := range o.slots {
		if s := &o.slots[i]; s.item != nil {
			lost = append(lost, Lost[E]{s.item, s.large == nil && s.seq <= o.takenSeq, s.seq})
		}
	}
	slices.SortFunc(lost, func(a, b Lost[E]) int {
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
	o.direct, o.unwritten, o.reports = nil, nil, nil
	o.slots, o.unused, o.active, o.queued = nil, nil, nil, nil
	o.backlog.Reset() // what messages have in segments stays theirs
	o.control = o.control[:0]
	if o.drained != nil {
		close(o.drained)
		o.drained = nil
	}
	return lost
}

// Wake wakes the writer. It does not block.
func (o *Outbox[E]) Wake() { wake(o.wake) }

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
