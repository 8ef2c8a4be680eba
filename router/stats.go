package router

import (
	"sync/atomic"

	"github.com/folkmoot/folkmoot/wire"
)

// counter is one line of Stats.
type counter int

const (
	cDelivered counter = iota
	cReceiverUnknown
	cRefused
	cUnknown
	cBusy
	cTooLarge
	cInvalid
	cForbidden
	cUnavailable
	cOther
	cReceived
	cMailboxFull
	cForged
	cMoved
	cRetried
	cReturned
	cNotReturned
	cUnacknowledged
	cRelayed
	cNoWay
	cForgedWay
	cStale
	cFresh
	cLinksOpened
	cLinksLost
	cLinkErrors
	counters
)

var counterNames = [counters]string{
	cDelivered:       "delivered",
	cReceiverUnknown: "receiver_unknown",
	cRefused:         "refused", // all codes below together
	cUnknown:         "unknown",
	cBusy:            "refused_busy",
	cTooLarge:        "refused_too_large",
	cInvalid:         "refused_invalid",
	cForbidden:       "refused_forbidden",
	cUnavailable:     "refused_unavailable",
	cOther:           "refused_other",
	cReceived:        "received_by_link", // put into a mailbox here for another coordinator
	cMailboxFull:     "mailbox_full",     // refusals of own mailboxes, for local and linked senders
	cForged:          "forged_sender",    // frames dropped, since their sender is not at home where they came from
	cMoved:           "receiver_moved",   // frames for a component that is not, or no longer, at home here
	cRetried:         "retried",          // tries after such an answer
	cReturned:        "returned",         // unread mail of ended sessions, reported to its sender
	cNotReturned:     "not_returned",     // the same where the report was not delivered either
	cUnacknowledged:  "unacknowledged",   // given to a reader that ended without acknowledging
	cRelayed:         "relayed",          // sent on for other coordinators
	cNoWay:           "no_way",           // not sent on, since the next link is down; their origin looks for another way
	cForgedWay:       "forged_way",       // frames dropped, since they did not come as their way says or from no member
	cStale:           "out_of_turn",      // frames that came after those their origin sent later
	cFresh:           "fresh_rounds",
	cLinksOpened:     "links_opened",
	cLinksLost:       "links_lost",
	cLinkErrors:      "link_errors", // links closed because of what came over them
}

type stats [counters]atomic.Uint64

func (s *stats) add(c counter) { s[c].Add(1) }

// outcome counts one message's one outcome.
func (s *stats) outcome(err *wire.Error) {
	switch outcomeOf(err) {
	case Delivered:
		s.add(cDelivered)
	case ReceiverUnknown:
		s.add(cReceiverUnknown)
	case Unknown:
		s.add(cUnknown)
	case Refused:
		s.add(cRefused)
		switch err.Code {
		case wire.CodeBusy:
			s.add(cBusy)
		case wire.CodeTooLarge:
			s.add(cTooLarge)
		case wire.CodeInvalid:
			s.add(cInvalid)
		case wire.CodeForbidden:
			s.add(cForbidden)
		case wire.CodeUnavailable:
			s.add(cUnavailable)
		default:
			s.add(cOther)
		}
	}
}

// Stats counts, since the start and by name: the outcomes of all messages sent
// from here (delivered, receiver_unknown, refused, unknown), the refusals by
// code, and what happened to mailboxes and links.
func (r *Router) Stats() map[string]uint64 {
	all := make(map[string]uint64, counters)
	for c, name := range counterNames {
		all[name] = r.stats[c].Load()
	}
	return all
}
