// Package session serves native sessions, whatever carries their frames (docs/protocol.md).
package session

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/control/methods"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/pending"
	"github.com/folkmoot/folkmoot/wire/unfinished"
)

// Control is what the sessions need of the coordinator; *usecases.UseCases are
// that.
type Control interface {
	Authenticate(from control.Credentials) (control.Principal, error)
	Enter(ctx context.Context, who control.Principal, in wire.SignIn, key string) (*home.Session, wire.SignedIn, bool, error)
	Doors(who control.Principal) ([]wire.Door, error)
	// Ask hands a session's message to COORDINATOR; see methods.Coordinator.
	Ask(ctx context.Context, s *home.Session, m *wire.Message, own methods.DoorMethods) []byte
	// Record tells the audit trail what came of a sign-in.
	Record(e audit.Event)
	// Name is the full name of the COORDINATOR here.
	Name() string
}

// Config is what a Hub is made of. Control is needed.
type Config struct {
	Control Control
	Logger  *slog.Logger
	Limits  Limits
	// Unfinished bounds what is held of messages that have begun to come; nil: nothing does.
	Unfinished *unfinished.Budget
}

// Limits bound what connections may take. A zero field takes its default.
type Limits struct {
	Connections  int           // 20,000
	Silent       int           // 64: connections that have not asked to sign in yet; a new one takes an old one's place
	SignIns      int           // 1024: sign-ins under way
	SignIn       time.Duration // 5 s: from the connection to the sign-in
	Write        time.Duration // 5 s: a write without progress ends the connection
	Window       int           // 4096: messages of one connection without outcome
	WindowBytes  int           // 32 MiB: of them
	Out          int           // 1 MiB: what waits to be written to one connection, mail apart
	Requests     int           // 64: requests to COORDINATOR that wait
	RequestBytes int           // 4 MiB: one of them
	// Grace (1 s) is how long a session lives on without a sign of life once the
	// process that had it is gone.
	Grace time.Duration
}

func (l Limits) withDefaults() Limits {
	set(&l.Connections, 20_000)
	set(&l.Silent, 64)
	set(&l.SignIns, 1024)
	set(&l.SignIn, wire.SignInTime)
	set(&l.Write, 5*time.Second)
	set(&l.Window, 4096)
	set(&l.WindowBytes, 32<<20)
	set(&l.Out, 1<<20)
	set(&l.Requests, 64)
	set(&l.RequestBytes, 4<<20)
	set(&l.Grace, time.Second)
	return l
}

func set[T int | time.Duration](field *T, def T) {
	if *field <= 0 {
		*field = def
	}
}

// Hub holds the connections of all doors for native sessions.
type Hub struct {
	control Control
	log     *slog.Logger
	limits  Limits
	signIns chan struct{}

	unfinished *unfinished.Budget
	wg         sync.WaitGroup // one for each connection that has begun

	mu     sync.Mutex
	conns  map[*Conn]bool
	silent *pending.Set[*Conn] // of conns, those that have not asked to sign in yet
	closed bool

	counts     struct{ refused, forged, slow, dead, broken atomic.Uint64 }
	lastCutOff atomic.Pointer[CutOff] // the last for reading too slowly
}

// New returns a Hub without connections.
func New(cfg Config) *Hub {
	h := &Hub{control: cfg.Control, log: cfg.Logger, limits: cfg.Limits.withDefaults(), unfinished: cfg.Unfinished, conns: map[*Conn]bool{}}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	h.silent = pending.New[*Conn](h.limits.Silent)
	h.signIns = make(chan struct{}, h.limits.SignIns)
	return h
}

// Limits returns the limits in force.
func (h *Hub) Limits() Limits { return h.limits }

// Begin adds a connection, with what is known of its client. Its reader gives every frame to Frame, and
// calls Finish when there will be none any more. Of too many on which nobody has signed in
// an older one gives way. Errors: unavailable, when there are too many or this coordinator
// stops.
func (h *Hub) Begin(line Line, from control.Credentials, o Options) (*Conn, *wire.Error) {
	c, evicted, refused := h.begin(line, from, o)
	if evicted != nil {
		h.counts.refused.Add(1)
		evicted.End(nil)
		evicted.opts.Abort()
	}
	return c, refused
}

// begin is Begin without the end of the connection that gives way.
func (h *Hub) begin(line Line, from control.Credentials, o Options) (c, evicted *Conn, why *wire.Error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return nil, nil, wire.NotTried("this coordinator stops")
	case len(h.conns) >= h.limits.Connections:
		why = wire.NotTried("there are %d connections here: go to another coordinator", len(h.conns))
	}
	if why != nil {
		h.counts.refused.Add(1)
		return nil, nil, why
	}
	c = newConn(h, line, from, o)
	h.conns[c] = true
	evicted, _ = h.silent.Add(c, from.Remote)
	h.wg.Add(1)
	return c, evicted, nil
}

// markSpoken removes a connection from the silent ones.
func (h *Hub) markSpoken(c *Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.silent.Remove(c)
}

func (h *Hub) remove(c *Conn) {
	h.markSpoken(c)
	h.mu.Lock()
	delete(h.conns, c)
	h.mu.Unlock()
	h.wg.Done()
}

// Close says bye to all connections and waits for their ends, at most until
// ctx ends. The sessions live on by their leases.
func (h *Hub) Close(ctx context.Context) error {
	h.mu.Lock()
	h.closed = true
	conns := make([]*Conn, 0, len(h.conns))
	for c := range h.conns {
		conns = append(conns, c)
	}
	h.mu.Unlock()
	for _, c := range conns {
		c.End(wire.NotTried("this coordinator stops"))
	}
	done := make(chan struct{})
	go func() {
		h.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close native sessions: %w", ctx.Err())
	}
}

// CutOff is a connection that was ended since it read too slowly.
type CutOff struct {
	Name   string // full name of its session; empty if it had none
	Remote string // its address
	At     time.Time
}

// recordCutOff records and logs one of them.
func (h *Hub) recordCutOff(name, remote string) {
	h.lastCutOff.Store(&CutOff{Name: name, Remote: remote, At: time.Now()})
	h.log.Warn("cut off: it reads too slowly", "name", name, "remote", remote)
}

// LastCutOff returns the last connection that was ended since it read too
// slowly; false if there was none since the start.
func (h *Hub) LastCutOff() (CutOff, bool) {
	if last := h.lastCutOff.Load(); last != nil {
		return *last, true
	}
	return CutOff{}, false
}

// Counts returns, since the start: connections refused for want of room, frames
// with a forged sender, connections cut off for reading too slowly, found dead,
// and broken by a wrong frame; and how many there are now.
func (h *Hub) Counts() map[string]uint64 {
	h.mu.Lock()
	n := len(h.conns)
	h.mu.Unlock()
	return map[string]uint64{
		"connections": uint64(n), "refused": h.counts.refused.Load(), "forged": h.counts.forged.Load(),
		"slow": h.counts.slow.Load(), "dead": h.counts.dead.Load(), "broken": h.counts.broken.Load(),
	}
}
