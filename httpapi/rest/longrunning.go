package rest

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// streamLimiter bounds what may go on for long: streams, blocking reads, long
// polls.
type streamLimiter struct {
	limit   int
	closing context.Context // done once the server closes
	cancel  context.CancelFunc

	mu     sync.Mutex
	active int
}

func newStreamLimiter(limit int) *streamLimiter {
	s := &streamLimiter{limit: limit}
	s.closing, s.cancel = context.WithCancel(context.Background())
	return s
}

func (s *streamLimiter) close() { s.cancel() }

func (s *streamLimiter) closed() bool { return s.closing.Err() != nil }

func (s *streamLimiter) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.active
}

// acquire takes one of the places. Errors: busy, unavailable.
func (s *streamLimiter) acquire() error {
	if s.closed() {
		return wire.NotTried("this coordinator is closing: ask another")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active >= s.limit {
		e := wire.Refuse(wire.CodeBusy, "there are %d streams and waiting reads at this coordinator, which is all it has room for", s.limit)
		e.RetryAfter = 5 * time.Second
		return e
	}
	s.active++
	return nil
}

func (s *streamLimiter) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active--
}

// LongRunning calls do, which may take as long as limit (0: no end), with a
// context that also ends when the server closes. Errors: busy and unavailable,
// before do was called, and that of do.
func (rq *Request) LongRunning(limit time.Duration, do func(context.Context) error) error {
	s := rq.router.streams
	if err := s.acquire(); err != nil {
		return err
	}
	defer s.release()
	conn := http.NewResponseController(rq.w)
	_ = conn.SetReadDeadline(time.Time{}) // a recorder in a test has none
	deadline := time.Time{}
	if limit > 0 {
		deadline = time.Now().Add(limit + rq.router.cfg.WriteTimeout)
	}
	_ = conn.SetWriteDeadline(deadline)
	ctx, cancel := context.WithCancel(rq.Context())
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	return do(ctx)
}

// Blocking calls read, as long-running if it may wait.
func (rq *Request) Blocking(wait time.Duration, read func(context.Context) error) error {
	if wait <= 0 {
		return read(rq.Context())
	}
	return rq.LongRunning(wait, read)
}
