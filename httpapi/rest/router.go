package rest

import (
	"context"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/wire"
)

// Route is one method of one path.
type Route struct {
	Method string
	Path   string // below the prefix; a part that begins with : is a parameter
	// Right is what a token needs for it, and Scope where the namespace comes from that it
	// needs it in. Both are told in the contract; they are judged by the use case behind the
	// route. RightWithoutSession is what it needs of a caller without X-Session, if that is
	// another right.
	Right, RightWithoutSession control.Right
	Scope                      Scope
	Params                     []string // query parameters it takes; nil: any
	// MaxBody is how many bytes a body may have; 0: no body is read.
	MaxBody int64
	// Routine marks a write that the audit trail does not have unless it is refused for
	// want of a right: heartbeats and messages.
	Routine bool
	// Polled marks a read of the audit trail that is in it, but not every time.
	Polled bool
	// SideEffects marks a GET that does more than read: it has no HEAD.
	SideEffects bool
	// Handle answers a request, or returns the error that is answered. It may
	// keep nothing of the request once it has returned.
	Handle func(*Request) error

	metrics *routeMetrics
}

// Router answers the routes that were added to it, on one port: it authenticates
// the callers, reads requests strictly, bounds what goes on for long and counts
// what was answered.
type Router struct {
	cfg       Config
	hosts     []string // nil: any
	echo      *echo.Echo
	server    *Server
	metrics   *metrics
	streams   *streamLimiter
	ids       *RequestIDs
	freshness freshnessHeaders
	requests  sync.Pool         // of *Request
	routes    map[string]*Route // by method, blank and path
}

// NewRouter returns a Router without routes that answers once Serve is called.
func NewRouter(cfg Config) (*Router, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	rt := &Router{cfg: cfg, ids: NewRequestIDs(), streams: newStreamLimiter(cfg.MaxStreams), routes: map[string]*Route{}}
	if !cfg.AnyHost {
		rt.hosts = append([]string{}, cfg.Hosts...)
	}
	rt.requests.New = func() any { return &Request{router: rt} }
	rt.server = NewServer(ServerConfig{
		Handler: rt, TLS: cfg.TLS, Logger: cfg.Logger, MaxConns: cfg.MaxConns, HeaderTimeout: cfg.HeaderTimeout,
		ReadTimeout: cfg.ReadTimeout, WriteTimeout: cfg.WriteTimeout, IdleTimeout: cfg.IdleTimeout,
	})
	rt.metrics = newMetrics(rt.streams.count, rt.server.Conns)
	rt.echo = newEcho(rt.routingError)
	return rt, nil
}

// Handle has the router answer a route. It must not be called once requests
// come in.
func (rt *Router) Handle(route Route) {
	path := rt.cfg.Prefix + route.Path
	route.metrics = rt.metrics.route(route.Method, path)
	rt.routes[route.Method+" "+path] = &route
	serve := func(c echo.Context) error {
		rt.serve(&route, c)
		return nil
	}
	rt.echo.Add(route.Method, path, serve)
	if route.Method == http.MethodGet && !route.SideEffects {
		rt.echo.Add(http.MethodHead, path, serve) // net/http leaves the body out
	}
}

// RouteInfo is what a route is known by, and what it needs.
type RouteInfo struct {
	Method, Path               string // with the prefix
	Right, RightWithoutSession control.Right
	Scope                      Scope
}

// Routes lists all that is answered; the HEAD of a GET is not listed.
func (rt *Router) Routes() (routes []RouteInfo) {
	for _, r := range rt.echo.Routes() {
		if r.Method != http.MethodHead {
			added := rt.routes[r.Method+" "+r.Path]
			routes = append(routes, RouteInfo{r.Method, r.Path, added.Right, added.RightWithoutSession, added.Scope})
		}
	}
	return routes
}

// WriteTimeout returns how long an answer may take since its request.
func (rt *Router) WriteTimeout() time.Duration { return rt.cfg.WriteTimeout }

