// Package dispatch is the leader's hand over jobs: it proposes who gets which
// part, and what becomes of parts and jobs whose time is over.
package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// Machine is what dispatch sees of the replicated state.
type Machine interface {
	View() *fsm.State
	Feed() *fsm.Feed
}

var _ Machine = (*fsm.Machine)(nil)

// Config of Run. Machine and Proposer are needed.
type Config struct {
	Machine Machine
	// Proposer brings commands into the log; the view should have one when its
	// proposal returns.
	Proposer *propose.Proposer
	// Alive says whether a coordinator is heard of; a worker whose home is not
	// gets nothing new. Nil: all are.
	Alive func(home string) bool

	StartGrace  time.Duration // how long a part may be assigned and not started; default 10s
	FinishGrace time.Duration // how long beyond its part_timeout it may run; default 10s
	AvoidFor    time.Duration // how long a worker that started nothing gets nothing new; default 10s
	Tick        time.Duration // how often deadlines are looked at; default 1s
	Logger      *slog.Logger  // default none
}

// proposeTimeout bounds one proposal; standstill is how late a tick has to be
// for every grace to begin anew.
const (
	proposeTimeout = 10 * time.Second
	stallThreshold = 4 * time.Second
	planLimit      = 1000     // assignments of one plan
	planBytes      = 96 << 10 // of one Assign, before escapes
	batchParts     = 128      // of one Requeue
	batchJobs      = 100      // ended or forgotten at one tick
)

// Run dispatches until ctx ends, and returns ctx's error. It is a task of the
// leader. Every grace and every timeout begins anew with it, so a change of
// leaders ends nothing early; what a failed proposal left open is planned again
// from the view.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Machine == nil || cfg.Proposer == nil {
		return errors.New("dispatch: a machine and a way to propose are needed")
	}
	cfg.StartGrace = cmp.Or(cfg.StartGrace, 10*time.Second)
	cfg.FinishGrace = cmp.Or(cfg.FinishGrace, 10*time.Second)
	cfg.AvoidFor = cmp.Or(cfg.AvoidFor, 10*time.Second)
	cfg.Tick = cmp.Or(cfg.Tick, time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	d := &dispatcher{Config: cfg, deadlines: newDeadlines(cfg), retries: newRetries()}
	tick := time.NewTicker(cfg.Tick)
	defer tick.Stop()
	changed := cfg.Machine.Feed().Changed()
	d.tick(ctx) // the marks of all that is under way
	for {
		pause, again := d.assignWaiting(ctx)
		// A pause is over when it is over: events must not cut it short.
		if err := d.wait(ctx, pause, tick.C); err != nil {
			return err
		}
		if again {
			continue
		}
		rested, stop := d.restTimer()
		select {
		case <-ctx.Done():
			stop()
			return ctx.Err()
		case <-rested:
		case <-changed:
			changed = cfg.Machine.Feed().Changed()
		case <-tick.C:
			d.tick(ctx)
		}
		stop()
	}
}

type dispatcher struct {
	Config
	deadlines *deadlines
	retries   *retries
	fails     int // to assign, in a row
}

// restTimer is sent to when the first rest is over that the last plan came upon.
func (d *dispatcher) restTimer() (over <-chan time.Time, stop func() bool) {
	if d.retries.next.IsZero() {
		return nil, func() bool { return false }
	}
	t := time.NewTimer(time.Until(d.retries.next))
	return t.C, t.Stop
}

// wait lets a pause go by; deadlines are looked at meanwhile.
func (d *dispatcher) wait(ctx context.Context, pause time.Duration, tick <-chan time.Time) error {
	if pause <= 0 {
		return ctx.Err()
	}
	over := time.NewTimer(pause)
	defer over.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-over.C:
			return nil
		case <-tick:
			d.tick(ctx)
		}
	}
}

// tick looks at deadlines; what failed is looked at again at the next tick.
func (d *dispatcher) tick(ctx context.Context) {
	if err := d.checkDeadlines(ctx); err != nil && ctx.Err() == nil {
		d.Logger.Warn("deadlines are looked at again", "error", err)
	}
}

