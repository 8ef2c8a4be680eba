package work

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

const (
	maxLog   = wire.LogHead + wire.LogTail // what a log keeps of the output of one try, in bytes
	logChunk = 64 << 10
	logBurst = 8               // chunks that are sent between two ticks, behind the first maxLog bytes
	logGrace = 5 * time.Second // for the rest of a log after the end of its part
)

// shipper brings a try's output home in order. Of what was not taken yet it
// keeps what the log would: it drops what is neither of the first wire.LogHead
// bytes nor of the last wire.LogTail, and never makes the script wait.
type shipper struct {
	w    *Worker
	ref  wire.PartRef
	wake chan struct{}

	mu    sync.Mutex
	first []byte // not taken yet, of the first wire.LogHead bytes
	rest  []byte // the newest behind those that were not taken yet
	total int64  // bytes of output
	last  []byte // the newest output, for error messages
	over  bool
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
	n := int(min(int64(len(b)), max(wire.LogHead-s.total, 0)))
	s.first = append(s.first, b[:n]...)
	s.rest = append(s.rest, newest(b[n:])...)
	s.rest = newest(s.rest)
	s.total += int64(len(b))
	if len(s.first)+len(s.rest) >= logChunk {
		s.signal()
	}
	return len(b), nil
}

// line adds a line of our own, if there is anything to say.
func (s *shipper) line(text string) {
	if text == "" {
		return
	}
	s.mu.Lock()
	begun := len(s.last) > 0 && s.last[len(s.last)-1] != '\n'
	s.mu.Unlock()
	if begun {
		text = "\n" + text
	}
	_, _ = s.Write([]byte(text + "\n"))
}

// newest is as much of b's end as a log keeps of the output's end.
func newest(b []byte) []byte { return b[max(0, len(b)-wire.LogTail):] }

// next is the oldest chunk that was not taken yet, and where in the output it begins.
func (s *shipper) next() (offset int64, chunk []byte, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.first); n > 0 {
		return min(s.total, wire.LogHead) - int64(n), bytes.Clone(s.first[:min(n, logChunk)]), s.over
	}
	return s.total - int64(len(s.rest)), bytes.Clone(s.rest[:min(len(s.rest), logChunk)]), s.over
}

// taken forgets the output before offset; some of it may have been dropped
// meanwhile. It reports whether a whole chunk is left.
func (s *shipper) taken(offset int64) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if left := max(min(s.total, wire.LogHead)-offset, 0); int64(len(s.first)) > left {
		s.first = s.first[int64(len(s.first))-left:]
	}
	if left := s.total - max(offset, wire.LogHead); int64(len(s.rest)) > max(left, 0) {
		s.rest = s.rest[int64(len(s.rest))-max(left, 0):]
	}
	return len(s.first)+len(s.rest) >= logChunk || s.over
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

// ship sends what there is, at most every LogEvery while the part runs, and no
// more than logBurst chunks then once there is more than a log keeps: a script
// that writes without end does not keep its home busy. What is not taken is sent
// again; after the part's end only for logGrace.
func (s *shipper) ship() {
	tick := time.NewTicker(s.w.cfg.LogEvery)
	defer tick.Stop()
	var deadline time.Time
	pause, burst := newBackOff(), 0
	for {
		offset, chunk, over := s.next()
		if over && deadline.IsZero() {
			deadline = time.Now().Add(logGrace)
		}
		if over && (len(chunk) == 0 || time.Now().After(deadline)) {
			if len(chunk) > 0 {
				s.w.log.Warn("the end of a log is lost: its home did not take it", "job", s.ref.Job, "part", s.ref.Part)
			}
			return
		}
		wake := s.wake
		if offset >= maxLog && burst >= logBurst && !over {
			wake = nil
		} else if len(chunk) > 0 {
			ctx, cancel := context.WithTimeout(s.w.ctx, s.w.cfg.CallTimeout)
			err := s.w.home.AppendLog(ctx, wire.AppendLog{PartRef: s.ref, Offset: offset, Data: chunk})
			cancel()
			if err == nil || refusal(err) {
				pause.Reset()
				burst++
				if s.taken(offset + int64(len(chunk))) {
					continue
				}
			} else if !s.pause(pause.NextBackOff()) {
				return
			}
		}
		if over {
			continue
		}
		select {
		case <-tick.C:
			burst = 0
		case <-wake:
		case <-s.w.ctx.Done():
			return
		}
	}
}

// pause waits for d; false when the worker is closing.
func (s *shipper) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.w.ctx.Done():
		return false
	}
}
