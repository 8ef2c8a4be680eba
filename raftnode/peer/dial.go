package peer

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

// userTimeout is how long sent data may stay unacknowledged.
const userTimeout = 10 * time.Second

// keepAlive finds a dead peer on an idle connection.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}

// dial opens a connection of one kind, handshake included. The name in addr is resolved
// anew. It takes at most DialTimeout and HelloTimeout, and ends with ctx.
func (p *Port) dial(ctx context.Context, kind Kind, addr, want string) (conn, Hello, error) {
	fail := func(err error) (conn, Hello, error) {
		return nil, Hello{}, fmt.Errorf("dial %s at %s: %w", kind, addr, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()

	d := net.Dialer{Timeout: p.limits.DialTimeout, KeepAliveConfig: keepAlive}
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return fail(err)
	}
	tcp := nc.(*net.TCPConn)
	setUserTimeout(tcp)
	e, ok := p.trackSocket(tcp)
	if !ok {
		return fail(net.ErrClosed)
	}
	deadline := time.Now().Add(p.limits.HelloTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	tcp.SetDeadline(deadline)
	release := context.AfterFunc(ctx, func() { tcp.SetDeadline(time.Unix(1, 0)) })
	defer release()

	var c conn = &plainConn{TCPConn: tcp, entry: e}
	id := ""
	if p.cfg.TLS != nil {
		t := tls.Client(tcp, clientTLS(p.cfg.TLS()))
		if err := t.HandshakeContext(ctx); err != nil {
			e.close()
			return fail(fmt.Errorf("tls: %w", err))
		}
		id = memberOf(t.ConnectionState())
		c = &tlsConn{Conn: t, entry: e}
	}
	hello, err := dialHandshake(c, kind, p.ownHello(), want, id, deadline)
	if err == nil && !release() {
		err = ctx.Err() // the deadline of the past is, or will be, set
	}
	if err == nil && kind == KindLink {
		if no := p.admit(kind, "", hello); no != nil { // a raft stream wants one server by its id
			err = no
		}
	}
	if err != nil {
		e.close()
		return fail(err)
	}
	p.mu.Lock()
	e.kind, e.from = kind, hello
	p.mu.Unlock()
	p.resetBackoff(hello, addr)
	return c, hello, nil
}
