package rest

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"time"

	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/control"
)

// DefaultConns is how many connections the port of a Router has at most.
const DefaultConns = 16_384

// longestWait caps ?wait= of blocking reads and long polls.
const longestWait = 10 * time.Minute

// Coordinator is what a Router needs to know of the coordinator it is part of.
type Coordinator interface {
	// Authenticate is asked once for each request, before its body is read.
	// Errors: unauthorized.
	Authenticate(from control.Credentials) (control.Principal, error)
	// AuthenticateJoin is asked in its place for a route of control.JoinRight. Errors:
	// unauthorized, unavailable.
	AuthenticateJoin(ctx context.Context, from control.Credentials) (control.Principal, error)
	// Now returns without blocking how fresh this coordinator's own state is.
	Now() control.Fresh
	Leads() string     // id of the leader; "" while none is known
	ClusterID() string // id of the cluster; "" while it is not known
}

// Config is what a Router is made of. Coordinator and Prefix are needed, the
// rest has defaults.
type Config struct {
	Coordinator Coordinator
	Prefix      string       // of every path, like /v1
	Logger      *slog.Logger // default: discard

	// AnyHost lets every Host pass. It is for a server that no foreign page can
	// be bound to by DNS: one off loopback, which its machine's browsers have no
	// better way to than others, one with a certificate, or one that asks for
	// tokens, since a page that a browser was tricked into has none.
	AnyHost bool
	// Hosts are further names this server is called by (a proxy's), where names
	// are judged. Addresses, names without a dot and private names always pass;
	// "*" lets any name pass.
	Hosts []string
	// Audit, if given, is told of each write, of what an administrator reads, and of
	// whatever is refused for want of a right. It must not block.
	Audit func(audit.Event)
	// AuditRefusals has Audit told of nothing but what is refused.
	AuditRefusals bool
	// TLS, if given, is used for every connection.
	TLS *tls.Config

	MaxConns   int // connections on the port; default DefaultConns
	MaxStreams int // streams, blocking reads and long polls together; default three quarters of MaxConns

	KeepAlive     time.Duration // between comments on a silent stream; default 15s
	WriteTimeout  time.Duration // of an answer since its request, or in which nothing of a stream is taken; default 40s
	ReadTimeout   time.Duration // of a whole request; default 30s
	IdleTimeout   time.Duration // of a kept connection; default 2m
	HeaderTimeout time.Duration // of a request's headers; default 5s
}

func (c Config) withDefaults() (Config, error) {
	if c.Coordinator == nil || c.Prefix == "" {
		return c, errors.New("rest: Config.Coordinator and Config.Prefix are needed")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&c.MaxConns, DefaultConns)
	setDefault(&c.MaxStreams, max(1, c.MaxConns*3/4))
	setDefault(&c.KeepAlive, 15*time.Second)
	setDefault(&c.WriteTimeout, 40*time.Second)
	setDefault(&c.ReadTimeout, 30*time.Second)
	setDefault(&c.IdleTimeout, 2*time.Minute)
	setDefault(&c.HeaderTimeout, 5*time.Second)
	return c, nil
}

func setDefault[T int | time.Duration](v *T, value T) {
	if *v <= 0 {
		*v = value
	}
}
