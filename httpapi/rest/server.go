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
	// Brief says that every request is answered at once: when the port is full, the
	// connection that has asked for nothing for longest gives way, busy or not, so that
	// neither callers who read no answer nor such who owe a body keep a probe out.
	Brief bool

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
	brief    bool

	mu      sync.Mutex // guards limiter and closed
	limiter *connLimiter
	closed  bool
}

// NewServer returns a server that answers once Serve is called.
func NewServer(cfg ServerConfig) *Server {
	s := &Server{tls: cfg.TLS, maxConns: cfg.MaxConns, brief: cfg.Brief}
	s.http = &http.Server{
		Handler:           cfg.Handler,
		ReadHeaderTimeout: cfg.HeaderTimeout,
		ReadTimeout:       cfg.ReadTimeout,
		WriteTimeout:      cfg.WriteTimeout,
		IdleTimeout:       cfg.IdleTimeout,
		MaxHeaderBytes:    MaxHeader,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(hangup.WithConn(ctx, conn), serverKey{}, s)
		},
		ErrorLog: slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	return s
}

// serverKey is that of a connection's Server in the context of its requests.
type serverKey struct{}

// Unread is called before the answer to a request whose body is not read, or not to its
// end. net/http would wait for the rest of a body before it answers: the answer goes at
// once instead and the connection is closed behind it, after the rest had a short time to
// come. Meanwhile the connection counts as idle. So a caller who withholds a body that it
// announced holds nothing.
//
// The connection is not used again, since what comes late of the body would be taken for a
// request: full duplex, net/http's own way to answer early, allows that.
func Unread(w http.ResponseWriter, r *http.Request) {
	if s, ok := r.Context().Value(serverKey{}).(*Server); ok {
		s.mu.Lock()
		limiter := s.limiter
		s.mu.Unlock()
		limiter.yield(hangup.Conn(r.Context()))
	}
	if r.ContentLength != 0 {
		w.Header()["Connection"] = connectionClose
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(lingerTime)) // a recorder in a test has none
	}
}

var connectionClose = []string{"close"}

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
	s.limiter = newConnLimiter(l, s.maxConns, s.brief)
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
