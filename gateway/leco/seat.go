package leco

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/flow"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// seat is one component that is signed in over this door, or is about to be.
type seat struct {
	name, full string
	guest      *guest
	heard      atomic.Int64 // when a message of it came last (flow.Now)
	over       atomic.Bool  // it has no seat any more
	ctx        context.Context
	cancel     context.CancelFunc

	settled  chan struct{} // closed when the write is made or refused
	answered chan struct{} // closed when the answer to its sign-in is queued on its connection
	once     sync.Once     // of answered

	// Guarded by the door's mu.
	session string // "" until the write is made
	handle  *home.Session
	fence   registry.Fence
	granted bool           // the component was told that it is signed in
	refusal *jsonrpc.Error // why it is not
}

// open lets messages of others go to the component: the answer to its sign-in
// is on its way, and comes first.
func (s *seat) open() { s.once.Do(func() { close(s.answered) }) }

// opened tells whether open was called.
func (s *seat) opened() bool {
	select {
	case <-s.answered:
		return true
	default:
		return false
	}
}

func (s *seat) silence() time.Duration { return flow.Now() - time.Duration(s.heard.Load()) }

func (d *Door) sessionOf(s *seat) string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return s.session
}

// unseat takes a seat away; mu is held.
func (d *Door) unseat(s *seat) {
	if s.over.Swap(true) {
		return
	}
	s.cancel()
	if s.session == "" {
		d.pendingSeats--
	}
	if d.seats[s.name] == s {
		delete(d.seats, s.name)
	}
	if s.guest.seats[s.name] == s {
		delete(s.guest.seats, s.name)
	}
}

