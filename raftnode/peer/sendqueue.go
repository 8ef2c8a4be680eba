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

// outFrame is one encoded frame on its way out.
type outFrame struct {
	data []byte
	sent bool // handed to the kernel, at least in part; guarded by sendQueue.mu
}

// sendQueue is the bounded queue in front of the one goroutine that writes a call
// connection.
type sendQueue struct {
	maxCount, maxBytes int

	mu      sync.Mutex
	queue   []*outFrame
	bytes   int
	control []byte        // pings and pongs, which overtake; bounded
	room    chan struct{} // closed when the queue shrank, if anybody waits
	closed  bool
	wake    chan struct{} // capacity 1: something to write
}

func newSendQueue(l Limits) *sendQueue {
	return &sendQueue{maxCount: l.MaxQueue, maxBytes: l.MaxQueueBytes, wake: make(chan struct{}, 1)}
}

// enqueue queues a frame, or says why not: closed or full. One frame always fits.
func (o *sendQueue) enqueue(p *outFrame) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.enqueueLocked(p)
}

func (o *sendQueue) enqueueLocked(p *outFrame) error {
	switch {
	case o.closed:
		return errConnEnded
	case len(o.queue) > 0 && (len(o.queue) >= o.maxCount || o.bytes+len(p.data) > o.maxBytes):
		return wire.Refuse(wire.CodeBusy, "%d frames with %d bytes wait for the connection", len(o.queue), o.bytes)
	}
	o.queue = append(o.queue, p)
	o.bytes += len(p.data)
	o.signal()
	return nil
}

// enqueueWait queues a frame as soon as there is room. It gives up when the
// connection ends.
func (o *sendQueue) enqueueWait(ctx context.Context, p *outFrame) error {
	for {
		o.mu.Lock()
		err := o.enqueueLocked(p)
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

// enqueueControl queues a ping or pong ahead of everything. A peer that asks for more
// pongs than it reads gets fewer.
func (o *sendQueue) enqueueControl(kind byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed && len(o.control) < 512 {
		o.control = append(o.control, frame{kind: kind}.encode()...)
		o.signal()
	}
}

func (o *sendQueue) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// withdraw takes a frame back; false when it is already on its way.
func (o *sendQueue) withdraw(p *outFrame) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if p.sent {
		return false
	}
	for i, q := range o.queue {
		if q == p {
			o.queue = append(o.queue[:i], o.queue[i+1:]...)
			o.released(len(p.data))
			break
		}
	}
	return true
}

// wasSent reports whether a frame left, even in part.
func (o *sendQueue) wasSent(p *outFrame) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return p.sent
}

func (o *sendQueue) released(bytes int) {
	o.bytes -= bytes
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
}

// nextBatch moves the next batch out of the queue; its frames count as left.
func (o *sendQueue) nextBatch() (beats []byte, batch []*outFrame) {
	o.mu.Lock()
	defer o.mu.Unlock()
	beats, o.control = o.control, nil
	n, size := 0, 0
	for n < len(o.queue) && (n == 0 || size+len(o.queue[n].data) <= batchSize) {
		size += len(o.queue[n].data)
		o.queue[n].sent = true
		n++
	}
	if n == 0 {
		return beats, nil
	}
	batch = append(batch, o.queue[:n]...)
	rest := copy(o.queue, o.queue[n:])
	clear(o.queue[rest:])
	o.queue = o.queue[:rest]
	o.released(size)
	return beats, batch
}

// markUnsent notes that the frames of a failed batch from byte n on never left.
func (o *sendQueue) markUnsent(batch []*outFrame, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	at := 0
	for _, p := range batch {
		if at >= n {
			p.sent = false
		}
		at += len(p.data)
	}
}

// close refuses all further frames; those still queued never leave.
func (o *sendQueue) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.queue = nil
	o.released(o.bytes)
}

// write sends what is queued until ctx ends or the connection fails, and every
// interval calls tick. It is the only writer of the connection, which ends when
// nothing of a write is taken for w's patience.
func (o *sendQueue) write(ctx context.Context, w *flow.Writer, interval time.Duration, tick func()) error {
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
			beats, batch := o.nextBatch()
			if len(beats) == 0 && len(batch) == 0 {
				break
			}
			out = append(out[:0], beats...)
			for _, p := range batch {
				out = append(out, p.data...)
			}
			if n, err := w.Write(out); err != nil {
				o.markUnsent(batch, max(0, n-len(beats)))
				return err
			}
			if len(beats) > 0 {
				w.PingSent()
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
