package router

import (
	"context"
	"errors"
	"time"
)

// errRenewed ends a connection that was to be made anew.
var errRenewed = errors.New("made anew")

// renewPatience is how long a link that is made anew waits for outcomes that are under way.
const renewPatience = 5 * time.Second

// RenewLinks has every link that was opened before a moment made anew, so that a new certificate comes into use. New
// messages wait for the next connection; those under way have their outcome first. It does not block.
func (r *Router) RenewLinks(before time.Time) {
	r.linksMu.RLock()
	defer r.linksMu.RUnlock()
	for _, l := range r.links {
		l.outbox.Mu.Lock()
		old := l.up && l.opened.Before(before)
		l.outbox.Mu.Unlock()
		if old {
			select {
			case l.renew <- struct{}{}:
			default:
			}
		}
	}
}

// makeWay waits until the connection is to be made anew, and for what is under way on it. It returns errRenewed then,
// and nil when ctx ends first.
func (l *outLink) makeWay(ctx context.Context) error {
	select {
	case <-l.renew:
	case <-ctx.Done():
		return nil
	}
	l.outbox.Mu.Lock()
	l.up, l.err = false, errRenewed.Error()
	l.outbox.Mu.Unlock()
	patience := time.NewTimer(renewPatience)
	defer patience.Stop()
	select {
	case <-l.outbox.Drained():
	case <-patience.C:
	case <-ctx.Done():
		return nil
	}
	return errRenewed
}
