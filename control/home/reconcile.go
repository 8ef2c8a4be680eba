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
	// view only goes forward, so the last call for a name leaves it right.
	mu     sync.Mutex
	byName map[string]attachment // by full name
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
	old, held := h.local.byName[full]
	if held && (!live || old.fence.Session != row.ID) {
		reason := "it moved to another coordinator"
		if e, ended := table.Ended(old.fence.Session); ended {
			reason = e.Reason
		}
		h.mail.Detach(old.fence.Session, reason)
		h.leases.Drop(old.fence.Session)
		h.dispatched.forget(old.fence.Session)
		h.sends.forget(old.fence.Session)
		delete(h.local.byName, full)
	}
	if !live || held && old == (attachment{row.Fence(), row.Lease}) {
		return
	}
	if err := h.mail.Attach(row.FullName, row.ID, row.Epoch); err != nil {
		h.Log().Error("a session has no mailbox", "name", full, "error", err)
		return
	}
	h.leases.Grant(row.Fence(), row.Lease)
	if h.local.byName == nil {
		h.local.byName = map[string]attachment{}
	}
	h.local.byName[full] = attachment{row.Fence(), row.Lease}
	if row.Slots > 0 {
		h.dispatched.markDirty(full)
	}
}

// reconcileAll reconciles every name that is, or was, at home here.
func (h *Home) reconcileAll() {
	names := h.local.names()
	for row := range h.State().Registry.SessionsOf(h.Self().ID) {
		names = append(names, row.FullName)
	}
	for _, full := range names {
		h.Reconcile(full, "")
		h.dispatched.markDirty(full)
	}
}

func (l *localSessions) names() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	names := make([]string, 0, len(l.byName))
	for full := range l.byName {
		names = append(names, full)
	}
	return names
}

// session returns the session that has a mailbox here under this name.
func (l *localSessions) session(full string) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.byName[full]
	return s.fence.Session, ok
}

// upToDate reports whether the row of an event needs no work: it is at home
// elsewhere and was so before, or has its mailbox and lease already.
func (l *localSessions) upToDate(row registry.Session, here string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, held := l.byName[row.FullName]
	if row.Home != here {
		return !held
	}
	return held && s == attachment{row.Fence(), row.Lease}
}

// notAttached reports whether the end of a session needs no work: it has no mailbox
// here under its name. If another session of the name has one, its own events
// follow.
func (l *localSessions) notAttached(full, session string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, held := l.byName[full]
	return !held || s.fence.Session != session
}

func (l *localSessions) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.byName)
}

// follow keeps mailboxes, leases and deliveries in step with the state until ctx
// ends. After a start, or when it fell behind the feed, it reconciles every
// session; else only those that the events name.
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
		h.noticeTokens()
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

// handleEvent does the work that one event calls for.
func (h *Home) handleEvent(e *fsm.Event) {
	switch e.Topic {
	case wire.TopicComponent:
		// Most events need no work, since a sign-in or sign-out here reconciles its
		// own name; later events follow.
		session := ""
		switch {
		case e.Session != nil:
			if h.local.upToDate(*e.Session, h.Self().ID) {
				return
			}
			session = e.Session.ID
		case e.Ended != nil:
			if h.local.notAttached(e.Ended.FullName, e.Ended.ID) {
				return
			}
		}
		h.Reconcile(e.Key, session)
	case wire.TopicJob:
		if e.Part != nil {
			h.dispatched.markDirty(e.Part.Worker)
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
	for full, s := range h.local.byName {
		h.mail.Detach(s.fence.Session, "its coordinator stops")
		h.leases.Drop(s.fence.Session)
		delete(h.local.byName, full)
	}
}
