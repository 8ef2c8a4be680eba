package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// ErrLost is in the error of a session whose lease ran out, or that was ended by somebody else.
var ErrLost = errors.New("the session is lost")

// DefaultLease is the lease of a session that asks for none.
const DefaultLease = 15 * time.Second

// SessionConfig says who signs in.
type SessionConfig struct {
	SignIn wire.SignIn
	// Inbox, if true, opens the session's inbox: Messages gets what comes and must be read.
	Inbox  bool
	Logger *slog.Logger // default: silent
}

// Session is one signed-in life of a component. It keeps its lease alive by a heartbeat every third of it, and when its
// home goes away takes its name over at another coordinator. Done closes before the lease can have ended anywhere, so
// that what the session owns is not worked on any more once somebody else may own it.
type Session struct {
	client   *Client // with its own order of addresses: the home first
	cfg      SessionConfig
	log      *slog.Logger
	messages chan wire.Received
	check    chan struct{} // asks keep for a heartbeat now
	done     chan struct{} // closed when the session has ended, for whatever reason
	cancel   context.CancelCauseFunc
	ctx      context.Context // the session's life; what runs in its name ends with it
	wg       sync.WaitGroup

	mu    sync.Mutex // guards what follows
	in    wire.SignedIn
	moves int
	moved chan struct{} // closed at the next move
	until time.Time     // the lease holds at least until then
	tried uint64        // the number of the last attempt to sign in
}

// Open signs in and keeps the session until Close, or until it is lost. ctx bounds only the sign-in.
func (c *Client) Open(ctx context.Context, cfg SessionConfig) (*Session, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	sent := time.Now()
	in, meta, err := c.SignIn(ctx, cfg.SignIn, "")
	if err != nil {
		return nil, err
	}
	s := &Session{
		client: c.withOwnOrder(meta.Addr), cfg: cfg, log: cfg.Logger.With("component", in.FullName),
		messages: make(chan wire.Received, 64), check: make(chan struct{}, 1), done: make(chan struct{}), moved: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.renew(in, sent)
	s.wg.Go(s.keep)
	if cfg.Inbox {
		s.wg.Go(s.receive)
	} else {
		close(s.messages)
	}
	return s, nil
}

// FullName is namespace.name.
func (s *Session) FullName() string { return s.SignedIn().FullName }

// SignedIn is the latest answer to a sign-in: it changes when the session moves.
func (s *Session) SignedIn() wire.SignedIn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in
}

// Done closes when the session has ended: by Close, or because it is lost.
func (s *Session) Done() <-chan struct{} { return s.done }

// Context ends with the session; its cause is Err.
func (s *Session) Context() context.Context { return s.ctx }

