package session

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/unfinished"
)

// Line is a connection as sessions see it. Write writes whole frames, or the rest
// of what WriteNow has not taken, and must fail when it makes no progress for
// Limits.Write (then the error is os.ErrDeadlineExceeded); it keeps nothing.
// WriteNow writes what goes without waiting and returns how much that was: always
// 0 where that is not possible. Close makes the reader end; it is called once,
// after the last write, and does not wait. Left reports whether the other side has
// closed the connection, as far as that is known without reading what comes
// before its end.
type Line interface {
	Write(frames []byte) error
	WriteNow(frames []byte) int
	Left() bool
	Close()
}

// Options say what is special about a connection.
type Options struct {
	Whole bool // long frames are written in one piece
	// Abort closes the connection at once, for one that gives way to others before anybody
	// has signed in on it; nil is the line's Close.
	Abort func()
	// Principal, if given, is who the door let in; else a sign-in brings the token.
	Principal *control.Principal
}

// renewEvery is how often a busy connection lets its lease run anew.
const renewEvery = 250 * time.Millisecond

// Conn is one connection. Frame and Finish are for its reader.
type Conn struct {
	hub  *Hub
	line Line
	from control.Credentials
	opts Options

	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	live   atomic.Pointer[home.Session] // nil while nobody is signed in
	broken atomic.Bool                  // a write failed
	direct bool                         // the reader's: the client has no proxy before it, and says so

	names           map[string]string // the reader's: completed names
	chunks          wire.Reassembler  // the reader's
	renewed         time.Time         // the reader's
	unansweredSince time.Time         // the reader's: since the first ping in a row that could not be answered; zero: none
	readTime        time.Time         // the reader's: when it read the frame that it handles now; zero: not known

	tasks sync.WaitGroup // what was started for the connection, all under mu

	// mu is never held while the mailbox, the router or the line is called.
	mu            sync.Mutex
	finished      bool // nothing may be started any more
	writing       bool // the writer runs
	recheck       bool // the writer has to look once more before it ends
	ended         bool // the connection ends behind what waits to be written
	why           *wire.Error
	closed        bool   // the line
	out           []byte // frames to write
	receipts      []byte // message ids
	chunker       chunker
	mail          *router.Consumer
	inflight      int // messages without outcome
	inflightBytes int
	room          *sync.Cond // over mu; see signalRoom
	waiting       int        // at room
	requests      []wire.Message
	serving       bool
	cancelEvents  context.CancelFunc // of the subscription; nil: none
	startEvents   func([16]byte)     // the subscription to begin after the answer under way
}

func newConn(h *Hub, line Line, from control.Credentials, o Options) *Conn {
	if o.Abort == nil {
		o.Abort = line.Close
	}
	c := &Conn{hub: h, line: line, from: from, opts: o}
	c.room = sync.NewCond(&c.mu)
	c.chunks.Begin = func() wire.Held { return c.BeginMessage() }
	c.chunker.whole = o.Whole
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// SignedIn reports whether a session is signed in on the connection.
func (c *Conn) SignedIn() bool { return c.live.Load() != nil }

// Ended reports whether the connection is over: further frames are ignored.
func (c *Conn) Ended() bool { return c.ctx.Err() != nil }

// BeginMessage counts a long message that begins to come, among those of all connections. The
// connection of the one that has to go is ended.
func (c *Conn) BeginMessage() *unfinished.Message {
	return c.hub.unfinished.Begin(func() {
		c.End(wire.Refuse(wire.CodeBusy, "too much is held here of messages that have begun, and one of yours began first: send it again"))
	})
}

// Alive counts as a sign of life that is no frame.
func (c *Conn) Alive() {
	if live := c.live.Load(); live != nil && !live.Renew() {
		c.End(live.Gone())
	}
}

// End ends the connection after a bye with the reason; nil is none. Only the
// first one counts. It does not wait.
func (c *Conn) End(why *wire.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.ended, c.why = true, why
	if why != nil {
		c.out = wire.AppendBye(c.out, why)
	}
	c.cancel()
	c.signalRoom()
	c.wakeWriter()
}

// Finish ends the connection for the reason that its reader ended (nil: the
// other side closed it) and waits for all that was started for it.
func (c *Conn) Finish(err error) {
	var why *wire.Error
	over := c.live.Load() != nil && !c.Ended() && c.closedByClient(err)
	if err != nil && !c.Ended() {
		switch refusal := (*wire.Error)(nil); {
		case errors.As(err, &refusal):
			why = refusal
			c.hub.counts.broken.Add(1)
		case errors.Is(err, os.ErrDeadlineExceeded) && c.SignedIn():
			c.hub.counts.dead.Add(1)
		case errors.Is(err, os.ErrDeadlineExceeded):
			why = wire.Refuse(wire.CodeUnauthorized, "no sign-in within %v", c.hub.limits.SignIn)
		}
	}
	c.End(why)
	c.chunks.Drop()
	c.mu.Lock()
	c.finished = true
	c.mu.Unlock()
	c.tasks.Wait()
	// First the lease, then the look at who has the session: a connection that takes
	// it over in between renews the lease once it has the mailbox.
	live := c.live.Load()
	if over = over && live != nil && !c.broken.Load(); over {
		live.Abandon(c.hub.limits.Grace)
	}
	if current := c.returnMail(); over && !current {
		live.Renew()
	}
	if live != nil {
		c.hub.log.Debug("connection ended", "name", live.FullName(), "remote", c.from.Remote, "error", err, "bye", c.why)
	}
	c.hub.remove(c)
}

// closedByClient reports whether the connection was closed in an orderly way by the
// client's own system: then its process is gone. A client that lives and goes on elsewhere
// resets the connection; so may a firewall, of which the client need not know,
// and a proxy between them may close it at any time. Nothing is known then, as of a
// client that fell silent: its lease decides.
func (c *Conn) closedByClient(err error) bool {
	return c.direct && (err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF))
}

