package rest

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"time"

	"github.com/folkmoot/folkmoot/wire/flow"
	"github.com/folkmoot/folkmoot/wire/hangup"
)

// format is what a stream consists of.
type format struct {
	contentType []string
	keepAlive   string // what keeps a silent stream alive; "": nothing of ours has a place in it
	// errorFrame returns the last thing in a stream that cannot go on, given as
	// a problem; nil: such a stream is broken off.
	errorFrame func(problem []byte) []byte
}

var (
	events = format{
		contentType: typeSSE, keepAlive: ": still here\n\n",
		errorFrame: func(problem []byte) []byte { return appendEvent(nil, "", "error", problem) },
	}
	jsonLines = format{
		contentType: typeNDJSON, keepAlive: "\n",
		errorFrame: func(problem []byte) []byte { return append(problem, '\n') },
	}
	text = format{contentType: typeText}
	file = format{contentType: typeGzip}
)

const (
	eventsPreamble = "retry: 1000\n\n"
	eventsGoodbye  = ": this coordinator is closing\nretry: 200\n\n"
)

// Stream is an answer that goes on. What is to be written is put into the
// request's buffer. It is for one goroutine.
type Stream struct {
	rq     *Request
	format *format
	conn   *http.ResponseController
	flow   *flow.Writer // of the connection; nil: a recorder in a test has none
}

// errHeadOnly ends a stream of which the headers alone are wanted.
var errHeadOnly = errors.New("only the headers are wanted")

// StartEvents starts a stream of server-sent events. id, if not empty, is that
// of the place it starts at. Its error is that nobody reads.
func (rq *Request) StartEvents(id string) (*Stream, error) {
	preamble := eventsPreamble
	if id != "" {
		preamble += "id: " + id + "\n\n"
	}
	return rq.start(&events, preamble)
}

// StartLines starts a stream of lines of JSON; empty lines keep a silent stream
// alive. Its error is that nobody reads.
func (rq *Request) StartLines() (*Stream, error) { return rq.start(&jsonLines, "") }

// StartText starts a stream of plain text. Its error is that nobody reads.
func (rq *Request) StartText() (*Stream, error) { return rq.start(&text, "") }

// StartFile starts a stream that is one compressed file, which is written by Write. Its
// error is that nobody reads.
func (rq *Request) StartFile() (*Stream, error) { return rq.start(&file, "") }

// Write puts bytes into the buffer, and writes it once there is much in it: whoever
// writes a long file waits for whoever reads it. Its error is that nobody reads, or that
// the server closes.
func (s *Stream) Write(p []byte) (int, error) {
	n, _ := s.rq.out.Write(p)
	if s.rq.out.Len() < maxPooledBuffer/2 {
		return n, nil
	}
	if s.rq.router.streams.closed() {
		return 0, http.ErrServerClosed
	}
	return n, s.Flush()
}

// start writes the headers and the preamble. The stream is not nil even if there
// is an error.
func (rq *Request) start(f *format, preamble string) (*Stream, error) {
	h := rq.w.Header()
	h["Content-Type"] = f.contentType
	h["Cache-Control"] = noStore
	h["X-Accel-Buffering"] = noBuffering // a proxy shall hand it on at once
	rq.ensureFreshness()
	s := &Stream{rq: rq, format: f, conn: http.NewResponseController(rq.w)}
	if conn := hangup.Conn(rq.Context()); conn != nil {
		s.flow = flow.NewWriter(conn, rq.router.cfg.WriteTimeout)
	}
	s.extendDeadline()
	rq.w.WriteHeader(http.StatusOK)
	if rq.headOnly() {
		return s, errHeadOnly
	}
	rq.out.WriteString(preamble)
	return s, s.Flush()
}

// extendDeadline gives every write its own time: a reader that does not read is
// cut off, one that has nothing to read is not.
func (s *Stream) extendDeadline() {
	_ = s.conn.SetWriteDeadline(time.Now().Add(s.rq.router.cfg.WriteTimeout)) // a recorder in a test has none
}

// Flush writes what is in the buffer and empties it. It takes as long as it takes
// while the reader's kernel takes bytes.
func (s *Stream) Flush() error {
	defer s.extendDeadline() // for what the server writes when the stream is over
	defer s.rq.out.Reset()
	if s.flow == nil {
		return s.write()
	}
	return s.flow.RunWrite(s.write)
}

func (s *Stream) write() error {
	if _, err := s.rq.w.Write(s.rq.out.Bytes()); err != nil {
		return err
	}
	return s.conn.Flush()
}

