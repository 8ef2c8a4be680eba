package httpapi

import (
	"bytes"
	"context"
	"io"
	"mime"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/hangup"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

// route is one method of one path.
type route struct {
	method, path string
	params       []string // query parameters it knows; nil: any
	body         int64    // bytes a body may have; 0: no body is read
	acts         bool     // a GET that is more than a look: it has no HEAD
	handle       func(*request) error
	counts       *routeMetrics
}

// request is one request under way. It is used again for others: nothing may
// keep it, its params or its body once the handler has returned.
type request struct {
	api    *API
	route  *route
	w      *echo.Response
	r      *http.Request
	c      echo.Context
	params params
	body   []byte
	in     bytes.Buffer // backs body
	out    bytes.Buffer // the answer while it is made
	told   bool         // whether the fresh headers are set
	who    control.Principal
}

// add makes rt answer.
func (a *API) add(rt route) {
	rt.counts = a.metrics.route(rt.method, rt.path)
	serve := func(c echo.Context) error {
		a.serve(&rt, c)
		return nil
	}
	a.echo.Add(rt.method, "/v1"+rt.path, serve)
	if rt.method == http.MethodGet && !rt.acts {
		a.echo.Add(http.MethodHead, "/v1"+rt.path, serve) // net/http leaves the body out
	}
}

// onlyHead tells whether the caller wants the headers alone. It gets them at
// once: it waits for nothing, and a stream ends where it begins.
func (rq *request) onlyHead() bool { return rq.r.Method == http.MethodHead }

// serve carries one request through its handler and counts the outcome. A
// handler's panic is an internal fault of this request alone.
func (a *API) serve(rt *route, c echo.Context) {
	begun := time.Now()
	who, err := a.authenticate(c.Request())
	if err != nil {
		a.refuse(c.Response().Writer, c.Request(), err)
		return
	}
	rq := a.pool.Get().(*request)
	rq.route, rq.c, rq.w, rq.r, rq.who = rt, c, c.Response(), c.Request(), who
	defer func() {
		if fault := recover(); fault != nil {
			if fault == http.ErrAbortHandler {
				panic(fault)
			}
			a.cfg.Logger.Error("request panicked", "method", rt.method, "path", rt.path, "request_id", rq.w.Header().Get("X-Request-Id"), "fault", fault, "stack", string(debug.Stack()))
			rq.fail(wire.Refuse(wire.CodeInternal, "internal fault; the log of this coordinator has it under this request id"))
		}
		rt.counts.done(rq.w.Status, time.Since(begun))
		rq.release()
	}()
	if rq.params, err = rq.params.parse(rq.r.URL.RawQuery, rt.params); err == nil && rt.body == 0 {
		err = rq.awaited()
	}
	if err == nil {
		if rq.onlyHead() {
			rq.params = slices.DeleteFunc(rq.params, func(p param) bool { return p.name == "wait" })
		}
		err = rt.handle(rq)
	}
	if err != nil {
		rq.fail(err)
	}
}

// keptBuffer is the largest buffer that is kept for the next request.
const keptBuffer = 64 << 10

func (rq *request) release() {
	rq.route, rq.c, rq.w, rq.r, rq.told, rq.body, rq.who = nil, nil, nil, nil, false, nil, control.Principal{}
	clear(rq.params)
	rq.params = rq.params[:0]
	if rq.in.Cap() > keptBuffer {
		rq.in = bytes.Buffer{}
	}
	if rq.out.Cap() > keptBuffer {
		rq.out = bytes.Buffer{}
	}
	rq.in.Reset()
	rq.out.Reset()
	rq.api.pool.Put(rq)
}

// fail answers err, unless an answer has begun.
func (rq *request) fail(err error) {
	if rq.w.Committed {
		return
	}
	if !rq.told {
		rq.fresh(rq.api.control.Now())
	}
	writeProblem(rq.w, err)
}

func (rq *request) context() context.Context { return rq.r.Context() }

// key is the Idempotency-Key.
func (rq *request) key() string { return rq.header("Idempotency-Key") }

func (rq *request) header(canonical string) string {
	if v := rq.r.Header[canonical]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// arg returns a part of the path as the caller meant it. The router leaves it
// escaped if, and only if, the whole path came in an unusual escaping.
func (rq *request) arg(name string) (string, error) {
	v := rq.c.Param(name)
	if rq.r.URL.RawPath != "" {
		plain, err := url.PathUnescape(v)
		if err != nil {
			return "", wire.Invalid(name, "the path is malformed at %q", short(v))
		}
		v = plain
	}
	if v == "" || !plain(v) {
		return "", wire.Invalid(name, "the path is malformed at %q", strings.ToValidUTF8(short(v), "?"))
	}
	return v, nil
}

// read reads the body, of at most the route's size and of JSON's type. An
// absent body is "".
func (rq *request) read() error {
	r, limit := rq.r, rq.route.body
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		rq.body = nil
		return rq.awaited()
	}
	if err := checkType(r.Header); err != nil {
		return err
	}
	if r.ContentLength > limit {
		return tooLarge(limit)
	}
	if r.ContentLength > 0 {
		rq.in.Grow(int(min(r.ContentLength, keptBuffer)) + bytes.MinRead)
	}
	n, err := rq.in.ReadFrom(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return wire.Invalid("", "the body broke off after %d bytes: %v", n, err)
	}
	if n > limit {
		return tooLarge(limit)
	}
	rq.body = rq.in.Bytes()
	return rq.awaited()
}

// awaited refuses a write whose caller has closed the connection: that can come to
// light seconds after it asked, if this process stood still, and by then it may
// have asked elsewhere. Nobody reads the answer.
func (rq *request) awaited() error {
	if (rq.route.method != http.MethodGet || rq.route.acts) && hangup.Left(hangup.Conn(rq.context())) {
		return wire.NotTried("this was not begun: its caller has closed the connection")
	}
	return nil
}

func tooLarge(limit int64) error {
	return wire.Refuse(wire.CodeTooLarge, "a body is at most %d bytes here: send less at once, or the place where the rest is; "+
		"messages up to 64 MiB go over a native session", limit)
}

// checkType wants plain JSON: a page of another site cannot send that type
// unasked (CSRF), and nothing is unpacked (compression bombs).
func checkType(h http.Header) error {
	unsupported := func(format string, args ...any) error {
		return &doorError{http.StatusUnsupportedMediaType, wire.Refuse(wire.CodeInvalid, format, args...)}
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
		return unsupported("a body is application/json in UTF-8, not %q", short(given[0]))
	}
	return nil
}

// decode reads the body into a struct with these fields.
func (rq *request) decode(fields strictjson.Fields, into any) error {
	if err := rq.read(); err != nil {
		return err
	}
	return decodeStrict(rq.body, fields, into)
}
