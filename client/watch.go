package client

import (
	"context"
	"encoding/json"
	"iter"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// watches share one subscription of a component's connection; after a move it goes on where it was.
type watches struct {
	lock chan struct{} // capacity 1: one change of the subscription after the other, in the order of their requests

	mu           sync.Mutex
	all          map[*watch]bool
	conversation [16]byte // of the last subscription
	live         bool     // it was answered on the connection of now: set and cleared by the connection's reader
	position     string   // behind the last event
	cluster      string   // the id of the one that at is a place of
}

// watch is one caller of Watch.
type watch struct {
	topics map[string]bool
	events chan wire.Event
	lagged chan string // capacity 1: where the events go on
}

// place is one in the feed of a cluster, as a coordinator sends it.
type place struct {
	At      string `json:"at"`
	Cluster string `json:"cluster"`
}

// maxWatchEvents bounds what waits for one watch; one that falls behind gets KindLagged.
const maxWatchEvents = 1024

// Watch yields events of the cluster in order, from now on (if that does not work, the first turn has the error),
// without a gap or a repeat also when the session moves: wire.TopicComponent unless topics are named. Where there is a
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
		s.position = "" // of those who watched before
	}
	s.all[w] = true
	s.mu.Unlock()
	if err := s.subscribe(ctx, n); err != nil {
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
		s.live, s.conversation = false, [16]byte{}
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

// allTopics are what is subscribed to; each watch filters its own.
var allTopics = []string{wire.TopicComponent, wire.TopicJob, wire.TopicMember}

// subscribe asks for events, behind the last event if there was one, until the connection of now brings them.
func (s *watches) subscribe(ctx context.Context, n *Session) error {
	ctx, cancel := n.bounded(ctx)
	defer cancel()
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	for {
		s.mu.Lock()
		if s.live || len(s.all) == 0 {
			s.mu.Unlock()
			return nil
		}
		conversation := NewConversation()
		params := map[string]any{"topics": allTopics}
		if s.conversation = conversation; s.position != "" {
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
	if m.Conversation != s.conversation {
		return
	}
	var out place
	if result(wire.Coordinator, *m, &out) != nil {
		return
	}
	if s.live = true; s.position == "" {
		s.position, s.cluster = out.At, out.Cluster
	}
}

// resume subscribes again on a new connection, whose reader calls it before it reads.
func (s *watches) resume(n *Session, l *link) {
	s.mu.Lock()
	s.live = false
	again := len(s.all) > 0
	s.mu.Unlock()
	if !again {
		return
	}
	n.start(func() {
		ctx, cancel := context.WithTimeout(n.ctx, 10*time.Second)
		defer cancel()
		if err := s.subscribe(ctx, n); err != nil && n.ctx.Err() == nil {
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
		s.position, s.cluster = in.At, in.Cluster
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
	s.position = position(e)
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
