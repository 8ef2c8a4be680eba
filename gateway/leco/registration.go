package leco

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/flow"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// registration is one component that is signed in over this door, or is about to be.
type registration struct {
	name, full string
	conn       *peerConn
	lastSeen   atomic.Int64 // when its last message was received (flow.Now)
	ended      atomic.Bool  // the name is not its own any more
	ctx        context.Context
	cancel     context.CancelFunc

	decided  chan struct{} // closed when the write is made or refused
	answered chan struct{} // closed when the answer to its sign-in is queued on its connection
	once     sync.Once     // of answered

	// Guarded by the door's mu.
	session string // "" until the write is made
	handle  *home.Session
	fence   registry.Fence
	granted bool           // the component has the answer that it is signed in
	refusal *jsonrpc.Error // why it is not
}

// allowMail lets messages of others go to the component: the answer to its sign-in
// is on its way, and comes first.
func (reg *registration) allowMail() { reg.once.Do(func() { close(reg.answered) }) }

// mailAllowed reports whether allowMail was called.
func (reg *registration) mailAllowed() bool {
	select {
	case <-reg.answered:
		return true
	default:
		return false
	}
}

func (reg *registration) idle() time.Duration { return flow.Now() - time.Duration(reg.lastSeen.Load()) }

func (d *Door) sessionOf(reg *registration) string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return reg.session
}

// unregister removes a registration; mu is held.
func (d *Door) unregister(reg *registration) {
	if reg.ended.Swap(true) {
		return
	}
	reg.cancel()
	if reg.session == "" {
		d.pendingRegistrations--
	}
	if d.registrations[reg.name] == reg {
		delete(d.registrations, reg.name)
	}
	if reg.conn.registrations[reg.name] == reg {
		delete(reg.conn.registrations, reg.name)
	}
	d.judgeStranger(reg.conn)
}

