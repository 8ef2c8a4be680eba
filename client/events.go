package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/folkmoot/folkmoot/wire"
)

// KindLagged is the kind of the event that stands for events that were missed: list again, then go on.
const KindLagged = "lagged"

// Events selects events.
type Events struct {
	Topics []string // wire.Topic...; empty is all
	Index  uint64   // events after this index; 0 is from now on
	LastID string   // goes on after the event of this id instead
}

// Events yields events in order, without a gap or a repeat, for ever: when a coordinator goes away the next one goes on
// where it stopped. Where that is not possible, also because the cluster was founded anew, an event of KindLagged comes
// first. It ends by ctx or a refusal, with an error. Data is a json.RawMessage, or nil.
func (c *Client) Events(ctx context.Context, sel Events) iter.Seq2[wire.Event, error] {
	q := url.Values{}
	set(q, "topic", strings.Join(sel.Topics, ","))
	if sel.Index > 0 {
		q.Set("index", strconv.FormatUint(sel.Index, 10))
	}
	r := request{method: http.MethodGet, path: "/events", query: q}
	return func(yield func(wire.Event, error) bool) {
		for n, err := range c.follow(ctx, following{request: r, lastID: sel.LastID}) {
			var e wire.Event
			if err == nil && len(n.data) > 0 {
				var data json.RawMessage
				e.Data = &data
				if err = json.Unmarshal(n.data, &e); err != nil {
					err = fmt.Errorf("event %s is not the JSON expected: %w", n.id, err)
				}
				if e.Data = nil; len(data) > 0 {
					e.Data = data
				}
			}
			if n.name == KindLagged {
				e.Kind = KindLagged
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}