// returnMail returns unsent mail to the mailbox, for the next consumer. It reports whether
// the session was this connection's still.
func (c *Conn) returnMail() (current bool) {
	c.mu.Lock()
	mail, unsent := c.mail, c.chunker.unsent()
	c.mail = nil
	c.mu.Unlock()
	if mail == nil {
		return false
	}
	current = mail.Current()
	mail.Return(unsent)
	mail.Close()
	return current
}

// spawn runs f as a task of the connection; mu is held. False: it is over.
func (c *Conn) spawn(f func()) bool {
	if c.finished {
		return false
	}
	c.tasks.Go(f)
	return true
}

// wakeWriter has the writer look for something to write; mu is held.
func (c *Conn) wakeWriter() {
	switch {
	case c.writing:
		c.recheck = true
	case c.spawn(func() { c.write(newBatch(), nil) }):
		c.writing = true
	}
}

// flushRounds is how often flush looks for more to write, the time that it finds
// nothing included.
const flushRounds = 3

// flush is wakeWriter for callers that do not hold mu. With WriteNow they write themselves what
// the line takes at once, if nobody else writes; the writer writes the rest.
func (c *Conn) flush(mode router.WriteMode) {
	c.mu.Lock()
	if mode == router.WriteLater || c.writing || c.finished {
		c.wakeWriter()
		c.mu.Unlock()
		return
	}
	c.writing = true
	c.tasks.Add(1)
	c.mu.Unlock()
	defer c.tasks.Done()
	b := newBatch()
	for range flushRounds {
		ended := c.fill(b)
		if len(b.buf) == 0 && c.finishWriting() {
			b.release()
			return
		}
		if n := c.line.WriteNow(b.buf); n < len(b.buf) || ended {
			c.tasks.Go(func() { c.write(b, b.buf[n:]) })
			return
		}
	}
	c.tasks.Go(func() { c.write(b, nil) })
}

// send writes a message from the coordinator itself. It blocks while too much
// waits to be written; false means that the connection is over.
func (c *Conn) send(m *wire.Message) bool {
	if in, _ := c.acquire(0, 0); !in {
		return false
	}
	c.mu.Lock()
	c.out = c.chunker.add(c.out, m, false)
	c.mu.Unlock()
	c.flush(router.WriteNow)
	return true
}

// acquire blocks until there is room for n messages of size bytes, and reserves it;
// ok is false when the connection is over. It is for the reader and for
// serveRequests.
func (c *Conn) acquire(n, size int) (in, waited bool) {
	l := &c.hub.limits
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.ended {
		if (n == 0 || c.inflight < l.Window && c.inflightBytes < l.WindowBytes) && len(c.out)+c.chunker.ownBytes < l.Out {
			c.inflight += n
			c.inflightBytes += size
			return true, waited
		}
		c.waiting++
		c.room.Wait()
		c.waiting--
		waited = true
	}
	return false, waited
}

// signalRoom wakes those that wait in acquire; mu is held.
func (c *Conn) signalRoom() {
	if c.waiting > 0 {
		c.room.Broadcast()
	}
}
