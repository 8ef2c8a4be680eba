package work

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// maxLog bounds the log of one try, in bytes. Of one that is longer the first headLog
// bytes are kept, which are sent while the part runs, and as much of its end as there is
// room for, since errors come last; cutMark is between them.
const (
	maxLog   = 1 << 20
	headLog  = maxLog / 4 * 3
	tailLog  = maxLog - headLog - 128 // room for the mark
	logChunk = 64 << 10
	cutMark  = "\n[cut: %d bytes are left out here; the log of one try is at most 1 MiB]\n"
	logGrace = 5 * time.Second // for the rest of a log after the end of its part
)

// shipper brings a try's output home in order. It keeps what was not taken
// yet, at most maxLog, and never makes the script wait for the home.
type shipper struct {
	w    *Worker
	ref  wire.PartRef
	wake chan struct{}

	mu      sync.Mutex
	pending []byte
	last    []byte // the newest output, for error messages
	total   int    // bytes of the beginning
	held    []byte // what came behind the beginning: its end at least, to be sent at the end
	dropped int64  // bytes of before held
	over    bool
}

// newShipper starts a goroutine that ends by itself after end.
func (w *Worker) newShipper(ref wire.PartRef) *shipper {
	s := &shipper{w: w, ref: ref, wake: make(chan struct{}, 1)}
	w.wg.Go(s.ship)
	return s
}

func (s *shipper) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = append(s.last, b...)
	if len(s.last) > 4096 {
		s.last = append([]byte(nil), s.last[len(s.last)-2048:]...)
	}
	head := b[:min(len(b), headLog-s.total)]
	s.total += len(head)
	s.pending = append(s.pending, head...)
	s.held = append(s.held, b[len(head):]...)
	if len(s.held) > 2*tailLog {
		s.trim()
	}
	if len(s.pending) >= logChunk {
		s.signal()
	}
	return len(b), nil
}

// trim leaves of held what may be sent.
func (s *shipper) trim() {
	if more := len(s.held) - tailLog; more > 0 {
		s.dropped += int64(more)
		s.held = bytes.Clone(s.held[more:])
	}
}

func (s *shipper) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *shipper) tail() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(bytes.ToValidUTF8(s.last, nil))
}

// end says that no more output comes.
func (s *shipper) end() {
	s.mu.Lock()
	s.over = true
	if s.trim(); s.dropped > 0 {
		s.pending = fmt.Appendf(s.pending, cutMark, s.dropped)
	}
	s.pending, s.held = append(s.pending, s.held...), nil
	s.mu.Unlock()
	s.signal()
}

// ship sends what there is, at most every LogEvery while the part runs. What
// is not taken is sent again; after the part's end only for logGrace.
func (s *shipper) ship() {
	tick := time.NewTicker(s.w.cfg.LogEvery)
	defer tick.Stop()
	var offset int64
	var deadline time.Time
	pause := newPause()
	for {
		s.mu.Lock()
		chunk := s.pending[:min(len(s.pending), logChunk)]
		over := s.over
		s.mu.Unlock()
		if over && deadline.IsZero() {
			deadline = time.Now().Add(logGrace)
		}
		if over && (len(chunk) == 0 || time.Now().After(deadline)) {
			if len(chunk) > 0 {
				s.w.log.Warn("the end of a log is lost: its home did not take it", "job", s.ref.Job, "part", s.ref.Part)
			}
			return
		}
		if len(chunk) > 0 {
			ctx, cancel := context.WithTimeout(s.w.ctx, s.w.cfg.CallTimeout)
			err := s.w.home.AppendLog(ctx, wire.AppendLog{PartRef: s.ref, Offset: offset, Data: bytes.Clone(chunk)})
			cancel()
			if err == nil || refusal(err) {
				offset += int64(len(chunk))
				s.mu.Lock()
				s.pending = s.pending[len(chunk):]
				more := len(s.pending) >= logChunk || s.over
				s.mu.Unlock()
				pause.Reset()
				if more {
					continue
				}
			} else if !s.rest(pause.NextBackOff()) {
				return
			}
		}
		if over {
			continue
		}
		select {
		case <-tick.C:
		case <-s.wake:
		case <-s.w.ctx.Done():
			return
		}
	}
}

// rest waits for d; false when the worker is closing.
func (s *shipper) rest(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.w.ctx.Done():
		return false
	}
}
