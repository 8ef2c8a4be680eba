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
)

// Line is a connection as sessions see it. Write takes whole frames, or the rest
// of what WriteNow has not taken, and must fail when it makes no progress for
// Limits.Write (then the error is os.ErrDeadlineExceeded); it keeps nothing.
// WriteNow writes what goes without waiting and returns how much that was: always
// 0 where that is not possible. Close makes the reader end; it is called once,
// after the last write, and does not wait. Left tells whether the other side has
// closed the connection, as far as that can be told without reading what comes
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

	spoken  bool              // guarded by the hub's mu
	names   map[string]string // the reader's: completed names
	chunks  wire.Chunks       // the reader's
	renewed time.Time         // the reader's
	mute    time.Time         // the reader's: of the first ping in a row that could not be answered; zero: none
	clock   time.Time         // the reader's: when it read what it hands over now; zero: not known

	tasks sync.WaitGroup // what was started for the connection, all under mu

	// mu is never held while the mailbox, the router or the line is called.
	mu       sync.Mutex
	finished bool // nothing may be started any more
	writing  bool // the writer runs
	again    bool // it has to look once more before it ends
	ended    bool // after what waits to be written comes the end
	why      *wire.Error
	closed   bool   // the line
	out      []byte // frames to write
	receipts []byte // message ids
	cut      cutting
	mail     *router.Consumer
	inflight int // messages without outcome
	infBytes int
	room     *sync.Cond // over mu; told by freed
	waiting  int        // at room
	asks     []wire.Message
	asking   bool
	news     context.CancelFunc // of the subscription; nil: none
	cursor   func([16]byte)     // the subscription to begin after the answer under way
}

func newConn(h *Hub, line Line, from control.Credentials, o Options) *Conn {
	c := &Conn{hub: h, line: line, from: from, opts: o}
	c.room = sync.NewCond(&c.mu)
	c.cut.whole = o.Whole
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// SignedIn tells whether a session is signed in on the connection.
func (c *Conn) SignedIn() bool { return c.live.Load() != nil }

// Ended tells whether the connection is over: what comes is not looked at.
func (c *Conn) Ended() bool { return c.ctx.Err() != nil }

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
	c.freed()
	c.kick()
}

// Finish ends the connection for the reason that its reader ended (nil: the
// other side closed it) and waits for all that was started for it.
func (c *Conn) Finish(err error) {
	var why *wire.Error
	over := c.live.Load() != nil && !c.Ended() && c.finBy(err)
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
	if current := c.putBack(); over && !current {
		live.Renew()
	}
	if live != nil {
		c.hub.log.Debug("connection ended", "name", live.FullName(), "remote", c.from.Remote, "error", err, "bye", c.why)
	}
	c.hub.forget(c)
}

// finBy tells whether a reader's end was the orderly one of TCP, and by the client's
// own system: then its process is gone. A client that lives and goes on elsewhere
// resets the connection; so may a firewall, of which the client need not know,
// and whoever stands between may close it as he likes. Nothing is known then, as of a
// client that fell silent: its lease decides.
func (c *Conn) finBy(err error) bool {
	return c.direct && (err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF))
}

// putBack gives mail that never left to whoever comes next. It reports whether
// the session was this connection's still.
func (c *Conn) putBack() (current bool) {
	c.mu.Lock()
	mail, unsent := c.mail, c.cut.unsent()
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

// start runs f as a task of the connection; mu is held.
func (c *Conn) start(f func()) bool {
	if c.finished {
		return false
	}
	c.tasks.Go(f)
	return true
}

// kick has the writer look; mu is held.
func (c *Conn) kick() {
	switch {
	case c.writing:
		c.again = true
	case c.start(func() { c.write(newDraft(), nil) }):
		c.writing = true
	}
}

// roundsNow is how often push looks for more to write, the time that it finds
// nothing included.
const roundsNow = 3

// push is kick for those who hold no lock. With WriteNow they write themselves what
// the line takes at once, if nobody writes; what is left is the writer's.
func (c *Conn) push(mode router.WriteMode) {
	c.mu.Lock()
	if mode == router.WriteLater || c.writing || c.finished {
		c.kick()
		c.mu.Unlock()
		return
	}
	c.writing = true
	c.tasks.Add(1)
	c.mu.Unlock()
	defer c.tasks.Done()
	d := newDraft()
	for range roundsNow {
		ended := c.fill(d)
		if len(d.buf) == 0 && c.rest() {
			d.free()
			return
		}
		if n := c.line.WriteNow(d.buf); n < len(d.buf) || ended {
			c.tasks.Go(func() { c.write(d, d.buf[n:]) })
			return
		}
	}
	c.tasks.Go(func() { c.write(d, nil) })
}

// say writes a message from the coordinator itself. It waits while too much
// waits to be written; false means that the connection is over.
func (c *Conn) say(m *wire.Message) bool {
	if in, _ := c.enter(0, 0); !in {
		return false
	}
	c.mu.Lock()
	c.out = c.cut.add(c.out, m, false)
	c.mu.Unlock()
	c.push(router.WriteNow)
	return true
}

// enter waits until there is room for n messages of size bytes, and takes it;
// false for in means that the connection is over. It is for the reader and the
// clerk.
func (c *Conn) enter(n, size int) (in, waited bool) {
	l := &c.hub.limits
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.ended {
		if (n == 0 || c.inflight < l.Window && c.infBytes < l.WindowBytes) && len(c.out)+c.cut.own < l.Out {
			c.inflight += n
			c.infBytes += size
			return true, waited
		}
		c.waiting++
		c.room.Wait()
		c.waiting--
		waited = true
	}
	return false, waited
}

// freed tells those who wait for room; mu is held.
func (c *Conn) freed() {
	if c.waiting > 0 {
		c.room.Broadcast()
	}
}
