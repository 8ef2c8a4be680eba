package home

import (
	"context"

	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// MailOf makes Mail of a router. The caller closes the router.
func MailOf(r *router.Router) Mail { return routerMail{r} }

type routerMail struct{ *router.Router }

func (o routerMail) Attach(full, session string, epoch uint64) error {
	_, err := o.Router.Attach(full, session, epoch)
	return err
}

func (o routerMail) Receive(ctx context.Context, session string, after uint64, limit int) ([]Mailed, error) {
	box, ok := o.Mailbox(session)
	if !ok {
		return nil, wire.Refuse(wire.CodeNotFound, "session %s has no mailbox here", session)
	}
	got, err := box.Receive(ctx, after, limit)
	if wire.CodeOf(err) == wire.CodeInvalid && after > 0 {
		// The numbers are those of the mailbox before this coordinator's
		// restart: nothing of this one was acknowledged.
		got, err = box.Receive(ctx, 0, limit)
	}
	mailed := make([]Mailed, len(got))
	for i, n := range got {
		mailed[i] = Mailed{Seq: n.Number, Message: n.Message}
	}
	return mailed, err
}

func (o routerMail) Send(ctx context.Context, m wire.Message) error {
	_, err := o.Router.Send(ctx, m)
	return err
}

// Mail is what a home needs of the router; MailOf makes one.
type Mail interface {
	// Attach opens the mailbox of a session whose home is here; again for the same
	// session and epoch it changes nothing.
	Attach(full, session string, epoch uint64) error
	// Detach closes it and reports what is left in it to the senders.
	Detach(session, reason string)
	// Receive waits for messages numbered above after and forgets the others.
	// A session without a mailbox here is not_found.
	Receive(ctx context.Context, session string, after uint64, limit int) ([]Mailed, error)
	// Consume makes the caller the only receiver of a session's mailbox.
	Consume(session string, notify func(router.WriteMode)) (*router.Consumer, error)
	// Send blocks for the one outcome; an error is a *wire.Error: not_found
	// for an unknown receiver, a refusal, or unknown.
	Send(ctx context.Context, m wire.Message) error
	// PostWith sends without blocking; done is called exactly once, perhaps
	// before it returns, and must not wait.
	PostWith(m wire.Message, o router.PostOptions, done func(router.Outcome, error))
	// Links returns the state of the link to every other coordinator.
	Links() map[string]string
}

// Mailed is one message in a mailbox, with its place in it.
type Mailed struct {
	Seq     uint64
	Message wire.Message
}
