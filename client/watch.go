package client

import (
	"context"
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// watches share one subscription of a component's connection, to the topics of all of them; after a move it goes on where
// it was.
type watches struct {
	lock chan struct{} // capacity 1: one change of the subscription after the other, in the order of their requests

	mu           sync.Mutex
	all          map[*watch]bool
	conversation [16]byte        // of the last subscription that was answered
	topics       map[string]bool // and what it is to
	asked        [16]byte        // of the one that is asked for; zero: none
	asking       map[string]bool
	live         bool   // it was answered on the connection of now: set and cleared by the connection's reader
	position     string // behind the last event
	last         event  // whose position that is
	cluster      string // the id of the one that at is a place of
}

// event is where an event is in the feed.
type event struct {
	index uint64
	seq   int
}

// after reports whether e comes behind o.
func (e event) after(o event) bool { return e.index > o.index || e.index == o.index && e.seq > o.seq }

// watch is one caller of Watch.
type watch struct {
	topics   map[string]bool
	events   chan wire.Event
	lagged   chan string // capacity 1: where the events go on
	accepted bool        // the subscription has brought its topics once; guarded by the watches' mu
}

// place is one in the feed of a cluster, as a coordinator sends it.
type place struct {
	At      string `json:"at"`
	Cluster string `json:"cluster"`
}

// maxWatchEvents bounds what waits for one watch; one that falls behind gets KindLagged.
const maxWatchEvents = 1024

// Watch yields events of the cluster in order, from now on, or from where the watches of the session are that there were
// before, without a gap or a repeat also when the session moves: wire.TopicComponent unless topics are named. Where there is a
// gap, an event of KindLagged comes in its place: list again. It ends with ctx or with the component, with an error.
// Data is a json.RawMessage, or nil.
func (n *Session) Watch(ctx context.Context, topics ...string) (iter.Seq2[wire.Event, error], error) {
	if len(topics) == 0 {
		topics = []string{wire.TopicComponent}
	}
	w := &watch{topics: map[string]bool{}, events: make(chan wire.Event, maxWatchEvents), lagged: make(chan string, 1)}
	for _, t := range topics {
		w.topics[t] = true
	}
	s := &n.watches
	s.mu.Lock()
	if len(s.all) == 0 && !s.live {
		s.position, s.last = "", event{} // of those who watched before
	}
	s.all[w] = true
	s.mu.Unlock()
	if err := s.subscribe(ctx, n, w); err != nil {
		s.remove(n, w)
		return nil, err
	}
	return func(yield func(wire.Event, error) bool) {
		defer s.remove(n, w)
		for {
			var e wire.Event
			select { // what came before a gap comes first
			case e = <-w.events:
			default:
				select {
				case e = <-w.events:
				case <-w.lagged:
					e = wire.Event{Kind: KindLagged}
				case <-ctx.Done():
					yield(e, ctx.Err())
					return
				case <-n.done:
					yield(e, ErrLost)
					return
				}
			}
			if !yield(e, nil) {
				return
			}
		}
	}, nil
}

// remove ends a watch, and with the last one the subscription.
func (s *watches) remove(n *Session, w *watch) {
	s.mu.Lock()
	delete(s.all, w)
	last := len(s.all) == 0
	s.mu.Unlock()
	if last {
		n.start(func() { s.unsubscribe(n) })
	}
}

func (s *watches) unsubscribe(n *Session) {
	ctx, cancel := context.WithTimeout(n.ctx, time.Second)
	defer cancel()
	if s.acquire(ctx) != nil {
		return
	}
	defer s.release()
	s.mu.Lock()
	idle := len(s.all) == 0 && s.live
	if idle {
		s.live, s.conversation, s.asked = false, [16]byte{}, [16]byte{}
	}
	s.mu.Unlock()
	if idle {
		_ = n.Coordinator(ctx, "unsubscribe", nil, nil) // events are ignored from now on in any case
	}
}

// acquire waits for the turn to change the subscription.
func (s *watches) acquire(ctx context.Context) error {
	select {
	case s.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return wire.NotTried("news were not asked for: %v", context.Cause(ctx))
	}
}

func (s *watches) release() { <-s.lock }

// wanted are the topics of the watches that were accepted, and of own: one that is refused must not fail the others.
// mu is held.
func (s *watches) wanted(own *watch) map[string]bool {
	all := map[string]bool{}
	for w := range s.all {
		if w.accepted || w == own {
			maps.Copy(all, w.topics)
		}
	}
	return all
}

// covers reports whether the subscription of now brings these topics; mu is held.
func (s *watches) covers(topics map[string]bool) bool {
	for topic := range topics {
		if !s.topics[topic] {
			return false
		}
	}
	return s.live
}

// subscribe asks for events, behind the last event if there was one, until the connection of now brings them: those of the
// watches that were accepted, and of own, which is one from then on; own may be nil.
func (s *watches) subscribe(ctx context.Context, n *Session, own *watch) error {
	ctx, cancel := n.bounded(ctx)
	defer cancel()
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	for {
		s.mu.Lock()
		want := s.wanted(own)
		if len(want) == 0 || s.covers(want) {
			if own != nil {
				own.accepted = true
			}
			s.mu.Unlock()
			return nil
		}
		conversation := NewConversation()
		params := map[string]any{"topics": slices.Sorted(maps.Keys(want))}
		if s.asked, s.asking = conversation, want; s.position != "" {
			params["after"] = s.position
			if s.cluster != "" {
				params["cluster"] = s.cluster
			}
		}
		s.mu.Unlock()
		m, err := n.ask(ctx, conversation, wire.Coordinator, "subscribe", params)
		if err == nil {
			err = result(wire.Coordinator, m, nil)
		}
		// A repeat harms nobody: the last request is the one that holds.
		if code := wire.CodeOf(err); err != nil && (code != wire.CodeUnknown || ctx.Err() != nil || n.ctx.Err() != nil) {
			return err
		}
	}
}

// onSubscribed records, before anything that follows is read, that the subscription was answered.
func (s *watches) onSubscribed(m *wire.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.Conversation != s.asked {
		return
	}
	s.asked = [16]byte{}
	var out place
	if result(wire.Coordinator, *m, &out) != nil {
		return // the one before, if any, goes on
	}
	s.conversation, s.topics = m.Conversation, s.asking
	if s.live = true; s.position == "" {
		s.position, s.cluster = out.At, out.Cluster
	}
}

// resume subscribes again on a new connection, whose reader calls it before it reads.
func (s *watches) resume(n *Session, l *link) {
	s.mu.Lock()
	s.live = false
	again := len(s.wanted(nil)) > 0 // one that waits for its answer asks itself
	s.mu.Unlock()
	if !again {
		return
	}
	n.start(func() {
		ctx, cancel := context.WithTimeout(n.ctx, 10*time.Second)
		defer cancel()
		if err := s.subscribe(ctx, n, nil); err != nil && n.ctx.Err() == nil {
			n.log.Warn("not subscribed again", "error", err)
			l.close() // the next connection may do better
		}
	})
}

// dispatch hands a notification to the watches; false means that it is no event.
func (s *watches) dispatch(conversation [16]byte, method string, params json.RawMessage) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if conversation != s.conversation || method != "event" && method != KindLagged {
		return false
	}
	if method == KindLagged {
		var in place
		_ = json.Unmarshal(params, &in)
		s.position, s.cluster, s.last = in.At, in.Cluster, event{}
		for w := range s.all {
			w.markLagged()
		}
		return true
	}
	var data json.RawMessage
	e := wire.Event{Data: &data}
	if json.Unmarshal(params, &e) != nil {
		return true
	}
	if e.Data = nil; len(data) > 0 {
		e.Data = data
	}
	at := event{e.Index, e.Seq}
	if !at.after(s.last) {
		return true // it came by the subscription before
	}
	s.position, s.last = position(e), at
	for w := range s.all {
		if !w.topics[e.Topic] {
			continue
		}
		select {
		case w.events <- e:
		default:
			w.markLagged()
		}
	}
	return true
}

func (w *watch) markLagged() {
	select {
	case w.lagged <- "":
	default:
	}
}
