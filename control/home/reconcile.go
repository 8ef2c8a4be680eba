package home

import (
	"context"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// localSessions is what this coordinator keeps for the sessions at home here: that
// they have a mailbox and a lease.
type localSessions struct {
	// mu makes look at the view, mailbox and lease of one name one step. The
	// view only goes forward, so whoever settles a name last leaves it right.
	mu sync.Mutex
	by map[string]attachment // by full name
}

type attachment struct {
	fence registry.Fence
	lease time.Duration
}

// Reconcile brings the mailbox and the lease of one name in step with the view of
// now. It may be called by anybody at any time. session is the one that the
// name is thought to be of, by which it is found soonest, or "".
func (h *Home) Reconcile(full, session string) {
	h.local.mu.Lock()
	defer h.local.mu.Unlock()
	table := h.State().Registry
	row, live := table.SessionByID(session)
	if !live || row.FullName != full {
		row, live = table.Session(full)
	}
	live = live && row.Home == h.Self().ID
	old, held := h.local.by[full]
	if held && (!live || old.fence.Session != row.ID) {
		reason := "it moved to another coordinator"
		if e, ended := table.Ended(old.fence.Session); ended {
			reason = e.Reason
		}
		h.mail.Detach(old.fence.Session, reason)
		h.leases.Drop(old.fence.Session)
		h.dispatched.forget(old.fence.Session)
		h.sends.forget(old.fence.Session)
		delete(h.local.by, full)
	}
	if !live || held && old == (attachment{row.Fence(), row.Lease}) {
		return
	}
	if err := h.mail.Attach(row.FullName, row.ID, row.Epoch); err != nil {
		h.Log().Error("a session has no mailbox", "name", full, "error", err)
		return
	}
	h.leases.Grant(row.Fence(), row.Lease)
	if h.local.by == nil {
		h.local.by = map[string]attachment{}
	}
	h.local.by[full] = attachment{row.Fence(), row.Lease}
	if row.Slots > 0 {
		h.dispatched.touch(full)
	}
}

// reconcileAll settles every name that is, or was, at home here.
func (h *Home) reconcileAll() {
	names := h.local.names()
	for row := range h.State().Registry.SessionsOf(h.Self().ID) {
		names = append(names, row.FullName)
	}
	for _, full := range names {
		h.Reconcile(full, "")
		h.dispatched.touch(full)
	}
}

func (l *localSessions) names() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	names := make([]string, 0, len(l.by))
	for full := range l.by {
		names = append(names, full)
	}
	return names
}

// session returns the session that has a mailbox here under this name.
func (l *localSessions) session(full string) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.by[full]
	return s.fence.Session, ok
}

// fits tells whether a row just told asks for nothing: it is at home elsewhere
// and was so before, or has its mailbox and lease already.
func (l *localSessions) fits(row registry.Session, here string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, held := l.by[row.FullName]
	if row.Home != here {
		return !held
	}
	return held && s == attachment{row.Fence(), row.Lease}
}

// lacks tells whether the news that a session ended asks for nothing: it has no
// mailbox here under its name, or has none any more. If another session has,
// its own news tell what becomes of it.
func (l *localSessions) lacks(full, session string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, held := l.by[full]
	return !held || s.fence.Session != session
}

func (l *localSessions) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.by)
}

// follow keeps everything that hangs on the state in step with it, until ctx
// ends. After a start, or when it fell behind the feed, it looks at all; else
// only at what the news name.
func (h *Home) follow(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	feed := h.Feed()
	var at control.Position
	all, cleaned, seconds := true, false, 0
	for {
		changed := feed.Changed()
		if all {
			at.Index, at.Seq = feed.Last()
			h.reconcileAll()
			all, cleaned = false, false
		}
		events, lagged := feed.Since(at.Index, at.Seq)
		if lagged {
			all = true
			continue
		}
		for i := range events {
			h.handleEvent(&events[i])
			at = control.Position{Index: events[i].Index, Seq: events[i].Seq}
		}
		h.deliver()
		if len(events) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-tick.C:
			h.dispatched.retry()
			if seconds++; seconds%60 == 0 {
				h.sends.sweep(h.Now())
			}
			if !cleaned {
				cleaned = h.cleanLogs(ctx)
			}
		}
	}
}

// handleEvent does what one piece of news asks for.
func (h *Home) handleEvent(e *fsm.Event) {
	switch e.Topic {
	case wire.TopicComponent:
		// Most news ask for nothing, since whoever signs in or out settles; later
		// news follow.
		session := ""
		switch {
		case e.Session != nil:
			if h.local.fits(*e.Session, h.Self().ID) {
				return
			}
			session = e.Session.ID
		case e.Ended != nil:
			if h.local.lacks(e.Ended.FullName, e.Ended.ID) {
				return
			}
		}
		h.Reconcile(e.Key, session)
	case wire.TopicJob:
		if e.Part != nil {
			h.dispatched.touch(e.Part.Worker)
		}
		if e.Kind == jobs.EventForgotten {
			if err := h.logs.remove(e.Key); err != nil {
				h.Log().Warn("the logs of a forgotten job stay", "job", e.Key, "error", err)
			}
		}
	}
}

// cleanLogs removes the logs of jobs that were forgotten while this
// coordinator did not look. It reports whether the state was fresh enough to
// judge.
func (h *Home) cleanLogs(ctx context.Context) bool {
	asking, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	view, _, err := h.View(asking, control.Read{})
	if err != nil {
		return false
	}
	for _, job := range h.logs.jobs() {
		if _, known := view.Jobs.Job(job); !known {
			if err := h.logs.remove(job); err != nil {
				h.Log().Warn("the logs of a forgotten job stay", "job", job, "error", err)
			}
		}
	}
	return true
}

// closeMailboxes closes all mailboxes when Run ends; the sessions live on in the log.
func (h *Home) closeMailboxes() {
	h.local.mu.Lock()
	defer h.local.mu.Unlock()
	for full, s := range h.local.by {
		h.mail.Detach(s.fence.Session, "its coordinator stops")
		h.leases.Drop(s.fence.Session)
		delete(h.local.by, full)
	}
}
