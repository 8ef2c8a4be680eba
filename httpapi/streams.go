package httpapi

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// streams counts what may go on for long: streams, blocking reads, long polls.
type streams struct {
	limit int
	ended context.Context // done once the door closes
	end   context.CancelFunc

	mu  sync.Mutex
	now int
}

func (s *streams) init(limit int) {
	s.limit = limit
	s.ended, s.end = context.WithCancel(context.Background())
}

func (s *streams) close() { s.end() }

func (s *streams) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// enter takes a place, or refuses with busy or unavailable.
func (s *streams) enter() error {
	if s.ended.Err() != nil {
		return wire.NotTried("this coordinator is closing: ask another")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now >= s.limit {
		e := wire.Refuse(wire.CodeBusy, "there are %d streams and waiting reads at this coordinator, which is all it has room for", s.limit)
		e.RetryAfter = 5 * time.Second
		return e
	}
	s.now++
	return nil
}

func (s *streams) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now--
}

// long readies a request that may take as long as lasts (0: no end) and runs
// do with a context that also ends when the door closes.
func (rq *request) long(lasts time.Duration, do func(context.Context) error) error {
	s := &rq.api.streams
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	ctl := http.NewResponseController(rq.w)
	_ = ctl.SetReadDeadline(time.Time{}) // a recorder in a test has none
	deadline := time.Time{}
	if lasts > 0 {
		deadline = time.Now().Add(lasts + rq.api.cfg.WriteTimeout)
	}
	_ = ctl.SetWriteDeadline(deadline)
	ctx, cancel := context.WithCancel(rq.context())
	defer cancel()
	defer context.AfterFunc(s.ended, cancel)()
	return do(ctx)
}

// blocking runs a read, as long if it may wait.
func (rq *request) blocking(wait time.Duration, read func(context.Context) error) error {
	if wait <= 0 {
		return read(rq.context())
	}
	return rq.long(wait, read)
}

// change is how long a change of membership may take.
const change = time.Minute

// patient runs what takes longer than an answer usually may.
func (rq *request) patient(do func(context.Context) error) error {
	return rq.long(change, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, change)
		defer cancel()
		return do(ctx)
	})
}
