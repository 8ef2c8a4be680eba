package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/control/work"
	"github.com/folkmoot/folkmoot/httpapi/rest"
	"github.com/folkmoot/folkmoot/wire"
)

// logs streams the logs of a job's parts as events "log", or as plain text to a
// caller who accepts that. With attempt or offset it is one attempt of one part.
func (a *API) logs(rq *rest.Request) error {
	id, err := rq.PathParam("id")
	if err != nil {
		return err
	}
	p := rq.Params()
	part, err := p.Int("part", 0, wire.MaxParts, -1)
	if err != nil {
		return err
	}
	attempt, err := p.Int("attempt", 1, 1<<20, 0)
	if err != nil {
		return err
	}
	offset, err := p.Int("offset", 0, math.MaxInt, 0)
	if err != nil {
		return err
	}
	follow, err := p.Flag("follow")
	if err != nil {
		return err
	}
	if p.Has("attempt") || p.Has("offset") {
		if part < 0 || follow {
			return wire.Invalid("attempt", "attempt and offset go with part and without follow")
		}
		return a.partLog(rq, id, work.LogQuery{Part: part, Attempt: attempt, Offset: int64(offset)})
	}
	return rq.LongRunning(0, func(ctx context.Context) error {
		seq, err := a.control.JobLogs(ctx, rq.Principal(), id, part, follow)
		if err != nil {
			return err
		}
		s, l, err := startLog(rq, part >= 0)
		if err != nil {
			return nil // the reader is gone
		}
		err = rest.Copy(ctx, s, seq, l.write)
		l.finish()
		_ = s.Flush()
		s.Fail(err)
		s.AbortIfClosing()
		return nil
	})
}

// logWriter writes chunks of logs into an answer.
type logWriter interface {
	write(home.LogChunk) error
	finish() // no more chunks come
}

// startLog starts a stream of events or of plain text, as the caller accepts. The
// stream is not nil even if there is an error, which is that nobody reads.
func startLog(rq *rest.Request, onePart bool) (*rest.Stream, logWriter, error) {
	if !rq.Prefers("text/plain") {
		s, err := rq.StartEvents("")
		return s, eventLog{s}, err
	}
	s, err := rq.StartText()
	if onePart {
		return s, verbatimLog{rq.Buffer()}, err
	}
	return s, &prefixedLog{out: rq.Buffer(), lines: map[int]partialLine{}}, err
}

// eventLog writes each chunk as an event.
type eventLog struct{ stream *rest.Stream }

func (l eventLog) write(c home.LogChunk) error {
	data, err := json.Marshal(&c)
	if err == nil {
		l.stream.Event("", "log", data)
	}
	return err
}

func (l eventLog) finish() {}

// verbatimLog writes the log of one part as it is.
type verbatimLog struct{ out *bytes.Buffer }

func (l verbatimLog) write(c home.LogChunk) error {
	l.out.Write(c.Data)
	return nil
}

func (l verbatimLog) finish() {}

// prefixedLog writes the logs of several parts line by line, each behind the
// number of its part.
type prefixedLog struct {
	out   *bytes.Buffer
	lines map[int]partialLine // by part
}

// partialLine is a line that has begun and not ended.
type partialLine struct {
	attempt int
	text    []byte
}

// longestLine is how much of a line waits for its end, in bytes.
const longestLine = 64 << 10

func (l *prefixedLog) write(c home.LogChunk) error {
	line := l.lines[c.Part]
	if line.attempt != c.Attempt {
		l.writeLine(c.Part, line.text)
		line = partialLine{attempt: c.Attempt}
	}
	line.text = append(line.text, c.Data...)
	for {
		i := bytes.IndexByte(line.text, '\n')
		if i < 0 && len(line.text) >= longestLine {
			i = longestLine - 1
		}
		if i < 0 {
			break
		}
		l.writeLine(c.Part, line.text[:i+1])
		line.text = line.text[i+1:]
	}
	if line.text = bytes.Clone(line.text); c.End {
		l.writeLine(c.Part, line.text)
		line.text = nil
	}
	l.lines[c.Part] = line
	return nil
}

func (l *prefixedLog) writeLine(part int, text []byte) {
	if len(text) == 0 {
		return
	}
	l.out.WriteString(strconv.Itoa(part))
	l.out.WriteString("| ")
	l.out.Write(bytes.TrimRight(text, "\r\n"))
	l.out.WriteByte('\n')
}

func (l *prefixedLog) finish() {
	for _, part := range slices.Sorted(maps.Keys(l.lines)) {
		l.writeLine(part, l.lines[part].text)
	}
	clear(l.lines)
}

// partLog streams what there is of the log of one attempt.
func (a *API) partLog(rq *rest.Request, id string, q work.LogQuery) error {
	return rq.LongRunning(time.Minute, func(ctx context.Context) error {
		c, err := a.control.PartLog(ctx, rq.Principal(), id, q)
		if err != nil {
			return err
		}
		s, l, err := startLog(rq, true)
		for err == nil {
			if err = l.write(c); err != nil || len(c.Data) == 0 {
				break
			}
			if err = s.Flush(); err != nil {
				return nil // the reader is gone
			}
			q.Attempt, q.Offset = c.Attempt, c.Next
			c, err = a.control.PartLog(ctx, rq.Principal(), id, q)
		}
		if s != nil {
			_ = s.Flush()
			s.Fail(err)
		}
		return nil
	})
}
