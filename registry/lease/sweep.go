package lease

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/registry"
)

// SweepConfig is what a sweep needs. View, Alive and Propose are needed.
type SweepConfig struct {
	Self string // the leader's own id: always alive
	View func() *fsm.State
	// Alive reports whether a home was heard lately, and when last: the zero time
	// is never, since this process began.
	Alive   func(id string) (alive bool, last time.Time)
	Propose Propose

	// Window is how long after this leader heard it a home may still let leases
	// run anew. Every lease is waited for from its end on.
	Window   time.Duration
	Grace    time.Duration // how long a home may be lost at least; default 10 s
	Interval time.Duration // default 1 s
	Batch    int           // default 500
	Logger   *slog.Logger
}

// Sweep ends the sessions of homes that are lost, in batches, until ctx ends; it
// returns ctx's error. A session ends when Window has passed since its home was
// heard, or since this leader began if that is later, and then Grace or its own
// lease, whichever is longer. The home renewed the lease for the last time before
// Window was over, so by the clock of its client, which counts from before that,
// the lease has ended as well: nobody else gets a name that somebody may still use.
// It is a task of the leader: every Sweep begins anew, so a change of leaders
// expires nothing.
func Sweep(ctx context.Context, cfg SweepConfig) error {
	s, err := newSweep(cfg)
	if err != nil {
		return err
	}
	return tickLoop(ctx, s.Interval, s.tick)
}

func newSweep(cfg SweepConfig) (*sweep, error) {
	if cfg.View == nil || cfg.Alive == nil || cfg.Propose == nil {
		return nil, errors.New("lease: a sweep needs a view, a judge of life and a way to propose")
	}
	if cfg.Grace <= 0 {
		cfg.Grace = 10 * time.Second
	}
	if cfg.Interval <= 0 {
		cfg.Interval = time.Second
	}
	if cfg.Batch <= 0 {
		cfg.Batch = 500
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &sweep{SweepConfig: cfg, began: time.Now(), lost: map[string]time.Time{}}, nil
}

type sweep struct {
	SweepConfig
	began time.Time            // no home is lost for longer
	lost  map[string]time.Time // home: when to look at its sessions
}

// recheckInterval is when the sessions of a lost home are looked at again in any case: one
// of a shorter lease may have moved there.
const recheckInterval = 10 * time.Second

// tick ends the sessions of homes that are lost for long enough; last is when
// the look before was over.
func (s *sweep) tick(ctx context.Context, last, now time.Time) {
	if late := now.Sub(last) - s.Interval; late > stallThreshold {
		s.Logger.Warn("this process stood still: graces begin anew", "for", late)
		s.began = now
		clear(s.lost)
	}
	homes := s.homes()
	for home := range s.lost {
		if !homes[home] {
			delete(s.lost, home)
		}
	}
	for home := range homes {
		s.checkHome(ctx, home, now)
	}
}

// checkHome ends the sessions of one home that are due.
func (s *sweep) checkHome(ctx context.Context, home string, now time.Time) {
	alive, heard := s.alive(home)
	if alive {
		delete(s.lost, home)
		return
	}
	if heard.Before(s.began) {
		heard = s.began
	}
	look, known := s.lost[home]
	if !known {
		s.logLost(home, now.Sub(heard))
	}
	if known && now.Before(look) {
		return
	}
	due, next := s.due(home, now.Sub(heard)-s.Window)
	s.lost[home] = now.Add(min(next, recheckInterval))
	if !s.expire(ctx, home, due) {
		s.lost[home] = now // at the next look
	}
}

// logLost says when the names of a home that is lost will be free.
func (s *sweep) logLost(home string, silent time.Duration) {
	sessions, longest := 0, time.Duration(0)
	for row := range s.View().Registry.SessionsOf(home) {
		sessions++
		longest = max(longest, row.Lease)
	}
	s.Logger.Info("a home is lost; its sessions have the grace, and at least their leases, to move", "home", home,
		"sessions", sessions, "grace", s.Grace, "longest_lease", longest, "free_in", s.Window+max(s.Grace, longest)-silent)
}

// due returns the fences of a home's sessions that end now, silence after it could
// renew leases for the last time, and how long it is until the next one ends. They
// come from one view: a session that moves meanwhile is not touched.
func (s *sweep) due(home string, silence time.Duration) (due []registry.Fence, next time.Duration) {
	next = registry.MaxLease
	for row := range s.View().Registry.SessionsOf(home) {
		if left := max(s.Grace, row.Lease) - silence; left > 0 {
			next = min(next, left)
		} else {
			due = append(due, row.Fence())
		}
	}
	return due, next
}

// homes returns every home that has a session, whether it is a coordinator
// still or was removed.
func (s *sweep) homes() map[string]bool {
	homes := map[string]bool{}
	for home := range s.View().Registry.Homes() {
		homes[home] = true
	}
	return homes
}

func (s *sweep) alive(home string) (alive bool, heard time.Time) {
	if home == s.Self {
		return true, heard
	}
	return s.Alive(home)
}

// expire expires sessions of a lost home. A failure, or a home that is back, ends the
// round: false.
func (s *sweep) expire(ctx context.Context, home string, due []registry.Fence) bool {
	for batch := range slices.Chunk(due, s.Batch) {
		if alive, _ := s.alive(home); alive || ctx.Err() != nil {
			return false
		}
		proposing, cancel := context.WithTimeout(ctx, proposeTimeout)
		err := s.Propose(proposing, batch, "home "+home+" lost")
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				s.Logger.Warn("sessions of a lost home could not be expired; they are tried again", "home", home, "sessions", len(batch), "error", err)
			}
			return false
		}
		s.Logger.Info("sessions of a lost home expired", "home", home, "sessions", len(batch))
	}
	return true
}
