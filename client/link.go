package client

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/folkmoot/folkmoot/wire"
)

const (
	firstDial  = 300 * time.Millisecond // of the first round over the addresses
	signInTime = 3 * time.Second        // one attempt
	writeTime  = 5 * time.Second
)

// link is one connection to a coordinator, signed in.
type link struct {
	n      *Native
	conn   net.Conn
	frames *wire.FrameReader
	ping   time.Duration
	once   sync.Once
	wake   chan struct{} // capacity 1: there is something to write
	bye    *wire.Error   // the reader's
}

func (l *link) close() { l.once.Do(func() { l.conn.Close() }) }

// enter signs in at one address after the other until one takes the session, refuses it for good, or until ends.
// With until zero ctx alone bounds it.
func (n *Native) enter(ctx context.Context, in wire.SignIn, key string, until time.Time) (*link, error) {
	if !until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, until)
		defer cancel()
	}
	pause := newPause()
	var last error
	for round := 0; ; round++ {
		for _, addr := range n.addresses() {
			limit := firstDial << min(round, 4)
			l, w, sent, err := n.attempt(ctx, addr, in, key, limit)
			if err == nil {
				n.entered(l, w, sent)
				return l, nil
			}
			if certain(err) {
				return nil, err
			}
			n.log.Debug("no session there", "address", addr, "error", err)
			if ctx.Err() != nil {
				if last == nil {
					last = err
				}
				return nil, fmt.Errorf("sign in %s: %w", in.Name, wire.NotTried("no coordinator took the session: %v", last))
			}
			last = err
		}
		sleep(ctx, pause.NextBackOff())
	}
}

