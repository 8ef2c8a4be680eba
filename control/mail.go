package control

import (
	"context"
	"time"

	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// OverRouter makes Mail of a router. The caller closes the router.
func OverRouter(r *router.Router) Mail { return overRouter{r} }

type overRouter struct{ *router.Router }

func (o overRouter) Attach(full, session string, epoch uint64) error {
	_, err := o.Router.Attach(full, session, epoch)
	return err
}

func (o overRouter) Receive(ctx context.Context, session string, after uint64, max int) ([]Mailed, error) {
	box, ok := o.Mailbox(session)
	if !ok {
		return nil, wire.Refuse(wire.CodeNotFound, "session %s has no mailbox here", session)
	}
	got, err := box.Receive(ctx, after, max)
	if wire.CodeOf(err) == wire.CodeInvalid && after > 0 {
		// The numbers are those of the mailbox before this coordinator's
		// restart: nothing of this one was acknowledged.
		got, err = box.Receive(ctx, 0, max)
	}
	mailed := make([]Mailed, len(got))
	for i, n := range got {
		mailed[i] = Mailed{Seq: n.Number, Message: n.Message}
	}
	return mailed, err
}

func (o overRouter) Send(ctx context.Context, m wire.Message) error {
	_, err := o.Router.Send(ctx, m)
	return err
}

func (o overRouter) PostLinked(m wire.Message, linkWait time.Duration, more bool, done func(error)) {
	o.PostWith(m, router.PostOptions{Timeout: PostTime, LinkWait: linkWait, Borrowed: true, Write: router.WriteMode(!more)}, func(_ router.Outcome, err error) { done(err) })
}

func (o overRouter) Post(m wire.Message, more bool, done func(error)) {
	o.PostWith(m, router.PostOptions{Timeout: PostTime, Borrowed: true, Write: router.WriteMode(!more)}, func(_ router.Outcome, err error) { done(err) })
}
