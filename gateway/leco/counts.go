package leco

import "sync/atomic"

// What is counted.
const (
	cMessages    = iota // that came from a component or foreign coordinator
	cHeartbeats         // of them empty ones to COORDINATOR
	cMalformed          // too few frames, a wrong header or a name with two dots
	cNotSignedIn        // refused with -32090
	cDuplicate          // refused with -32091
	cForeign            // a foreign coordinator spoke in another's name
	cNodeUnknown        // answered with -32092
	cUnknown            // answered with -32093
	cUndelivered        // answered with another error: busy, not tried, unknown
	cTooLarge           // above the limits, refused with too_large
	cBadContent         // to COORDINATOR: no JSON, no request, no such method
	cSignIns
	cProvisional // granted before the write was made
	cTakenBack   // of them those that were refused later
	cNudges
	cExpired    // silent for too long
	cQueueFull  // answers that a full connection had no room for
	cDisplaced  // connections without anybody signed in, closed for newer ones
	numCounters // how many there are
)

var countNames = [numCounters]string{
	"messages", "heartbeats", "malformed", "not_signed_in", "duplicate_name", "foreign_sender", "node_unknown", "receiver_unknown",
	"undelivered", "too_large", "bad_content", "sign_ins", "provisional", "taken_back", "nudges", "expired", "unheard", "displaced_connections",
}

type counts [numCounters]atomic.Uint64

func (c *counts) add(what int) { c[what].Add(1) }

// Counts returns what the door has seen since its start, by name, and how
// connections ended (zmtp.Ends).
func (d *Door) Counts() map[string]uint64 {
	all := make(map[string]uint64, numCounters+4)
	for i, name := range countNames {
		all[name] = d.counts[i].Load()
	}
	ends := d.server.Ends()
	all["refused_connections"], all["broken_connections"] = ends.Refused, ends.Broken
	all["dead_connections"], all["cut_off_connections"] = ends.Dead, ends.CutOff
	return all
}
