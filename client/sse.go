package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// maxLine bounds one line of a stream: a whole message, in base64, with room.
const maxLine = 128 << 20

// stream is the body of an answer that goes on; reading it fails when nothing came for a while.
type stream struct {
	body   io.ReadCloser
	ctx    context.Context // the stream's own; here because io.Reader has no place for it
	cancel context.CancelCauseFunc
	idle   *time.Timer
	limit  time.Duration
	meta   Meta
}

// open asks one coordinator after the other until one streams; ctx bounds the stream's life.
func (c *Client) open(ctx context.Context, r request) (*stream, error) {
	payload, err := r.payload()
	if err != nil {
		return nil, err
	}
	var s *stream
	ce := c.each(ctx, r, func(base string) *CallError {
		sctx, cancel := context.WithCancelCause(ctx)
		late := time.AfterFunc(c.cfg.Attempt, func() { cancel(silence(c.cfg.Attempt)) })
		res, ce := c.connect(sctx, base, r, payload)
		late.Stop()
		if ce != nil {
			cancel(ce)
			return ce
		}
		s = &stream{body: res.Body, ctx: sctx, cancel: cancel, limit: streamIdle, meta: metaOf(res.Header, base)}
		s.idle = time.AfterFunc(s.limit, func() { cancel(fmt.Errorf("stream from %s: %w", hostOf(base), silence(streamIdle))) })
		return nil
	})
	if ce != nil {
		return nil, ce
	}
	return s, nil
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.body.Read(p)
	if n > 0 {
		s.idle.Reset(s.limit)
	}
	if err != nil && s.ctx.Err() != nil {
		err = context.Cause(s.ctx)
	}
	return n, err
}

// Close ends the stream and frees its connection.
func (s *stream) Close() {
	s.idle.Stop()
	s.cancel(context.Canceled)
	s.body.Close()
}

// sseEvent is one server-sent event.
type sseEvent struct {
	id, name string
	data     []byte
}

// readEvent reads the next event of a text/event-stream; comments are skipped. Without data it is the id to go on from.
func readEvent(r *bufio.Reader, lastID string) (sseEvent, error) {
	n := sseEvent{id: lastID}
	var data [][]byte
	var marked bool
	for {
		line, err := readLine(r)
		if err != nil {
			return sseEvent{}, err
		}
		if len(line) == 0 {
			if data == nil {
				n.name = ""
				if marked {
					return n, nil
				}
				continue
			}
			n.data = bytes.Join(data, []byte("\n"))
			return n, nil
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "id":
			n.id, marked = string(value), true
		case "event":
			n.name = string(value)
		case "data":
			data = append(data, bytes.Clone(value))
		}
	}
}

// readLine reads up to a line feed, which it drops; a last line without one is lost, since it may be cut off.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			if len(line) > maxLine {
				return nil, fmt.Errorf("a line of the stream is above %d bytes", maxLine)
			}
		case err != nil:
			if errors.Is(err, io.EOF) && len(line) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		default:
			return bytes.TrimRight(line, "\r\n"), nil
		}
	}
}

// streamError is the problem that a stream ended with.
func streamError(r request, m Meta, data []byte) error {
	var p wire.Problem
	if err := json.Unmarshal(data, &p); err != nil || p.Code == "" {
		p.Code, p.Detail = wire.CodeUnavailable, "the stream ended with an error that cannot be read"
	}
	ce := r.failed(m.Addr, &wire.Error{Code: p.Code, Message: p.Detail, Field: p.Field}, nil)
	ce.RequestID, ce.Meta = p.RequestID, m
	return ce
}

// retryable reports whether another coordinator may do better.
func retryable(err error) bool {
	code := wire.CodeOf(err)
	return code == wire.CodeUnavailable || code == wire.CodeUnknown || code == wire.CodeInternal
}

// following is a stream of events that outlives the coordinators that send it.
type following struct {
	request request
	lastID  string      // where to begin
	over    func() bool // whether a clean end of a stream was the end; nil: never
}

// follow yields the events of a stream for ever, at the next coordinator when one goes away, from where it stopped. It
// ends by ctx, by the caller, by a refusal, or when the stream is over.
func (c *Client) follow(ctx context.Context, f following) iter.Seq2[sseEvent, error] {
	return func(yield func(sseEvent, error) bool) {
		lastID := f.lastID
		pause := newBackOff()
		for {
			r := f.request
			r.header = http.Header{"Accept": {"text/event-stream"}, "Cache-Control": {"no-store"}}
			if lastID != "" {
				r.header.Set("Last-Event-ID", lastID)
			}
			s, err := c.open(ctx, r)
			if err != nil {
				yield(sseEvent{}, err)
				return
			}
			in := bufio.NewReaderSize(s, 64<<10)
			for {
				var n sseEvent
				if n, err = readEvent(in, lastID); err != nil {
					break
				}
				if n.data == nil {
					lastID = n.id
					continue
				}
				if n.name == "error" {
					if err = streamError(r, s.meta, n.data); retryable(err) {
						break
					}
					s.Close()
					yield(sseEvent{}, err)
					return
				}
				pause.Reset()
				lastID = n.id
				if !yield(n, nil) {
					s.Close()
					return
				}
			}
			s.Close()
			if errors.Is(err, io.EOF) && f.over != nil && f.over() {
				return
			}
			c.addrs.moveToBack(s.meta.Addr)
			if !sleep(ctx, pause.NextBackOff()) {
				yield(sseEvent{}, context.Cause(ctx))
				return
			}
		}
	}
}
