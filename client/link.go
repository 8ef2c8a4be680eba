package client

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/awake"
	"github.com/folkmoot/folkmoot/wire/flow"
	"github.com/folkmoot/folkmoot/wire/hangup"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
	"github.com/folkmoot/folkmoot/wire/trywrite"
)

const (
	firstDial  = 300 * time.Millisecond // of the first round over the addresses
	signInTime = 3 * time.Second        // one attempt
	writeTime  = 5 * time.Second
)

// link is one connection to a coordinator, signed in.
type link struct {
	awaitingPreamble *atomic.Bool // the preamble of the other side is awaited

	n      *Session
	addr   string // as it was dialled
	conn   net.Conn
	frames *wire.FrameReader
	ping   time.Duration
	once   sync.Once
	wakeup chan struct{}    // capacity 1: there is something to write
	prompt *trywrite.Writer // nil: the connection has none
	flow   *flow.Writer
	reader *awake.Reader // below frames
	bye    *wire.Error   // the reader's

	writeLock sync.Mutex // held by who writes; taken before the component's mu
	buf       []byte     // guarded by writeLock
	unwritten []byte     // what push could not write; guarded by writeLock

	// While somebody signs in again on the connection nothing else is written. The reader changes it with the component's
	// mu.
	signing *signing
	closed  bool // nothing is written any more; guarded by the component's mu
}

// signing is a sign-in on a connection that was signed in before.
type signing struct {
	conversation [16]byte
	frame        []byte // nil when it is on its way
	sent         time.Time
	late         *awake.Timer // closes the connection
}

// close ends the connection by a reset: what is said by an orderly end is that the session is given up
// (wire.Hello.Address).
func (l *link) close() {
	l.once.Do(func() {
		if l.n.leaving.Load() {
			l.conn.Close()
		} else {
			hangup.Abort(l.conn)
		}
	})
}

// signIn tries one address after the other until one takes the session, refuses it for good, or until ends. With until
// zero ctx alone bounds it. A conflict is none for good while an attempt of before may have been carried out: it may be
// with that one.
func (n *Session) signIn(ctx context.Context, in wire.SignIn, key string, until time.Time) (*link, error) {
	if !until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, until)
		defer cancel()
	}
	pause := newBackOff()
	tries := signInTries{}
	for round, silent := 0, 1; ; round, silent = round+1, silent+1 {
		for _, addr := range n.addresses() {
			limit := firstDial << min(round, 4)
			l, w, sent, err := n.signInAt(ctx, addr, in, key, limit)
			if err == nil {
				n.onSignedIn(l, w, sent)
				return l, nil
			}
			again := wire.CodeOf(err) == wire.CodeConflict && (tries.happened || n.mayMove())
			if certain(err) && !again {
				return nil, err
			}
			n.log.Debug("no session there", "address", addr, "error", err)
			switch {
			case again && key != "": // the session of that key came about and is over
				key, in.Attempt = NewKey(), 0
			case again, mayHaveHappened(err):
				n.numberNextAttempt(&in)
			}
			if tries.failed(ctx, addr, err) {
				silent = 0
			}
			if ctx.Err() != nil {
				return nil, tries.end(in.Name)
			}
		}
		if n.cfg.silent > 0 && silent >= n.cfg.silent && n.Welcome().Session == "" {
			return nil, tries.end(in.Name)
		}
		sleep(ctx, pause.NextBackOff())
	}
}

// signInTries is what is known of attempts to sign in that failed.
type signInTries struct {
	last     error
	secure   error // the last that TLS ended: trouble elsewhere does not explain it
	happened bool  // one ended without its outcome being known
}

// failed notes an attempt; true says that somebody answered it.
func (t *signInTries) failed(ctx context.Context, addr string, err error) (answered bool) {
	t.happened = t.happened || mayHaveHappened(err)
	if ctx.Err() == nil || t.last == nil {
		t.last = err
		if aboutTLS(err) {
			t.secure = fmt.Errorf("%s: %w", addr, err)
		}
	}
	unanswered := (*CallError)(nil)
	return !errors.As(err, &unanswered) || unanswered.Cause == nil
}

// end is the outcome when no more is tried.
func (t *signInTries) end(name string) error {
	last := t.last
	if t.secure != nil && !aboutTLS(last) {
		last = fmt.Errorf("%w; TLS failed with %w", last, t.secure)
	}
	if last = fmt.Errorf("no coordinator took the session: %w", last); t.happened {
		return fmt.Errorf("sign in %s: %w", name, wire.Unknown(last))
	}
	return fmt.Errorf("sign in %s: %w", name, wire.NotTried("%v", last))
}

