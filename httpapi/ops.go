package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/folkmoot/folkmoot/wire"
)

// OpsConfig is what an operator's server is made of.
type OpsConfig struct {
	Live    func() error                       // nil error: the process need not be restarted
	Ready   func() (ready bool, reason string) // whether it can serve requests now
	Started func() bool                        // whether it has come up
	// Gatherers are served together as /metrics; API.Metrics is one.
	Gatherers []prometheus.Gatherer
	Logger    *slog.Logger
	MaxConns  int // default 256
}

// Ops is the operator's server: /livez, /readyz, /startupz, /metrics and
// /debug/pprof, which are on no other port. Whatever name it is called by, it
// answers: probes and scrapers know it by many.
type Ops struct {
	cfg  OpsConfig
	srv  *server
	echo *echo.Echo
	ids  requestIDs
}

// NewOps returns a server that answers once Serve is called.
func NewOps(cfg OpsConfig) (*Ops, error) {
	if cfg.Live == nil || cfg.Ready == nil || cfg.Started == nil {
		return nil, errors.New("httpapi: the operator's server needs Live, Ready and Started")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	orElse(&cfg.MaxConns, 256)
	o := &Ops{cfg: cfg, ids: newRequestIDs()}
	o.srv = newServer(Config{
		Logger: cfg.Logger, MaxConns: cfg.MaxConns, HeadTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, WriteTimeout: 10 * time.Minute, // a profile runs as long as asked
	}, o)
	o.echo = newEcho(func(err error, c echo.Context) {
		if !c.Response().Committed {
			writeProblem(c.Response(), err)
		}
	})
	o.routes()
	return o, nil
}

func (o *Ops) routes() {
	e := o.echo
	look := []string{http.MethodGet, http.MethodHead}
	e.Match(look, "/livez", o.probe(func() (bool, string) {
		if err := o.cfg.Live(); err != nil {
			return false, err.Error()
		}
		return true, ""
	}))
	e.Match(look, "/readyz", o.probe(o.cfg.Ready))
	e.Match(look, "/startupz", o.probe(func() (bool, string) { return o.cfg.Started(), "still starting" }))
	e.Match(look, "/metrics", echo.WrapHandler(promhttp.HandlerFor(prometheus.Gatherers(o.cfg.Gatherers), promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4, Timeout: 30 * time.Second,
	})))
	e.GET("/debug/pprof/*", echo.WrapHandler(http.HandlerFunc(pprof.Index)))
	e.GET("/debug/pprof/cmdline", echo.WrapHandler(http.HandlerFunc(pprof.Cmdline)))
	e.GET("/debug/pprof/profile", echo.WrapHandler(http.HandlerFunc(pprof.Profile)))
	e.GET("/debug/pprof/symbol", echo.WrapHandler(http.HandlerFunc(pprof.Symbol)))
	e.GET("/debug/pprof/trace", echo.WrapHandler(http.HandlerFunc(pprof.Trace)))
}

// probe answers 200 "ok", or 503 with the reason.
func (o *Ops) probe(ask func() (bool, string)) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Response().Header()["Cache-Control"] = noStore
		ok, reason := ask()
		if !ok {
			return wire.NotTried("%s", reason)
		}
		return c.String(http.StatusOK, "ok\n")
	}
}

// ServeHTTP is what every request passes before it is routed.
func (o *Ops) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["X-Content-Type-Options"] = nosniff
	o.ids.name(h, r)
	if err := checkOrigin(r, nil); err != nil {
		writeProblem(w, err)
		return
	}
	o.echo.ServeHTTP(w, r)
}

// Serve answers connections of l until Close; it then returns nil. It is
// called once and owns l.
func (o *Ops) Serve(l net.Listener) error { return o.srv.serve(l) }

// Close lets running requests finish and closes what is left when ctx ends.
func (o *Ops) Close(ctx context.Context) error { return o.srv.close(ctx) }