// Metrics returns the metrics of this router.
func (rt *Router) Metrics() prometheus.Gatherer { return rt.metrics.registry }

// Serve answers connections of l until Close; it then returns nil. It is
// called once and owns l.
func (rt *Router) Serve(l net.Listener) error { return rt.server.Serve(l) }

// Close ends all streams with a last comment, lets running requests finish and
// closes what is left when ctx ends. It may be called without Serve.
func (rt *Router) Close(ctx context.Context) error {
	rt.streams.close()
	return rt.server.Close(ctx)
}

// ServeHTTP is what every request passes before it is routed: the id it is
// found by, whether its page may call at all, and the headers of every answer.
// The route authenticates the caller, or for want of one routingError does.
func (rt *Router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Close && r.ContentLength != 0 {
		defer linger(w, r)
	}
	h := w.Header()
	h["X-Content-Type-Options"] = nosniff
	rt.ids.SetHeader(h, r)
	if err := CheckOrigin(r, rt.hosts); err != nil {
		rt.refuse(w, r, nil, err)
		return
	}
	rt.echo.ServeHTTP(w, r)
}

// Beat passes a request of nobody through what every request needs: its route is
// looked up, and how fresh an answer would be. It is counted nowhere. For a watchdog:
// it returns unless one of these hangs.
func (rt *Router) Beat() {
	c := rt.echo.AcquireContext()
	defer rt.echo.ReleaseContext(c)
	rt.echo.Router().Find(http.MethodGet, rt.cfg.Prefix+"/status", c)
	rt.freshness.set(http.Header{}, rt.cfg.Coordinator.Now(), rt.cfg.Coordinator.ClusterID())
}

// refuse answers a request that reached no handler; route is nil where it is not known.
func (rt *Router) refuse(w http.ResponseWriter, r *http.Request, route *Route, err error) {
	Unread(w, r)
	rt.freshness.set(w.Header(), rt.cfg.Coordinator.Now(), rt.cfg.Coordinator.ClusterID())
	rt.metrics.unrouted(r.Method, WriteProblem(w, err))
	rt.recordUnrouted(r, route, w.Header().Get("X-Request-Id"), err)
}

// routingError answers a request that has no route. A caller without a known
// token does not learn that.
func (rt *Router) routingError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	if _, unauthorized := rt.authenticate(c.Request(), ""); unauthorized != nil {
		c.Response().Header().Del(echo.HeaderAllow)
		err = unauthorized
	}
	rt.refuse(c.Response().Writer, c.Request(), nil, err)
}

// serve carries one request through its handler and counts the outcome. A
// handler's panic is an internal fault of this request alone.
func (rt *Router) serve(route *Route, c echo.Context) {
	start := time.Now()
	principal, err := rt.authenticate(c.Request(), route.Right)
	if err != nil {
		rt.refuse(c.Response().Writer, c.Request(), route, err)
		return
	}
	rq := rt.requests.Get().(*Request)
	rq.route, rq.echo, rq.w, rq.r, rq.principal = route, c, c.Response(), c.Request(), principal
	defer func() {
		if fault := recover(); fault != nil {
			if fault == http.ErrAbortHandler { // a piece of the answer is with the caller
				rq.record(wire.Refuse(wire.CodeUnknown, "the answer was broken off"))
				route.metrics.observe(rq.w.Status, time.Since(start))
				panic(fault)
			}
			rt.cfg.Logger.Error("request panicked", "method", route.Method, "path", route.Path, "request_id", rq.w.Header().Get("X-Request-Id"), "fault", fault, "stack", string(debug.Stack()))
			err = wire.Refuse(wire.CodeInternal, "internal fault; the log of this coordinator has it under this request id")
			rq.writeError(err)
		}
		rq.record(err)
		route.metrics.observe(rq.w.Status, time.Since(start))
		rq.release()
	}()
	if err = rq.handle(); err != nil {
		rq.writeError(err)
	}
}
