package work

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// maxLog bounds the log of one try, in bytes; cutMark ends one that was cut.
const (
	maxLog   = 1 << 20
	logChunk = 64 << 10
	cutMark  = "\n[cut: the log of one try is at most 1 MiB]\n"
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
	total   int64  // bytes taken in, up to the cut
	cut     bool
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
	keep := b
	if room := maxLog - s.total; int64(len(keep)) > room {
		keep = keep[:room]
	}
	s.total += int64(len(keep))
	s.pending = append(s.pending, keep...)
	if len(keep) < len(b) && !s.cut {
		s.cut = true
		s.pending = append(s.pending, cutMark...)
	}
	if len(s.pending) >= logChunk {
		s.signal()
	}
	return len(b), nil
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
