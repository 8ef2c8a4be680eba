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
	// Client says where to sign in: at the REST ports of coordinators. It is lent: the caller closes it after Run.
	Client *client.Client

	Name      string
	Namespace string // default: that of the coordinator asked first
	Labels    map[string]string
	Place     wire.Place
	Lease     time.Duration // default DefaultLease; at least wire.ShortestNativeLease

	// Runtimes and Slots go to the sign-in too; see work.Config.
	Runtimes []work.Runtime
	Slots    int
	Dir      string

	// Grace is how long parts may go on when Run is to end; default 10s, negative is none.
	Grace time.Duration
	// Signed, if not nil, is called after every sign-in; it must not block.
	Signed func(wire.SignedIn)
	Logger *slog.Logger // default: silent
}

// DefaultLease is the lease of a worker that asks for none.
const DefaultLease = 15 * time.Second

// nameTakenTimeout is how long signIn waits for a taken name: a restarted worker finds its own old session until the
// lease of that one ends.
const nameTakenTimeout = time.Minute

// Run signs in, runs parts and signs out when ctx ends; it returns nil then. It goes on trying as long as coordinators
// are merely not reached. It fails when the sign-in is refused: the name belongs to somebody else, or an operator
// removed it.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Lease = cmp.Or(cfg.Lease, DefaultLease); cfg.Lease > 0 && cfg.Lease < wire.ShortestNativeLease {
		cfg.Logger.Warn("the lease is shorter than that of a session can be", "lease", cfg.Lease, "instead", wire.ShortestNativeLease)
		cfg.Lease = wire.ShortestNativeLease
	}
	cfg.Slots = cmp.Or(cfg.Slots, 1)
	cfg.Grace = max(cmp.Or(cfg.Grace, 10*time.Second), 0)
	var last wire.SignedIn
	var lostWorker *work.Worker // of the session that was lost
	for {
		s, err := signIn(ctx, cfg, last, lostWorker)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		last = s.Welcome().SignedIn
		cfg.Logger.Info("signed in", "component", last.FullName, "home", last.Home)
		if cfg.Signed != nil {
			cfg.Signed(last)
		}
		lostWorker, err = runSession(ctx, cfg, s)
		switch lost := errors.Is(err, client.ErrLost); {
		case lost && ctx.Err() != nil:
			return nil // it was to end anyway
		case !lost:
			return err
		case client.Removed(err):
			return fmt.Errorf("not signing in again: %w", err)
		}
		cfg.Logger.Warn("signing in again", "error", err)
		last = s.Welcome().SignedIn
	}
}

// warnAfter is how long a sign-in may take, over all addresses, before a warning is logged.
const warnAfter = 3 * time.Second

// signIn retries until it succeeds or is refused for good. With the previous session it takes the name over, once the
// reports of the lost worker are delivered; if parts were given up, that session ends and a new one begins, so that the
// parts are new attempts.
func signIn(ctx context.Context, cfg Config, last wire.SignedIn, lostWorker *work.Worker) (*client.Session, error) {
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
		warning := time.AfterFunc(warnAfter, func() {
			args := []any{"addrs", strings.Join(cfg.Client.Addrs(), ",")}
			if err := cfg.Client.LastFailure(); err != nil {
				args = append(args, "error", err)
			}
			cfg.Logger.Warn("no coordinator has taken the sign-in yet; going on trying", args...)
		})
		var s *client.Session
		over, err := closeLostSession(ctx, cfg, last, lostWorker)
		if err == nil {
			if lostWorker = nil; over {
				body.Session, body.Secret = "", ""
			}
			s, err = dial(ctx, cfg, body)
		}
		warning.Stop()
		if err == nil {
			return s, nil
		}
		switch code := wire.CodeOf(err); {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case transient(code):
		case body.Session != "" && !client.Removed(err):
			body.Session, body.Secret = "", "" // the session is not known any more: start a new one
		case code == wire.CodeNameTaken && (takenSince.IsZero() || time.Since(takenSince) < nameTakenTimeout):
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

// dial tries to sign in for some time.
func dial(ctx context.Context, cfg Config, in wire.SignIn) (*client.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, client.DefaultTimeout)
	defer cancel()
	return cfg.Client.Dial(ctx, client.Component{SignIn: in, Inbox: true, Logger: cfg.Logger})
}

// closeLostTimeout bounds one call of closeLostSession.
const closeLostTimeout = 10 * time.Second

// closeLostSession reports, under the secret of a lost session, the parts that had ended in it, and signs the session
// out if parts were given up, which puts them back. It runs before the next sign-in accepts parts. over reports that
// the session has ended, now or before; an error means that this is not known and the call is to be repeated.
func closeLostSession(ctx context.Context, cfg Config, last wire.SignedIn, lostWorker *work.Worker) (over bool, err error) {
	if lostWorker == nil {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, closeLostTimeout)
	defer cancel()
	err = lostWorker.Report(ctx, lostSession{cfg.Client, last.Secret})
	if err == nil && lostWorker.GivenUp() > 0 {
		cfg.Logger.Warn("parts were given up with the session; they are given back", "parts", lostWorker.GivenUp())
		over = true
		_, err = cfg.Client.SignOut(ctx, last.FullName, last.Secret)
	}
	switch code := wire.CodeOf(err); {
	case err == nil:
		return over, nil
	case client.Removed(err), ctx.Err() != nil, transient(code):
		return false, err
	}
	if n := lostWorker.Unreported(); n > 0 {
		cfg.Logger.Warn("results come too late: the session had ended, and their attempts were taken back", "parts", n, "error", err)
	}
	return true, nil
}

// transient reports whether a refusal with this code means only that the outcome is not known.
func transient(code wire.Code) bool {
	return code == wire.CodeUnavailable || code == wire.CodeUnknown || code == wire.CodeBusy || code == wire.CodeInternal
}

// runSession runs parts in one session until ctx ends, then lets them finish within the grace and signs out; or until
// the session is lost, when every part is stopped at once, since others may get it now. It then returns the worker,
// whose reports closeLostSession still has to deliver.
func runSession(ctx context.Context, cfg Config, s *client.Session) (lostWorker *work.Worker, err error) {
	h := newHome(s)
	w, err := work.Open(h, work.Config{Slots: cfg.Slots, Runtimes: cfg.Runtimes, Dir: cfg.Dir, Logger: cfg.Logger})
	if err == nil {
		select {
		case <-ctx.Done():
			h.closing.Store(true)
			waitDrained(s, w, cfg.Grace)
		case <-s.Context().Done():
		}
		err = w.Close()
	}
	lost := context.Cause(s.Context())
	out, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if cerr := s.Close(out); cerr != nil {
		cfg.Logger.Warn("not signed out: the name is free when its lease ends", "error", cerr)
	}
	h.wait()
	if errors.Is(lost, client.ErrLost) {
		return w, lost
	}
	return nil, err
}

// waitDrained waits until no part is held, the grace is over or the session ends.
func waitDrained(s *client.Session, w *work.Worker, grace time.Duration) {
	over := time.NewTimer(grace)
	defer over.Stop()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for w.Stats().Held > 0 {
		select {
		case <-look.C:
		case <-over.C:
			return
		case <-s.Context().Done():
			return
		}
	}
}
