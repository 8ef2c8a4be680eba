package worker

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/jobs/work"
	"github.com/folkmoot/folkmoot/wire"
)

// home implements work.Home over a session: four methods of the coordinator and an inbox.
type home struct {
	session *client.Session
	hints   chan work.Hint
	closing atomic.Bool // no new parts are taken
	wg      sync.WaitGroup
}

var _ work.Home = (*home)(nil)

func newHome(s *client.Session) *home {
	h := &home{session: s, hints: make(chan work.Hint, 1)}
	h.wg.Go(h.listen)
	return h
}

// wait returns when the session has ended and its inbox is read.
func (h *home) wait() { h.wg.Wait() }

func (h *home) Start(ctx context.Context, parts []wire.PartRef) ([]wire.PartVerdict, error) {
	var out wire.PartVerdicts
	err := h.session.Coordinator(ctx, "start_parts", wire.PartRefs{Parts: parts}, &out)
	return out.Parts, err
}

func (h *home) Finish(ctx context.Context, parts []wire.PartDone) ([]wire.PartVerdict, error) {
	var out wire.PartVerdicts
	err := h.session.Coordinator(ctx, "finish_parts", wire.FinishParts{Parts: parts}, &out)
	return out.Parts, err
}

// lostSession reports under the secret of a session that is no longer renewed.
type lostSession struct {
	client *client.Client
	secret string
}

var _ work.Reporter = lostSession{}

func (s lostSession) Finish(ctx context.Context, parts []wire.PartDone) ([]wire.PartVerdict, error) {
	var out wire.PartVerdicts
	_, err := s.client.Call(ctx, wire.Coordinator, "finish_parts", wire.FinishParts{Parts: parts}, &out, client.CallOptions{Secret: s.secret, Repeatable: true})
	return out.Parts, err
}

func (h *home) AppendLog(ctx context.Context, log wire.AppendLog) error {
	return h.session.Coordinator(ctx, "append_log", log, nil)
}

func (h *home) Sync(ctx context.Context, holding []wire.PartRef) (wire.SyncedParts, error) {
	if holding == nil {
		holding = []wire.PartRef{}
	}
	var out wire.SyncedParts
	err := h.session.Coordinator(ctx, "sync_parts", wire.SyncParts{Holding: holding}, &out)
	if h.closing.Load() {
		out.Run = nil
	}
	return out, err
}

func (h *home) Hints() <-chan work.Hint { return h.hints }

// listen turns messages of the inbox into hints until the session ends.
func (h *home) listen() {
	defer close(h.hints)
	for m := range h.session.Messages() {
		hint, ok := hintOf(&m)
		if !ok {
			continue
		}
		if h.closing.Load() {
			hint.Run = nil
		}
		if len(hint.Run)+len(hint.Cancel) == 0 {
			continue
		}
		select {
		case h.hints <- hint:
		case <-h.session.Context().Done():
		}
	}
}

// hintOf decodes a hint from a message. Only a coordinator gives work: parts are programs to run here.
func hintOf(m *wire.Message) (work.Hint, bool) {
	if m.From != wire.Coordinator && !strings.HasSuffix(m.From, "."+wire.Coordinator) || len(m.Payload) == 0 {
		return work.Hint{}, false
	}
	var note struct {
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
	}
	if json.Unmarshal(m.Payload[0], &note) != nil {
		return work.Hint{}, false
	}
	switch note.Method {
	case "run_parts":
		var p wire.RunParts
		err := json.Unmarshal(note.Params, &p)
		return work.Hint{Run: p.Parts}, err == nil
	case "cancel_parts":
		var p wire.PartRefs
		err := json.Unmarshal(note.Params, &p)
		return work.Hint{Cancel: p.Parts}, err == nil
	}
	return work.Hint{}, false
}