// assignWaiting gives waiting parts to free workers until there are none of one kind,
// and returns how long to rest, and whether to try again then without waiting
// for events. The rest keeps planning below a fifth of a core, however many
// events there are.
func (d *dispatcher) assignWaiting(ctx context.Context) (rest time.Duration, again bool) {
	for ctx.Err() == nil {
		began := time.Now()
		d.retries.follow(d.Machine, began)
		rests := d.retries.rests(began)
		view := d.Machine.View()
		if !view.Jobs.HasWaiting() {
			return 0, false
		}
		plan := jobs.Plan(view.Jobs, d.workers(view, began), planLimit, rests)
		took := time.Since(began)
		if len(plan) == 0 {
			return min(4*took, 100*time.Millisecond), false
		}
		given, err := d.assign(ctx, plan)
		if err != nil {
			return d.backoff(ctx, err), true
		}
		d.fails = 0
		d.retries.noteGiven(view, plan, began)
		if given == 0 {
			// The view is behind, or plan and table disagree: no hot loop.
			d.Logger.Warn("no assignment was taken", "planned", len(plan), "index", view.Index)
			return d.Tick, true
		}
	}
	return 0, false
}

// workers lists who may be given parts.
func (d *dispatcher) workers(view *fsm.State, now time.Time) (list []jobs.Worker) {
	homes := map[string]bool{}
	for s := range view.Registry.Workers() {
		alive, known := homes[s.Home]
		if !known {
			alive = d.Alive == nil || d.Alive(s.Home)
			homes[s.Home] = alive
		}
		if !alive || d.deadlines.avoided(s.ID, now) {
			continue
		}
		may, ok := rightsOf(view, s)
		if !ok {
			continue
		}
		health := view.Jobs.Health(s.FullName)
		list = append(list, jobs.Worker{
			FullName: s.FullName, Session: s.ID, Home: s.Home, Runtimes: s.Runtimes, Labels: s.Labels.Map(),
			Slots: d.retries.slots(health, s.ID, s.Slots, now), Suspect: health.Suspect(), May: may,
		})
	}
	return list
}

// rightsOf says for which namespaces a session may work: what the grants of its
// token say, or all (nil) if it has none of the state. ok is false if the token
// is gone.
func rightsOf(view *fsm.State, s registry.Session) (may func(namespace string) bool, ok bool) {
	if !strings.HasPrefix(s.Token, access.IDPrefix) {
		return nil, true
	}
	token, ok := view.Access.Token(s.Token)
	return func(namespace string) bool { return token.Grants.Allow(access.JobsWork, namespace) }, ok
}

// assign proposes a plan in as few commands as hold it.
func (d *dispatcher) assign(ctx context.Context, plan []jobs.Assignment) (given int, err error) {
	for len(plan) > 0 {
		n, size := 0, 0
		for n < len(plan) && (n == 0 || size < planBytes) {
			a := plan[n]
			size += len(a.Job) + len(a.Worker) + len(a.Session) + len(a.Home) + 100
			n++
		}
		verdicts, err := write[[]jobs.Verdict](ctx, d, jobs.KindAssign, jobs.Assign{Assignments: plan[:n]})
		if err != nil {
			return given, err
		}
		for _, v := range verdicts {
			if v.Code == "" {
				given++
			}
		}
		plan = plan[n:]
	}
	return given, nil
}

// backoff notes that assigning failed and says how long to rest: 100 ms doubling
// to 2 s. Nothing is repeated as it was; the view decides what is still to do.
func (d *dispatcher) backoff(ctx context.Context, err error) time.Duration {
	rest := min(100*time.Millisecond<<min(d.fails, 5), 2*time.Second)
	d.fails++
	if ctx.Err() == nil {
		d.Logger.Warn("parts are planned again", "in", rest, "error", err)
	}
	return rest
}

// write carries one command through the log.
func write[R any](ctx context.Context, d *dispatcher, kind string, body any) (R, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, proposeTimeout, fmt.Errorf("%s took longer than %v", kind, proposeTimeout))
	defer cancel()
	reply, _, err := propose.Do[R](ctx, d.Proposer, kind, propose.System("dispatch"), body)
	return reply, err
}

// alreadyDone says that a refusal means there is nothing left to do.
func alreadyDone(err error) bool {
	switch wire.CodeOf(err) {
	case wire.CodeConflict, wire.CodeNotFound:
		return true
	}
	return false
}
