package rest

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire/hangup"
)

// MaxHeader bounds the headers of a request, in bytes.
const MaxHeader = 16 << 10

// ServerConfig is what a Server is made of. All fields but TLS are needed.
type ServerConfig struct {
	Handler  http.Handler
	TLS      *tls.Config // of every connection; nil: none
	Logger   *slog.Logger
	MaxConns int // connections on the port

	HeaderTimeout time.Duration // of a request's headers
	ReadTimeout   time.Duration // of a whole request
	WriteTimeout  time.Duration // of an answer since its request
	IdleTimeout   time.Duration // of a kept connection
}

// Server is one port: an http.Server whose connections are bounded.
type Server struct {
	http     *http.Server
	tls      *tls.Config
	maxConns int

	mu      sync.Mutex // guards limiter and closed
	limiter *connLimiter
	closed  bool
}

// NewServer returns a server that answers once Serve is called.
func NewServer(cfg ServerConfig) *Server {
	return &Server{
		tls: cfg.TLS, maxConns: cfg.MaxConns,
		http: &http.Server{
			Handler:           cfg.Handler,
			ReadHeaderTimeout: cfg.HeaderTimeout,
			ReadTimeout:       cfg.ReadTimeout,
			WriteTimeout:      cfg.WriteTimeout,
			IdleTimeout:       cfg.IdleTimeout,
			MaxHeaderBytes:    MaxHeader,
			ConnContext:       hangup.WithConn,
			ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
		},
	}
}

// Serve answers connections of l until Close; it then returns nil. It is
// called once and owns l.
func (s *Server) Serve(l net.Listener) error {
	if s.tls != nil {
		l = tls.NewListener(l, s.tls)
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return l.Close()
	}
	s.limiter = newConnLimiter(l, s.maxConns)
	s.http.ConnState = s.limiter.track
	s.mu.Unlock()
	err := s.http.Serve(s.limiter)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed && (errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed)) {
		return nil
	}
	return err
}

// Close stops listening, closes idle connections and waits for the active ones;
// when ctx ends first they are closed too and its error is returned. It may be
// called without Serve.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	limiter := s.limiter
	s.mu.Unlock()
	if limiter != nil {
		_ = limiter.Close() // Shutdown closes it again and returns the error
		limiter.closeIdle()
	}
	err := s.http.Shutdown(ctx)
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	if err != nil {
		_ = s.http.Close() // the error of Shutdown says why
	}
	return err
}

// Conns returns the number of connections now, and of those ever closed because
// the port was full.
func (s *Server) Conns() (open int, displaced uint64) {
	s.mu.Lock()
	limiter := s.limiter
	s.mu.Unlock()
	if limiter == nil {
		return 0, 0
	}
	return limiter.counts()
}