// Event puts one server-sent event into the buffer; id and name may be empty.
// data has no line feed.
func (s *Stream) Event(id, name string, data []byte) {
	s.rq.out.Write(appendEvent(s.rq.out.AvailableBuffer(), id, name, data))
}

func appendEvent(b []byte, id, name string, data []byte) []byte {
	if id != "" {
		b = append(append(append(b, "id: "...), id...), '\n')
	}
	if name != "" {
		b = append(append(append(b, "event: "...), name...), '\n')
	}
	return append(append(append(b, "data: "...), data...), "\n\n"...)
}

// EventFrame returns one server-sent event as it is written, in a slice of its
// own.
func EventFrame(id, name string, data []byte) []byte {
	return appendEvent(make([]byte, 0, len(data)+64), id, name, data)
}

// Line puts v into the buffer as a line of JSON.
func (s *Stream) Line(v any) error {
	enc := json.NewEncoder(&s.rq.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// Poll writes what receive finds, and a keep-alive whenever it found nothing for
// a while, until receive is done, fails or ctx ends. receive puts what it finds
// into the buffer; it blocks until there is something or its context ends.
func (s *Stream) Poll(ctx context.Context, receive func(context.Context) (done bool, err error)) error {
	for {
		waiting, cancel := context.WithTimeout(ctx, s.rq.router.cfg.KeepAlive)
		done, err := receive(waiting)
		silent := waiting.Err() != nil
		cancel()
		if err != nil && !(silent && ctx.Err() == nil) {
			_ = s.Flush()
			return err
		}
		if s.rq.out.Len() == 0 && !done && ctx.Err() == nil {
			s.rq.out.WriteString(s.format.keepAlive)
		}
		if s.rq.out.Len() > 0 {
			if err := s.Flush(); err != nil {
				return err
			}
		}
		if done || ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// maxQueued is how many elements Copy takes ahead of what it writes.
const maxQueued = 256

// Copy writes the elements that a blocking sequence yields, by put, which puts one
// element into the buffer. The sequence runs in a goroutine that has ended when
// Copy returns; it must end with its context, which seq is called with.
func Copy[T any](ctx context.Context, s *Stream, seq iter.Seq2[T, error], put func(T) error) error {
	type element struct {
		value T
		err   error
	}
	ctx, cancel := context.WithCancel(ctx)
	elements := make(chan element, maxQueued)
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
	silent := time.NewTicker(s.rq.router.cfg.KeepAlive)
	defer silent.Stop()
	for {
		select {
		case e, ok := <-elements:
			if !ok {
				return s.Flush()
			}
			if e.err == nil {
				e.err = put(e.value)
			}
			if e.err != nil {
				_ = s.Flush()
				return e.err
			}
			if s.rq.out.Len() < maxPooledBuffer && len(elements) > 0 {
				continue
			}
		case <-silent.C:
			s.rq.out.WriteString(s.format.keepAlive)
		case <-ctx.Done():
			_ = s.Flush()
			return ctx.Err()
		}
		if err := s.Flush(); err != nil {
			return err
		}
	}
}

// Goodbye tells a reader of events that the server closes, so that it does not
// take the end for a broken network.
func (s *Stream) Goodbye() {
	if s.rq.router.streams.closed() && s.rq.Context().Err() == nil {
		s.rq.out.WriteString(eventsGoodbye)
		_ = s.Flush()
	}
}

// AbortIfClosing breaks off a stream that has an end of its own and did not come
// to it since the server closes: a reader must not take the piece for the whole.
func (s *Stream) AbortIfClosing() {
	if s.rq.router.streams.closed() {
		panic(http.ErrAbortHandler) // the way net/http is told to leave the answer without its end
	}
}

// Fail tells a reader why its stream ends, as event "error" or last line with a
// problem; a plain text is broken off. A nil error, the end of the request and
// that of the server are not failures.
func (s *Stream) Fail(err error) {
	if err == nil || errors.Is(err, errHeadOnly) || s.rq.Context().Err() != nil || s.rq.router.streams.closed() {
		return
	}
	if s.format.errorFrame == nil {
		panic(http.ErrAbortHandler)
	}
	body, marshalErr := json.Marshal(problemOf(err, s.rq.w.Header().Get("X-Request-Id")))
	if marshalErr != nil {
		return // cannot be: a problem is strings and numbers
	}
	s.rq.out.Write(s.format.errorFrame(body))
	_ = s.Flush() // nothing comes after it
}
