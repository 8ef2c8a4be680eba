package control

import (
	"context"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// homed is what this coordinator keeps for the sessions at home here: that
// they have a mailbox and a lease.
type homed struct {
	// mu makes look at the view, mailbox and lease of one name one step. The
	// view only goes forward, so whoever settles a name last leaves it right.
	mu sync.Mutex
	by map[string]seat // by full name
}

type seat struct {
	fence registry.Fence
	lease time.Duration
}

// settle brings the mailbox and the lease of one name in step with the view of
// now. It may be called by anybody at any time. session is the one that the
// name is thought to be of, by which it is found soonest, or "".
func (c *Control) settle(full, session string) {
	c.homed.mu.Lock()
	defer c.homed.mu.Unlock()
	table := c.machine.View().Registry
	row, live := table.SessionByID(session)
	if !live || row.FullName != full {
		row, live = table.Session(full)
	}
	live = live && row.Home == c.self.ID
	old, held := c.homed.by[full]
	if held && (!live || old.fence.Session != row.ID) {
		reason := "it moved to another coordinator"
		if e, ended := table.Ended(old.fence.Session); ended {
			reason = e.Reason
		}
		c.mail.Detach(old.fence.Session, reason)
		c.leases.Drop(old.fence.Session)
		c.given.forget(old.fence.Session)
		c.sends.forget(old.fence.Session)
		delete(c.homed.by, full)
	}
	if !live || held && old == (seat{row.Fence(), row.Lease}) {
		return
	}
	if err := c.mail.Attach(row.FullName, row.ID, row.Epoch); err != nil {
		c.log.Error("a session has no mailbox", "name", full, "error", err)
		return
	}
	c.leases.Grant(row.Fence(), row.Lease)
	if c.homed.by == nil {
		c.homed.by = map[string]seat{}
	}
	c.homed.by[full] = seat{row.Fence(), row.Lease}
	if row.Slots > 0 {
		c.given.touch(full)
	}
}

// settleAll settles every name that is, or was, at home here.
func (c *Control) settleAll() {
	names := c.homed.names()
	for row := range c.machine.View().Registry.SessionsOf(c.self.ID) {
		names = append(names, row.FullName)
	}
	for _, full := range names {
		c.settle(full, "")
		c.given.touch(full)
	}
}

func (h *homed) names() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	names := make([]string, 0, len(h.by))
	for full := range h.by {
		names = append(names, full)
	}
	return names
}

// session returns the session that has a mailbox here under this name.
func (h *homed) session(full string) (string, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.by[full]
	return s.fence.Session, ok
}

// fits tells whether a row just told asks for nothing: it is at home elsewhere
// and was so before, or has its mailbox and lease already.
func (h *homed) fits(row registry.Session, here string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, held := h.by[row.FullName]
	if row.Home != here {
		return !held
	}
	return held && s == seat{row.Fence(), row.Lease}
}

// lacks tells whether the news that a session ended asks for nothing: it has no
// mailbox here under its name, or has none any more. If another session has,
// its own news tell what becomes of it.
func (h *homed) lacks(full, session string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, held := h.by[full]
	return !held || s.fence.Session != session
}

func (h *homed) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.by)
}

// follow keeps everything that hangs on the state in step with it, until ctx
// ends. After a start, or when it fell behind the feed, it looks at all; else
// only at what the news name.
func (c *Control) follow(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	feed := c.machine.Feed()
	var at Position
	all, cleaned, seconds := true, false, 0
	for {
		changed := feed.Changed()
		if all {
			at.Index, at.Seq = feed.Last()
			c.settleAll()
			all, cleaned = false, false
		}
		events, lagged := feed.Since(at.Index, at.Seq)
		if lagged {
			all = true
			continue
		}
		for i := range events {
			c.heed(&events[i])
			at = Position{Index: events[i].Index, Seq: events[i].Seq}
		}
		c.deliver()
		if len(events) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-tick.C:
			c.given.retry()
			if seconds++; seconds%60 == 0 {
				c.sends.sweep(c.now())
			}
			if !cleaned {
				cleaned = c.cleanLogs(ctx)
			}
		}
	}
}

// heed does what one piece of news asks for.
func (c *Control) heed(e *fsm.Event) {
	switch e.Topic {
	case wire.TopicComponent:
		// Most news ask for nothing, since whoever signs in or out settles; later
		// news follow.
		session := ""
		switch {
		case e.Session != nil:
			if c.homed.fits(*e.Session, c.self.ID) {
				return
			}
			session = e.Session.ID
		case e.Ended != nil:
			if c.homed.lacks(e.Ended.FullName, e.Ended.ID) {
				return
			}
		}
		c.settle(e.Key, session)
	case wire.TopicJob:
		if e.Part != nil {
			c.given.touch(e.Part.Worker)
		}
		if e.Kind == jobs.EventForgotten {
			if err := c.logs.remove(e.Key); err != nil {
				c.log.Warn("the logs of a forgotten job stay", "job", e.Key, "error", err)
			}
		}
	}
}

// cleanLogs removes the logs of jobs that were forgotten while this
// coordinator did not look. It reports whether the state was fresh enough to
// judge.
func (c *Control) cleanLogs(ctx context.Context) bool {
	asking, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	view, _, err := c.View(asking, Read{})
	if err != nil {
		return false
	}
	for _, job := range c.logs.jobs() {
		if _, known := view.Jobs.Job(job); !known {
			if err := c.logs.remove(job); err != nil {
				c.log.Warn("the logs of a forgotten job stay", "job", job, "error", err)
			}
		}
	}
	return true
}

// letGo closes all mailboxes when Run ends; the sessions live on in the log.
func (c *Control) letGo() {
	c.homed.mu.Lock()
	defer c.homed.mu.Unlock()
	for full, s := range c.homed.by {
		c.mail.Detach(s.fence.Session, "its coordinator stops")
		c.leases.Drop(s.fence.Session)
		delete(c.homed.by, full)
	}
}
