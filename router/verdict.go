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
)

// refusal is what a verdict means to the sender.
func refusal(v verdict, to string) *wire.Error {
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
	}
	return wire.NotTried("the message to %s reached its home too late and was not delivered", to)
}

// lastVerdict is the highest one known.
const lastVerdict = unchecked