// mayHaveHappened reports whether an attempt that ended with err may have been carried out, or may still be.
func mayHaveHappened(err error) bool {
	code := wire.CodeOf(err)
	return code == wire.CodeUnknown || code == wire.CodeInternal
}

// numberNextAttempt notes an attempt that may be carried out at any time, and numbers the next: once that is carried
// out, the one before it changes nothing any more.
func (n *Session) numberNextAttempt(in *wire.SignIn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if in.Session != "" && in.Attempt == 0 {
		n.unsure = true // the session was begun by others, whose attempts are not known
		return
	}
	in.Attempt++
	n.next = in.Attempt
}

// mayMove reports whether an attempt without a number may still move the session.
func (n *Session) mayMove() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.unsure
}

// addresses are where to go: the doors of the last welcome after those that were given and are not among them.
func (n *Session) addresses() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := slices.Clone(n.addrs)
	for _, a := range n.cfg.Addrs {
		if !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

// tryLast puts an address at the end of the list.
func (n *Session) tryLast(addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := slices.Index(n.addrs, addr); i >= 0 {
		n.addrs = append(slices.Delete(n.addrs, i, i+1), addr)
	}
}

// signInAt dials one address and signs in there.
func (n *Session) signInAt(ctx context.Context, addr string, in wire.SignIn, key string, limit time.Duration) (*link, *wire.Welcome, time.Time, error) {
	if ctx.Err() != nil { // the lease is over, say: it is too late, however fast the answer
		return nil, nil, time.Time{}, wire.NotTried("%v", context.Cause(ctx))
	}
	dialing, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := n.cfg.Dialer(dialing, addr)
	if refused := (*CallError)(nil); errors.As(err, &refused) {
		return nil, nil, time.Time{}, err
	} else if err != nil {
		return nil, nil, time.Time{}, wire.NotTried("%v", err)
	}
	if n.cfg.TLS != nil {
		c := n.cfg.TLS.Clone()
		if c.ServerName == "" {
			c.ServerName, _, _ = net.SplitHostPort(addr)
		}
		conn = tls.Client(conn, c)
	}
	stop := context.AfterFunc(ctx, func() { hangup.Abort(conn) })
	defer stop()
	limit = max(signInTime, limit)
	ungreeted := &atomic.Bool{}
	late := awake.AfterFunc(limit, func() {
		if ungreeted.Load() {
			probe(conn)
			return
		}
		hangup.Abort(conn)
	})
	defer late.Stop()
	if secure, ok := conn.(*tls.Conn); ok {
		if err := secure.Handshake(); err != nil { // late ends it
			hangup.Abort(conn)
			return nil, nil, time.Time{}, wire.NotTried("%v", inTime(late, limit, tlsError(notTLS(err))))
		}
	}
	flow.LimitUnsent(conn)
	l := &link{n: n, addr: addr, conn: conn, wakeup: make(chan struct{}, 1), flow: flow.NewWriter(conn, writeTime), awaitingPreamble: ungreeted}
	l.reader = &awake.Reader{Conn: conn, Limit: 2 * limit} // late ends it before
	sent := time.Now()
	w, err := l.signIn(in, key)
	if err == nil && !late.Stop() {
		err = wire.Unknown(errors.New("the answer came too late"))
	}
	if err != nil {
		hangup.Abort(conn)
		if wire.CodeOf(err) == wire.CodeUnknown {
			err = wire.Unknown(inTime(late, limit, err))
		}
		return nil, nil, sent, err
	}
	*l.reader = awake.Reader{Conn: conn, Limit: wire.DeadAfter * l.ping, More: func(silent time.Duration) time.Duration {
		return l.flow.SilenceAllowance(silent, wire.DeadAfter*l.ping)
	}}
	l.prompt = trywrite.New(conn)
	return l, w, sent, nil
}

// inTime words the error of a sign-in that was ended since it took longer than limit.
func inTime(late *awake.Timer, limit time.Duration, err error) error {
	if late.Stop() {
		return err
	}
	return fmt.Errorf("no answer within %v", limit)
}

// signInFrame appends a request for the session to dst.
func (l *link) signInFrame(dst []byte, in wire.SignIn, key string) (conversation [16]byte, frame []byte, err error) {
	params, err := json.Marshal(wire.Hello{SignIn: in, Key: key, Token: l.n.tokens.current(), Address: hangup.LocalAddr(l.conn)})
	if err != nil {
		return conversation, nil, wire.Invalid("", "sign-in: %v", err)
	}
	m := wire.Message{
		To: wire.Coordinator, Conversation: NewConversation(), Type: wire.TypeJSON,
		Payload: [][]byte{slices.Concat([]byte(`{"jsonrpc":"2.0","id":1,"method":"sign_in","params":`), params, []byte("}"))},
	}
	if m.FrameSize() > wire.MaxFirst {
		return conversation, nil, wire.Invalid("", "a sign-in of %d bytes is above the limit of %d: give fewer or shorter labels", m.FrameSize(), wire.MaxFirst)
	}
	frame, err = wire.AppendFrame(dst, &m)
	return m.Conversation, frame, err
}

// readSignIn reads the answer to a sign-in.
func readSignIn(m *wire.Message) (*wire.Welcome, error) {
	if len(m.Payload) == 0 {
		return nil, wire.Unknown(errors.New("an empty answer"))
	}
	var in struct {
		Result *wire.Welcome  `json:"result"`
		Error  *jsonrpc.Error `json:"error"`
	}
	if err := json.Unmarshal(m.Payload[0], &in); err != nil {
		return nil, wire.Unknown(err)
	}
	if in.Error != nil {
		return nil, in.Error.Refusal()
	}
	if in.Result == nil {
		return nil, wire.Unknown(errors.New("an answer without a result"))
	}
	return in.Result, nil
}

// signIn exchanges preambles and asks for the session.
func (l *link) signIn(in wire.SignIn, key string) (*wire.Welcome, error) {
	var preamble []byte
	if !l.n.cfg.webSocket {
		preamble = wire.Preamble{Version: wire.SessionVersion, Ping: l.n.cfg.Ping}.Append(nil)
	}
	conversation, b, err := l.signInFrame(preamble, in, key)
	if err != nil {
		return nil, err
	}
	if _, err := l.conn.Write(b); err != nil {
		return nil, wire.Unknown(err)
	}
	r := bufio.NewReaderSize(l.reader, 64<<10)
	l.ping = wire.DefaultPing // a WebSocket has no preamble to agree on another
	if preamble != nil {
		if err := l.readPreamble(r); err != nil {
			return nil, err
		}
	}
	l.frames = wire.NewFrameReader(r)
	for {
		m, err := l.frames.Next()
		switch {
		case err != nil:
			return nil, wire.Unknown(err)
		case m.To == "" && m.Type == wire.TypeBye:
			return nil, wire.NotTried("turned away: %s", byeOf(&m).Message)
		case m.To != "" && m.Conversation == conversation:
			return readSignIn(&m)
		}
	}
}

// readPreamble reads what the coordinator says first.
func (l *link) readPreamble(r io.Reader) error {
	l.awaitingPreamble.Store(true)
	var raw [wire.PreambleSize]byte
	if got, err := io.ReadFull(r, raw[:]); err != nil {
		return noPreamble(raw[:got], err, l.n.cfg.TLS != nil)
	}
	l.awaitingPreamble.Store(false)
	p, err := wire.ParsePreamble(raw[:])
	if err != nil {
		return wire.NotTried("%s", cmp.Or(identify(raw[:]), err.Error()))
	}
	if p.Version != wire.SessionVersion {
		return wire.NotTried("the coordinator speaks version %d of the protocol, this program %d", p.Version, wire.SessionVersion)
	}
	l.ping = max(p.Ping, time.Second)
	return nil
}

// signInAgain asks for the session on the connection, which has lost it: what a coordinator did not look at for want of
// a sign-in goes again behind the answer. mu is held.
func (l *link) signInAgain() {
	if l.signing != nil {
		return
	}
	in := l.n.resumeSignIn()
	l.n.next = in.Attempt + 1 // unless it is answered
	conversation, frame, err := l.signInFrame(nil, in, "")
	if err != nil {
		l.close()
		return
	}
	l.signing = &signing{conversation: conversation, frame: frame, late: awake.AfterFunc(signInTime, l.close)}
	l.n.wakeWriter()
}

// signedIn handles the answer to signInAgain; false means that the message is none. It is for the connection's reader.
func (l *link) signedIn(m *wire.Message) bool {
	n, s := l.n, l.signing
	if s == nil || m.Conversation != s.conversation {
		return false
	}
	s.late.Stop()
	w, err := readSignIn(m)
	if err != nil {
		n.log.Debug("not signed in again", "address", l.addr, "error", err)
		l.close() // the next connection is told the same, or does better
		return true
	}
	n.mu.Lock()
	sent := s.sent
	n.mu.Unlock()
	n.onSignedIn(l, w, sent)
	n.watches.resume(n, l)
	n.mu.Lock()
	l.signing = nil
	n.wakeWriter()
	n.mu.Unlock()
	return true
}

// resumeSignIn is the sign-in that takes the session up again; mu is held.
func (n *Session) resumeSignIn() wire.SignIn {
	in := n.cfg.SignIn
	in.Session, in.Secret, in.Namespace, in.Attempt = n.in.Session, n.in.Secret, n.in.Namespace, n.next
	return in
}

func byeOf(m *wire.Message) *wire.Error {
	why := &wire.Error{Code: wire.CodeUnavailable, Message: "the coordinator said bye"}
	if len(m.Payload) > 0 {
		_ = json.Unmarshal(m.Payload[0], why)
	}
	return why
}

// NewConversation returns a conversation id that nobody else has: a UUID of version 7 (RFC 9562, section 5.7). Every
// message has one: from the library, which asks the system for its randomness under a lock, it took half of the time of
// Post.
func NewConversation() (id [16]byte) {
	binary.BigEndian.PutUint64(id[:], uint64(time.Now().UnixMilli())<<16|rand.Uint64()&0xfff|7<<12)
	binary.BigEndian.PutUint64(id[8:], rand.Uint64()>>2|1<<63)
	return id
}

// onSignedIn notes a sign-in that was sent at the given time.
func (n *Session) onSignedIn(l *link, w *wire.Welcome, sent time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.in.Home != "" && n.in.Home != w.Home {
		n.moves++
	}
	n.in, n.next = *w, w.Attempt+1
	n.extendLease(sent)
	n.link = l
	n.addrs = n.addrs[:0]
	if n.cfg.webSocket { // the coordinators' own addresses are of another port
		n.addrs = append(n.addrs, l.addr)
		n.addrs = append(n.addrs, slices.DeleteFunc(slices.Clone(n.cfg.Addrs), func(a string) bool { return a == l.addr })...)
		return
	}
	for _, d := range w.Coordinators {
		if d.Address != "" {
			n.addrs = append(n.addrs, d.Address)
		}
	}
}

// extendLease lets the lease count from when a sign of life was sent that was answered. A tenth is for clocks that run
// at different speeds and for those who have to stop. mu is held.
func (n *Session) extendLease(sent time.Time) {
	lease := time.Duration(n.in.Lease)
	if until := sent.Add(lease - lease/10); until.After(n.until) {
		n.until = until
	}
}

// keep uses one link after the other until the end.
func (n *Session) keep(l *link) {
	defer close(n.done)
	defer func() {
		n.incoming.forwarders.Wait() // over, as everything is
		close(n.inbox)
	}()
	for {
		err := l.serve()
		if n.ctx.Err() != nil {
			break
		}
		home := n.Welcome().Home
		n.log.Info("connection lost", "home", home, "error", err)
		if l, err = n.reconnect(l, err); err == nil {
			n.log.Info("signed in again", "home", n.Welcome().Home, "was", home)
			continue
		}
		if n.ctx.Err() != nil {
			break
		}
		n.lost(err)
		if !n.cfg.Rejoin || Removed(err) {
			n.cancel(context.Cause(n.Context()))
			break
		}
		if l, err = n.rejoin(); err != nil {
			break // closed
		}
	}
	n.outgoing.failAll()
}

// reconnect takes the session up where it is, or over to another coordinator.
func (n *Session) reconnect(l *link, why error) (*link, error) {
	if l.bye != nil {
		switch l.bye.Code {
		case wire.CodeConflict:
			if !n.takeUnsure() {
				return nil, l.bye
			}
		case wire.CodeNotFound, wire.CodeForbidden:
			return nil, l.bye
		case wire.CodeUnavailable:
			n.tryLast(l.addr)
		}
	} else if t := net.Error(nil); errors.As(why, &t) && t.Timeout() {
		n.tryLast(l.addr) // silent: do not wait for it again
	}
	n.mu.Lock()
	in, until := n.resumeSignIn(), n.until
	n.mu.Unlock()
	return n.signIn(n.ctx, in, "", until)
}

// takeUnsure tells, once, whether an own attempt without a number may have moved the session.
func (n *Session) takeUnsure() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	was := n.unsure
	n.unsure = false
	return was
}

// rejoin begins a new session under the same name, however long that takes.
func (n *Session) rejoin() (*link, error) {
	in := n.cfg.SignIn
	in.Namespace = n.Welcome().Namespace
	key, pause := NewKey(), newBackOff()
	for {
		n.mu.Lock()
		n.until, n.unsure = time.Time{}, false
		n.mu.Unlock()
		l, err := n.signIn(n.ctx, in, key, time.Time{})
		if err == nil {
			n.newIncarnation()
			return l, nil
		}
		if n.ctx.Err() != nil {
			return nil, err
		}
		n.log.Warn("not signed in anew yet", "error", err)
		key = NewKey()
		sleep(n.ctx, pause.NextBackOff())
	}
}
