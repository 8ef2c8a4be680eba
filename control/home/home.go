// Package home is what a coordinator keeps for the sessions that are at home at it: mailbox, lease, deliveries to
// workers, sends under way and the logs of their parts, behind one handle for all doors.
package home

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/registry/lease"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// Config is what a Home is made of. Core and Mail are needed.
type Config struct {
	Core    *control.Core
	Mail    Mail
	DataDir string // part logs live in DataDir/joblogs; "" keeps none
	// LogBudget bounds all part logs of this coordinator together, in bytes;
	// default 1 GiB. Beyond it append_log answers busy.
	LogBudget int64
}

// Home keeps the sessions at home at one coordinator. Its methods are safe for
// concurrent use.
type Home struct {
	*control.Core

	mail       Mail
	leases     *lease.Keeper
	local      localSessions
	dispatched dispatched
	sends      sends
	logs       *partLogs

	tokensWake chan struct{}      // has followTokens look
	tokensSeen control.TokenState // by the goroutine that follows the feed
}

// New returns a Home that answers at once; Run must be running for mailboxes,
// leases and part logs to be kept. It registers the peer methods "control.*".
func New(cfg Config) (*Home, error) {
	if cfg.Core == nil || cfg.Mail == nil {
		return nil, errors.New("control/home: no core or no mail")
	}
	if cfg.LogBudget <= 0 {
		cfg.LogBudget = 1 << 30
	}
	logs, err := openPartLogs(cfg.DataDir, cfg.LogBudget)
	if err != nil {
		return nil, fmt.Errorf("control/home: %w", err)
	}
	h := &Home{Core: cfg.Core, mail: cfg.Mail, logs: logs, tokensWake: make(chan struct{}, 1)}
	h.leases = lease.New(lease.Config{Propose: lease.Through(h.Proposer(), h.Self().ID), Logger: cfg.Core.Log()})
	if h.Peers() != nil {
		h.handlePeers()
	}
	return h, nil
}

// Run keeps the mailboxes and leases of the sessions at home here in step with
// the replicated state, until ctx ends. It is called once.
func (h *Home) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return h.leases.Run(ctx) })
	g.Go(func() error { return h.follow(ctx) })
	g.Go(func() error { return h.followTokens(ctx) })
	err := g.Wait()
	h.closeMailboxes()
	return err
}

// Close closes the part logs, once Run has returned.
func (h *Home) Close() { h.logs.close() }

// Sessions counts the sessions that have a mailbox here.
func (h *Home) Sessions() int { return h.local.len() }

// Mail returns what the sessions' messages go through.
func (h *Home) Mail() Mail { return h.mail }

// Post sends a message as it stands, without blocking; the caller vouches for its
// sender. Without a Timeout it is PostTime. done (may be nil) is called exactly
// once, perhaps before Post returns, and must not block; its error is as of Send.
func (h *Home) Post(m wire.Message, o router.PostOptions, done func(error)) {
	if o.Timeout == 0 {
		o.Timeout = PostTime
	}
	h.mail.PostWith(m, o, func(_ router.Outcome, err error) {
		if done != nil {
			done(control.WriteError(err))
		}
	})
}

// EndSessions ends sessions whose connections are gone, in one write. Fences
// that are stale by then change nothing. Errors: unavailable, unknown.
func (h *Home) EndSessions(ctx context.Context, sessions []registry.Fence, reason string) error {
	ended, _, err := propose.Do[[]string](ctx, h.Proposer(), registry.KindExpire, propose.System(h.Self().ID), registry.Expire{Sessions: sessions, Reason: reason})
	for _, full := range ended {
		h.Reconcile(full, "")
	}
	return err
}
