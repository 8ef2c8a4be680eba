// Package usecases puts the use cases of one coordinator together.
package usecases

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/cluster"
	"github.com/folkmoot/folkmoot/control/directory"
	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/control/methods"
	"github.com/folkmoot/folkmoot/control/snapshots"
	"github.com/folkmoot/folkmoot/control/tokens"
	"github.com/folkmoot/folkmoot/control/work"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// Config is what UseCases are made of. Machine, Replica, Mail and Self are
// needed; the rest has defaults.
type Config struct {
	Machine       *fsm.Machine
	Replica       control.Replica
	Mail          home.Mail
	Proposer      *propose.Proposer // see control.Config
	Peers         control.Peers     // nil: this coordinator is alone
	Self          registry.Coordinator
	Authenticator *control.Authenticator // default: everybody may come in
	Trail         control.Trail          // see control.Config
	DataDir       string                 // see home.Config
	LogBudget     int64                  // see home.Config
	Bounds        control.Bounds         // of what users can make the state grow to
	GrowthRefused func() error           // see control.Config
	Now           func() time.Time       // default time.Now
	Random        io.Reader              // default crypto/rand
	Logger        *slog.Logger           // default: discard
	Describe      func(*wire.Status)     // see cluster.New
	Debug         cluster.WriteDebug     // see cluster.New
	Signer        tokens.Signer          // see tokens.New
}

// UseCases are all that doors call. All methods are safe for concurrent use and
// return *wire.Error for everything a caller can act on.
type UseCases struct {
	*control.Core
	*home.Home
	*directory.Directory
	*work.Work
	*cluster.Cluster
	*methods.Coordinator
	*tokens.Tokens
	*snapshots.Snapshots

	// mu guards running, cancel and closed.
	mu      sync.Mutex
	cancel  context.CancelFunc
	running chan struct{} // closed when Run has returned
	closed  bool
}

// New returns use cases that answer at once; Run must be running for mailboxes,
// leases and part logs to be kept, for COORDINATOR to answer, and for the state to
// learn when tokens were used. It registers the
// peer methods "control.*" and "tokens.*" at Peers.
func New(cfg Config) (*UseCases, error) {
	core, err := control.New(control.Config{
		Machine: cfg.Machine, Replica: cfg.Replica, Proposer: cfg.Proposer, Peers: cfg.Peers, Self: cfg.Self, Authenticator: cfg.Authenticator, Trail: cfg.Trail,
		Bounds: cfg.Bounds, GrowthRefused: cfg.GrowthRefused, Now: cfg.Now, Random: cfg.Random, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	h, err := home.New(home.Config{Core: core, Mail: cfg.Mail, DataDir: cfg.DataDir, LogBudget: cfg.LogBudget})
	if err != nil {
		return nil, err
	}
	d, w := directory.New(core, h), work.New(core, h)
	return &UseCases{
		Core: core, Home: h, Directory: d, Work: w, Cluster: cluster.New(core, h, cfg.Describe, cfg.Debug), Coordinator: methods.New(core, h, d, w),
		Tokens: tokens.New(core, cfg.Signer), Snapshots: snapshots.New(core, cfg.DataDir),
	}, nil
}

// Run keeps what hangs on the state in step with it and answers messages to
// COORDINATOR, until ctx ends or Close is called. It is called once.
func (u *UseCases) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	u.mu.Lock()
	if u.closed || u.running != nil {
		u.mu.Unlock()
		return errors.New("control: already run or closed")
	}
	done := make(chan struct{})
	u.cancel, u.running = cancel, done
	u.mu.Unlock()
	defer close(done)

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return u.Home.Run(ctx) })
	g.Go(func() error { return u.Coordinator.Run(ctx) })
	g.Go(func() error { return u.Tokens.Run(ctx) })
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Close ends Run and waits for it.
func (u *UseCases) Close() {
	u.mu.Lock()
	u.closed = true
	cancel, running := u.cancel, u.running
	u.mu.Unlock()
	if running != nil {
		cancel()
		<-running
	}
	u.Home.Close()
}
