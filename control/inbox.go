package control

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// Inbox is the mailbox of one session, here or at its home.
type Inbox struct {
	control *Control
	session registry.Session
	secret  string
}

// MaxReceive is how many messages one Receive hands out at most.
const MaxReceive = 1000

// longestPoll is how long one call to another coordinator waits for news.
const longestPoll = 10 * time.Second

// Inbox opens the mailbox of the component for its own session. Errors as of
// Heartbeat.
func (c *Control) Inbox(ctx context.Context, full, secret string) (*Inbox, error) {
	s, err := c.owner(ctx, full, secret)
	if err != nil {
		return nil, err
	}
	return &Inbox{control: c, session: s, secret: secret}, nil
}

// Receive waits until ctx ends for messages numbered above after and returns
// at most max of them (0: as many as there are, never above MaxReceive). The
// ones up to after are acknowledged and forgotten. When ctx ends first the
// answer is empty and no error. It renews the session's lease: who asks for
// its mail is alive. Errors: not_found (the session ended, with the reason),
// unavailable (its home is not reached).
func (b *Inbox) Receive(ctx context.Context, after uint64, max int) ([]wire.Received, error) {
	if max <= 0 || max > MaxReceive {
		max = MaxReceive
	}
	for {
		got, err := b.once(ctx, after, max)
		if len(got) > 0 || err != nil || ctx.Err() != nil {
			if ctx.Err() != nil && len(got) == 0 {
				return nil, nil
			}
			return got, err
		}
	}
}

// once asks wherever the session lives now, for a while.
func (b *Inbox) once(ctx context.Context, after uint64, max int) ([]wire.Received, error) {
	c := b.control
	s, err := c.owner(ctx, b.session.FullName, b.secret)
	if err != nil {
		return nil, err
	}
	waiting, cancel := context.WithTimeout(ctx, longestPoll)
	defer cancel()
	if s.Home == c.self.ID {
		return c.receive(waiting, s, after, max)
	}
	ask := receiveAt{Session: s.ID, Epoch: s.Epoch, After: after, Max: max, Wait: wire.Duration(longestPoll)}
	if deadline, ok := ctx.Deadline(); ok {
		ask.Wait = min(ask.Wait, wire.Duration(time.Until(deadline)*9/10))
	}
	calling, stop := context.WithTimeout(ctx, longestPoll+callTimeout)
	defer stop()
	in, err := atHomeWithin[wire.Inbox](calling, c, s.Home, "control.receive", ask)
	return in.Messages, err
}

// receive reads the mailbox here until ctx ends.
func (c *Control) receive(ctx context.Context, s registry.Session, after uint64, max int) ([]wire.Received, error) {
	c.adopt(s)
	c.leases.Renew(s.ID)
	mailed, err := c.mail.Receive(ctx, s.ID, after, max)
	if err != nil && ctx.Err() == nil {
		var known *wire.Error
		if errors.As(err, &known) && known.Code == wire.CodeNotFound {
			if e, ended := c.machine.View().Registry.Ended(s.ID); ended {
				return nil, wire.Refuse(wire.CodeNotFound, "the session of %s ended: %s; sign in again", e.FullName, e.Reason)
			}
		}
		return nil, asWire(err)
	}
	c.leases.Renew(s.ID)
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
