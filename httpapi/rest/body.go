package rest

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"strings"

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
// handler itself. Errors: invalid, too_large, unavailable (the caller is gone).
func (rq *Request) File() (io.Reader, error) {
	given := rq.r.Header["Content-Type"]
	if len(given) != 1 || given[0] != typeGzip[0] && given[0] != "application/octet-stream" {
		return nil, &StatusError{http.StatusUnsupportedMediaType, wire.Refuse(wire.CodeInvalid, "a body here needs one Content-Type: application/gzip")}
	}
	if rq.r.ContentLength > rq.route.MaxBody {
		return nil, tooLarge(rq.route.MaxBody)
	}
	return rq.r.Body, rq.checkCaller()
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
