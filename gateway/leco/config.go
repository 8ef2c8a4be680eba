package leco

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"time"

	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/control/methods"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/gateway/zmtp"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// Cluster is what the door asks of its coordinator; *usecases.UseCases are that.
type Cluster interface {
	Self() registry.Coordinator
	State() *fsm.State
	Changed() <-chan struct{}
	Authenticate(from control.Credentials) (control.Principal, error)
	Enter(ctx context.Context, who control.Principal, in wire.SignIn, key string) (*home.Session, wire.SignedIn, bool, error)
	// Record tells the audit trail what came of a sign-in.
	Record(e audit.Event)
	EndSessions(ctx context.Context, sessions []registry.Fence, reason string) error
	Post(m wire.Message, o router.PostOptions, done func(error))
	// AuthorizeMethod is asked before the door carries out a method itself.
	AuthorizeMethod(from control.Credentials, method string) error
	// RecordMethod is told what came of that.
	RecordMethod(way methods.Way, session, method string, err error)
	CallAs(ctx context.Context, way methods.Way, s registry.Session, method string, params json.RawMessage) (any, uint64, error)
}

// Config is what Open needs: Cluster and Listener; the rest has defaults.
type Config struct {
	Cluster  Cluster
	Listener net.Listener // owned by the door
	// Egress is the coordinator's router's: the namespaces of linked foreign
	// coordinators are registered there. nil: only LECO's components reach them.
	Egress *router.Egress
	// Advertise is the host:port that foreign coordinators dial; default the
	// listener's address.
	Advertise string
	// Peers are foreign LECO coordinators, host[:port], to link to for ever.
	Peers []string

	// Expiration (15 s) and Cleaning (5 s) are pyleco's: who is silent for
	// longer than Expiration is asked for a pong at every cleaning, after three
	// times of it gone.
	Expiration time.Duration
	Cleaning   time.Duration
	// Nudge (300 ms): a connection on which nothing is received for so long is sent
	// that it is not signed in; a client that lost its coordinator signs in again.
	Nudge time.Duration
	// Answer (60 ms) is how long a sign-in waits for its write. pyleco gives up
	// after 100 ms; a name that is free here is granted by then, and taken back
	// with -32090 if the write is refused or not made within Provisional (15 s).
	Answer      time.Duration
	Provisional time.Duration
	// Stale (1.2 s): a connection that was silent for so long loses its
	// name to a new one that asks for it.
	Stale time.Duration

	// ShutDown is called for shut_down; nil: the method is refused.
	ShutDown func(by string)
	// SetLogLevel is called for set_log_level with DEBUG, INFO, WARNING, ERROR
	// or CRITICAL; nil: nothing changes.
	SetLogLevel func(level string)

	// Strangers (1024) bounds the connections on which nobody is signed in; a new one takes
	// the place of an old one (wire/pending).
	Strangers int

	Transport zmtp.Config // limits; Socket is not read
	Logger    *slog.Logger
}

// DefaultPort is LECO's port, for addresses without one.
const DefaultPort = "12300"

// lease is that of a LECO session: the door keeps it alive as long as the
// connection lives, so it counts only when the whole coordinator is gone.
const lease = 10 * time.Second

// Bounds of what others may make the door hold.
const (
	maxNames      = 64 // names of one connection
	maxLinks      = 256
	maxComponents = 100_000 // names of one foreign namespace
	maxNodes      = 1000    // of one add_nodes
)

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.Expiration, 15*time.Second)
	def(&c.Cleaning, 5*time.Second)
	def(&c.Nudge, 300*time.Millisecond)
	def(&c.Answer, 60*time.Millisecond)
	def(&c.Provisional, 15*time.Second)
	def(&c.Stale, 1200*time.Millisecond)
	if c.Strangers <= 0 {
		c.Strangers = 1024
	}
	if c.Advertise == "" {
		c.Advertise = c.Listener.Addr().String()
	}
	if c.Egress == nil {
		c.Egress = new(router.Egress)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
