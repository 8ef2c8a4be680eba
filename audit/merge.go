package audit

import (
	"strings"
	"time"
)

// MergeFor is how long equal events are one line.
const MergeFor = time.Minute

// showEvery is how often within that time a reader is shown what equal ones have come.
const showEvery = 10 * time.Second

// Bounds of how many different events are held back at once: beyond each, what is new is told apart by less.
const (
	maxExact   = 512
	maxByToken = maxExact + 256 // what was asked for by which token
)

// maxUnvouched is how many sign-ins a minute are a line each at a door that asks for no token.
const maxUnvouched = 512

// Several stands for what is no longer told apart.
const Several = "..."

// Merger makes one event of equal ones: it holds the first back until its minute is over and counts those that come
// meanwhile. Whoever makes up ever new ones gets no more than a bounded number of lines a minute: those beyond are told
// apart by token and what was asked for alone, then by door and outcome. Its clock is the time of the events and that
// of Due and Show. The zero value is ready.
type Merger struct {
	held      []*held // by since
	byKey     map[Event]*held
	unvouched int       // sign-ins that nobody vouches for
	since     time.Time // in the minute that began then
}

// Takes reports whether an event is to be added, and as which: what changed nothing, and the many sign-ins that nobody
// vouches for. Of all other events each is a line.
func (m *Merger) Takes(e Event) (Event, bool) {
	if e.Merges() {
		return e, true
	}
	if e.What != "sign_in" || e.Door != DoorLECO || e.Who.Token != "" {
		return e, false
	}
	if past := e.At.Sub(m.since); past < 0 || past >= MergeFor {
		m.unvouched, m.since = 0, e.At
	}
	if m.unvouched++; m.unvouched <= maxUnvouched {
		return e, false
	}
	e.Target, e.Who, e.RequestID, e.Index = Several, Who{}, "", 0
	return e, true
}

// held is equal events within a minute.
type held struct {
	key   Event
	first Event     // of those that were not given out yet
	times int       // how many that are; 0: none
	since time.Time // when the minute began
	shown time.Time // when a reader was shown it; zero: never
}

// out is what was not given out yet.
func (h *held) out() Event {
	e := h.first
	e.Times = h.times
	h.times = 0
	return e
}

// Add takes an event. What is no longer held back, since nobody has asked for it in time, is returned.
func (m *Merger) Add(e Event) (out []Event) {
	h, e := m.of(e.bounded())
	if h != nil && e.At.Sub(h.since) >= MergeFor { // nobody has asked since
		out = m.drop(func(old *held) bool { return old == h })
		h = nil
	}
	if h == nil {
		h = &held{key: sameAs(e), since: e.At}
		if m.byKey == nil {
			m.byKey = map[Event]*held{}
		}
		m.byKey[h.key] = h
		m.held = append(m.held, h)
	}
	if h.times == 0 {
		h.first = e
	}
	h.times += max(e.Times, 1)
	return out
}

// of returns what an event is held by, nil if there is none yet, and the event as it is told apart.
func (m *Merger) of(e Event) (*held, Event) {
	if h, ok := m.byKey[sameAs(e)]; ok || len(m.held) < maxExact {
		return h, e
	}
	e.Target, e.RequestID, e.Needs = Several, "", ""
	e.Who = Who{Token: e.Who.Token, Name: e.Who.Name}
	if h, ok := m.byKey[sameAs(e)]; ok || len(m.held) < maxByToken {
		return h, e
	}
	e.What, e.Who = Several, Who{}
	return m.byKey[sameAs(e)], e
}

// sameAs is what equal events have in common: all but when, on which connection and under which id it was asked. The
// certificates that are refused are whatever the other side made up: they are not told apart.
func sameAs(e Event) Event {
	if port := strings.LastIndexByte(e.Who.Remote, ':'); port >= 0 {
		e.Who.Remote = e.Who.Remote[:port]
	}
	if e.Door == DoorPeer {
		e.Who.Certificate, e.Target = "", ""
	}
	e.At, e.RequestID, e.Times, e.Index = time.Time{}, "", 0, 0
	return e
}

// Due takes out the events whose minute is over, oldest first.
func (m *Merger) Due(now time.Time) []Event {
	if next, ok := m.Next(); !ok || now.Before(next) {
		return nil
	}
	return m.drop(func(h *held) bool { return now.Sub(h.since) >= MergeFor })
}

// Next is when Due has something to do; false: nothing is held back.
func (m *Merger) Next() (time.Time, bool) {
	if len(m.held) == 0 {
		return time.Time{}, false
	}
	return m.held[0].since.Add(MergeFor), true
}

// Show takes out what a reader is to see before its minute is over: what came since it was last shown, unless that was
// just now, so that somebody who goes on reading does not get a line for each. Reading the trail itself is not shown:
// a reader that goes on would see nothing else.
func (m *Merger) Show(now time.Time) (out []Event) {
	for _, h := range m.held {
		if h.times > 0 && !h.first.Polled && (h.shown.IsZero() || now.Sub(h.shown) >= showEvery) {
			out = append(out, h.out())
			h.shown = now
		}
	}
	return out
}

// All takes out all events.
func (m *Merger) All() []Event { return m.drop(func(*held) bool { return true }) }

func (m *Merger) drop(which func(*held) bool) (out []Event) {
	kept := m.held[:0]
	for _, h := range m.held {
		if !which(h) {
			kept = append(kept, h)
			continue
		}
		if h.times > 0 {
			out = append(out, h.out())
		}
		delete(m.byKey, h.key)
	}
	clear(m.held[len(kept):])
	m.held = kept
	return out
}
