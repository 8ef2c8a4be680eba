package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"strconv"
	"time"

	"github.com/folkmoot/folkmoot/wire/flow"
	"github.com/folkmoot/folkmoot/wire/hangup"
)

// stream is an answer that goes on. It is for one goroutine.
type stream struct {
	rq      *request
	ctl     *http.ResponseController
	flow    *flow.Writer // of the connection; nil: a recorder in a test has none
	comment []byte       // what keeps a silent stream alive
	lines   bool         // JSON lines, not events
	plain   bool         // text, in which nothing of ours has a place
}

// errOnlyHead ends a stream of which the headers alone are wanted.
var errOnlyHead = errors.New("only the headers are wanted")

// begin starts a stream of the given type; first is written at once. Its error
// is that nobody reads on.
func (rq *request) begin(kind []string, comment, first string) (*stream, error) {
	h := rq.w.Header()
	h["Content-Type"] = kind
	h["Cache-Control"] = noStore
	h["X-Accel-Buffering"] = noBuffering // a proxy shall hand it on at once
	if !rq.told {
		rq.fresh(rq.api.control.Now())
	}
	s := &stream{rq: rq, ctl: http.NewResponseController(rq.w), comment: []byte(comment)}
	if conn := hangup.Conn(rq.context()); conn != nil {
		s.flow = flow.NewWriter(conn, rq.api.cfg.WriteTimeout)
	}
	s.deadline()
	rq.w.WriteHeader(http.StatusOK)
	if rq.onlyHead() {
		return s, errOnlyHead
	}
	rq.out.WriteString(first)
	return s, s.flush()
}

// deadline gives every write its own time: a reader that does not read is cut
// off, one that has nothing to read is not.
func (s *stream) deadline() {
	_ = s.ctl.SetWriteDeadline(time.Now().Add(s.rq.api.cfg.WriteTimeout)) // a recorder in a test has none
}

// flush writes what is in out and empties it. It takes as long as it takes while
// the reader's kernel takes bytes.
func (s *stream) flush() error {
	defer s.deadline() // of what the server writes when the stream is over
	defer s.rq.out.Reset()
	if s.flow == nil {
		return s.write()
	}
	return s.flow.Patiently(s.write)
}

func (s *stream) write() error {
	if _, err := s.rq.w.Write(s.rq.out.Bytes()); err != nil {
		return err
	}
	return s.ctl.Flush()
}

// news puts one server-sent event into out. data has no line feed.
func (s *stream) news(id, name string, data []byte) {
	out := &s.rq.out
	if id != "" {
		out.WriteString("id: ")
		out.WriteString(id)
		out.WriteByte('\n')
	}
	if name != "" {
		out.WriteString("event: ")
		out.WriteString(name)
		out.WriteByte('\n')
	}
	out.WriteString("data: ")
	out.Write(data)
	out.WriteString("\n\n")
}

// pump writes what take finds, and a comment whenever take found nothing for a
// while, until take is done, fails or ctx ends. take puts news into out; it
// blocks until there is some or its context ends.
func (s *stream) pump(ctx context.Context, take func(context.Context) (done bool, err error)) error {
	for {
		waiting, cancel := context.WithTimeout(ctx, s.rq.api.cfg.KeepAlive)
		done, err := take(waiting)
		silent := waiting.Err() != nil
		cancel()
		if err != nil && !(silent && ctx.Err() == nil) {
			_ = s.flush()
			return err
		}
		if s.rq.out.Len() == 0 && !done && ctx.Err() == nil {
			s.rq.out.Write(s.comment)
		}
		if s.rq.out.Len() > 0 {
			if err := s.flush(); err != nil {
				return err
			}
		}
		if done || ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

const (
	sseBegin  = "retry: 1000\n\n"
	sseSilent = ": still here\n\n"
	sseEnd    = ": this coordinator is closing\nretry: 200\n\n"
)

// lastWord tells a reader that the door closes, not the network broke.
func (s *stream) lastWord() {
	if s.rq.api.streams.ended.Err() != nil && s.rq.context().Err() == nil {
		s.rq.out.WriteString(sseEnd)
		_ = s.flush()
	}
}

// cutOff breaks a stream that has an end of its own and did not come to it
// since the door closes: a reader must not take the piece for the whole.
func (s *stream) cutOff() {
	if s.rq.api.streams.ended.Err() != nil {
		panic(http.ErrAbortHandler) // the way net/http is told to leave the answer without its end
	}
}

// lastEventID is where a reader that lost its stream left off.
func (rq *request) lastEventID() string { return rq.header("Last-Event-Id") }

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

// relay writes what a blocking sequence yields, by write, which puts one
// element into out. The sequence runs in a goroutine that has ended when relay
// returns; it must end with ctx.
func relay[T any](ctx context.Context, s *stream, seq iter.Seq2[T, error], write func(T) error) error {
	type element struct {
		value T
		err   error
	}
	ctx, cancel := context.WithCancel(ctx)
	elements := make(chan element, 256)
	go func() {
		defer close(elements)
		for v, err := range seq {
			select {
			case elements <- element{v, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() {
		cancel()
		for range elements { // waits for the goroutine
		}
	}()
	silent := time.NewTicker(s.rq.api.cfg.KeepAlive)
	defer silent.Stop()
	for {
		select {
		case e, more := <-elements:
			if !more {
				return s.flush()
			}
			if e.err == nil {
				e.err = write(e.value)
			}
			if e.err != nil {
				_ = s.flush()
				return e.err
			}
			if s.rq.out.Len() < keptBuffer && len(elements) > 0 {
				continue
			}
		case <-silent.C:
			s.rq.out.Write(s.comment)
		case <-ctx.Done():
			_ = s.flush()
			return ctx.Err()
		}
		if err := s.flush(); err != nil {
			return err
		}
	}
}

// failed tells a reader why its stream ends, as event "error" with a problem;
// a plain text is broken off. The end of the request and of the door are not failures.
func (s *stream) failed(err error) {
	if err == nil || errors.Is(err, errOnlyHead) || s.rq.context().Err() != nil || s.rq.api.streams.ended.Err() != nil {
		return
	}
	if s.plain {
		panic(http.ErrAbortHandler)
	}
	body, merr := json.Marshal(problemOf(err, s.rq.w.Header().Get("X-Request-Id")))
	if merr != nil {
		return // cannot be: the words are strings and numbers
	}
	if s.lines {
		s.rq.out.Write(append(body, '\n'))
	} else {
		s.news("", "error", body)
	}
	_ = s.flush() // the last thing said
}
