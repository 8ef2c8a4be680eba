package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/folkmoot/folkmoot/wire"
)

// maxAnswer bounds what is read of one answer that is no stream.
const maxAnswer = 256 << 20

// request is one call before it is known who answers it.
type request struct {
	method, path string // path below /v1, escaped
	query        url.Values
	body         any    // JSON; nil for none
	file         []byte // in place of body: a compressed file
	session      string
	key          string // Idempotency-Key; makes the request harmless
	repeat       repeat
	extra        time.Duration // granted to an attempt beyond Config.Attempt: it blocks by intent
	header       http.Header
}

func (r *request) write() bool { return r.method != http.MethodGet }

// atLeast is the index of which an answer of a cluster must be at least; 0 is any. Of a blocking read it is what was
// seen before; an index of another cluster, which was founded anew since, asks for nothing.
func (r *request) atLeast(cluster string) uint64 {
	asked := r.query.Get("cluster")
	if r.write() || r.query.Get("wait") != "" || asked != "" && cluster != "" && asked != cluster {
		return 0
	}
	n, _ := strconv.ParseUint(r.query.Get("index"), 10, 64)
	return n
}

// do asks one coordinator after the other until one answers. A nil out drops the body; Meta.Body keeps it anyway.
func (c *Client) do(ctx context.Context, r request, out any) (Meta, error) {
	payload, err := r.payload()
	if err != nil {
		return Meta{}, err
	}
	if _, has := ctx.Deadline(); !has {
		var cancel context.CancelFunc
		limit := c.cfg.Timeout + r.extra
		ctx, cancel = context.WithTimeoutCause(ctx, limit, silence(limit))
		defer cancel()
	}
	var meta Meta
	ce := c.each(ctx, r, func(base string) *CallError {
		limit := c.cfg.Attempt + r.extra
		ctx, cancel := context.WithTimeoutCause(ctx, limit, silence(limit))
		defer cancel()
		res, ce := c.connect(ctx, base, r, payload)
		if ce != nil {
			return ce
		}
		defer res.Body.Close()
		meta = metaOf(res.Header, base)
		if err := meta.decode(res.Body, out); err != nil {
			return r.lost(ctx, base, err, false)
		}
		if least := r.atLeast(meta.Cluster); meta.Index < least {
			ce := r.failed(base, wire.NotTried("the answer is of index %d, and one of %d or later is wanted", meta.Index, least), nil)
			ce.RequestID, ce.Meta = res.Header.Get("X-Request-Id"), meta
			return ce
		}
		return nil
	})
	if ce != nil {
		return ce.Meta, ce
	}
	return meta, nil
}

// decode reads the whole answer and decodes it into out unless that is nil.
func (m *Meta) decode(from io.Reader, out any) error {
	body, err := io.ReadAll(io.LimitReader(from, maxAnswer+1))
	switch {
	case err != nil:
		return err
	case len(body) > maxAnswer:
		return fmt.Errorf("the answer is above %d bytes: ask for pages (limit and after)", maxAnswer)
	}
	m.Body = body
	if out == nil || len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("the answer is not the JSON expected: %w", err)
	}
	return nil
}

// each runs the loop over addresses and rounds until try succeeds, is refused, or ctx ends.
func (c *Client) each(ctx context.Context, r request, try func(base string) *CallError) *CallError {
	again := r.repeat == harmless || !r.write() || r.key != ""
	pause := newBackOff()
	var end ending
	took := map[string]time.Duration{} // how long a coordinator took to say that it had not tried
	for silent := 1; ; silent++ {
		tried := false
		for _, base := range c.addrs.order() {
			if ctx.Err() != nil {
				return end.of(ctx, r)
			}
			if r.write() && took[base] > 0 && short(ctx, took[base]) {
				continue // it would be cut off, and its outcome unknown
			}
			tried = true
			began := time.Now()
			ce := try(base)
			if ctx.Err() == nil || ce == nil { // that the caller's time is over says nothing
				c.last.Store(ce)
			}
			if ce == nil {
				return nil
			}
			if end.record(ce, r); ce.Cause == nil {
				silent, took[base] = 0, time.Since(began)
			}
			if code := ce.Err.Code; code != wire.CodeUnavailable && (code != wire.CodeUnknown || !again) {
				return ce
			}
			c.addrs.moveToBack(base)
		}
		if !tried || silent > 0 && silent == c.cfg.Silent || !sleep(ctx, pause.NextBackOff()) {
			return end.of(ctx, r)
		}
	}
}

// short reports whether ctx ends before a coordinator that took d the last time would have said again that it did not
// try.
func short(ctx context.Context, d time.Duration) bool {
	deadline, has := ctx.Deadline()
	return has && time.Until(deadline) < d+d/4
}

// ending is what is known when no coordinator is left to ask.
type ending struct {
	last     *CallError
	answered *CallError // the last that a coordinator answered: it says more than silence
	secure   *CallError // the last that TLS ended: silence elsewhere does not explain it
	happened bool       // an attempt ended without its outcome being known
}

