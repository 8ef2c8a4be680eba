package httpapi

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

// API is the server of /v1.
type API struct {
	cfg     Config
	control Control
	hosts   []string // nil: any
	echo    *echo.Echo
	srv     *server
	metrics *metrics
	streams streams
	encoded encodedEvents
	ids     requestIDs
	fresh   freshHeaders
	doc     func() ([]byte, error) // the contract, made once
	pool    sync.Pool              // of *request
}

// New returns an API that answers once Serve is called.
func New(cfg Config) (*API, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	a := &API{cfg: cfg, control: cfg.Control, ids: newRequestIDs(), doc: sync.OnceValues(Contract)}
	if !cfg.AnyHost {
		a.hosts = append([]string{}, cfg.Hosts...)
	}
	a.pool.New = func() any { return &request{api: a} }
	a.streams.init(cfg.MaxStreams)
	a.srv = newServer(cfg, a)
	a.metrics = newMetrics(a)
	a.echo = newEcho(a.routerError)
	a.memberRoutes()
	a.componentRoutes()
	a.messageRoutes()
	a.callRoutes()
	a.jobRoutes()
	a.statusRoutes()
	a.eventRoutes()
	a.sessionRoutes()
	a.contractRoutes()
	return a, nil
}

// newEcho returns a router that trusts no forwarded address and whose own
// refusals (no such path, no such method) go to onError.
func newEcho(onError echo.HTTPErrorHandler) *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.IPExtractor = echo.ExtractIPDirect()
	e.HTTPErrorHandler = onError
	return e
}

// Serve answers connections of l until Close; it then returns nil. It is
// called once and owns l.
func (a *API) Serve(l net.Listener) error { return a.srv.serve(l) }

// Close ends all streams with a last word, lets running requests finish and
// closes what is left when ctx ends. It may be called without Serve.
func (a *API) Close(ctx context.Context) error {
	a.streams.close()
	return a.srv.close(ctx)
}

// ServeHTTP is what every request passes before it is routed: the id it is
// found by, whether its page may call at all, and the headers of every answer. Who
// calls is asked by the route, or for want of one by routerError.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Close && r.ContentLength != 0 {
		defer linger(w, r)
	}
	h := w.Header()
	h["X-Content-Type-Options"] = nosniff
	a.ids.name(h, r)
	if err := checkOrigin(r, a.hosts); err != nil {
		a.refuse(w, r, err)
		return
	}
	a.echo.ServeHTTP(w, r)
}

// What is read of a body that was refused, so that the answer arrives.
const (
	lingerTime  = 2 * time.Second
	lingerBytes = 16 << 20
)

// linger makes sure that a caller who asked for the connection to be closed
// gets its answer although its body was not read: net/http would close at once,
// and a socket closed with unread bytes takes the answer back. A body that goes
// on beyond a limit is what net/http waits for before it closes, for half a
// second, which a caller on a busy machine may need to write alone: what it still
// sends is read for a while first.
func linger(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	if control.Flush() != nil {
		return
	}
	if control.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, r.Body, lingerBytes)
	}
	_, _ = http.MaxBytesReader(w, r.Body, 0).Read(make([]byte, 1))
}

// refuse answers a request that never came to a route.
func (a *API) refuse(w http.ResponseWriter, r *http.Request, err error) {
	a.fresh.write(w.Header(), a.control.Now(), a.control.Cluster())
	a.metrics.unrouted(r.Method, writeProblem(w, err))
}

// routerError answers a request that has no route. Who presents no token that is
// known does not learn that.
func (a *API) routerError(err error, c echo.Context) {
	if !c.Response().Committed {
		if _, unknown := a.authenticate(c.Request()); unknown != nil {
			c.Response().Header().Del(echo.HeaderAllow)
			err = unknown
		}
		a.refuse(c.Response().Writer, c.Request(), err)
	}
}
