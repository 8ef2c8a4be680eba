package rest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

// Body returns what ReadBody or Decode has read; nil is no body. It is good
// until the handler returns.
func (rq *Request) Body() []byte { return rq.body }

// ReadBody reads the body, of at most the route's size and of JSON's type.
// Errors: invalid, too_large, unavailable (the caller is gone).
func (rq *Request) ReadBody() error {
	r, limit := rq.r, rq.route.MaxBody
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		rq.body = nil
		return rq.checkCaller()
	}
	if err := checkContentType(r.Header); err != nil {
		return err
	}
	if r.ContentLength > limit {
		return tooLarge(limit)
	}
	if r.ContentLength > 0 {
		rq.in.Grow(int(min(r.ContentLength, maxPooledBuffer)) + bytes.MinRead)
	}
	n, err := rq.in.ReadFrom(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return wire.Invalid("", "the body broke off after %d bytes: %v", n, err)
	}
	if n > limit {
		return tooLarge(limit)
	}
	rq.body, rq.bodyRead = rq.in.Bytes(), true
	return rq.checkCaller()
}

// Decode reads the body into a struct with these fields. Errors: those of
// ReadBody and DecodeStrict.
func (rq *Request) Decode(fields strictjson.Fields, into any) error {
	if err := rq.ReadBody(); err != nil {
		return err
	}
	return DecodeStrict(rq.body, fields, into)
}

// File returns the body as a compressed file, of at most the route's size, to be read by the
// handler itself. It may take as long as it does, but not ReadTimeout without a byte, and not
// beyond ctx: the error is its cause then. Errors: invalid, too_large, unavailable (the caller
// is gone).
func (rq *Request) File(ctx context.Context) (io.Reader, error) {
	given := rq.r.Header["Content-Type"]
	if len(given) != 1 || given[0] != typeGzip[0] && given[0] != "application/octet-stream" {
		return nil, &StatusError{http.StatusUnsupportedMediaType, wire.Refuse(wire.CodeInvalid, "a body here needs one Content-Type: application/gzip")}
	}
	if rq.r.ContentLength > rq.route.MaxBody {
		return nil, tooLarge(rq.route.MaxBody)
	}
	return newUpload(ctx, rq.r.Body, rq.w, rq.router.cfg.ReadTimeout), rq.checkCaller()
}

// upload is a body that is read for as long as its context lasts and bytes come.
type upload struct {
	ctx  context.Context
	body io.Reader
	conn *http.ResponseController
	step time.Duration

	mu      sync.Mutex
	reading bool
}

func newUpload(ctx context.Context, body io.Reader, w http.ResponseWriter, step time.Duration) *upload {
	u := &upload{ctx: ctx, body: body, conn: http.NewResponseController(w), step: step}
	context.AfterFunc(ctx, u.interrupt)
	return u
}

func (u *upload) Read(p []byte) (int, error) {
	u.await(time.Now().Add(u.step), true)
	if u.ctx.Err() != nil {
		u.await(time.Time{}, false)
		return 0, context.Cause(u.ctx)
	}
	n, err := u.body.Read(p)
	u.await(time.Time{}, false) // what comes behind the body is waited for without an end
	if err != nil && !errors.Is(err, io.EOF) && u.ctx.Err() != nil {
		err = context.Cause(u.ctx)
	}
	return n, err
}

// await says until when bytes are waited for.
func (u *upload) await(until time.Time, reading bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.reading = reading
	_ = u.conn.SetReadDeadline(until) // a recorder in a test has none
}

// interrupt ends a Read that waits; when none does, the connection is not the upload's any more.
func (u *upload) interrupt() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.reading {
		_ = u.conn.SetReadDeadline(time.Now())
	}
}

func tooLarge(limit int64) error {
	return wire.Refuse(wire.CodeTooLarge, "a body is at most %d bytes here: send less at once, or the place where the rest is; "+
		"messages up to 64 MiB go over a native session", limit)
}

// checkContentType wants plain JSON: a page of another site cannot send that type
// unasked (CSRF), and nothing is decompressed (compression bombs).
func checkContentType(h http.Header) error {
	unsupported := func(format string, args ...any) error {
		return &StatusError{http.StatusUnsupportedMediaType, wire.Refuse(wire.CodeInvalid, format, args...)}
	}
	if enc := h["Content-Encoding"]; len(enc) > 0 && (len(enc) > 1 || enc[0] != "identity") {
		return unsupported("a body is taken as it is, without Content-Encoding")
	}
	given := h["Content-Type"]
	if len(given) != 1 {
		return unsupported("a body needs one Content-Type: application/json")
	}
	if given[0] == "application/json" {
		return nil
	}
	kind, attributes, err := mime.ParseMediaType(given[0])
	charset := attributes["charset"]
	if err != nil || kind != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return unsupported("a body is application/json in UTF-8, not %q", Clip(given[0]))
	}
	return nil
}
