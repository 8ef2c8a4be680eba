package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// DefaultComponentAddr is where a coordinator without settings takes native sessions.
const DefaultComponentAddr = "127.0.0.1:7370"

// Component says who signs in over the native session protocol, and where.
type Component struct {
	// Addrs are coordinators' doors host:port, tried in turn; the others of the cluster are learnt. Default:
	// DefaultComponentAddr.
	Addrs []string
	// SignIn is the name and what goes with it. A lease of 0 is wire.DefaultLease.
	SignIn wire.SignIn
	// Token, if not empty, is shown at the sign-in.
	Token string
	// TokenFile, if not empty, is the file that holds the token; it is read again now and then. Token must be empty then.
	TokenFile string
	// TLS, if not nil, is spoken; LoadTLS builds one from files.
	TLS *tls.Config
	// Dialer, if not nil, makes the connections to addresses, TLS apart; default TCP. It returns when ctx ends.
	Dialer func(ctx context.Context, address string) (net.Conn, error)
	// Methods answer the requests of other components; each call runs in its own goroutine, at most Parallel at once. pong
	// and rpc.discover are answered in any case. A nil Method leaves the requests for its name to Messages, these two as
	// well.
	Methods map[string]Method
	// Parallel bounds the methods that run at once; default 64. Beyond it 1000 requests wait their turn, then they are
	// answered busy (an RPCError of code -32000 whose data has the code).
	Parallel int
	// Inbox, if true, hands every message that is neither a request for one of Methods nor an answer to Messages, which
	// must be read: where nobody reads, the senders get busy, and after longer than the lease the session is lost.
	Inbox bool
	// Rejoin, if true, signs in anew under the same name, as a new session, when the session is lost by anything but an
	// operator's hand. Without it a lost session is the end.
	Rejoin bool
	// Ping is the time between two pings, in whole seconds; default wire.DefaultPing.
	Ping time.Duration
	// Timeout bounds calls whose context has no deadline; default DefaultTimeout.
	Timeout time.Duration
	Logger  *slog.Logger // default: silent

	// webSocket says that the connections are WebSockets, whose addresses a coordinator does not send.
	webSocket bool
	silent    int // Config.Silent, of the first sign-in
}

// Session is one signed-in component on a native session: it stays signed in, moves to another coordinator when its own
// goes away, and says what became of every message. It is safe for concurrent use.
type Session struct {
	cfg    Component
	tokens *tokenSource
	log    *slog.Logger
	inbox  chan wire.Message
	done   chan struct{} // closed when it is over for good
	wg     sync.WaitGroup

	ctx     context.Context // of everything; ended by Close or a final loss
	cancel  context.CancelCauseFunc
	leaving atomic.Bool // by Close: what is left of the session may end with its connection

	mu       sync.Mutex // guards what follows; never held while anybody is waited for
	in       wire.Welcome
	current  *incarnation
	link     *link // nil while there is none
	until    time.Time
	addrs    []string
	moves    int
	next     uint64 // the attempt that the next sign-in of the session is; 0: it cannot be numbered yet
	unsure   bool   // a take-over without a number may still be carried out
	closing  bool   // by Close: nobody signs in again
	methods  map[string]Method
	outgoing outgoing
	incoming incoming
	watches  watches
}