func (e *ending) record(ce *CallError, r request) {
	if e.last = ce; ce.Cause == nil {
		e.answered = ce
	} else if aboutTLS(ce.Cause) {
		e.secure = ce
	}
	e.happened = e.happened || (r.write() && ce.Err.Code == wire.CodeUnknown)
}

// of is the outcome: unknown if any attempt may have happened, else not tried.
func (e *ending) of(ctx context.Context, r request) *CallError {
	if e.last == nil {
		cause := context.Cause(ctx)
		return &CallError{Method: r.method, Path: r.path, Err: wire.NotTried("nobody was asked: %v", plain(cause)), Cause: cause}
	}
	end := *e.last
	switch {
	case end.Cause == nil:
	case e.answered != nil:
		end = *e.answered
	case e.secure != nil:
		end = *e.secure
	}
	if e.happened && end.Err.Code != wire.CodeUnknown {
		end.Err = &wire.Error{Code: wire.CodeUnknown, Message: "an attempt may have happened; the last one: " + end.Err.Message}
	}
	if end.Cause == nil {
		end.Cause = ctx.Err()
	}
	return &end
}

// connect sends the request to one coordinator; an answer that is no success is an error. The caller closes the body.
func (c *Client) connect(ctx context.Context, base string, r request, payload []byte) (*http.Response, *CallError) {
	// The request may have been read by somebody only once there was a connection.
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	req, err := c.build(ctx, base, r, payload)
	if err != nil {
		return nil, r.failed(base, wire.Invalid("", "%v", err), err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, r.lost(ctx, base, err, c.traced() && !connected.Load())
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	e, id := problem(res, body, r.write())
	ce := r.failed(base, e, nil)
	ce.RequestID, ce.Meta = id, metaOf(res.Header, base)
	return nil, ce
}

func (r request) failed(base string, e *wire.Error, cause error) *CallError {
	return &CallError{Method: r.method, Path: r.path, Addr: hostOf(base), Err: e, Cause: cause, Meta: Meta{Addr: base}}
}

// lost is an attempt without an answer: a write may have happened unless it is known not to have been sent.
func (r request) lost(ctx context.Context, base string, err error, unsent bool) *CallError {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if !r.write() || unsent || errors.Is(err, ErrNotSent) {
		return r.failed(base, wire.NotTried("%v", plain(err)), err)
	}
	return r.failed(base, wire.Unknown(plain(err)), err)
}

// payload is the body as JSON, nil if there is none.
func (r request) payload() ([]byte, error) {
	if r.body == nil {
		return r.file, nil
	}
	b, err := json.Marshal(r.body)
	if err != nil {
		return nil, &CallError{Method: r.method, Path: r.path, Err: wire.Invalid("", "the request cannot be written as JSON: %v", err), Cause: err}
	}
	return b, nil
}

// ErrNotSent wrapped in the error of a RoundTripper of the caller's own, says that nothing was sent.
var ErrNotSent = errors.New("not sent")

// silence is the cause of an attempt given up after that time: a deadline that was exceeded, said for people.
type silence time.Duration

func (s silence) Error() string        { return fmt.Sprintf("no answer within %s", time.Duration(s)) }
func (s silence) Is(target error) bool { return target == context.DeadlineExceeded }

// traced reports whether connections are traced: a RoundTripper of the caller's may not tell of them, so silence of the
// trace proves nothing there.
func (c *Client) traced() bool {
	_, ok := c.http.Transport.(*http.Transport)
	return ok || c.http.Transport == nil
}

func (c *Client) build(ctx context.Context, base string, r request, payload []byte) (*http.Request, error) {
	u := base + "/v1" + r.path
	if len(r.query) > 0 {
		u += "?" + r.query.Encode()
	}
	var body io.Reader
	if payload != nil {
		body = bytes.NewReader(payload)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, u, body)
	if err != nil {
		return nil, err
	}
	for k, v := range r.header {
		req.Header[k] = v
	}
	if payload != nil {
		req.Header.Set("Content-Type", "application/json")
		if r.file != nil {
			req.Header.Set("Content-Type", "application/gzip")
		}
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	if token := c.tokens.current(); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if r.session != "" {
		req.Header.Set("X-Session", r.session)
	}
	if r.key != "" {
		req.Header.Set("Idempotency-Key", r.key)
	}
	return req, nil
}

// newBackOff is a full-jitter back-off between rounds: about 0.1 s, growing to about 2 s, without an end.
func newBackOff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = 100 * time.Millisecond
	b.MaxInterval = 2 * time.Second
	b.Multiplier = 1.6
	b.RandomizationFactor = 1
	b.Reset()
	return b
}

// sleep waits d or until ctx ends; it reports whether the whole time passed.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func hostOf(base string) string {
	if _, host, ok := strings.Cut(base, "://"); ok {
		return host
	}
	return base
}

// plain leaves out what net/http repeats of the request, and says for people that the caller's time is over.
func plain(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	if err != nil && strings.Contains(err.Error(), "malformed HTTP") {
		return fmt.Errorf("%w: what answers is no HTTP: is this the port of REST, --http-addr of the coordinator?", err)
	}
	if err == context.DeadlineExceeded { // a bare one says nothing
		return errors.New("no answer in time")
	}
	return err
}
