package router

import "github.com/folkmoot/folkmoot/wire"

// verdict is what a receiving coordinator says about one message. The values
// travel on links: add, never reuse.
type verdict byte

const (
	accepted  verdict = 0
	unknownTo verdict = 1 // nobody of that name here or, by the own view, anywhere
	moved     verdict = 2 // by the own view at home elsewhere, or with another session or epoch
	busy      verdict = 3 // the mailbox is full
	forged    verdict = 4 // the sender is not at home at the linked coordinator
	expired   verdict = 5 // its time had passed before it was delivered
	unchecked verdict = 6 // names could not be checked: no fresh directory to be had

	// The following are told of a relay only, so that no build of before reads
	// them.

	linkLost  verdict = 7  // a coordinator on the route lost the next one after the message had left
	noRoute   verdict = 8  // a coordinator on the route can not send it on; or one behind such a message
	routeBusy verdict = 9  // too many messages wait at a coordinator on the route
	oldEpoch  verdict = 10 // its origin has sent others in a later turn
)

// comesBack tells whether the message comes back to be sent once more. Those of its
// sender and receiver behind it come back too, so that none overtakes it.
func (v verdict) comesBack() bool {
	return v == unknownTo || v == moved || v == noRoute || v == oldEpoch
}

// verdictError is what a verdict means to the sender.
func verdictError(v verdict, to string) *wire.Error {
	switch v {
	case accepted:
		return nil
	case unknownTo, moved:
		return wire.Refuse(wire.CodeNotFound, "nobody is signed in as %s", to)
	case busy:
		return wire.Refuse(wire.CodeBusy, "the mailbox of %s is full", to)
	case forged:
		return wire.Refuse(wire.CodeForbidden, "the home of %s does not know the sender as one of this coordinator", to)
	case unchecked:
		return wire.NotTried("the home of %s could not look up sender and receiver", to)
	case linkLost:
		return wire.Unknown(protocolErrorf("a link on the way to %s was lost", to))
	case noRoute, oldEpoch:
		return wire.NotTried("no way to the home of %s was found in time", to)
	case routeBusy:
		return wire.Refuse(wire.CodeBusy, "too many messages wait on the way to %s", to)
	}
	return wire.NotTried("the message to %s reached its home too late and was not delivered", to)
}

// toForward is never told: the message is not for a mailbox here.
const toForward verdict = 255

// lastVerdict is the highest one known.
const lastVerdict = oldEpoch
