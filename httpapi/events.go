package httpapi

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"strings"
	"sync"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/wire"
)

func (a *API) eventRoutes() {
	a.add(route{method: http.MethodGet, path: "/events", params: []string{"topic", "index", "cluster"}, handle: a.events})
}

// events streams the feed from a place on: behind ?index=, behind the event of
// Last-Event-ID, else from now. The id of an event is its place, its name its
// topic; the stream begins with the id of the place it begins at. A reader that
// fell behind what is kept, or whose place is none of this cluster's, gets an
// event "lagged" with the place from which it goes on: it lists again what it
// watches.
func (a *API) events(rq *request) error {
	var topics []string
	for _, t := range rq.params.all("topic") {
		topics = append(topics, strings.Split(t, ",")...)
	}
	after, err := rq.place()
	if err != nil {
		return err
	}
	return rq.long(0, func(ctx context.Context) error {
		cursor, err := a.control.Events(rq.who, topics, after)
		if err != nil {
			return err
		}
		s, err := rq.begin(typeSSE, sseSilent, sseBegin+"id: "+cursor.At().String()+"\n\n")
		if err != nil {
			return nil // the reader is gone
		}
		defer s.lastWord()
		s.failed(s.pump(ctx, func(ctx context.Context) (bool, error) {
			events, lagged, err := cursor.Next(ctx)
			if lagged {
				at := cursor.At()
				data, err := json.Marshal(wire.Event{Index: at.Index, Seq: at.Seq, Kind: "lagged"})
				if err != nil {
					return true, err
				}
				s.news(at.String(), "lagged", data)
			}
			cluster := cursor.At().Cluster
			for i := range events {
				frame, err := a.encoded.of(&events[i], cluster)
				if err != nil {
					return true, err
				}
				rq.out.Write(frame)
			}
			return false, err
		}))
		return nil
	})
}

// place is where the reader wants to go on; nil is from now.
func (rq *request) place() (*control.Position, error) {
	field, told := "Last-Event-ID", rq.lastEventID()
	if told == "" {
		if !rq.params.has("index") {
			return nil, nil
		}
		index, err := rq.params.index("index")
		if err == nil && rq.params.has("cluster") {
			_, err = control.ParsePosition("cluster", "0@"+rq.params.get("cluster"))
		}
		return &control.Position{Index: index, Seq: math.MaxInt, Cluster: rq.params.get("cluster")}, err
	}
	p, err := control.ParsePosition(field, told)
	return &p, err
}

// keptEvents is how many encoded events are kept.
const keptEvents = 1024

// encodedEvents are the newest events as they go out: whatever the number of
// readers, an event is encoded about once.
type encodedEvents struct {
	mu   sync.Mutex
	ring [keptEvents]encodedEvent
}

type encodedEvent struct {
	at    control.Position
	frame []byte // never changed
}

func (c *encodedEvents) of(e *wire.Event, cluster string) ([]byte, error) {
	at := control.Position{Index: e.Index, Seq: e.Seq, Cluster: cluster}
	slot := &c.ring[(e.Index+uint64(e.Seq))%keptEvents]
	c.mu.Lock()
	known := *slot
	c.mu.Unlock()
	if known.frame != nil && known.at == at {
		return known.frame, nil
	}
	data, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	frame := make([]byte, 0, len(data)+64)
	frame = append(append(append(frame, "id: "...), at.String()...), "\nevent: "...)
	frame = append(append(append(frame, e.Topic...), "\ndata: "...), data...)
	frame = append(frame, "\n\n"...)
	c.mu.Lock()
	*slot = encodedEvent{at, frame}
	c.mu.Unlock()
	return frame, nil
}
