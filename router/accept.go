package router

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/folkmoot/folkmoot/router/link"
	"github.com/folkmoot/folkmoot/router/lockorder"
)

const (
	openLimit = 5 * time.Second // of silence before the open frame
	maxOpen   = 64              // accepted links that have not sent it
)

// acceptor takes the links that other coordinators dial, and keeps one of each.
type acceptor struct {
	r *Router

	mu     lockorder.Mutex[lockorder.Leaf]
	links  map[string]*inLink       // by the other coordinator's id
	newest map[string]link.Identity // the newest ever accepted
}

func newAcceptor(r *Router) *acceptor {
	return &acceptor{r: r, links: make(map[string]*inLink), newest: make(map[string]link.Identity)}
}

// run takes links until the dialler's port is closed.
func (a *acceptor) run() {
	r := a.r
	slots := make(chan struct{}, maxOpen)
	for {
		conn, from, err := r.dialer.AcceptLink()
		switch {
		case err != nil && (r.closed.Load() || errors.Is(err, net.ErrClosed)):
			return
		case err != nil:
			r.log.Warn("no link accepted", "reason", err)
			select {
			case <-time.After(r.limits.BackoffMin):
			case <-r.ctx.Done():
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		if !r.goTracked(func() { a.serve(conn, from, func() { <-slots }) }) {
			conn.Close()
			return
		}
	}
}

var errStopping = errors.New("closed by this coordinator")

// serve uses one accepted connection until it ends.
func (a *acceptor) serve(conn net.Conn, from string, opened func()) {
	r := a.r
	defer conn.Close()
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	c, stop := link.NewConn(ctx, conn, r.limits.Ping)
	defer stop()
	c.LimitSilence(openLimit)
	in, err := a.readOpen(c, from)
	opened()
	c.LimitSilence(0)
	if err == nil {
		r.PeerAlive(in.from)
		err = a.register(in)
	}
	if err != nil {
		r.logLinkEnd("from", from, err)
		return
	}
	err = in.serve(ctx, cancel)
	r.logLinkEnd("from", from, err)
	a.unregister(in)
}

// readOpen reads the open frame.
func (a *acceptor) readOpen(c *link.Conn, from string) (*inLink, error) {
	id, err := c.ReadOpen()
	if err != nil {
		return nil, err
	}
	return &inLink{
		r: a.r, from: from, inbox: link.NewInbox(c, from), id: id,
		ended:  make(chan struct{}),
		fences: fences{byKey: make(map[streamKey]uint64)},
		held:   make(map[string]*heldFrom),
	}, nil
}

// register makes in the one link from its coordinator: it waits until the one
// before has delivered its last message. An older link never follows a newer
// one.
func (a *acceptor) register(in *inLink) error {
	for {
		a.mu.Lock()
		last := a.newest[in.from]
		if last.Instance == in.id.Instance && last.Number >= in.id.Number {
			a.mu.Unlock()
			return fmt.Errorf("link number %d is older than number %d", in.id.Number, last.Number)
		}
		before := a.links[in.from]
		if before == nil {
			a.links[in.from] = in
			a.newest[in.from] = in.id
			a.mu.Unlock()
			return nil
		}
		a.mu.Unlock()
		before.inbox.Close()
		<-before.ended
	}
}

func (a *acceptor) unregister(in *inLink) {
	a.mu.Lock()
	delete(a.links, in.from)
	a.mu.Unlock()
	close(in.ended)
}
