package rest

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/hangup"
)

// Request is one request under way. It is used again for others: nothing may
// keep it, its parameters or its body once the handler has returned.
type Request struct {
	router       *Router
	route        *Route
	w            *echo.Response
	r            *http.Request
	echo         echo.Context
	principal    control.Principal
	params       Params
	body         []byte
	in           bytes.Buffer // backs body
	out          bytes.Buffer // the answer while it is made
	bodyRead     bool         // to its end
	freshnessSet bool

	// For the audit trail.
	target, session string
	writtenAt       uint64
}

// handle checks the query and calls the route's handler.
func (rq *Request) handle() (err error) {
	if rq.params, err = rq.params.parse(rq.r.URL.RawQuery, rq.route.Params); err != nil {
		return err
	}
	if rq.route.MaxBody == 0 {
		if rq.r.ContentLength != 0 {
			Unread(rq.w, rq.r)
		}
		if err := rq.checkCaller(); err != nil {
			return err
		}
	}
	if rq.headOnly() {
		rq.params = slices.DeleteFunc(rq.params, func(p param) bool { return p.name == "wait" })
	}
	return rq.route.Handle(rq)
}

// headOnly tells whether the caller wants the headers alone. It gets them at
// once: it waits for nothing, and a stream ends where it begins.
func (rq *Request) headOnly() bool { return rq.r.Method == http.MethodHead }

// maxPooledBuffer is the largest buffer that is kept for the next request.
const maxPooledBuffer = 64 << 10

func (rq *Request) release() {
	rq.route, rq.echo, rq.w, rq.r, rq.freshnessSet, rq.bodyRead, rq.body, rq.principal = nil, nil, nil, nil, false, false, nil, control.Principal{}
	rq.target, rq.session, rq.writtenAt = "", "", 0
	clear(rq.params)
	rq.params = rq.params[:0]
	if rq.in.Cap() > maxPooledBuffer {
		rq.in = bytes.Buffer{}
	}
	if rq.out.Cap() > maxPooledBuffer {
		rq.out = bytes.Buffer{}
	}
	rq.in.Reset()
	rq.out.Reset()
	rq.router.requests.Put(rq)
}

// Context ends with the request, or when its caller closes the connection.
func (rq *Request) Context() context.Context { return rq.r.Context() }

// Principal is who asks.
func (rq *Request) Principal() control.Principal { return rq.principal }

// Params are the query parameters.
func (rq *Request) Params() Params { return rq.params }

// IdempotencyKey is the header of that name.
func (rq *Request) IdempotencyKey() string { return rq.Header("Idempotency-Key") }

// LastEventID is the header of that name: where a reader whose stream broke
// wants to resume.
func (rq *Request) LastEventID() string { return rq.Header("Last-Event-Id") }

// Header returns the first value of a header, given in its canonical form.
func (rq *Request) Header(canonical string) string { return first(rq.r.Header[canonical]) }

// HasHeader tells whether a header, given in its canonical form, was sent.
func (rq *Request) HasHeader(canonical string) bool {
	_, ok := rq.r.Header[canonical]
	return ok
}

// Prefers tells whether the caller accepts a media type and no stream of events.
func (rq *Request) Prefers(mediaType string) bool {
	accept := strings.Join(rq.r.Header["Accept"], ",")
	return strings.Contains(accept, mediaType) && !strings.Contains(accept, "text/event-stream")
}

// HTTP returns what net/http handed over, for a handler that takes over the
// connection.
func (rq *Request) HTTP() (http.ResponseWriter, *http.Request) { return rq.w, rq.r }

// PathParam returns a parameter of the path as the caller meant it. The router
// leaves it escaped if, and only if, the whole path came in an unusual escaping.
// Errors: invalid.
func (rq *Request) PathParam(name string) (string, error) {
	v := rq.echo.Param(name)
	if rq.r.URL.RawPath != "" {
		unescaped, err := url.PathUnescape(v)
		if err != nil {
			return "", wire.Invalid(name, "the path is malformed at %q", Clip(v))
		}
		v = unescaped
	}
	if v == "" || !isPlainText(v) {
		return "", wire.Invalid(name, "the path is malformed at %q", strings.ToValidUTF8(Clip(v), "?"))
	}
	return v, nil
}

// checkCaller refuses a write whose caller has closed the connection: that can come
// to light seconds after it asked, if this process stood still, and by then it
// may have asked elsewhere. Nobody reads the answer.
func (rq *Request) checkCaller() error {
	if (rq.route.Method != http.MethodGet || rq.route.SideEffects) && hangup.PeerClosed(hangup.Conn(rq.Context())) {
		return wire.NotTried("this was not begun: its caller has closed the connection")
	}
	return nil
}
