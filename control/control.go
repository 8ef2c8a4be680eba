// Package control holds the use cases: what a door may ask of a coordinator, with who may, is there room, under which id and with what outcome.
package control

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/registry/lease"
	"github.com/folkmoot/folkmoot/wire"
)

// Config is what a Control is made of. Machine, Node, Mail and Self are
// needed; the rest has defaults.
type Config struct {
	Machine *fsm.Machine
	Node    Replica
	// Proposer is the way of all writes; default one over Node.
	Proposer *propose.Proposer
	Mail     Mail
	Peers    Peers // nil: this coordinator is alone
	Self     registry.Coordinator
	DataDir  string // part logs live in DataDir/joblogs; "" keeps none
	// LogBudget bounds all part logs of this coordinator together, in bytes;
	// default 1 GiB. Beyond it append_log answers busy.
	LogBudget int64
	Bounds    Bounds           // of what users can make the state grow to
	Now       func() time.Time // default time.Now
	Random    io.Reader        // default crypto/rand
	Logger    *slog.Logger
	// Describe, if given, completes the answer of Status with what only the
	// one who put the coordinator together knows (timeouts, insecure, ...).
	Describe func(*wire.Status)
	// Authenticator knows who may come in; default: everybody.
	Authenticator *Authenticator
}

// Control is what doors call. All its methods are safe for concurrent use and
// return *wire.Error for everything a caller can act on.
type Control struct {
	*Authenticator

	machine  *fsm.Machine
	node     Replica
	mail     Mail
	peers    Peers
	self     registry.Coordinator
	now      func() time.Time
	random   io.Reader
	log      *slog.Logger
	started  time.Time
	describe func(*wire.Status)

	leases   *lease.Keeper
	homed    homed
	given    given
	sends    outcomes
	logs     *partLogs
	bounds   Bounds
	calls    calls
	proposer *propose.Proposer

	// mu guards running and closed.
	mu      sync.Mutex
	cancel  context.CancelFunc
	running chan struct{} // closed when Run has returned
	closed  bool
}

// New returns a Control that answers at once; Run must be running for
// mailboxes, leases and part logs to be kept. It registers the peer methods
// "control.*" at Peers.
func New(cfg Config) (*Control, error) {
	switch {
	case cfg.Machine == nil:
		return nil, errors.New("control: no machine")
	case cfg.Node == nil:
		return nil, errors.New("control: no node")
	case cfg.Mail == nil:
		return nil, errors.New("control: no mail")
	case cfg.Self.ID == "" || cfg.Self.Namespace == "":
		return nil, errors.New("control: this coordinator has no id or no namespace")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Proposer == nil {
		cfg.Proposer = propose.New(cfg.Node, cfg.Now)
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	if cfg.Authenticator == nil {
		cfg.Authenticator = &Authenticator{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Bounds = cfg.Bounds.withDefaults()
	if cfg.LogBudget <= 0 {
		cfg.LogBudget = 1 << 30
	}
	logs, err := openPartLogs(cfg.DataDir, cfg.LogBudget)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	c := &Control{
		machine: cfg.Machine, node: cfg.Node, mail: cfg.Mail, peers: cfg.Peers, self: cfg.Self,
		now: cfg.Now, random: cfg.Random, log: cfg.Logger, started: cfg.Now(), describe: cfg.Describe,
		logs: logs, bounds: cfg.Bounds, proposer: cfg.Proposer, Authenticator: cfg.Authenticator,
	}
	c.leases = lease.New(lease.Config{Propose: lease.Through(cfg.Proposer, cfg.Self.ID), Logger: cfg.Logger})
	if c.peers != nil {
		c.handlePeers()
	}
	return c, nil
}

// Run keeps the mailboxes and leases of the sessions homed here in step with
// the replicated state and answers messages to COORDINATOR, until ctx ends or
// Close is called. It is called once.
func (c *Control) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.mu.Lock()
	if c.closed || c.running != nil {
		c.mu.Unlock()
		return errors.New("control: already run or closed")
	}
	done := make(chan struct{})
	c.cancel, c.running = cancel, done
	c.mu.Unlock()
	defer close(done)

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.leases.Run(ctx) })
	g.Go(func() error { return c.follow(ctx) })
	g.Go(func() error { return c.answer(ctx) })
	err := g.Wait()
	c.letGo()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Close ends Run and waits for it.
func (c *Control) Close() {
	c.mu.Lock()
	c.closed = true
	cancel, running := c.cancel, c.running
	c.mu.Unlock()
	if running != nil {
		cancel()
		<-running
	}
	c.logs.close()
}

// Name returns the full name of this coordinator's COORDINATOR.
func (c *Control) Name() string { return registry.FullName(c.self.Namespace, wire.Coordinator) }

// Self returns this coordinator's row as it announces itself.
func (c *Control) Self() registry.Coordinator { return c.self }
