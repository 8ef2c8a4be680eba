// Package worker keeps a worker signed in and running parts, through the loss of coordinators and of sessions.
package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/jobs/work"
	"github.com/folkmoot/folkmoot/wire"
)

// Config says who works for whom.
type Config struct {
	Client *client.Client // lent: the caller closes it after Run

	Name      string
	Namespace string // default: that of the coordinator asked first
	Labels    map[string]string
	Place     wire.Place
	Lease     time.Duration // default client.DefaultLease

	// Runtimes and Slots go to the sign-in too; see work.Config.
	Runtimes []work.Runtime
	Slots    int
	Dir      string

	// Grace is how long parts may go on when Run is told to end; default 10s, negative is none.
	Grace time.Duration
	// Signed, if not nil, is told of every sign-in; it must not block.
	Signed func(wire.SignedIn)
	Logger *slog.Logger // default: silent
}

// nameTakenFor is how long a taken name is waited for: a worker started again finds its own old session until its lease ends.
const nameTakenFor = time.Minute

// Run signs in, runs parts and signs out when ctx ends; it returns nil then. It goes on trying as long as coordinators are
// merely not reached. It fails when the sign-in is refused: the name belongs to somebody else, or an operator removed it.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Slots = cmp.Or(cfg.Slots, 1)
	cfg.Grace = max(cmp.Or(cfg.Grace, 10*time.Second), 0)
	var last wire.SignedIn
	for {
		s, err := signIn(ctx, cfg, last)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		last = s.SignedIn()
		cfg.Logger.Info("signed in", "component", last.FullName, "home", last.Home)
		if cfg.Signed != nil {
			cfg.Signed(last)
		}
		err = life(ctx, cfg, s)
		switch lost := errors.Is(err, client.ErrLost); {
		case lost && ctx.Err() != nil:
			return nil // it was to end anyway
		case !lost:
			return err
		case client.Removed(err):
			return fmt.Errorf("not signing in again: %w", err)
		}
		cfg.Logger.Warn("signing in again", "error", err)
		last = s.SignedIn()
	}
}

// sayAfter is how long a sign-in may take, over all addresses, until somebody is told.
const sayAfter = 3 * time.Second

// signIn tries until it worked or was refused for good; with the session of before it takes the name over.
func signIn(ctx context.Context, cfg Config, last wire.SignedIn) (*client.Session, error) {
	body := wire.SignIn{
		Name: cfg.Name, Namespace: cfg.Namespace, Labels: cfg.Labels, Place: cfg.Place,
		Lease: wire.Duration(cfg.Lease), Runtimes: work.Names(cfg.Runtimes), Slots: cfg.Slots,
	}
	if last.Session != "" {
		body.Session, body.Secret, body.Namespace = last.Session, last.Secret, last.Namespace
	}
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval, pause.RandomizationFactor = 200*time.Millisecond, 5*time.Second, 0.5
	var takenSince time.Time
	for {
		late := time.AfterFunc(sayAfter, func() {
			cfg.Logger.Warn("no coordinator has taken the sign-in yet; going on trying", "addrs", strings.Join(cfg.Client.Addrs(), ","))
		})
		s, err := cfg.Client.Open(ctx, client.SessionConfig{SignIn: body, Inbox: true, Logger: cfg.Logger})
		late.Stop()
		if err == nil {
			return s, nil
		}
		switch code := wire.CodeOf(err); {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case code == wire.CodeUnavailable, code == wire.CodeUnknown, code == wire.CodeBusy, code == wire.CodeInternal:
		case body.Session != "" && !client.Removed(err):
			body.Session, body.Secret = "", "" // nobody knows it any more: a new life
		case code == wire.CodeNameTaken && (takenSince.IsZero() || time.Since(takenSince) < nameTakenFor):
			if takenSince.IsZero() {
				takenSince = time.Now()
			}
		default:
			return nil, err
		}
		cfg.Logger.Warn("not signed in yet", "error", err)
		select {
		case <-time.After(pause.NextBackOff()):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// life is one session: it works until ctx ends, then lets parts finish within the grace and signs out; or until the
// session is lost, when everything it runs is stopped at once, since others may get it now.
func life(ctx context.Context, cfg Config, s *client.Session) error {
	h := newHome(s)
	w, err := work.Open(h, work.Config{Slots: cfg.Slots, Runtimes: cfg.Runtimes, Dir: cfg.Dir, Logger: cfg.Logger})
	if err == nil {
		select {
		case <-ctx.Done():
			h.closing.Store(true)
			drained(s, w, cfg.Grace)
		case <-s.Done():
		}
		err = w.Close()
	}
	lost := s.Err()
	out, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if cerr := s.Close(out); cerr != nil {
		cfg.Logger.Warn("not signed out: the name is free when its lease ends", "error", cerr)
	}
	h.wait()
	if lost != nil {
		return lost
	}
	return err
}

// drained waits until no part is held, the grace is over or the session ends.
func drained(s *client.Session, w *work.Worker, grace time.Duration) {
	over := time.NewTimer(grace)
	defer over.Stop()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for w.Stats().Held > 0 {
		select {
		case <-look.C:
		case <-over.C:
			return
		case <-s.Done():
			return
		}
	}
}
