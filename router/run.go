package router

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/folkmoot/folkmoot/router/link"
)

// run dials, serves and redials until ctx ends.
func (l *outLink) run(ctx context.Context) {
	for number := uint64(1); ; number++ {
		l.redial.Begin()
		conn, err := l.dial(ctx)
		dialled := err == nil
		if dialled {
			var good bool
			if good, err = l.serve(ctx, conn, number); good {
				l.redial.Reset()
			}
		}
		if ctx.Err() != nil {
			l.outbox.Mu.Lock()
			l.closed = true
			l.outbox.Mu.Unlock()
			l.pumpWaiting() // those who wait find another route, or that there is none
			return
		}
		if errors.Is(err, errRenewed) {
			continue
		}
		l.outbox.Mu.Lock()
		l.err, l.dialFailed = err.Error(), !dialled
		l.outbox.Mu.Unlock()
		l.redial.Wait(ctx, dialled)
	}
}

// PeerAlive tells that there is a sign of life of a coordinator that may not have
// been reached: a link to it that waits to be dialled again is dialled now. It
// does not block.
func (r *Router) PeerAlive(id string) {
	r.linksMu.RLock()
	l := r.links[id]
	r.linksMu.RUnlock()
	if l != nil {
		l.redial.Alive()
	}
}

func (l *outLink) dial(ctx context.Context) (net.Conn, error) {
	addr, ok := l.r.dir.Address(l.id)
	if !ok {
		return nil, fmt.Errorf("no address of coordinator %s is known", l.id)
	}
	ctx, cancel := context.WithTimeout(ctx, l.r.limits.DialTimeout)
	defer cancel()
	conn, err := l.r.dialer.DialLink(ctx, addr, l.id)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	return conn, nil
}

// serve uses one connection until it ends. good tells whether the other side
// ever answered a ping.
func (l *outLink) serve(parent context.Context, conn net.Conn, number uint64) (good bool, err error) {
	ctx, cancel := context.WithCancelCause(parent)
	c, stop := link.NewConn(ctx, conn, l.r.limits.Ping)
	defer stop()
	l.seen.Store(0)
	l.outbox.Mu.Lock()
	l.outbox.Connect(c, link.Identity{Instance: l.r.instance, Number: number})
	l.up, l.err, l.dialFailed, l.version, l.opened = true, "", false, 0, time.Now()
	select {
	case <-l.renew: // this one is new
	default:
	}
	l.outbox.Mu.Unlock()
	l.r.stats.inc(cLinksOpened)
	l.r.log.Info("link up", "to", l.id, "number", number)

	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		cancel(l.outbox.WriteLoop(ctx, c.Writer))
		c.Close()
	}()
	madeWay := make(chan struct{})
	go func() {
		defer close(madeWay)
		if err := l.makeWay(ctx); err != nil {
			cancel(err)
			c.Close()
		}
	}()
	l.pumpWaiting()
	good, err = l.readLoop(c)
	cancel(err) // the first reason stays
	if parent.Err() == nil {
		c.Close() // at once: nobody is left to say bye to
	}
	<-wrote
	<-madeWay
	if err = context.Cause(ctx); parent.Err() != nil {
		err = errStopping
	}
	l.disconnected(err)
	l.r.stats.inc(cLinksLost)
	l.r.logLinkEnd("to", l.id, err)
	return good, err
}

// logLinkEnd logs the end of a link and counts it if the other side's bytes were
// the reason.
func (r *Router) logLinkEnd(direction, id string, err error) {
	var p link.ProtocolError
	if errors.As(err, &p) {
		r.stats.inc(cLinkErrors)
		r.log.Warn("link broken by the other side", direction, id, "reason", err)
		return
	}
	r.log.Info("link down", direction, id, "reason", err)
}

// readLoop takes outcomes until the connection fails or is dead.
func (l *outLink) readLoop(c *link.Conn) (good bool, err error) {
	c.AllowSlowPings()
	var scratch []*entry
	pong := func(version byte) {
		good = true
		l.setPeerVersion(version)
	}
	for {
		batch, err := l.outbox.Next(c, pong)
		if err != nil {
			return good, err
		}
		if err = l.handleOutcomes(batch, &scratch); err != nil {
			return good, err
		}
	}
}

// appendReports appends a frame for each of these coordinators' reports as they
// are now.
func (l *outLink) appendReports(dst []byte, about []string) []byte {
	for _, id := range about {
		if rep, ok := l.r.routes.Report(id); ok {
			start := len(dst)
			dst = rep.Append(link.BeginFrame(dst, link.KindReport), id)
			link.EndFrame(dst, start)
		}
	}
	return dst
}
