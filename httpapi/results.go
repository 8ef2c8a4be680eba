package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/wire"
)

// orders are the values of ?order=: done is as they end.
var orders = map[string]string{"": control.ByPart, "part": control.ByPart, "done": control.ByEnd, "ended": control.ByEnd}

// results writes a line of JSON for every part that has ended; with follow it
// goes on until the job has ended. Empty lines keep a silent stream alive. A
// stream that cannot go on ends with a problem as its last line.
func (a *API) results(rq *request) error {
	id, err := rq.arg("id")
	if err != nil {
		return err
	}
	follow, err := rq.params.flag("follow")
	if err != nil {
		return err
	}
	order, ok := orders[rq.params.get("order")]
	if !ok {
		return wire.Invalid("order", "order is part or done, not %q", short(rq.params.get("order")))
	}
	r, err := rq.params.read()
	if err != nil {
		return err
	}
	query := control.ResultQuery{Order: order, Follow: follow, State: rq.params.get("state")}
	return rq.long(0, func(ctx context.Context) error {
		seq, fresh, err := a.control.Results(ctx, rq.who, r, id, query)
		if rq.readFrom(fresh, err) != nil {
			return err
		}
		s, err := rq.begin(typeNDJSON, "\n", "")
		if err != nil {
			return nil // the reader is gone
		}
		s.lines = true
		s.failed(relay(ctx, s, seq, func(p wire.PartResult) error { return s.line(&p) }))
		s.cutOff()
		return nil
	})
}

func (s *stream) line(v any) error {
	enc := json.NewEncoder(&s.rq.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// logs streams the logs of a job's parts as events "log", or as plain text to
// who accepts that. With attempt or offset it is one try of one part.
func (a *API) logs(rq *request) error {
	id, err := rq.arg("id")
	if err != nil {
		return err
	}
	p := rq.params
	part, err := p.number("part", 0, wire.MaxParts, -1)
	if err != nil {
		return err
	}
	attempt, err := p.number("attempt", 1, 1<<20, 0)
	if err != nil {
		return err
	}
	offset, err := p.number("offset", 0, math.MaxInt, 0)
	if err != nil {
		return err
	}
	follow, err := p.flag("follow")
	if err != nil {
		return err
	}
	if p.has("attempt") || p.has("offset") {
		if part < 0 || follow {
			return wire.Invalid("attempt", "attempt and offset go with part and without follow")
		}
		return a.partLog(rq, id, control.LogQuery{Part: part, Attempt: attempt, Offset: int64(offset)})
	}
	return rq.long(0, func(ctx context.Context) error {
		seq, err := a.control.JobLogs(ctx, rq.who, id, part, follow)
		if err != nil {
			return err
		}
		s, l, err := rq.beginLog(part >= 0)
		if err != nil {
			return nil // the reader is gone
		}
		err = relay(ctx, s, seq, l.chunk)
		l.end()
		_ = s.flush()
		s.failed(err)
		s.cutOff()
		return nil
	})
}

// wantsText tells whether the caller takes plain text and no stream of events.
func (rq *request) wantsText() bool {
	accept := strings.Join(rq.r.Header["Accept"], ",")
	return strings.Contains(accept, "text/plain") && !strings.Contains(accept, "text/event-stream")
}

// logWriter puts chunks of logs into an answer.
type logWriter interface {
	chunk(control.LogChunk) error
	end() // nothing more comes
}

func (rq *request) beginLog(onePart bool) (*stream, logWriter, error) {
	if !rq.wantsText() {
		s, err := rq.begin(typeSSE, sseSilent, sseBegin)
		return s, s, err
	}
	s, err := rq.begin(typeText, "", "")
	s.plain = true
	return s, &plainLog{s: s, asItIs: onePart, open: map[int]line{}}, err
}

// plainLog writes logs as text: one part's as it is, those of several line by
// line, each behind the number of its part.
type plainLog struct {
	s      *stream
	asItIs bool
	open   map[int]line // begun and not ended, by part
}

type line struct {
	attempt int
	text    []byte
}

// longestLine is how much of a line waits for its end.
const longestLine = 64 << 10

func (p *plainLog) chunk(c control.LogChunk) error {
	if p.asItIs {
		p.s.rq.out.Write(c.Data)
		return nil
	}
	l := p.open[c.Part]
	if l.attempt != c.Attempt {
		p.write(c.Part, l.text)
		l = line{attempt: c.Attempt}
	}
	l.text = append(l.text, c.Data...)
	for {
		i := bytes.IndexByte(l.text, '\n')
		if i < 0 && len(l.text) >= longestLine {
			i = longestLine - 1
		}
		if i < 0 {
			break
		}
		p.write(c.Part, l.text[:i+1])
		l.text = l.text[i+1:]
	}
	if l.text = bytes.Clone(l.text); c.End {
		p.write(c.Part, l.text)
		l.text = nil
	}
	p.open[c.Part] = l
	return nil
}

func (p *plainLog) write(part int, text []byte) {
	if len(text) == 0 {
		return
	}
	out := &p.s.rq.out
	out.WriteString(strconv.Itoa(part))
	out.WriteString("| ")
	out.Write(bytes.TrimRight(text, "\r\n"))
	out.WriteByte('\n')
}

func (p *plainLog) end() {
	for _, part := range slices.Sorted(maps.Keys(p.open)) {
		p.write(part, p.open[part].text)
	}
	clear(p.open)
}

// end has nothing to do: an event is whole.
func (s *stream) end() {}

func (s *stream) chunk(c control.LogChunk) error {
	data, err := json.Marshal(&c)
	if err == nil {
		s.news("", "log", data)
	}
	return err
}

// partLog streams what there is of the log of one try.
func (a *API) partLog(rq *request, id string, q control.LogQuery) error {
	return rq.long(time.Minute, func(ctx context.Context) error {
		c, err := a.control.PartLog(ctx, rq.who, id, q)
		if err != nil {
			return err
		}
		s, l, err := rq.beginLog(true)
		for err == nil {
			if err = l.chunk(c); err != nil || len(c.Data) == 0 {
				break
			}
			if err = s.flush(); err != nil {
				return nil // the reader is gone
			}
			q.Attempt, q.Offset = c.Attempt, c.Next
			c, err = a.control.PartLog(ctx, rq.who, id, q)
		}
		if s != nil {
			_ = s.flush()
			s.failed(err)
		}
		return nil
	})
}