// addresses are where to go: the doors of the last welcome after those that were given and are not among them.
func (n *Native) addresses() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := slices.Clone(n.doors)
	for _, a := range n.cfg.Addrs {
		if !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

// avoid puts an address at the end of the list.
func (n *Native) avoid(addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := slices.Index(n.doors, addr); i >= 0 {
		n.doors = append(slices.Delete(n.doors, i, i+1), addr)
	}
}

// attempt dials one address and signs in there.
func (n *Native) attempt(ctx context.Context, addr string, in wire.SignIn, key string, limit time.Duration) (*link, *wire.Welcome, time.Time, error) {
	dialing, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(dialing, "tcp", addr)
	if err != nil {
		return nil, nil, time.Time{}, wire.NotTried("%v", err)
	}
	if n.cfg.TLS != nil {
		c := n.cfg.TLS.Clone()
		if c.ServerName == "" {
			c.ServerName, _, _ = net.SplitHostPort(addr)
		}
		conn = tls.Client(conn, c)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(max(signInTime, limit)))
	l := &link{n: n, conn: conn, wake: make(chan struct{}, 1)}
	sent := time.Now()
	w, err := l.signIn(in, key)
	if err != nil {
		conn.Close()
		return nil, nil, sent, err
	}
	_ = conn.SetDeadline(time.Time{})
	return l, w, sent, nil
}

// signIn exchanges preambles and asks for the session.
func (l *link) signIn(in wire.SignIn, key string) (*wire.Welcome, error) {
	params, err := json.Marshal(wire.Hello{SignIn: in, Key: key, Token: l.n.cfg.Token})
	if err != nil {
		return nil, wire.Invalid("", "sign-in: %v", err)
	}
	conversation := newConversation()
	m := wire.Message{
		To: wire.Coordinator, Conversation: conversation, Type: wire.TypeJSON,
		Payload: [][]byte{slices.Concat([]byte(`{"jsonrpc":"2.0","id":1,"method":"sign_in","params":`), params, []byte("}"))},
	}
	if m.FrameSize() > wire.MaxFirst {
		return nil, wire.Invalid("", "a sign-in of %d bytes is above the limit of %d", m.FrameSize(), wire.MaxFirst)
	}
	b, err := wire.AppendFrame(wire.Preamble{Version: wire.SessionVersion, Ping: l.n.cfg.Ping}.Append(nil), &m)
	if err != nil {
		return nil, err
	}
	if _, err := l.conn.Write(b); err != nil {
		return nil, wire.Unknown(err)
	}
	r := bufio.NewReaderSize(l.conn, 64<<10)
	var raw [wire.PreambleSize]byte
	if _, err := io.ReadFull(r, raw[:]); err != nil {
		return nil, wire.Unknown(fmt.Errorf("no preamble: %w", err))
	}
	p, err := wire.ParsePreamble(raw[:])
	if err != nil {
		return nil, wire.NotTried("%v", err)
	}
	if p.Version != wire.SessionVersion {
		return nil, wire.NotTried("the coordinator speaks version %d of the protocol, this program %d", p.Version, wire.SessionVersion)
	}
	l.ping = max(p.Ping, time.Second)
	l.frames = wire.NewFrameReader(r)
	for {
		m, err := l.frames.Next()
		switch {
		case err != nil:
			return nil, wire.Unknown(err)
		case m.To == "" && m.Type == wire.TypeBye:
			return nil, wire.NotTried("turned away: %s", byeOf(&m).Message)
		case m.To == "" || m.Conversation != conversation || len(m.Payload) == 0:
			continue
		}
		var w welcome
		if err := json.Unmarshal(m.Payload[0], &w); err != nil {
			return nil, wire.Unknown(err)
		}
		if w.Error != nil {
			return nil, w.Error.coded()
		}
		if w.Result == nil {
			return nil, wire.Unknown(errors.New("an answer without a result"))
		}
		return w.Result, nil
	}
}

func byeOf(m *wire.Message) *wire.Error {
	why := &wire.Error{Code: wire.CodeUnavailable, Message: "the coordinator said bye"}
	if len(m.Payload) > 0 {
		_ = json.Unmarshal(m.Payload[0], why)
	}
	return why
}

func newConversation() [16]byte { return uuid.Must(uuid.NewV7()) }

// entered notes a sign-in that was sent at the given time.
func (n *Native) entered(l *link, w *wire.Welcome, sent time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.in.Home != "" && n.in.Home != w.Home {
		n.moves++
	}
	n.in = *w
	n.doors = n.doors[:0]
	for _, d := range w.Coordinators {
		if d.Address != "" {
			n.doors = append(n.doors, d.Address)
		}
	}
	n.hold(sent)
	n.link = l
}

// hold lets the lease count from when a sign of life was sent that was answered. A tenth is for clocks that run at
// different speeds and for those who have to stop. mu is held.
func (n *Native) hold(sent time.Time) {
	lease := time.Duration(n.in.Lease)
	if until := sent.Add(lease - lease/10); until.After(n.until) {
		n.until = until
	}
}

// keep uses one link after the other until the end.
func (n *Native) keep(l *link) {
	defer close(n.done)
	defer close(n.inbox)
	for {
		err := l.serve()
		if n.ctx.Err() != nil {
			break
		}
		home := n.Welcome().Home
		n.log.Info("connection lost", "home", home, "error", err)
		if l, err = n.again(l, err); err == nil {
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
		if l, err = n.anew(); err != nil {
			break // closed
		}
	}
	n.mail.drop()
}

// again takes the session up where it is, or over to another coordinator.
func (n *Native) again(l *link, why error) (*link, error) {
	addr := l.conn.RemoteAddr().String()
	if l.bye != nil {
		switch l.bye.Code {
		case wire.CodeNotFound, wire.CodeConflict, wire.CodeForbidden:
			return nil, l.bye
		case wire.CodeUnavailable:
			n.avoid(addr)
		}
	} else if t := net.Error(nil); errors.As(why, &t) && t.Timeout() {
		n.avoid(addr) // silent: do not wait for it again
	}
	n.mu.Lock()
	in, until := n.cfg.SignIn, n.until
	in.Session, in.Secret, in.Namespace = n.in.Session, n.in.Secret, n.in.Namespace
	n.mu.Unlock()
	return n.enter(n.ctx, in, "", until)
}

// anew begins a new session under the same name, however long that takes.
func (n *Native) anew() (*link, error) {
	in := n.cfg.SignIn
	in.Namespace = n.Welcome().Namespace
	key, pause := NewKey(), newPause()
	for {
		n.mu.Lock()
		n.until = time.Time{}
		n.mu.Unlock()
		l, err := n.enter(n.ctx, in, key, time.Time{})
		if err == nil {
			n.begin()
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