// incarnation is one session: from its sign-in to its loss.
type incarnation struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// Dial signs in and keeps the session until Close or until it is lost. ctx bounds only the sign-in; within it the
// addresses are tried again and again, unless the sign-in is refused (name_taken, invalid, forbidden, unauthorized).
// When ctx ends the error is unavailable, or unknown if a sign-in may have been taken: then the name is free when its
// lease ends.
func Dial(ctx context.Context, cfg Component) (*Session, error) {
	if len(cfg.Addrs) == 0 {
		cfg.Addrs = []string{DefaultComponentAddr}
	}
	if cfg.SignIn.Lease == 0 {
		cfg.SignIn.Lease = wire.Duration(wire.DefaultLease)
	}
	if cfg.Ping <= 0 {
		cfg.Ping = wire.DefaultPing
	}
	if cfg.Dialer == nil {
		cfg.Dialer = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = 64
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	tokens, err := newTokenSource(cfg.Token, cfg.TokenFile)
	if err != nil {
		return nil, wire.Invalid("token", "token file: %v", err)
	}
	n := &Session{
		cfg: cfg, tokens: tokens, log: cfg.Logger.With("component", cfg.SignIn.Name), inbox: make(chan wire.Message, maxInbox),
		done: make(chan struct{}), methods: map[string]Method{},
		watches: watches{lock: make(chan struct{}, 1), all: map[*watch]bool{}},
	}
	for name, m := range cfg.Methods {
		n.methods[name] = m
	}
	n.outgoing.init(&n.mu)
	n.incoming.room = sync.NewCond(&n.mu)
	n.ctx, n.cancel = context.WithCancelCause(context.Background())
	first, err := n.signIn(ctx, cfg.SignIn, NewKey(), time.Time{})
	if err != nil {
		n.cancel(err)
		return nil, err
	}
	n.newIncarnation()
	n.wg.Go(func() { n.keep(first) })
	return n, nil
}

// start runs f as a part of the component, which Close waits for; after the end it does not.
func (n *Session) start(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ctx.Err() == nil {
		n.wg.Go(f)
	}
}

// newIncarnation begins a session: its context ends when it is lost.
func (n *Session) newIncarnation() {
	l := &incarnation{}
	l.ctx, l.cancel = context.WithCancelCause(n.ctx)
	n.mu.Lock()
	n.current = l
	n.mu.Unlock()
}

// FullName is namespace.name.
func (n *Session) FullName() string { return n.Welcome().FullName }

// Welcome is the latest answer to a sign-in: it changes when the session moves.
func (n *Session) Welcome() wire.Welcome {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.in
}

// Moves counts the sign-ins at another coordinator since the start.
func (n *Session) Moves() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.moves
}

// Done closes when it is over for good: by Close, or because the session is lost and there is no Rejoin.
func (n *Session) Done() <-chan struct{} { return n.done }

// Context ends when the session of now is lost, before anybody else can have its name: whatever is done in the
// session's name belongs under it. With Rejoin the next session has a new one.
func (n *Session) Context() context.Context {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.current.ctx
}

// Err says why it is over: nil while it is not and after Close, else an error that is ErrLost.
func (n *Session) Err() error {
	if cause := context.Cause(n.ctx); errors.Is(cause, ErrLost) {
		return cause
	}
	return nil
}

// Messages are those that are no requests for Methods and no answers, in order, with Component.Inbox; the channel is
// closed when it is over.
func (n *Session) Messages() <-chan wire.Message { return n.inbox }

// Close signs out, within ctx, and waits for everything that was started. Without an answer in time the name is free
// soon after the coordinator has seen the end of the connection, or when the lease ends.
func (n *Session) Close(ctx context.Context) error {
	var err error
	n.mu.Lock()
	n.closing = true
	n.mu.Unlock()
	if n.ctx.Err() == nil {
		if err = n.Coordinator(ctx, "sign_out", nil, nil); wire.CodeOf(err) == wire.CodeNotFound {
			err = nil
		}
	}
	n.leaving.Store(true)
	n.cancel(context.Canceled)
	n.mu.Lock()
	l := n.link
	n.mu.Unlock()
	if l != nil {
		l.close()
	}
	n.wg.Wait()
	return err
}

// lost ends an incarnation: all that waits gets the error, and nothing of it goes on.
func (n *Session) lost(why error) {
	n.mu.Lock()
	l := n.current
	n.mu.Unlock()
	why = fmt.Errorf("%w: %s: %w", ErrLost, n.FullName(), why)
	n.log.Warn("session lost", "error", why)
	l.cancel(why)
	n.outgoing.failAll()
}