// signIn gives the sender its name on this connection. A name that is free
// here is granted within Config.Answer, even if the write takes longer.
func (d *Door) signIn(from sender, _ *wire.Message) (any, error) {
	reg, err := d.checkedRegister(from)
	if err != nil {
		d.recordSignIn(from.conn, from.full, nil, auditedError(err))
		return nil, err
	}
	wait := time.NewTimer(d.cfg.Answer)
	defer wait.Stop()
	select {
	case <-reg.decided:
	case <-wait.C:
	case <-d.ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if reg.refusal != nil {
		return nil, reg.refusal
	}
	if reg.session == "" && !reg.granted {
		d.counts.add(cProvisional)
	}
	reg.granted = true
	return nil, nil
}

// checkedRegister is register for a sender that may have no name, or one of another namespace.
func (d *Door) checkedRegister(from sender) (*registration, error) {
	if from.namespace != d.namespace {
		return nil, notSignedIn()
	}
	if err := registry.CheckName("name", from.name); err != nil {
		return nil, invalidRequest(err.Error())
	}
	return d.register(from)
}

// register returns the sender's registration: the one it has, or a new one whose
// write is under way.
func (d *Door) register(from sender) (*registration, error) {
	row, live := d.cluster.State().Registry.Session(from.full)
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, here := d.conns[from.conn]; !here {
		return nil, notSignedIn()
	}
	if reg := d.registrations[from.name]; reg != nil {
		if reg.conn == from.conn {
			return reg, nil
		}
		pending := reg.session == "" && reg.conn.conn.Err() == nil // its reader may wait for the write
		if pending || reg.conn.conn.Responsive(d.cfg.Stale) {
			d.counts.add(cDuplicate)
			return nil, duplicateName(nil)
		}
		// Its connection is dead, only not yet given up: the name is free.
		d.log.Info("a LECO name passes to a new connection", "name", reg.full, "from", reg.conn.conn.RemoteAddr(), "to", from.conn.conn.RemoteAddr())
		d.unregister(reg)
	}
	if live && !d.isOurs(row) {
		d.counts.add(cDuplicate)
		return nil, duplicateName(nil)
	}
	if len(from.conn.registrations) >= maxNames {
		return nil, jsonrpc.NewError(jsonrpc.CodeServer, "The connection has too many names already.", maxNames)
	}
	reg := &registration{name: from.name, full: from.full, conn: from.conn, decided: make(chan struct{}), answered: make(chan struct{})}
	reg.ctx, reg.cancel = context.WithCancel(d.ctx)
	reg.lastSeen.Store(int64(flow.Now()))
	if !d.spawn(func() { d.writeSignIn(reg) }) {
		reg.cancel()
		return nil, notSignedIn()
	}
	d.registrations[reg.name], from.conn.registrations[reg.name] = reg, reg
	d.judgeStranger(from.conn)
	d.pendingRegistrations++
	return reg, nil
}

// recordSignIn tells the audit trail what came of a sign-in; handle is nil where it was refused.
func (d *Door) recordSignIn(conn *peerConn, full string, handle *home.Session, err error) {
	e := audit.Event{Door: audit.DoorLECO, Who: audit.Who{Name: full, Remote: conn.conn.RemoteAddr()}, What: "sign_in", Target: full}
	var index uint64
	if handle != nil {
		e.Who.Session, index = handle.ID(), handle.Row().Index
	}
	d.cluster.Record(control.Audited(e, index, err))
}

// isOurs reports whether a session is one of this door's. If it has no registration,
// its connection is gone, perhaps since before a restart of the coordinator.
func (d *Door) isOurs(row registry.Session) bool {
	return row.Kind == string(control.DoorLECO) && row.Home == d.id
}

// writeSignIn makes the sign-in a write, again and again until it is made, refused
// or no longer wanted.
func (d *Door) writeSignIn(reg *registration) {
	ctx, cancel := context.WithTimeout(reg.ctx, d.cfg.Provisional)
	defer cancel()
	key := rand.Text()
	var err error
	unknown := false // an attempt may have been carried out
	for {
		var handle *home.Session
		if handle, err = d.tryWriteSignIn(ctx, reg, key); err == nil {
			d.signInWritten(reg, handle)
			return
		}
		code := wire.CodeOf(err)
		unknown = unknown || code == wire.CodeUnknown
		if ctx.Err() != nil {
			break
		}
		switch code {
		case wire.CodeUnavailable, wire.CodeUnknown, wire.CodeBusy:
		case wire.CodeConflict: // that session came about and ended meanwhile
			key, unknown = rand.Text(), false
		case wire.CodeNameTaken:
			if row, live := d.cluster.State().Registry.Session(reg.full); live && !d.isOurs(row) {
				d.signInRefused(reg, err)
				return
			}
		default:
			d.signInRefused(reg, err)
			return
		}
		if !control.Sleep(ctx, 30*time.Millisecond) {
			break
		}
	}
	if unknown && wire.CodeOf(err) != wire.CodeUnknown {
		err = wire.Unknown(err)
	}
	d.signInRefused(reg, err)
}

// tryWriteSignIn ends the orphaned session that has the name, if one has, and signs in.
func (d *Door) tryWriteSignIn(ctx context.Context, reg *registration, key string) (*home.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if row, live := d.cluster.State().Registry.Session(reg.full); live && d.isOurs(row) {
		if err := d.cluster.EndSessions(ctx, []registry.Fence{row.Fence()}, "its connection was lost"); err != nil {
			return nil, err
		}
	}
	who, err := d.cluster.Authenticate(control.Credentials{Door: control.DoorLECO, Remote: reg.conn.conn.RemoteAddr(), Name: reg.full})
	if err != nil {
		return nil, err
	}
	handle, _, _, err := d.cluster.Enter(ctx, who, wire.SignIn{Name: reg.name, Namespace: d.namespace, Lease: wire.Duration(lease)}, key)
	return handle, err
}

// signInWritten completes a registration whose sign-in is written.
func (d *Door) signInWritten(reg *registration, handle *home.Session) {
	d.recordSignIn(reg.conn, reg.full, handle, nil)
	fence := handle.Row().Fence()
	d.mu.Lock()
	gone := reg.ended.Load()
	if !gone {
		reg.session, reg.handle, reg.fence = handle.ID(), handle, fence
		d.pendingRegistrations--
	}
	close(reg.decided)
	d.mu.Unlock()
	if gone || !d.spawn(func() { d.deliverMail(reg) }) {
		d.reaper.add("its connection was lost", fence)
		return
	}
	d.counts.add(cSignIns)
	d.scheduleUpdate()
}

// signInRefused removes a registration whose sign-in could not be written; a
// component that got another answer is sent the error "not signed in".
func (d *Door) signInRefused(reg *registration, err error) {
	d.recordSignIn(reg.conn, reg.full, nil, control.WriteError(err))
	f := errorOf(err)
	if f.Code == jsonrpc.CodeDuplicateName {
		d.counts.add(cDuplicate)
	}
	d.mu.Lock()
	wasGranted := reg.granted && !reg.ended.Load()
	reg.refusal = f
	d.unregister(reg)
	close(reg.decided)
	d.mu.Unlock()
	if !wasGranted {
		return
	}
	d.counts.add(cTakenBack)
	d.log.Info("a granted LECO sign-in is taken back", "name", reg.full, "error", err)
	reg.conn.sendError(reg.full, notSignedInSince(f.Message))
}

// signOut frees the sender's name; one that is not signed in is content too.
func (d *Door) signOut(from sender, _ *wire.Message) (any, error) {
	if from.reg == nil {
		return nil, nil
	}
	reg := from.reg
	d.mu.Lock()
	handle, fence := reg.handle, reg.fence
	d.unregister(reg)
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
	d.scheduleUpdate()
	return nil, nil
}

// deliverMail sends a component its mail, until its registration or the session
// ends. It begins behind the answer to the sign-in: pyleco takes the first message
// that comes for that answer, and puts a request aside. A
// component that does not read fills its connection's queue, then its mailbox:
// then its senders get busy.
func (d *Door) deliverMail(reg *registration) {
	select {
	case <-reg.answered:
	case <-reg.ctx.Done():
		return
	}
	var after uint64
	for {
		got, err := reg.handle.Receive(reg.ctx, after, 256)
		switch {
		case reg.ctx.Err() != nil:
			return
		case wire.CodeOf(err) == wire.CodeNotFound && !d.atHome(reg):
			d.sessionEnded(reg, err)
			return
		case err != nil:
			if !control.Sleep(reg.ctx, 50*time.Millisecond) {
				return
			}
			continue
		}
		for i := range got {
			if err = reg.conn.conn.AddWait(reg.ctx, encode(&got[i].Message)...); err != nil {
				break
			}
			after = got[i].Seq
		}
		reg.conn.conn.Flush()
		if err != nil {
			return // the connection's end ends the registration
		}
	}
}

// atHome reports whether the session of a registration is still at home here.
func (d *Door) atHome(reg *registration) bool {
	row, ok := d.cluster.State().Registry.SessionByID(reg.session)
	return ok && row.Home == d.id
}

// sessionEnded removes the registration of a session that something else ended.
func (d *Door) sessionEnded(reg *registration, why error) {
	d.mu.Lock()
	gone := reg.ended.Load()
	d.unregister(reg)
	d.mu.Unlock()
	if gone {
		return
	}
	d.log.Info("a LECO session ended", "name", reg.full, "reason", why)
	reg.conn.sendError(reg.full, notSignedInSince(why.Error()))
}
