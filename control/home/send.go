package home

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// sendTimeout is how long a send waits for its outcome unless it says so, and
// longestSend how long it may say.
const (
	sendTimeout = 5 * time.Second
	longestSend = time.Minute
)

// Send sends one message as the session whose secret was presented and blocks for
// its one outcome. A receiver without a dot is looked for in the sender's own
// namespace; COORDINATOR is the sender's home, whose answer comes into the
// sender's inbox. It leaves from the session's home, so that messages of one
// sender to one receiver stay in order. With an idempotency key a repeat
// within 10 minutes answers the outcome of the first and sends nothing.
// Errors: unauthorized, forbidden (from is somebody else), invalid, not_found
// (receiver_unknown; or the session ended), conflict (key used for another
// message), busy, too_large, unavailable, unknown (it may have been
// delivered).
func (h *Home) Send(ctx context.Context, who control.Principal, in wire.SendMessage, key string) (wire.Sent, error) {
	s, err := h.AuthorizeSession(ctx, who, control.AnyRight)
	if err != nil {
		return wire.Sent{}, err
	}
	if err := h.authorizeSend(who, s, in.To); err != nil {
		return wire.Sent{}, err
	}
	if in.From != "" && in.From != s.FullName {
		return wire.Sent{}, wire.Refuse(wire.CodeForbidden, "%s must not send as %.600q", s.FullName, in.From)
	}
	if err := control.CheckKey(key); err != nil {
		return wire.Sent{}, err
	}
	timeout := time.Duration(in.Timeout)
	if timeout < 0 || timeout > longestSend {
		return wire.Sent{}, wire.Invalid("timeout", "a timeout is at most %v, not %v", longestSend, timeout)
	}
	if timeout == 0 {
		timeout = sendTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return atItsHome(ctx, h, s, func(s registry.Session) (wire.Sent, error) {
		if s.Home != h.Self().ID {
			return atHome[wire.Sent](ctx, h, s.Home, "control.send", sendAt{Session: s.ID, Message: in, Key: key})
		}
		return h.send(ctx, s, in, key)
	})
}

// authorizeSend refuses a message that a session's principal may not send. The
// COORDINATOR of its home judges what it is asked for itself.
func (h *Home) authorizeSend(who control.Principal, s registry.Session, to string) error {
	full, err := h.Receiver(s.Namespace, to)
	if err != nil || full == h.Name() || to == wire.Coordinator {
		return err
	}
	return h.Authorize(who, control.MessagesSend, control.ComponentThing(full))
}

// send is Send at the session's home.
func (h *Home) send(ctx context.Context, s registry.Session, in wire.SendMessage, key string) (wire.Sent, error) {
	h.Alive(s)
	m, err := h.message(s, in, key)
	if err != nil {
		return wire.Sent{}, err
	}
	now := func() error {
		err := control.WriteError(h.mail.Send(ctx, m))
		if wire.CodeOf(err) == wire.CodeForbidden {
			err = h.disowned(ctx, s)
		}
		return err
	}
	if key == "" {
		err = now()
	} else {
		err = h.sends.once(ctx, s.ID, key, fingerprint(in), h.Now(), now)
	}
	if err != nil {
		return wire.Sent{}, err
	}
	return wire.Sent{Outcome: "delivered", ConversationID: uuid.UUID(m.Conversation).String()}, nil
}

// disowned returns why another coordinator, whose view is fresh, does not know a
// session as at home here: it ended or moved, and this view was behind.
func (h *Home) disowned(ctx context.Context, s registry.Session) error {
	view, _, err := h.View(ctx, control.Read{Consistency: string(raftnode.Strict)})
	if err != nil {
		return notAtHome(s.FullName)
	}
	now, live := view.Registry.SessionByID(s.ID)
	switch {
	case !live:
		return control.SessionGone(view.Registry, s.ID)
	case now.Home != h.Self().ID:
		return moved(now)
	}
	return notAtHome(s.FullName)
}

// notAtHome is for a message that was not delivered since the receiver's home
// does not know its sender as at home here. That is no refusal of its sender,
// who has shown who it is.
func notAtHome(full string) *wire.Error {
	return wire.NotTried("the message was not delivered: %s is not known as at home here any more", full)
}

// message makes the frame of a send. A keyed send without a conversation id
// gets one from its key, so that a repeat answers the same.
func (h *Home) message(s registry.Session, in wire.SendMessage, key string) (wire.Message, error) {
	m := wire.Message{From: s.FullName}
	to, err := h.Receiver(s.Namespace, in.To)
	if err != nil {
		return m, err
	}
	m.To = to
	switch {
	case in.ConversationID != "":
		id, err := uuid.Parse(in.ConversationID)
		if err != nil || len(in.ConversationID) != 36 {
			return m, wire.Invalid("conversation_id", "a conversation id is a UUID, not %.80q", in.ConversationID)
		}
		m.Conversation = id
	case key != "":
		id := control.Digest("folkmoot conversation v1", s.ID, key)
		copy(m.Conversation[:], id[:])
		m.Conversation[6] = m.Conversation[6]&0x0f | 0x80
		m.Conversation[8] = m.Conversation[8]&0x3f | 0x80
	default:
		if m.Conversation, err = h.NewConversation(); err != nil {
			return m, err
		}
	}
	if len(in.Content) > 0 {
		if !json.Valid(in.Content) {
			return m, wire.Invalid("content", "content is not JSON; other bytes go into payload")
		}
		m.Type, m.Payload = wire.TypeJSON, [][]byte{in.Content}
	}
	m.Payload = append(m.Payload, in.Payload...)
	if len(m.Payload) == 0 {
		return m, wire.Invalid("content", "there is nothing to send: give content or payload")
	}
	return m, control.WriteError(m.Check())
}

// Receiver completes the name of a message's receiver: of a plain one it is in the
// namespace. Errors: invalid.
func (h *Home) Receiver(namespace, to string) (string, error) {
	switch {
	case to == "":
		return "", wire.Invalid("to", "a message needs a receiver")
	case len(to) > 2*wire.MaxName+1:
		return "", wire.Invalid("to", "a receiver's name is at most %d bytes", 2*wire.MaxName+1)
	case to == wire.Coordinator:
		return h.Name(), nil
	case !strings.Contains(to, "."):
		return registry.FullName(namespace, to), nil
	case strings.Count(to, ".") > 1:
		return "", wire.Invalid("to", "a full name has one dot, %.80q has more", to)
	}
	return to, nil
}

func fingerprint(in wire.SendMessage) [32]byte {
	b, err := json.Marshal(in)
	if err != nil { // content was checked; a failure only makes the key stricter
		return control.Digest(in.To, err.Error())
	}
	return control.Digest(string(b))
}
