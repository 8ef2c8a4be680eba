// Package ops is the operator's server: health, metrics and profiles.
package ops

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/folkmoot/folkmoot/httpapi/rest"
	"github.com/folkmoot/folkmoot/wire"
)

// Config is what an operator's server is made of.
type Config struct {
	Live    func() error                         // nil error: the process need not be restarted
	Ready   func() (ready bool, reason string)   // whether it can serve requests now
	Started func() (started bool, reason string) // whether it has come up
	// Gatherers are served together as /metrics.
	Gatherers []prometheus.Gatherer
	// NoProfiles answers 404 to /debug/pprof: a port that other machines reach asks
	// for no token, and profiles show what is in memory and cost time.
	NoProfiles bool
	Logger     *slog.Logger // default: discard
	MaxConns   int          // default DefaultConns
}

// DefaultConns is how many connections the port of a Server has at most.
const DefaultConns = 256

// Server answers /livez, /readyz, /startupz, /metrics and, unless Config says
// no, /debug/pprof, which are on no other port. It answers to whatever host name it is called by: probes
// and scrapers use many.
type Server struct {
	cfg    Config
	server *rest.Server
	mux    *rest.Mux
	ids    *rest.RequestIDs
}

// New returns a server that answers once Serve is called.
func New(cfg Config) (*Server, error) {
	if cfg.Live == nil || cfg.Ready == nil || cfg.Started == nil {
		return nil, errors.New("ops: the operator's server needs Live, Ready and Started")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = DefaultConns
	}
	s := &Server{cfg: cfg, mux: rest.NewMux(), ids: rest.NewRequestIDs()}
	s.server = rest.NewServer(rest.ServerConfig{
		Handler: s, Logger: cfg.Logger, MaxConns: cfg.MaxConns, Brief: true, HeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, WriteTimeout: 10 * time.Minute, // a profile runs as long as asked
	})
	s.probes()
	s.metrics()
	if !cfg.NoProfiles {
		s.profiles()
	}
	return s, nil
}

func (s *Server) probes() {
	probe := func(path string, check func() (ok bool, reason string)) {
		s.mux.Handle(path, probeHandler(check), http.MethodGet, http.MethodHead)
	}
	probe("/livez", func() (bool, string) {
		if err := s.cfg.Live(); err != nil {
			return false, err.Error()
		}
		return true, ""
	})
	probe("/readyz", s.cfg.Ready)
	probe("/startupz", s.cfg.Started)
}

// probeHandler answers 200 "ok", or 503 with the reason.
func probeHandler(check func() (ok bool, reason string)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		if ok, reason := check(); !ok {
			rest.WriteProblem(w, wire.NotTried("%s", reason))
			return
		}
		h.Set("Content-Type", "text/plain; charset=UTF-8")
		_, _ = w.Write([]byte("ok\n")) // the prober is gone: there is nobody to report it to
	})
}

func (s *Server) metrics() {
	s.mux.Handle("/metrics", promhttp.HandlerFor(prometheus.Gatherers(s.cfg.Gatherers), promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4, Timeout: 30 * time.Second,
	}), http.MethodGet, http.MethodHead)
}

func (s *Server) profiles() {
	for path, profile := range map[string]http.HandlerFunc{
		"*": pprof.Index, "cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace,
	} {
		s.mux.Handle("/debug/pprof/"+path, bounded(profile), http.MethodGet)
	}
}

// longestProfile is how many seconds a profile may run: net/http/pprof itself lets it run for
// as long as asked, and only one can at a time.
const longestProfile = 600

// bounded refuses a profile that would run for too long.
func bounded(profile http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if text := r.URL.Query().Get("seconds"); text != "" {
			if seconds, err := strconv.ParseFloat(text, 64); err != nil || !(seconds >= 0 && seconds <= longestProfile) {
				rest.WriteProblem(w, wire.Invalid("seconds", "a profile runs for at most %d seconds", longestProfile))
				return
			}
		}
		profile(w, r)
	})
}

// ServeHTTP is what every request passes before it is routed.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	s.ids.SetHeader(w.Header(), r)
	rest.Unread(w, r)
	if err := rest.CheckOrigin(r, nil); err != nil {
		rest.WriteProblem(w, err)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// Serve answers connections of l until Close; it then returns nil. It is
// called once and owns l.
func (s *Server) Serve(l net.Listener) error { return s.server.Serve(l) }

// Close lets running requests finish and closes what is left when ctx ends. It
// may be called without Serve.
func (s *Server) Close(ctx context.Context) error { return s.server.Close(ctx) }
