// Package lockorder is the order in which the router's locks are taken.
//
// A goroutine that holds a lock takes only locks that stand further down, and
// never two of one rank:
//
//	WriteLock  of a link: held by who writes to its connection
//	Stream     of a shard: the streams of messages between sender and receiver
//	Links      the map of links
//	Link       of a link: what waits to be written, slots, outcomes, fences
//	Mailboxes  the map of mailboxes
//	Table      routes and reports
//	Origin     held while a message of an origin is delivered: its epochs
//	Mailbox    of a mailbox: its messages
//	Leaf       of what takes no other lock: lists of those who wait, counters
//
// No lock but a link's WriteLock is held while a sender is told an outcome; whoever
// is told only tries that one. A mailbox's consumer may be notified with its
// Mailbox lock held and takes no lock of the router then.
//
// In a build with the tag lockcheck a lock that is taken out of order panics with
// both ranks; without it a Mutex is a sync.Mutex and costs nothing more.
package lockorder

// Rank is the place of a lock in the order: one of the types below.
type Rank interface {
	rank() (place int, name string)
}

// The ranks, outermost first.
type (
	// WriteLock is held by who writes to a link's connection.
	WriteLock struct{}
	// Stream guards the streams of one shard.
	Stream struct{}
	// Links guards the map of links.
	Links struct{}
	// Link guards one link.
	Link struct{}
	// Mailboxes guards the map of mailboxes.
	Mailboxes struct{}
	// Table guards routes and reports.
	Table struct{}
	// Origin guards the epoch of the coordinator a message comes from.
	Origin struct{}
	// Mailbox guards one mailbox.
	Mailbox struct{}
	// Leaf guards what takes no other lock.
	Leaf struct{}
)

func (WriteLock) rank() (int, string) { return 1, "WriteLock" }
func (Stream) rank() (int, string)    { return 2, "Stream" }
func (Links) rank() (int, string)     { return 3, "Links" }
func (Link) rank() (int, string)      { return 4, "Link" }
func (Mailboxes) rank() (int, string) { return 5, "Mailboxes" }
func (Table) rank() (int, string)     { return 6, "Table" }
func (Origin) rank() (int, string)    { return 7, "Origin" }
func (Mailbox) rank() (int, string)   { return 8, "Mailbox" }
func (Leaf) rank() (int, string)      { return 9, "Leaf" }
