package control

import (
	"context"
	"sync"
)

// holds are what goes on for as long as its principal may come in: streams, and
// waits for changes.
type holds struct {
	mu  sync.Mutex
	all map[*hold]struct{}
}

type hold struct {
	who    Principal
	cancel context.CancelCauseFunc
}

// Hold returns a context that also ends, with an unauthorized error as its cause,
// once the principal's token is not valid any more. release must be called.
func (a *Authenticator) Hold(ctx context.Context, who Principal) (held context.Context, release context.CancelFunc) {
	held, cancel := context.WithCancelCause(ctx)
	if a.holds == nil {
		return held, func() { cancel(nil) }
	}
	h := &hold{who, cancel}
	a.holds.mu.Lock()
	if a.holds.all == nil {
		a.holds.all = map[*hold]struct{}{}
	}
	a.holds.all[h] = struct{}{}
	a.holds.mu.Unlock()
	if _, err := a.permissionOf(who); err != nil { // it ended before it was held
		cancel(err)
	}
	return held, func() {
		a.holds.mu.Lock()
		delete(a.holds.all, h)
		a.holds.mu.Unlock()
		cancel(nil)
	}
}

// Release ends what is held for principals whose token is not valid any more. It
// is called whenever TokenState has changed, and from time to time, since tokens
// expire.
func (a *Authenticator) Release() {
	if !a.asks() {
		return
	}
	a.holds.mu.Lock()
	defer a.holds.mu.Unlock()
	for h := range a.holds.all {
		if _, err := a.permissionOf(h.who); err != nil {
			h.cancel(err)
		}
	}
}
