package home

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// Inbox is the mailbox of one session, here or at its home. It is for one
// goroutine and needs no closing.
type Inbox struct {
	home    *Home
	session registry.Session
	who     control.Principal
	fresh   bool // no other home has counted this inbox as a sign of life yet
}

// MaxReceive is how many messages one Receive hands out at most.
const MaxReceive = 1000

// longestPoll is how long one call to another coordinator waits for messages.
const longestPoll = 10 * time.Second

// slack is the time that an answer of another coordinator may need on the network.
const slack = 100 * time.Millisecond

// Inbox opens the mailbox of the component for its own session; it counts as
// a sign of life. Errors as of Heartbeat.
func (h *Home) Inbox(ctx context.Context, who control.Principal, full string) (*Inbox, error) {
	s, err := h.AuthorizeOwner(ctx, who, control.ComponentsWrite, full)
	if err != nil {
		return nil, err
	}
	if s.Home == h.Self().ID {
		h.Alive(s)
	}
	return &Inbox{home: h, session: s, who: who, fresh: true}, nil
}

// Receive waits until ctx ends for messages numbered above after and returns
// at most limit of them (0: as many as there are, never above MaxReceive). The
// ones up to after are acknowledged and forgotten. When ctx ends first the
// answer is empty and no error. Waiting does not renew the lease: a component
// whose connection stays open but that does not beat any more is gone. Errors:
// not_found (the session ended, with the reason), conflict (another reader
// took over), unavailable (its home is not reached), unauthorized (the token of
// its reader ended).
func (b *Inbox) Receive(ctx context.Context, after uint64, limit int) ([]wire.Received, error) {
	if limit <= 0 || limit > MaxReceive {
		limit = MaxReceive
	}
	ctx, release := b.home.Hold(ctx, b.who)
	defer release()
	for {
		got, err := b.once(ctx, after, limit)
		switch {
		case len(got) > 0:
			return got, nil
		case ctx.Err() != nil:
			return nil, b.home.Authorize(b.who, control.AnyRight, control.Thing{})
		case err != nil:
			return nil, err
		}
	}
}

// once asks wherever the session lives now, for a while.
func (b *Inbox) once(ctx context.Context, after uint64, limit int) ([]wire.Received, error) {
	h := b.home
	s, err := h.OwnerOfSecret(ctx, b.session.FullName, b.who.Secret())
	if err != nil {
		return nil, err
	}
	return atItsHome(ctx, h, s, func(s registry.Session) ([]wire.Received, error) { return b.at(ctx, s, after, limit) })
}

// at is once for a session whose home is known.
func (b *Inbox) at(ctx context.Context, s registry.Session, after uint64, limit int) ([]wire.Received, error) {
	h := b.home
	if s.Home == h.Self().ID {
		waiting, cancel := context.WithTimeout(ctx, longestPoll)
		defer cancel()
		return h.receive(waiting, s, after, limit)
	}
	ask := receiveAt{Session: s.ID, After: after, Max: limit, Wait: wire.Duration(longestPoll), Alive: b.fresh}
	if deadline, ok := ctx.Deadline(); ok {
		// The home answers before the asker gives up.
		left := time.Until(deadline) - slack
		if left <= 0 {
			return h.look(ctx, s.Home, ask)
		}
		ask.Wait = wire.Duration(min(longestPoll, left))
	}
	calling, stop := context.WithTimeout(ctx, longestPoll+callTimeout)
	defer stop()
	in, err := askHome[wire.Inbox](calling, h, s.Home, "control.receive", ask)
	if err == nil {
		b.fresh = false
	}
	return in.Messages, err
}

// look asks a home for what is there, when no time is left to wait at it: for
// so much there is always time. Nothing is an answer only once ctx has ended.
func (h *Home) look(ctx context.Context, home string, ask receiveAt) ([]wire.Received, error) {
	ask.Wait = 0
	calling, stop := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer stop()
	in, err := askHome[wire.Inbox](calling, h, home, "control.receive", ask)
	if len(in.Messages) == 0 {
		<-ctx.Done()
	}
	return in.Messages, err
}

// receive reads the mailbox here until ctx ends; that is no error.
func (h *Home) receive(ctx context.Context, s registry.Session, after uint64, limit int) ([]wire.Received, error) {
	h.Reconcile(s.FullName, s.ID)
	mailed, err := h.mail.Receive(ctx, s.ID, after, limit)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, nil
	case wire.CodeOf(err) == wire.CodeNotFound:
		return nil, h.unread(ctx, s.ID)
	default:
		return nil, control.ReadError(err)
	}
	got := make([]wire.Received, len(mailed))
	for i, m := range mailed {
		got[i] = received(m)
	}
	return got, nil
}

// received is a message as JSON doors show it: its first frame is the content
// if it is JSON, else all frames are payload.
func received(m Mailed) wire.Received {
	r := wire.Received{
		Seq: m.Seq, To: m.Message.To, From: m.Message.From, Type: int(m.Message.Type),
		ConversationID: uuid.UUID(m.Message.Conversation).String(), Payload: m.Message.Payload,
	}
	if len(r.Payload) > 0 && json.Valid(r.Payload[0]) {
		r.Content, r.Payload = r.Payload[0], r.Payload[1:]
	}
	return r
}
