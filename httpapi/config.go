package httpapi

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/folkmoot/folkmoot/control"
)

// Limits of bodies, in bytes. They are checked before a body is read.
const (
	MaxBody        = 1 << 20  // any call but those below
	MaxMessageBody = 16 << 20 // POST /v1/messages and /v1/call
	maxHeader      = 16 << 10
)

// DefaultConns is how many connections the port of an API has at most.
const DefaultConns = 16_384

// longestWait caps ?wait= of blocking reads and long polls.
const longestWait = 10 * time.Minute

// Config is what an API server is made of. Control is needed, the rest has
// defaults.
type Config struct {
	Control Control
	Logger  *slog.Logger // default: discard

	// AnyHost lets every Host pass. It is for a server that no foreign page can
	// be bound to by DNS: one off loopback, which its machine's browsers have no
	// better way to than others, one with a certificate, or one
	// that asks for tokens, since a page that a browser was tricked into has none.
	AnyHost bool
	// Hosts are further names this server is called by (a proxy's), where names
	// are judged. Addresses, names without a dot and private names always pass;
	// "*" lets any name pass.
	Hosts []string
	// Sessions, if given, answers GET /v1/session, the WebSocket for native
	// sessions, for a principal that may come in. Its connections are its own to end.
	Sessions func(w http.ResponseWriter, r *http.Request, who control.Principal)
	// TLS, if given, is used for every connection.
	TLS *tls.Config

	MaxConns   int // connections on the port; default DefaultConns
	MaxStreams int // streams, blocking reads and long polls together; default three quarters of MaxConns

	KeepAlive    time.Duration // between comments on a silent stream; default 15s
	WriteTimeout time.Duration // of an answer since its request, or in which nothing of a stream is taken; default 40s
	ReadTimeout  time.Duration // of a whole request; default 30s
	IdleTimeout  time.Duration // of a kept connection; default 2m
	HeadTimeout  time.Duration // of a request's headers; default 5s
}

func (c Config) withDefaults() (Config, error) {
	if c.Control == nil {
		return c, errors.New("httpapi: no Control")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	orElse(&c.MaxConns, DefaultConns)
	orElse(&c.MaxStreams, max(1, c.MaxConns*3/4))
	orElse(&c.KeepAlive, 15*time.Second)
	orElse(&c.WriteTimeout, 40*time.Second)
	orElse(&c.ReadTimeout, 30*time.Second)
	orElse(&c.IdleTimeout, 2*time.Minute)
	orElse(&c.HeadTimeout, 5*time.Second)
	return c, nil
}

func orElse[T int | time.Duration](v *T, otherwise T) {
	if *v <= 0 {
		*v = otherwise
	}
}
