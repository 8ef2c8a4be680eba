package router

import (
	"github.com/folkmoot/folkmoot/router/link"
	"github.com/folkmoot/folkmoot/wire"
)

// verdictError is what a verdict means to the sender.
func verdictError(v link.Verdict, to string) *wire.Error {
	switch v {
	case link.Accepted:
		return nil
	case link.UnknownReceiver, link.Moved:
		return wire.Refuse(wire.CodeNotFound, "nobody is signed in as %s", to)
	case link.MailboxFull:
		return wire.Refuse(wire.CodeBusy, "the mailbox of %s is full", to)
	case link.Forged:
		return wire.Refuse(wire.CodeForbidden, "the home of %s does not know the sender as one of this coordinator", to)
	case link.Unchecked:
		return wire.NotTried("the home of %s could not look up sender and receiver", to)
	case link.LinkLost:
		return wire.Unknown(link.Malformed("a link on the way to %s was lost", to))
	case link.NoRoute, link.OldEpoch:
		return wire.NotTried("no way to the home of %s was found in time", to)
	case link.RouteBusy:
		return wire.Refuse(wire.CodeBusy, "too many messages wait on the way to %s", to)
	}
	return wire.NotTried("the message to %s reached its home too late and was not delivered", to)
}

// toForward is never told: the message is not for a mailbox here.
const toForward link.Verdict = 255
