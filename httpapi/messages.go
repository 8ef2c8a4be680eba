package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/httpapi/rest"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

func (a *API) messageRoutes() {
	a.Handle(rest.Route{Method: http.MethodPost, Path: "/messages", Right: control.MessagesSend, Scope: rest.ScopeBody, Params: rest.NoParams, MaxBody: MaxMessageBody, Routine: true, Handle: a.sendMessage})
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/components/:full/messages", Right: control.ComponentsWrite, Scope: rest.ScopePath, SideEffects: true, Params: []string{"after", "wait", "limit"}, Handle: a.inbox})
}

var sendFields = strictjson.FieldsOf[wire.SendMessage]()

// longestSend bounds the timeout that a send may ask for.
const longestSend = time.Minute

// sendMessage answers a failure with the outcome beside the code; what is
// refused before there is a message (a bad body) has none.
func (a *API) sendMessage(rq *rest.Request) error {
	var in wire.SendMessage
	if err := rq.Decode(sendFields, &in); err != nil {
		return err
	}
	if in.Timeout < 0 || time.Duration(in.Timeout) > longestSend {
		return wire.Invalid("timeout", "timeout is 0 (the default) to %v", longestSend)
	}
	send := func(ctx context.Context) error {
		sent, err := a.control.Send(ctx, rq.Principal(), in, rq.IdempotencyKey())
		if err != nil {
			return &rest.OutcomeError{Outcome: sendOutcome, Err: err}
		}
		return rq.JSON(http.StatusOK, sent)
	}
	if time.Duration(in.Timeout) > a.WriteTimeout()/2 {
		return rq.LongRunning(time.Duration(in.Timeout), send)
	}
	return send(rq.Context())
}

// sendOutcome names what became of a message that was not delivered. A not_found
// with a field is about the sender's own session: nobody looked for the receiver.
func sendOutcome(e *wire.Error) string {
	switch {
	case e.Code == wire.CodeNotFound && e.Field == "":
		return "receiver_unknown"
	case e.Code == wire.CodeUnknown, e.Code == wire.CodeInternal:
		return "unknown"
	default:
		return "refused"
	}
}

// defaultPoll is how long a long poll waits unless the caller says so.
const defaultPoll = 30 * time.Second

// inbox streams the messages of a session, or answers one batch of them when
// JSON is asked for. What was written to a stream is acknowledged with the
// next batch, and the newest of it kept a while for a stream that broke and goes
// on by Last-Event-ID; a poll acknowledges by ?after=.
func (a *API) inbox(rq *rest.Request) error {
	full, err := rq.PathParam("full")
	if err != nil {
		return err
	}
	after, err := rq.Params().Index("after")
	if err != nil {
		return err
	}
	limit, err := rq.Params().Int("limit", 1, 1000, 0)
	if err != nil {
		return err
	}
	wait, err := rq.Params().Wait(defaultPoll)
	if err != nil {
		return err
	}
	if id := rq.LastEventID(); id != "" {
		if after, err = strconv.ParseUint(id, 10, 64); err != nil {
			return wire.Invalid("Last-Event-ID", "the last event id of an inbox is a number, not %q", rest.Clip(id))
		}
	}
	if rq.Prefers("application/json") {
		return rq.LongRunning(wait, func(ctx context.Context) error { return a.pollInbox(ctx, rq, full, after, limit, wait) })
	}
	return rq.LongRunning(0, func(ctx context.Context) error { return a.streamInbox(ctx, rq, full, after, limit) })
}

func (a *API) pollInbox(ctx context.Context, rq *rest.Request, full string, after uint64, limit int, wait time.Duration) error {
	box, err := a.control.Inbox(ctx, rq.Principal(), full)
	if err != nil {
		return err
	}
	// Without wait the mailbox is still read once, for what is there.
	waiting, cancel := context.WithTimeout(ctx, max(wait, time.Millisecond))
	defer cancel()
	got, err := box.Receive(waiting, after, limit)
	if err != nil {
		return err
	}
	if got == nil {
		got = []wire.Received{}
	}
	return rq.JSON(http.StatusOK, wire.Inbox{Messages: got})
}

func (a *API) streamInbox(ctx context.Context, rq *rest.Request, full string, after uint64, limit int) error {
	box, err := a.control.Inbox(ctx, rq.Principal(), full)
	if err != nil {
		return err
	}
	s, err := rq.StartEvents("")
	if err != nil {
		return nil // the reader is gone
	}
	defer s.Goodbye()
	err = s.Poll(ctx, func(ctx context.Context) (bool, error) {
		got, err := box.Receive(ctx, after, limit)
		for i := range got {
			if after > 0 && got[i].Seq > after+1 {
				// It was sent before the stream broke, and is no longer kept.
				s.Event("", "gap", gap(after, got[i].Seq))
			}
			after = got[i].Seq
			data, err := json.Marshal(&got[i])
			if err != nil {
				return true, err
			}
			s.Event(strconv.FormatUint(after, 10), "message", data)
		}
		return false, err
	})
	s.Fail(err)
	return nil
}

func gap(after, next uint64) []byte {
	b := append([]byte(nil), `{"after":`...)
	b = strconv.AppendUint(b, after, 10)
	b = append(b, `,"next":`...)
	b = strconv.AppendUint(b, next, 10)
	return append(b, '}')
}
