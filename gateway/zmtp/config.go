package zmtp

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/folkmoot/folkmoot/wire/unfinished"
)

// Config is one side's terms. The zero value of every field but Socket works.
type Config struct {
	// Socket is the type this side says it is: ROUTER, DEALER, XPUB, XSUB.
	Socket string
	// Peers are the socket types of the other side that are accepted; default
	// those that go with Socket (RFC 28, RFC 29).
	Peers []string

	// MaxMessage (64 MiB) and MaxFrames (1024) bound one message that comes in.
	// What is above them is skipped, and Receive says so (TooLarge).
	MaxMessage int
	MaxFrames  int
	// Unfinished bounds what all connections hold of messages that have begun; nil: nothing does.
	Unfinished *unfinished.Budget
	// MaxQueue (8 MiB) bounds what waits to be sent on one connection; one
	// message more is taken. Beyond it Send answers ErrFull.
	MaxQueue int

	// Handshake (5 s) is the time for greeting and READY together.
	Handshake time.Duration
	// Ping (700 ms) is the time between two looks whether a PING is due: one is
	// if nothing comes, or if messages were sent since the last. At most one is
	// under way.
	Ping time.Duration
	// Silence (1.5 s): a peer that has answered a PING before, of which nothing
	// comes for this long and another third of it, is dead if it owes the answer
	// to a PING that no unread message can keep it from (a libzmq peer whose own
	// queue is full reads neither), or if the network acknowledges nothing. Peers
	// that never answer PINGs are judged by TCP alone.
	Silence time.Duration
	// Patience (30 s): a peer for which something waits and whose kernel has taken
	// nothing of it for so long is cut off. It is also the time that each 64 KiB of
	// a message may take to come.
	Patience time.Duration

	// MaxConns (20,000) and MaxPending (1024) bound a Server's connections and
	// those of them that have not finished the handshake. Of too many
	// connections the new one is closed, of too many pending ones the oldest.
	MaxConns   int
	MaxPending int

	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	set(&c.MaxMessage, 64<<20)
	set(&c.MaxFrames, 1024)
	set(&c.MaxQueue, 8<<20)
	set(&c.Handshake, 5*time.Second)
	set(&c.Ping, 700*time.Millisecond)
	set(&c.Silence, 1500*time.Millisecond)
	set(&c.Patience, 30*time.Second)
	set(&c.MaxConns, 20_000)
	set(&c.MaxPending, 1024)
	if c.Peers == nil {
		c.Peers = partners[c.Socket]
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func set[T int | time.Duration](field *T, def T) {
	if *field <= 0 {
		*field = def
	}
}

var partners = map[string][]string{
	"ROUTER": {"DEALER", "REQ", "ROUTER"},
	"DEALER": {"ROUTER", "REP", "DEALER"},
	"XPUB":   {"SUB", "XSUB"},
	"XSUB":   {"PUB", "XPUB"},
}

// ErrFull says that the connection's queue holds Config.MaxQueue bytes; nothing was
// queued.
var ErrFull = errors.New("the connection's queue is full")

// ErrClosed says that the connection has ended; nothing was queued.
var ErrClosed = errors.New("the connection has ended")

// ErrDead says that nothing came from the peer for too long.
var ErrDead = errors.New("the peer does not answer")

// ProtocolError is a fault in what the other side sent; the connection is
// closed over it, never resynchronised.
type ProtocolError string

func (e ProtocolError) Error() string { return "zmtp: " + string(e) }

func protocolErrorf(format string, args ...any) error {
	return ProtocolError(fmt.Sprintf(format, args...))
}