// signIn gives the sender its name on this connection. A name that is free
// here is granted within Config.Answer, even if the write takes longer.
func (d *Door) signIn(w speaker, _ *wire.Message) (any, error) {
	if w.namespace != d.namespace {
		return nil, notSignedIn()
	}
	if err := registry.CheckName("name", w.name); err != nil {
		return nil, invalidRequest(err.Error())
	}
	s, err := d.take(w)
	if err != nil {
		return nil, err
	}
	wait := time.NewTimer(d.cfg.Answer)
	defer wait.Stop()
	select {
	case <-s.settled:
	case <-wait.C:
	case <-d.ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.refusal != nil {
		return nil, s.refusal
	}
	if s.session == "" && !s.granted {
		d.counts.add(cProvisional)
	}
	s.granted = true
	return nil, nil
}

// take returns the sender's seat: the one it has, or a new one whose write is
// under way.
func (d *Door) take(w speaker) (*seat, error) {
	row, live := d.cluster.State().Registry.Session(w.full)
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, here := d.guests[w.g]; !here {
		return nil, notSignedIn()
	}
	if s := d.seats[w.name]; s != nil {
		if s.guest == w.g {
			return s, nil
		}
		pending := s.session == "" && s.guest.conn.Err() == nil // its reader may wait for the write
		if pending || s.guest.conn.Lively(d.cfg.Stale) {
			d.counts.add(cDuplicate)
			return nil, duplicateName(nil)
		}
		// Its connection is dead, only not yet given up: the name is free.
		d.log.Info("a LECO name passes to a new connection", "name", s.full, "from", s.guest.conn.RemoteAddr(), "to", w.g.conn.RemoteAddr())
		d.unseat(s)
	}
	if live && !d.ghost(row) {
		d.counts.add(cDuplicate)
		return nil, duplicateName(nil)
	}
	if len(w.g.seats) >= maxSeats {
		return nil, jsonrpc.NewError(jsonrpc.CodeServer, "The connection has too many names already.", maxSeats)
	}
	s := &seat{name: w.name, full: w.full, guest: w.g, settled: make(chan struct{}), answered: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(d.ctx)
	s.heard.Store(int64(flow.Now()))
	if !d.own(func() { d.write(s) }) {
		s.cancel()
		return nil, notSignedIn()
	}
	d.seats[s.name], w.g.seats[s.name] = s, s
	d.pendingSeats++
	return s, nil
}

// ghost tells whether a session is one of this door's whose connection is
// gone, from an earlier life of the coordinator perhaps. Nobody has its seat.
func (d *Door) ghost(row registry.Session) bool {
	return row.Kind == string(control.DoorLECO) && row.Home == d.id
}

// write makes the sign-in a write, again and again until it is made, refused
// or no longer wanted.
func (d *Door) write(s *seat) {
	ctx, cancel := context.WithTimeout(s.ctx, d.cfg.Provisional)
	defer cancel()
	key := rand.Text()
	var err error
	for {
		var handle *home.Session
		if handle, err = d.tryWrite(ctx, s, key); err == nil {
			d.seated(s, handle)
			return
		}
		if ctx.Err() != nil {
			break
		}
		switch wire.CodeOf(err) {
		case wire.CodeUnavailable, wire.CodeUnknown, wire.CodeBusy:
		case wire.CodeConflict: // that session came about and ended meanwhile
			key = rand.Text()
		case wire.CodeNameTaken:
			if row, live := d.cluster.State().Registry.Session(s.full); live && !d.ghost(row) {
				d.refused(s, err)
				return
			}
		default:
			d.refused(s, err)
			return
		}
		if !pauseIn(ctx, 30*time.Millisecond) {
			break
		}
	}
	d.refused(s, err)
}

func pauseIn(ctx context.Context, t time.Duration) bool {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// tryWrite ends the ghost that has the name, if one has, and signs in.
func (d *Door) tryWrite(ctx context.Context, s *seat, key string) (*home.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if row, live := d.cluster.State().Registry.Session(s.full); live && d.ghost(row) {
		if err := d.cluster.EndSessions(ctx, []registry.Fence{row.Fence()}, "its connection was lost"); err != nil {
			return nil, err
		}
	}
	who, err := d.cluster.Authenticate(control.Credentials{Door: control.DoorLECO, Remote: s.guest.conn.RemoteAddr(), Name: s.full})
	if err != nil {
		return nil, err
	}
	handle, _, _, err := d.cluster.Enter(ctx, who, wire.SignIn{Name: s.name, Namespace: d.namespace, Lease: wire.Duration(lease)}, key)
	return handle, err
}

// seated goes on with a seat whose sign-in is written.
func (d *Door) seated(s *seat, handle *home.Session) {
	fence := handle.Row().Fence()
	d.mu.Lock()
	gone := s.over.Load()
	if !gone {
		s.session, s.handle, s.fence = handle.ID(), handle, fence
		d.pendingSeats--
	}
	close(s.settled)
	d.mu.Unlock()
	if gone || !d.own(func() { d.pump(s) }) {
		d.reaper.add("its connection was lost", fence)
		return
	}
	d.counts.add(cSignIns)
	d.news()
}

// refused takes a seat away whose sign-in could not be written; a component
// that was told otherwise learns that it is not signed in.
func (d *Door) refused(s *seat, err error) {
	f := errorOf(err)
	if f.Code == jsonrpc.CodeDuplicateName {
		d.counts.add(cDuplicate)
	}
	d.mu.Lock()
	told := s.granted && !s.over.Load()
	s.refusal = f
	d.unseat(s)
	close(s.settled)
	d.mu.Unlock()
	if !told {
		return
	}
	d.counts.add(cTakenBack)
	d.log.Info("a granted LECO sign-in is taken back", "name", s.full, "error", err)
	s.guest.push(s.full, notSignedInSince(f.Message))
}

// signOut frees the sender's name; one that is not signed in is content too.
func (d *Door) signOut(w speaker, _ *wire.Message) (any, error) {
	if w.seat == nil {
		return nil, nil
	}
	s := w.seat
	d.mu.Lock()
	handle, fence := s.handle, s.fence
	d.unseat(s)
	d.mu.Unlock()
	if handle == nil {
		return nil, nil // write ends what comes about yet
	}
	// Whatever becomes of the write, the name is free for this door's others.
	ctx, cancel := context.WithTimeout(d.ctx, d.cfg.Answer)
	defer cancel()
	if err := handle.SignOut(ctx); err != nil {
		d.reaper.add("signed out", fence)
	}
	d.news()
	return nil, nil
}

// pump hands a component its mail, until its seat or the session ends. It
// begins behind the answer to the sign-in: pyleco takes the first message that
// comes for that answer's, and puts a request aside. A
// component that does not read fills its connection's queue, then its mailbox:
// then its senders are told busy.
func (d *Door) pump(s *seat) {
	select {
	case <-s.answered:
	case <-s.ctx.Done():
		return
	}
	var after uint64
	for {
		got, err := s.handle.Receive(s.ctx, after, 256)
		switch {
		case s.ctx.Err() != nil:
			return
		case wire.CodeOf(err) == wire.CodeNotFound && !d.lives(s):
			d.removed(s, err)
			return
		case err != nil:
			if !pauseIn(s.ctx, 50*time.Millisecond) {
				return
			}
			continue
		}
		for i := range got {
			if err = s.guest.conn.AddWait(s.ctx, encode(&got[i].Message)...); err != nil {
				break
			}
			after = got[i].Seq
		}
		s.guest.conn.Flush()
		if err != nil {
			return // the connection's end ends the seat
		}
	}
}

// lives tells whether the session of a seat is at home here still.
func (d *Door) lives(s *seat) bool {
	row, ok := d.cluster.State().Registry.SessionByID(s.session)
	return ok && row.Home == d.id
}

// removed is for a session that ended by another's hand.
func (d *Door) removed(s *seat, why error) {
	d.mu.Lock()
	gone := s.over.Load()
	d.unseat(s)
	d.mu.Unlock()
	if gone {
		return
	}
	d.log.Info("a LECO session ended", "name", s.full, "reason", why)
	s.guest.push(s.full, notSignedInSince(why.Error()))
}
