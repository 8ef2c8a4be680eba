package home

import (
	"context"
	"encoding/json"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// callTimeout is how long another coordinator may take for a call that waits
// for nothing.
const callTimeout = 3 * time.Second

// What coordinators ask each other. The asker has checked the secret; the home
// checks that the session is still its own. Fields may be added.
type (
	beatAt struct {
		Session string `json:"session"`
	}
	receiveAt struct {
		Session string        `json:"session"`
		After   uint64        `json:"after"`
		Max     int           `json:"max"`
		Wait    wire.Duration `json:"wait"`
		Alive   bool          `json:"alive,omitempty"` // the session itself asked just now
	}
	sendAt struct {
		Session string           `json:"session"`
		Message wire.SendMessage `json:"message"`
		Key     string           `json:"key,omitempty"`
	}
	readLogAt struct {
		Job     string `json:"job"`
		Part    int    `json:"part"`
		Attempt int    `json:"attempt"`
		Offset  int64  `json:"offset"`
	}
)

// handlePeers registers what other coordinators may ask of this one.
func (h *Home) handlePeers() {
	handle(h, "control.heartbeat", func(ctx context.Context, in beatAt) (wire.Beat, error) {
		s, err := h.localSession(ctx, in.Session)
		if err != nil {
			return wire.Beat{}, err
		}
		return h.Beat(ctx, s)
	})
	handle(h, "control.receive", func(ctx context.Context, in receiveAt) (wire.Inbox, error) {
		s, err := h.localSession(ctx, in.Session)
		if err != nil {
			return wire.Inbox{}, err
		}
		if in.Alive {
			h.Alive(s)
		}
		ctx, cancel := context.WithTimeout(ctx, min(time.Duration(in.Wait), longestPoll))
		defer cancel()
		got, err := h.receive(ctx, s, in.After, min(in.Max, MaxReceive))
		return wire.Inbox{Messages: got}, err
	})
	handle(h, "control.send", func(ctx context.Context, in sendAt) (wire.Sent, error) {
		s, err := h.localSession(ctx, in.Session)
		if err != nil {
			return wire.Sent{}, err
		}
		return h.send(ctx, s, in.Message, in.Key)
	})
	handle(h, "control.append_log", func(_ context.Context, in wire.AppendLog) (Appended, error) {
		size, err := h.logs.append(in)
		return Appended{Size: size}, err
	})
	handle(h, "control.read_log", func(_ context.Context, in readLogAt) (StoredChunk, error) {
		return h.logs.read(in.Job, in.Part, in.Attempt, in.Offset)
	})
}

// handle registers one method with JSON on both sides.
func handle[Q, R any](h *Home, method string, do func(context.Context, Q) (R, error)) {
	h.Peers().Handle(method, func(ctx context.Context, _ peer.Hello, body []byte) ([]byte, error) {
		var in Q
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, wire.Invalid("", "%s: %v", method, err)
		}
		out, err := do(ctx, in)
		if err != nil {
			return nil, err
		}
		return json.Marshal(out)
	})
}

// localSession returns the live session that another coordinator believes to be at home here.
// Errors: not_found (it ended), unavailable (it moved on; or nobody newer can
// be asked).
func (h *Home) localSession(ctx context.Context, id string) (registry.Session, error) {
	return control.Certain(ctx, h.Core, func(view *fsm.State) (registry.Session, error) {
		s, ok := view.Registry.SessionByID(id)
		switch {
		case !ok:
			return s, control.SessionGone(view.Registry, id)
		case s.Home != h.Self().ID:
			return s, moved(s)
		}
		return s, nil
	})
}

// moved is the error for a session that is at home elsewhere by now.
func moved(s registry.Session) error {
	return wire.NotTried("%s moved to %s just now: repeat", s.FullName, s.Home)
}

// unread returns why a session that was at home here has no mailbox here: it
// ended, moved, or its mailbox is not open yet or any more.
func (h *Home) unread(ctx context.Context, id string) error {
	s, err := h.localSession(ctx, id)
	if err == nil {
		err = wire.NotTried("the mailbox of %s is not open just now: repeat", s.FullName)
	}
	return err
}

// atHome asks the coordinator home. An error of the call itself is unavailable
// (not tried) or unknown.
func atHome[R any](ctx context.Context, h *Home, home, method string, body any) (R, error) {
	var out R
	row, ok := h.State().Registry.Coordinator(home)
	if !ok || h.Peers() == nil {
		return out, wire.NotTried("its home %s is not a coordinator any more: take the name over", home)
	}
	in, err := json.Marshal(body)
	if err != nil {
		return out, err
	}
	answer, err := h.Peers().Call(ctx, row.PeerAddr, method, in)
	switch wire.CodeOf(err) {
	case "":
		err = json.Unmarshal(answer, &out)
	case wire.CodeUnavailable:
		err = wire.NotTried("its home %s is not reached: take the name over (%v)", home, err)
	case wire.CodeInternal:
		err = wire.Unknown(err)
	}
	return out, err
}

// askHome is atHome for what can be asked twice: nothing is unknown then.
func askHome[R any](ctx context.Context, h *Home, home, method string, body any) (R, error) {
	out, err := atHome[R](ctx, h, home, method, body)
	if wire.CodeOf(err) == wire.CodeUnknown {
		err = wire.NotTried("its home %s does not answer: take the name over (%v)", home, err)
	}
	return out, err
}

// atItsHome asks a session's home, wherever that is. The home as this view
// knows it may be one of before: then the session is followed, once for every
// move.
func atItsHome[R any](ctx context.Context, h *Home, s registry.Session, ask func(registry.Session) (R, error)) (R, error) {
	for {
		out, err := ask(s)
		if wire.CodeOf(err) != wire.CodeUnavailable || ctx.Err() != nil {
			return out, err
		}
		view, _, stale := h.View(ctx, control.Read{Consistency: string(raftnode.Strict)})
		if stale != nil {
			return out, err
		}
		now, live := view.Registry.SessionByID(s.ID)
		if !live || now.Epoch == s.Epoch && now.Home == s.Home {
			return out, err // who asks again learns that it has ended
		}
		s = now
	}
}
