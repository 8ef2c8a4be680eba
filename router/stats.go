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
	cUnreadReported
	cUnreadUnreported
	cUnacknowledged
	cRelayed
	cNoRoute
	cForgedRoute
	cOutOfEpoch
	cLookups
	cLinksOpened
	cLinksLost
	cLinkErrors
	counters
)

var counterNames = [counters]string{
	cDelivered:        "delivered",
	cReceiverUnknown:  "receiver_unknown",
	cRefused:          "refused", // all codes below together
	cUnknown:          "unknown",
	cBusy:             "refused_busy",
	cTooLarge:         "refused_too_large",
	cInvalid:          "refused_invalid",
	cForbidden:        "refused_forbidden",
	cUnavailable:      "refused_unavailable",
	cOther:            "refused_other",
	cReceived:         "received_by_link", // put into a mailbox here for another coordinator
	cMailboxFull:      "mailbox_full",     // refusals of own mailboxes, for local and linked senders
	cForged:           "forged_sender",    // frames dropped, since their sender is not at home where they came from
	cMoved:            "receiver_moved",   // frames for a component that is not, or no longer, at home here
	cRetried:          "retried",          // tries after such an answer
	cUnreadReported:   "returned",         // unread mail of ended sessions, reported to its sender
	cUnreadUnreported: "not_returned",     // the same where the report was not delivered either
	cUnacknowledged:   "unacknowledged",   // given to a reader that ended without acknowledging
	cRelayed:          "relayed",          // sent on for other coordinators
	cNoRoute:          "no_way",           // not sent on, since the next link is down; their origin looks for another route
	cForgedRoute:      "forged_way",       // frames dropped, since they did not come as their way says or from no member
	cOutOfEpoch:       "out_of_turn",      // frames that came after those their origin sent later
	cLookups:          "fresh_rounds",
	cLinksOpened:      "links_opened",
	cLinksLost:        "links_lost",
	cLinkErrors:       "link_errors", // links closed because of what came over them
}

type stats [counters]atomic.Uint64

func (s *stats) inc(c counter) { s[c].Add(1) }

// countOutcome counts one message's one outcome.
func (s *stats) countOutcome(err *wire.Error) {
	switch outcomeOf(err) {
	case Delivered:
		s.inc(cDelivered)
	case ReceiverUnknown:
		s.inc(cReceiverUnknown)
	case Unknown:
		s.inc(cUnknown)
	case Refused:
		s.inc(cRefused)
		switch err.Code {
		case wire.CodeBusy:
			s.inc(cBusy)
		case wire.CodeTooLarge:
			s.inc(cTooLarge)
		case wire.CodeInvalid:
			s.inc(cInvalid)
		case wire.CodeForbidden:
			s.inc(cForbidden)
		case wire.CodeUnavailable:
			s.inc(cUnavailable)
		default:
			s.inc(cOther)
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
