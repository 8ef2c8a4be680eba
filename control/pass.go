package control

import (
	"context"
	"encoding/json"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
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
func (c *Control) handlePeers() {
	handle(c, "control.heartbeat", func(ctx context.Context, in beatAt) (wire.Beat, error) {
		s, err := c.mine(ctx, in.Session)
		if err != nil {
			return wire.Beat{}, err
		}
		return c.beat(ctx, s)
	})
	handle(c, "control.receive", func(ctx context.Context, in receiveAt) (wire.Inbox, error) {
		s, err := c.mine(ctx, in.Session)
		if err != nil {
			return wire.Inbox{}, err
		}
		if in.Alive {
			c.alive(s)
		}
		ctx, cancel := context.WithTimeout(ctx, min(time.Duration(in.Wait), longestPoll))
		defer cancel()
		got, err := c.receive(ctx, s, in.After, min(in.Max, MaxReceive))
		return wire.Inbox{Messages: got}, err
	})
	handle(c, "control.send", func(ctx context.Context, in sendAt) (wire.Sent, error) {
		s, err := c.mine(ctx, in.Session)
		if err != nil {
			return wire.Sent{}, err
		}
		return c.send(ctx, s, in.Message, in.Key)
	})
	handle(c, "control.append_log", func(_ context.Context, in wire.AppendLog) (appended, error) {
		size, err := c.logs.append(in)
		return appended{Size: size}, err
	})
	handle(c, "control.read_log", func(_ context.Context, in readLogAt) (storedChunk, error) {
		return c.logs.read(in.Job, in.Part, in.Attempt, in.Offset)
	})
}

// handle registers one method with JSON on both sides.
func handle[Q, R any](c *Control, method string, h func(context.Context, Q) (R, error)) {
	c.peers.Handle(method, func(ctx context.Context, _ peer.Hello, body []byte) ([]byte, error) {
		var in Q
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, wire.Invalid("", "%s: %v", method, err)
		}
		out, err := h(ctx, in)
		if err != nil {
			return nil, err
		}
		return json.Marshal(out)
	})
}

// mine returns the live session that another coordinator takes for homed here.
// Errors: not_found (it ended), unavailable (it moved on; or nobody newer can
// be asked).
func (c *Control) mine(ctx context.Context, id string) (registry.Session, error) {
	return surely(ctx, c, func(view *fsm.State) (registry.Session, error) {
		s, ok := view.Registry.SessionByID(id)
		switch {
		case !ok:
			return s, gone(view.Registry, id)
		case s.Home != c.self.ID:
			return s, moved(s)
		}
		return s, nil
	})
}

// moved tells that a session is at home elsewhere by now.
func moved(s registry.Session) error {
	return wire.NotTried("%s moved to %s just now: repeat", s.FullName, s.Home)
}

// gone tells why there is no such session.
func gone(table *registry.Table, id string) error {
	why := wire.Refuse(wire.CodeNotFound, "no session %s: sign in", id)
	if e, ended := table.Ended(id); ended {
		why = wire.Refuse(wire.CodeNotFound, "the session of %s ended: %s; sign in again", e.FullName, e.Reason)
	}
	why.Field = "session" // it is not the receiver of a send that nobody knows
	return why
}

// unread tells why a session that was at home here has no mailbox here: it
// ended, moved, or its mailbox is not open yet or any more.
func (c *Control) unread(ctx context.Context, id string) error {
	s, err := c.mine(ctx, id)
	if err == nil {
		err = wire.NotTried("the mailbox of %s is not open just now: repeat", s.FullName)
	}
	return err
}

// atHome asks the coordinator home. An error of the call itself is unavailable
// (not tried) or unknown.
func atHome[R any](ctx context.Context, c *Control, home, method string, body any) (R, error) {
	var out R
	row, ok := c.machine.View().Registry.Coordinator(home)
	if !ok || c.peers == nil {
		return out, wire.NotTried("its home %s is not a coordinator any more: take the name over", home)
	}
	in, err := json.Marshal(body)
	if err != nil {
		return out, err
	}
	answer, err := c.peers.Call(ctx, row.PeerAddr, method, in)
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
func askHome[R any](ctx context.Context, c *Control, home, method string, body any) (R, error) {
	out, err := atHome[R](ctx, c, home, method, body)
	if wire.CodeOf(err) == wire.CodeUnknown {
		err = wire.NotTried("its home %s does not answer: take the name over (%v)", home, err)
	}
	return out, err
}
