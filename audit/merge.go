package audit

import (
	"strings"
	"time"
)

// MergeFor is how long equal events are one line.
const MergeFor = time.Minute

// maxHeld bounds how many different events are held back; beyond it the oldest is given out early.
const maxHeld = 1024

// Merger makes one event of equal ones: it holds the first back until its minute is over and counts those that come
// meanwhile. Its clock is the time of the events and that of Due. The zero value is ready.
type Merger struct {
	held  []*Event // by the time of the first
	byKey map[Event]*Event
}

// Add takes an event. What is no longer held back, for want of room, is returned.
func (m *Merger) Add(e Event) (out []Event) {
	e = e.bounded()
	k := sameAs(e)
	if first, ok := m.byKey[k]; ok && e.At.Sub(first.At) < MergeFor {
		first.Times = max(first.Times, 1) + max(e.Times, 1)
		return nil
	} else if ok { // its minute is over, and nobody has asked since
		out = m.take(func(held *Event) bool { return held == first })
	}
	if m.byKey == nil {
		m.byKey = map[Event]*Event{}
	}
	if len(m.held) >= maxHeld {
		oldest := m.held[0]
		out = append(out, m.take(func(held *Event) bool { return held == oldest })...)
	}
	m.byKey[k] = &e
	m.held = append(m.held, &e)
	return out
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
	return m.take(func(e *Event) bool { return now.Sub(e.At) >= MergeFor })
}

// Next is when Due has something; false: nothing is held back.
func (m *Merger) Next() (time.Time, bool) {
	if len(m.held) == 0 {
		return time.Time{}, false
	}
	return m.held[0].At.Add(MergeFor), true
}

// Take takes out all events with this outcome.
func (m *Merger) Take(outcome string) []Event {
	return m.take(func(e *Event) bool { return e.Outcome == outcome })
}

// All takes out all events.
func (m *Merger) All() []Event { return m.take(func(*Event) bool { return true }) }

func (m *Merger) take(which func(*Event) bool) (out []Event) {
	kept := m.held[:0]
	for _, e := range m.held {
		if !which(e) {
			kept = append(kept, e)
			continue
		}
		out = append(out, *e)
		delete(m.byKey, sameAs(*e))
	}
	clear(m.held[len(kept):])
	m.held = kept
	return out
}
