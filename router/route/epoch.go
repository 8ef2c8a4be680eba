package route

import (
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/router/lockorder"
)

// Destination is a coordinator that messages are sent to by routes. Its methods
// are safe for concurrent use.
type Destination struct {
	// epoch is in every relay to it. It is raised when a message to it is lost
	// on its route, before its stream goes on: what comes late of it is of an old
	// epoch then. It begins at a time, so that it goes on where the process before
	// ended.
	epoch atomic.Uint64
	// step doubles at every answer that the epoch is old, so that also a clock
	// that was set back is made up for soon.
	step atomic.Uint64
}

func newDestination() *Destination {
	d := new(Destination)
	d.epoch.Store(uint64(time.Now().UnixMilli()))
	return d
}

// Epoch is the one that messages leave in now.
func (d *Destination) Epoch() uint64 { return d.epoch.Load() }

// Advance begins a new epoch if that of a lost message is the latest. It is
// called before anything else of the message's stream leaves.
func (d *Destination) Advance(lost uint64) { d.epoch.CompareAndSwap(lost, lost+1) }

// Jump begins a much later epoch if one that the other side calls old is the
// latest.
func (d *Destination) Jump(old uint64) {
	step := d.step.Load()
	if d.epoch.CompareAndSwap(old, old+1<<step) && step < 48 {
		d.step.Store(step + 1)
	}
}

// ResetStep ends a row of jumps: a message was delivered.
func (d *Destination) ResetStep() {
	if d.step.Load() > 0 {
		d.step.Store(0)
	}
}

// origin is a coordinator that relays come from.
type origin struct {
	mu    lockorder.Mutex[lockorder.Origin] // held while one of its messages is delivered
	epoch uint64                            // the latest
}

// InEpoch calls deliver, unless the coordinator that a message comes from has
// sent others in a later epoch: it is false then. None of an earlier epoch is
// delivered after one of a later. deliver may take a mailbox's lock.
func (t *Table) InEpoch(from string, epoch uint64, deliver func()) bool {
	t.mu.Lock()
	o := t.origins[from]
	if o == nil {
		o = new(origin)
		t.origins[from] = o
	}
	t.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	if epoch < o.epoch {
		return false
	}
	o.epoch = epoch
	deliver()
	return true
}
