package lease

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/registry"
)

// SweepConfig is what a sweep needs. View, Alive and Propose are needed.
type SweepConfig struct {
	Self    string // the leader's own id: always alive
	View    func() *fsm.State
	Alive   func(id string) (alive bool, last time.Time)
	Propose Propose

	Grace    time.Duration // how long a home may be lost; default 10 s
	Interval time.Duration // default 1 s
	Batch    int           // default 500
	Logger   *slog.Logger
}

// Sweep ends the sessions of homes that are lost for longer than Grace, in
// batches, until ctx ends; it returns ctx's error. It is a task of the leader:
// every Sweep begins all graces anew, so a change of leaders expires nothing.
func Sweep(ctx context.Context, cfg SweepConfig) error {
	s, err := newSweep(cfg)
	if err != nil {
		return err
	}
	return every(ctx, s.Interval, s.look)
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
	return &sweep{SweepConfig: cfg, lost: map[string]time.Time{}}, nil
}

type sweep struct {
	SweepConfig
	lost map[string]time.Time // home: since when, as seen by this sweep
}

// look ends the sessions of homes that are lost for long enough; last is when
// the look before was over.
func (s *sweep) look(ctx context.Context, last, now time.Time) {
	if late := now.Sub(last) - s.Interval; late > pause {
		s.Logger.Warn("this process stood still: graces begin anew", "for", late)
		clear(s.lost)
	}
	for _, home := range s.judge(now) {
		s.end(ctx, home)
	}
}

// judge returns the homes that are lost for longer than the grace.
func (s *sweep) judge(now time.Time) (gone []string) {
	homes := s.homes()
	for home := range s.lost {
		if !homes[home] {
			delete(s.lost, home)
		}
	}
	for home := range homes {
		if s.alive(home) {
			delete(s.lost, home)
			continue
		}
		since, known := s.lost[home]
		if !known {
			s.lost[home] = now
			s.Logger.Info("a home is lost; its sessions have the grace to move", "home", home, "grace", s.Grace)
			continue
		}
		if now.Sub(since) >= s.Grace {
			gone = append(gone, home)
		}
	}
	return gone
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

func (s *sweep) alive(home string) bool {
	if home == s.Self {
		return true
	}
	alive, _ := s.Alive(home)
	return alive
}

// end expires the sessions of a lost home. The fences come from one view:
// a session that moves meanwhile is not touched. A failure ends the round; the
// next one goes on.
func (s *sweep) end(ctx context.Context, home string) {
	batch := make([]registry.Fence, 0, s.Batch)
	propose := func() bool {
		if len(batch) == 0 {
			return true
		}
		if ctx.Err() != nil || s.alive(home) {
			return false
		}
		proposing, cancel := context.WithTimeout(ctx, proposeTimeout)
		defer cancel()
		if err := s.Propose(proposing, batch, "home "+home+" lost"); err != nil {
			if ctx.Err() == nil {
				s.Logger.Warn("sessions of a lost home could not be expired; they are tried again", "home", home, "sessions", len(batch), "error", err)
			}
			return false
		}
		s.Logger.Info("sessions of a lost home expired", "home", home, "sessions", len(batch))
		batch = make([]registry.Fence, 0, s.Batch)
		return true
	}
	for row := range s.View().Registry.SessionsOf(home) {
		if batch = append(batch, row.Fence()); len(batch) == s.Batch && !propose() {
			return
		}
	}
	propose()
}
