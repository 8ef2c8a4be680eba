package httpapi

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"strings"
	"sync"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/httpapi/rest"
	"github.com/folkmoot/folkmoot/wire"
)

func (a *API) eventRoutes() {
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/events", Right: rest.RightEvents, Scope: rest.ScopeRows, Params: []string{"topic", "index", "cluster"}, Handle: a.events})
}

// events streams the feed from a position on: after ?index=, after the event of
// Last-Event-ID, else from now. The id of an event is its position, its name its
// topic; the stream begins with the id of the position it begins at. A reader that
// fell behind what is kept, or whose position is of another cluster, gets an event
// "lagged" with the position from which the stream goes on: it must list again
// what it watches.
func (a *API) events(rq *rest.Request) error {
	var topics []string
	for _, t := range rq.Params().Values("topic") {
		topics = append(topics, strings.Split(t, ",")...)
	}
	after, err := resumePosition(rq)
	if err != nil {
		return err
	}
	return rq.LongRunning(0, func(ctx context.Context) error {
		cursor, err := a.control.Events(rq.Principal(), topics, after)
		if err != nil {
			return err
		}
		if cursor.Filtered() {
			rq.Filtered()
		}
		s, err := rq.StartEvents(cursor.At().String())
		if err != nil {
			return nil // the reader is gone
		}
		defer s.Goodbye()
		s.Fail(s.Poll(ctx, func(ctx context.Context) (bool, error) {
			events, lagged, err := cursor.Next(ctx)
			if lagged {
				at := cursor.At()
				data, err := json.Marshal(wire.Event{Index: at.Index, Seq: at.Seq, Kind: "lagged"})
				if err != nil {
					return true, err
				}
				s.Event(at.String(), "lagged", data)
			}
			cluster := cursor.At().Cluster
			for i := range events {
				frame, err := a.eventCache.frame(&events[i], cluster)
				if err != nil {
					return true, err
				}
				rq.Buffer().Write(frame)
			}
			return false, err
		}))
		return nil
	})
}

// resumePosition is where the reader wants to go on; nil is from now.
func resumePosition(rq *rest.Request) (*control.Position, error) {
	id := rq.LastEventID()
	if id == "" {
		if !rq.Params().Has("index") {
			return nil, nil
		}
		index, err := rq.Params().Index("index")
		if err == nil && rq.Params().Has("cluster") {
			_, err = control.ParsePosition("cluster", "0@"+rq.Params().Get("cluster"))
		}
		return &control.Position{Index: index, Seq: math.MaxInt, Cluster: rq.Params().Get("cluster")}, err
	}
	p, err := control.ParsePosition("Last-Event-ID", id)
	return &p, err
}

// cachedEvents is how many encoded events are kept.
const cachedEvents = 1024

// eventCache has the newest events as they are written: whatever the number of
// readers, an event is encoded about once.
type eventCache struct {
	mu   sync.Mutex
	ring [cachedEvents]encodedEvent
}

type encodedEvent struct {
	at    control.Position
	frame []byte // never changed once it is here
}

func (c *eventCache) frame(e *wire.Event, cluster string) ([]byte, error) {
	at := control.Position{Index: e.Index, Seq: e.Seq, Cluster: cluster}
	slot := &c.ring[(e.Index+uint64(e.Seq))%cachedEvents]
	c.mu.Lock()
	cached := *slot
	c.mu.Unlock()
	if cached.frame != nil && cached.at == at {
		return cached.frame, nil
	}
	data, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	frame := rest.EventFrame(at.String(), e.Topic, data)
	c.mu.Lock()
	*slot = encodedEvent{at, frame}
	c.mu.Unlock()
	return frame, nil
}