// Err says why the session ended: nil while it lives and after Close, else an error that is ErrLost.
func (s *Session) Err() error {
	if cause := context.Cause(s.ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// Messages are those that came, in order; the channel is closed when the session ends. A session that does not read them
// fills its mailbox at the home, and senders are told busy.
func (s *Session) Messages() <-chan wire.Received { return s.messages }

// Send sends a message in the session's name.
func (s *Session) Send(ctx context.Context, m wire.SendMessage) (wire.Sent, error) {
	sent, _, err := s.client.Send(ctx, s.SignedIn().Secret, m, "")
	return sent, err
}

// Call asks a component in the session's name; see Client.Call.
func (s *Session) Call(ctx context.Context, full, method string, params, out any, timeout time.Duration, repeatable bool) error {
	_, err := s.client.Call(ctx, s.SignedIn().Secret, full, method, params, out, timeout, repeatable)
	return err
}

// Coordinator asks a method of the coordinator, which must be one that a repeat does not harm.
func (s *Session) Coordinator(ctx context.Context, method string, params, out any) error {
	return s.Call(ctx, wire.Coordinator, method, params, out, 0, true)
}

// Close signs out, within ctx, and waits for everything the session started. Its error is the sign-out's; the name is free
// when the lease ends in any case. Closing twice, or a lost session, only waits.
func (s *Session) Close(ctx context.Context) error {
	lost := s.ctx.Err() != nil
	s.cancel(context.Canceled)
	s.wg.Wait()
	if lost {
		return nil
	}
	in := s.SignedIn()
	_, err := s.client.SignOut(ctx, in.FullName, in.Secret)
	if wire.CodeOf(err) == wire.CodeNotFound {
		return nil // ended meanwhile
	}
	return err
}

// renew notes a sign-in or heartbeat that was sent at the given time and answered well.
func (s *Session) renew(in wire.SignedIn, sent time.Time) {
	lease := time.Duration(in.Lease)
	if lease <= 0 {
		if lease = time.Duration(s.cfg.SignIn.Lease); lease <= 0 {
			lease = DefaultLease
		}
		in.Lease = wire.Duration(lease)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.in.Session != "" && s.in.Home != in.Home {
		s.moves++
		close(s.moved)
		s.moved = make(chan struct{})
	}
	s.in, s.tried = in, max(s.tried, in.Attempt)
	// The home counts from when it heard us, which is not before we spoke. A tenth is for clocks that run at
	// different speeds and for those who have to stop.
	s.until = sent.Add(lease - lease/10)
}

func (s *Session) leaseEnd() (until time.Time, lease time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.until, time.Duration(s.in.Lease)
}

// keep is the heartbeat: it ends with the session.
func (s *Session) keep() {
	defer close(s.done)
	for {
		until, lease := s.leaseEnd()
		beat := time.NewTimer(min(lease/3, max(time.Until(until), 0)))
		select {
		case <-beat.C:
		case <-s.check:
		case <-s.ctx.Done():
		}
		beat.Stop()
		if s.ctx.Err() != nil {
			return
		}
		if err := s.hold(until); err != nil {
			s.log.Warn("session lost", "error", err)
			s.cancel(fmt.Errorf("%w: %s: %w", ErrLost, s.FullName(), err))
			return
		}
	}
}

// hold renews the lease by heartbeats, and where the home is not reached by taking the name over elsewhere, until that
// worked, was refused or the lease ends.
func (s *Session) hold(until time.Time) error {
	ctx, cancel := context.WithDeadline(s.ctx, until)
	defer cancel()
	pause := newPause()
	var err error
	for ctx.Err() == nil {
		if err = s.beat(ctx); err == nil {
			return nil
		}
		if certain(err) {
			return err
		}
		if err = s.takeOver(ctx); err == nil {
			return nil
		}
		if certain(err) {
			return err
		}
		s.log.Warn("session not renewed", "error", err, "lease_left", time.Until(until).Round(time.Millisecond))
		sleep(ctx, pause.NextBackOff())
	}
	if s.ctx.Err() != nil {
		return nil // closed; keep sees it
	}
	if err == nil {
		err = context.DeadlineExceeded
	}
	return fmt.Errorf("its lease ends without a heartbeat answered: %w", err)
}

// beat sends one heartbeat round: each address at most once, since taking over is better than insisting.
func (s *Session) beat(ctx context.Context) error {
	in := s.SignedIn()
	sent := time.Now()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(in.Lease)/3)
	defer cancel()
	var b wire.Beat
	meta, err := s.client.do(ctx, request{
		method: "PUT", path: componentPath(in.FullName) + "/heartbeat",
		session: in.Secret, repeat: harmless, rounds: 1,
	}, &b)
	if err == nil {
		if b.Home != "" {
			in.Home = b.Home
		}
		if b.Lease > 0 {
			in.Lease = b.Lease
		}
		s.renew(in, sent)
		return nil
	}
	if certain(err) && meta.Index > 0 && meta.Index < in.Index {
		return wire.NotTried("%s has not heard of the sign-in yet: %v", hostOf(meta.Addr), err)
	}
	return err
}

// takeOver signs in with the session and secret of before, at any coordinator that answers; it becomes the home. Each attempt has
// its number: one that is carried out late, by a coordinator that stood still say, changes nothing any more.
func (s *Session) takeOver(ctx context.Context) error {
	in := s.SignedIn()
	body := s.cfg.SignIn
	body.Session, body.Secret, body.Namespace = in.Session, in.Secret, in.Namespace
	numbered := func() any {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tried++
		body.Attempt = s.tried
		return body
	}
	sent := time.Now()
	var out wire.SignedIn
	meta, err := s.client.do(ctx, request{method: "POST", path: "/components", bodyOf: numbered, key: NewKey(), rounds: 1}, &out)
	if err != nil {
		return err
	}
	if out.Secret == "" {
		out.Secret = in.Secret
	}
	s.client.addrs.prefer(meta.Addr)
	s.renew(out, sent)
	s.log.Info("session moved", "from", in.Home, "to", out.Home)
	return nil
}

// certain tells whether an error says that the session is over, as against that nobody could tell.
func certain(err error) bool {
	switch wire.CodeOf(err) {
	case wire.CodeNotFound, wire.CodeForbidden, wire.CodeUnauthorized, wire.CodeNameTaken, wire.CodeConflict, wire.CodeInvalid:
		return true
	}
	return false
}

// Removed tells whether a session was ended by an operator: it must not sign in again by itself.
func Removed(err error) bool { return wire.CodeOf(err) == wire.CodeForbidden }

// receive feeds Messages; it begins anew at each home, whose mailbox numbers from 1.
func (s *Session) receive() {
	defer close(s.messages)
	for s.ctx.Err() == nil {
		s.mu.Lock()
		in, moved := s.in, s.moved
		s.mu.Unlock()
		ctx, cancel := context.WithCancel(s.ctx)
		s.wg.Go(func() {
			select {
			case <-moved:
				cancel()
			case <-ctx.Done():
			}
		})
		s.read(ctx, in)
		cancel()
	}
}

// read hands on what one home's stream tells until the session moves or the stream is refused.
func (s *Session) read(ctx context.Context, in wire.SignedIn) {
	for m, err := range s.client.inbox(ctx, in.FullName, in.Secret, s.checkNow) {
		if err != nil {
			if ctx.Err() == nil {
				s.log.Warn("inbox refused", "error", err)
				s.checkNow()
				sleep(ctx, time.Second)
			}
			return
		}
		select {
		case s.messages <- m: // also after a move: it was taken from the old mailbox
		case <-s.ctx.Done():
			return
		}
	}
}

// checkNow lets keep send a heartbeat at once.
func (s *Session) checkNow() {
	select {
	case s.check <- struct{}{}:
	default:
	}
}
