package router

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/folkmoot/folkmoot/router/route"
	"github.com/folkmoot/folkmoot/wire"
)

// Directory is how the router finds a name's home. All methods but Fresh
// answer at once, from the frozen view, and are safe for concurrent use.
type Directory interface {
	// Home tells where a component is signed in. It also knows the
	// coordinators themselves: "n1.COORDINATOR" is at home at the coordinator
	// that presides over n1, with an empty session and epoch 0.
	Home(full string) (home, session string, epoch uint64, ok bool)
	// Version is another number whenever Home may answer anything else.
	Version() uint64
	// Fresh returns when the directory is at least as new as the moment of the
	// call, by a read index that all who wait share.
	Fresh(ctx context.Context) error
	// Address is the peer address of a coordinator.
	Address(coordinator string) (peerAddr string, ok bool)
	// Coordinators are the ids of all coordinators; it may hold the own one.
	Coordinators() []string
	// Changed is closed at the next change of any of the answers above.
	Changed() <-chan struct{}
}

// Dialer is how the router reaches the other coordinators: authenticated
// streams that already know who is at the other end.
type Dialer interface {
	// DialLink connects to the coordinator want at addr.
	DialLink(ctx context.Context, addr, want string) (net.Conn, error)
	// AcceptLink waits for a link that another coordinator dialled and returns
	// its id. It fails for ever once the port it listens on is closed; the
	// router then stops asking.
	AcceptLink() (net.Conn, string, error)
}

// Config is what Open needs.
type Config struct {
	// Self is the own coordinator's id.
	Self string
	// Namespace is the one it presides over (default Self). Mail that nobody
	// will read goes back to its sender as from Namespace.COORDINATOR.
	Namespace string
	Directory Directory
	Dialer    Dialer // nil: no links, only the own mailboxes
	// Topology says which coordinators have links; the zero value is the mesh.
	Topology route.Policy
	// Egress has the handlers of namespaces outside the cluster; nil: there are none.
	// They are asked before the directory.
	Egress *Egress
	Logger *slog.Logger
	Limits Limits
}

// Limits bound what the router holds and how long it waits. A zero field takes
// its default.
type Limits struct {
	// MailboxMessages (1000) and MailboxBytes (16 MiB): a mailbox that holds
	// as much refuses the next message as busy.
	MailboxMessages int
	MailboxBytes    int
	// ConnectedMessages (16,384, at least MailboxMessages) is the bound in
	// messages while a connection takes from the mailbox (Consume): it is to
	// bridge the time to its next write, however short the messages.
	ConnectedMessages int
	// LinkMessages (65,536) and LinkBytes (64 MiB) count, for one link, every
	// message that waits for it or for its outcome; beyond them a message is
	// refused as busy. The bytes of messages above 64 KiB are counted apart, to
	// the same bound, so that they never refuse small ones. The same bounds hold for messages whose receiver's home
	// is still being looked up.
	LinkMessages int
	LinkBytes    int
	// Timeout (5 s) is the time Post gives a message.
	Timeout time.Duration
	// Ping (2 s) is the time between two pings; a link on which nothing came
	// for three of them is dead.
	Ping time.Duration
	// DialTimeout (3 s) is the time one dial may take.
	DialTimeout time.Duration
	// BackoffMin (100 ms) and BackoffMax (10 s): the n-th redial waits a
	// random time below min(BackoffMax, BackoffMin * 2^n).
	BackoffMin time.Duration
	BackoffMax time.Duration
	// Fresh (1 s) is the time one look-up of a name that the view does not
	// know may take.
	Fresh time.Duration
	// Drain (500 ms) is how long Close waits for outcomes that are under way.
	Drain time.Duration
}

func (l Limits) withDefaults() Limits {
	set(&l.MailboxMessages, 1000)
	set(&l.MailboxBytes, 16<<20)
	set(&l.ConnectedMessages, 16<<10)
	l.ConnectedMessages = max(l.ConnectedMessages, l.MailboxMessages)
	set(&l.LinkMessages, 1<<16)
	set(&l.LinkBytes, 64<<20)
	set(&l.Timeout, 5*time.Second)
	set(&l.Ping, 2*time.Second)
	set(&l.DialTimeout, 3*time.Second)
	set(&l.BackoffMin, 100*time.Millisecond)
	set(&l.BackoffMax, 10*time.Second)
	set(&l.Fresh, time.Second)
	set(&l.Drain, 500*time.Millisecond)
	return l
}

func set[T int | time.Duration](field *T, def T) {
	if *field <= 0 {
		*field = def
	}
}

// Outcome is what became of one message. Each message gets exactly one.
type Outcome string

// The outcomes. The error beside them is nil for Delivered, else a *wire.Error
// whose code tells why.
const (
	// Delivered: the receiver's mailbox at its home has taken it.
	Delivered Outcome = "delivered"
	// ReceiverUnknown: nobody of that name is signed in (code not_found). Certain.
	ReceiverUnknown Outcome = "receiver_unknown"
	// Refused: not delivered, and certain. The code is busy, too_large,
	// invalid, forbidden or unavailable; the last means not tried.
	Refused Outcome = "refused"
	// Unknown: the link or the time was lost after it left (code unknown). It
	// may have been delivered, or be delivered yet.
	Unknown Outcome = "unknown"
)

// outcomeOf tells the outcome from its error.
func outcomeOf(err *wire.Error) Outcome {
	switch {
	case err == nil:
		return Delivered
	case err.Code == wire.CodeNotFound:
		return ReceiverUnknown
	case err.Code == wire.CodeUnknown:
		return Unknown
	}
	return Refused
}
