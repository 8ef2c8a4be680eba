package node

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"runtime/pprof"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire/awake"
)

// A loop is asked every watchdogInterval whether it turns; one that has not for
// watchdogLimit, in which this process could run, stands still.
const (
	watchdogInterval = 2 * time.Second
	watchdogLimit    = 30 * time.Second
)

// pulse is a loop that a watchdog looks at.
type pulse struct {
	name string
	// beat reports whether the loop has turned. It may block until ctx ends.
	beat func(ctx context.Context) bool
}

// watchdog knows when each loop of this process turned last. It looks at nothing
// but this process: not at a leader, the load or the disk, which another start of
// the process would find as they are.
type watchdog struct {
	log    *slog.Logger
	clock  *awake.Clock
	pulses []pulse

	mu     sync.Mutex
	last   map[string]time.Duration // by name, of clock
	dumped bool                     // what all goroutines did is in the log
}

func newWatchdog(log *slog.Logger, pulses ...pulse) *watchdog {
	w := &watchdog{log: log, clock: awake.New(watchdogInterval), pulses: pulses, last: map[string]time.Duration{}}
	for _, p := range pulses {
		w.last[p.name] = 0
	}
	return w
}

// run looks at the loops until ctx ends.
func (w *watchdog) run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { w.clock.Run(ctx) })
	for _, p := range w.pulses {
		wg.Go(func() { w.watch(ctx, p) })
	}
	<-ctx.Done()
	return nil
}

func (w *watchdog) watch(ctx context.Context, p pulse) {
	tick := time.NewTicker(watchdogInterval)
	defer tick.Stop()
	for {
		try, cancel := context.WithTimeout(ctx, watchdogInterval)
		beats := p.beat(try)
		cancel()
		if beats {
			w.mu.Lock()
			w.last[p.name] = w.clock.Now()
			w.mu.Unlock()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// live returns which loop stands still, and nil while none does. What all goroutines
// do then is logged once: whoever looks later finds a new process.
func (w *watchdog) live() error {
	now := w.clock.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.pulses {
		if still := now - w.last[p.name]; still > watchdogLimit {
			if !w.dumped {
				w.dumped = true
				w.log.Error("a loop of this process stands still", "loop", p.name, "for", still, "goroutines", goroutines())
			}
			return fmt.Errorf("%s has stood still for %s", p.name, still.Round(time.Second))
		}
	}
	return nil
}

// goroutines is what all goroutines do, equal ones together.
func goroutines() string {
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		return err.Error()
	}
	return b.String()
}

// pulses are the loops of a node.
func (n *Node) pulses() []pulse {
	return []pulse{
		{"raft's loop", newRaftPulse(n.raft)},
		{"the applier of the log", newApplierPulse(n.raft)},
		{"the mux of the HTTP port", newCallPulse(n.api.Beat)},
	}
}

// raftLoops is what the pulses ask of raft's node.
type raftLoops interface {
	Beat(ctx context.Context) error
	Progress() (count uint64, busy bool)
}

// newRaftPulse is that of raft's loop. While it receives a snapshot it answers
// nothing, but the snapshot grows.
func newRaftPulse(r raftLoops) func(context.Context) bool {
	var seen uint64
	return func(ctx context.Context) bool {
		before := seen
		err := r.Beat(ctx)
		seen, _ = r.Progress()
		return err == nil || seen != before
	}
}

// newApplierPulse is that of the goroutine which applies the log: it may have nothing to
// do, but what it does must move on.
func newApplierPulse(r raftLoops) func(context.Context) bool {
	var seen uint64
	return func(context.Context) bool {
		before := seen
		var busy bool
		seen, busy = r.Progress()
		return !busy || seen != before
	}
}

// newCallPulse is that of a function that must return. While a call has not, no other
// is begun.
func newCallPulse(call func()) func(context.Context) bool {
	var done chan struct{}
	return func(ctx context.Context) bool {
		if done == nil {
			done = make(chan struct{})
			go func(done chan struct{}) {
				defer close(done)
				call()
			}(done)
		}
		select {
		case <-done:
			done = nil
			return true
		case <-ctx.Done():
			return false
		}
	}
}
