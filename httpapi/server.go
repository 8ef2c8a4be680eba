package httpapi

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"github.com/folkmoot/folkmoot/wire/hangup"
)

// server is one port: an http.Server whose connections are bounded.
type server struct {
	http  *http.Server
	tls   *tls.Config
	limit int

	mu     sync.Mutex // guards crowd and closed
	crowd  *crowd
	closed bool
}

func newServer(cfg Config, h http.Handler) *server {
	s := &server{tls: cfg.TLS, limit: cfg.MaxConns}
	s.http = &http.Server{
		Handler:           h,
		ReadHeaderTimeout: cfg.HeadTimeout,
		ReadTimeout:       cfg.ReadTimeout,
		WriteTimeout:      cfg.WriteTimeout,
		IdleTimeout:       cfg.IdleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       hangup.With,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	return s
}

func (s *server) serve(l net.Listener) error {
	if s.tls != nil {
		l = tls.NewListener(l, s.tls)
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return l.Close()
	}
	s.crowd = newCrowd(l, s.limit)
	s.http.ConnState = s.crowd.track
	s.mu.Unlock()
	err := s.http.Serve(s.crowd)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed && (errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed)) {
		return nil
	}
	return err
}

// close stops listening, closes silent connections and waits for the busy
// ones; when ctx ends first they are cut off and its error is returned.
func (s *server) close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	crowd := s.crowd
	s.mu.Unlock()
	if crowd != nil {
		_ = crowd.Close() // Shutdown closes it again and tells
		crowd.closeSilent()
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

// conns returns the connections now and those ever turned away or displaced.
func (s *server) conns() (now int, turned uint64) {
	s.mu.Lock()
	crowd := s.crowd
	s.mu.Unlock()
	if crowd == nil {
		return 0, 0
	}
	return crowd.counts()
}
