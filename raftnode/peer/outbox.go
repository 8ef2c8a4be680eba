package peer

import (
	"context"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/flow"
)

// batchSize is about how many bytes go out in one write.
const batchSize = 128 << 10

// parcel is one encoded frame on its way out.
type parcel struct {
	data []byte
	left bool // handed to the kernel, at least in part; guarded by outbox.mu
}

// outbox is the bounded queue in front of the one goroutine that writes a call
// connection.
type outbox struct {
	maxCount, maxBytes int

	mu     sync.Mutex
	queue  []*parcel
	bytes  int
	beats  []byte        // pings and pongs, which overtake; bounded
	room   chan struct{} // closed when the queue shrank, if anybody waits
	closed bool
	wake   chan struct{} // capacity 1: something to write
}

func newOutbox(l Limits) *outbox {
	return &outbox{maxCount: l.MaxQueue, maxBytes: l.MaxQueueBytes, wake: make(chan struct{}, 1)}
}

// put queues a frame, or says why not: closed or full. One frame always fits.
func (o *outbox) put(p *parcel) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.putLocked(p)
}

func (o *outbox) putLocked(p *parcel) error {
	switch {
	case o.closed:
		return errGone
	case len(o.queue) > 0 && (len(o.queue) >= o.maxCount || o.bytes+len(p.data) > o.maxBytes):
		return wire.Refuse(wire.CodeBusy, "%d frames with %d bytes wait for the connection", len(o.queue), o.bytes)
	}
	o.queue = append(o.queue, p)
	o.bytes += len(p.data)
	o.signal()
	return nil
}

// putWait queues a frame as soon as there is room. It gives up when the
// connection ends.
func (o *outbox) putWait(ctx context.Context, p *parcel) error {
	for {
		o.mu.Lock()
		err := o.putLocked(p)
		if err == nil || o.closed {
			o.mu.Unlock()
			return err
		}
		if o.room == nil {
			o.room = make(chan struct{})
		}
		room := o.room
		o.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// beat queues a ping or pong ahead of everything. A peer that asks for more
// pongs than it reads gets fewer.
func (o *outbox) beat(kind byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed && len(o.beats) < 512 {
		o.beats = append(o.beats, frame{kind: kind}.encode()...)
		o.signal()
	}
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// withdraw takes a frame back; false when it is already on its way.
func (o *outbox) withdraw(p *parcel) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if p.left {
		return false
	}
	for i, q := range o.queue {
		if q == p {
			o.queue = append(o.queue[:i], o.queue[i+1:]...)
			o.shrunk(len(p.data))
			break
		}
	}
	return true
}

// gone says whether a frame left, even in part.
func (o *outbox) gone(p *parcel) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return p.left
}

func (o *outbox) shrunk(bytes int) {
	o.bytes -= bytes
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
}

// take moves the next batch out of the queue; its frames count as left.
func (o *outbox) take() (beats []byte, batch []*parcel) {
	o.mu.Lock()
	defer o.mu.Unlock()
	beats, o.beats = o.beats, nil
	n, size := 0, 0
	for n < len(o.queue) && (n == 0 || size+len(o.queue[n].data) <= batchSize) {
		size += len(o.queue[n].data)
		o.queue[n].left = true
		n++
	}
	if n == 0 {
		return beats, nil
	}
	batch = append(batch, o.queue[:n]...)
	rest := copy(o.queue, o.queue[n:])
	clear(o.queue[rest:])
	o.queue = o.queue[:rest]
	o.shrunk(size)
	return beats, batch
}

// stayed notes that the frames of a failed batch from byte n on never left.
func (o *outbox) stayed(batch []*parcel, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	at := 0
	for _, p := range batch {
		if at >= n {
			p.left = false
		}
		at += len(p.data)
	}
}

// close refuses all further frames; those still queued never leave.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.queue = nil
	o.shrunk(o.bytes)
}

// write sends what is queued until ctx ends or the connection fails, and every
// interval calls tick. It is the only writer of the connection, which ends when
// nothing of a write is taken for w's patience.
func (o *outbox) write(ctx context.Context, w *flow.Writer, interval time.Duration, tick func()) error {
	t := time.NewTicker(interval)
	defer t.Stop()
	var out []byte
	for {
		select {
		case <-o.wake:
		case <-t.C:
			tick()
			continue
		case <-ctx.Done():
			return ctx.Err()
		}
		for {
			beats, batch := o.take()
			if len(beats) == 0 && len(batch) == 0 {
				break
			}
			out = append(out[:0], beats...)
			for _, p := range batch {
				out = append(out, p.data...)
			}
			if n, err := w.Write(out); err != nil {
				o.stayed(batch, max(0, n-len(beats)))
				return err
			}
			if len(beats) > 0 {
				w.Asked()
			}
			if cap(out) > 4*batchSize {
				out = nil // do not keep the memory of one huge frame
			}
			select {
			case <-t.C: // also while there is always something to write
				tick()
			default:
			}
		}
	}
}
