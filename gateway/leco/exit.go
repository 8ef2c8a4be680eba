package leco

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// Exit is a coordinator's Mail with a way out: messages of any component to a
// namespace of a linked foreign coordinator leave by the door.
type Exit struct {
	control.Mail
	door atomic.Pointer[Door]
}

// NewExit returns a Mail that is mail until Open gives it a door.
func NewExit(mail control.Mail) *Exit { return &Exit{Mail: mail} }

// Open lets messages out by the door.
func (e *Exit) Open(d *Door) { e.door.Store(d) }

// out reports whether the message took the way out, and with what error.
func (e *Exit) out(m *wire.Message) (bool, error) {
	d := e.door.Load()
	if d == nil {
		return false, nil
	}
	return d.Deliver(m)
}

// Send implements control.Mail.
func (e *Exit) Send(ctx context.Context, m wire.Message) error {
	if taken, err := e.out(&m); taken {
		return err
	}
	return e.Mail.Send(ctx, m)
}

// Post implements control.Mail.
func (e *Exit) Post(m wire.Message, more bool, done func(error)) {
	if taken, err := e.out(&m); taken {
		done(err)
		return
	}
	e.Mail.Post(m, more, done)
}

// PostLinked implements control.Mail.
func (e *Exit) PostLinked(m wire.Message, linkWait time.Duration, more bool, done func(error)) {
	if taken, err := e.out(&m); taken {
		done(err)
		return
	}
	e.Mail.PostLinked(m, linkWait, more, done)
}

// Consume implements control.Exchange.
func (e *Exit) Consume(session string, notify func(now bool)) (*router.Consumer, error) {
	x, ok := e.Mail.(control.Exchange)
	if !ok {
		return nil, wire.NotTried("this coordinator has no mailboxes for doors")
	}
	return x.Consume(session, notify)
}

// PostWithin implements control.Exchange.
func (e *Exit) PostWithin(m wire.Message, now time.Time, limit time.Duration, more bool, done func(router.Outcome, error)) {
	if taken, err := e.out(&m); taken {
		switch {
		case done == nil:
		case err != nil:
			done(router.Refused, err)
		default:
			done(router.Delivered, nil)
		}
		return
	}
	x, ok := e.Mail.(control.Exchange)
	if !ok {
		e.Mail.Post(m, more, func(err error) {
			if done != nil {
				done(router.Refused, err)
			}
		})
		return
	}
	x.PostWithin(m, now, limit, more, done)
}
