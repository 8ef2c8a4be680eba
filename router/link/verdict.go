package link

// Verdict is what a receiving coordinator says about one message. The values
// travel on links: add, never reuse.
type Verdict byte

const (
	// Accepted: the receiver's mailbox has taken it. All others say why not.
	Accepted        Verdict = 0
	UnknownReceiver Verdict = 1 // nobody of that name here or, by the own view, anywhere
	Moved           Verdict = 2 // by the own view at home elsewhere, or with another session or epoch
	MailboxFull     Verdict = 3 // the mailbox is full
	Forged          Verdict = 4 // the sender is not at home at the linked coordinator
	Expired         Verdict = 5 // its time had passed before it was delivered
	Unchecked       Verdict = 6 // names could not be checked: no fresh directory to be had

	// The following are told of a relay only, so that no build of before reads
	// them.

	LinkLost  Verdict = 7  // a coordinator on the route lost the next one after the message had left
	NoRoute   Verdict = 8  // a coordinator on the route cannot send it on; or one behind such a message
	RouteBusy Verdict = 9  // too many messages wait at a coordinator on the route
	OldEpoch  Verdict = 10 // its origin has sent others in a later epoch
)

// ComesBack tells whether the message comes back to be sent once more. Those of its
// sender and receiver behind it come back too, so that none overtakes it.
func (v Verdict) ComesBack() bool {
	return v == UnknownReceiver || v == Moved || v == NoRoute || v == OldEpoch
}

// LastVerdict is the highest one known.
const LastVerdict = OldEpoch
