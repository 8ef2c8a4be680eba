package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

func (a *API) messageRoutes() {
	a.add(route{method: http.MethodPost, path: "/messages", params: none, body: MaxMessageBody, handle: a.sendMessage})
	a.add(route{method: http.MethodGet, path: "/components/:full/messages", acts: true, params: []string{"after", "wait", "limit"}, handle: a.inbox})
}

var sendShape = strictjson.FieldsOf[wire.SendMessage]()

// longestSend bounds the timeout that a send may ask for.
const longestSend = time.Minute

// sendMessage answers a failure with the outcome beside the code; what is
// refused before there is a message (a bad body) has none.
func (a *API) sendMessage(rq *request) error {
	var in wire.SendMessage
	if err := rq.decode(sendShape, &in); err != nil {
		return err
	}
	if in.Timeout < 0 || time.Duration(in.Timeout) > longestSend {
		return wire.Invalid("timeout", "timeout is 0 (the default) to %v", longestSend)
	}
	send := func(ctx context.Context) error {
		sent, err := a.control.Send(ctx, rq.who, in, rq.key())
		if err != nil {
			return &sendError{err}
		}
		return rq.json(http.StatusOK, sent)
	}
	if time.Duration(in.Timeout) > a.cfg.WriteTimeout/2 {
		return rq.long(time.Duration(in.Timeout), send)
	}
	return send(rq.context())
}

// defaultPoll is how long a long poll waits unless it says so.
const defaultPoll = 30 * time.Second

// inbox streams the messages of a session, or answers one batch of them when
// JSON is asked for. What has gone out by a stream is acknowledged with the
// next batch, and the newest of it kept a while for a stream that broke and goes
// on by Last-Event-ID; a poll acknowledges by ?after=.
func (a *API) inbox(rq *request) error {
	full, err := rq.arg("full")
	if err != nil {
		return err
	}
	after, err := rq.params.index("after")
	if err != nil {
		return err
	}
	limit, err := rq.params.number("limit", 1, 1000, 0)
	if err != nil {
		return err
	}
	wait, err := rq.params.duration("wait", longestWait, defaultPoll)
	if err != nil {
		return err
	}
	if id := rq.lastEventID(); id != "" {
		if after, err = strconv.ParseUint(id, 10, 64); err != nil {
			return wire.Invalid("Last-Event-ID", "the last event id of an inbox is a number, not %q", short(id))
		}
	}
	poll := rq.wantsJSON()
	if poll {
		return rq.long(wait, func(ctx context.Context) error { return a.pollInbox(ctx, rq, full, after, limit, wait) })
	}
	return rq.long(0, func(ctx context.Context) error { return a.streamInbox(ctx, rq, full, after, limit) })
}

// wantsJSON tells whether the caller takes JSON and no stream.
func (rq *request) wantsJSON() bool {
	accept := strings.Join(rq.r.Header["Accept"], ",")
	return strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/event-stream")
}

func (a *API) pollInbox(ctx context.Context, rq *request, full string, after uint64, limit int, wait time.Duration) error {
	box, err := a.control.Inbox(ctx, rq.who, full)
	if err != nil {
		return err
	}
	// Without wait the box is still looked into: once, for what is there.
	waiting, cancel := context.WithTimeout(ctx, max(wait, time.Millisecond))
	defer cancel()
	got, err := box.Receive(waiting, after, limit)
	if err != nil {
		return err
	}
	if got == nil {
		got = []wire.Received{}
	}
	return rq.json(http.StatusOK, wire.Inbox{Messages: got})
}

func (a *API) streamInbox(ctx context.Context, rq *request, full string, after uint64, limit int) error {
	box, err := a.control.Inbox(ctx, rq.who, full)
	if err != nil {
		return err
	}
	s, err := rq.begin(typeSSE, sseSilent, sseBegin)
	if err != nil {
		return nil // the reader is gone
	}
	defer s.lastWord()
	err = s.pump(ctx, func(ctx context.Context) (bool, error) {
		got, err := box.Receive(ctx, after, limit)
		for i := range got {
			if after > 0 && got[i].Seq > after+1 {
				// Sent before the stream broke, and forgotten since.
				s.news("", "gap", fmtGap(after, got[i].Seq))
			}
			after = got[i].Seq
			data, err := json.Marshal(&got[i])
			if err != nil {
				return true, err
			}
			s.news(decimal(after), "message", data)
		}
		return false, err
	})
	s.failed(err)
	return nil
}

func fmtGap(after, next uint64) []byte {
	b := append([]byte(nil), `{"after":`...)
	b = strconv.AppendUint(b, after, 10)
	b = append(b, `,"next":`...)
	b = strconv.AppendUint(b, next, 10)
	return append(b, '}')
}
