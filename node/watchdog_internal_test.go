package node

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// loops are raft's, as the test has them.
type loops struct {
	mu    sync.Mutex
	hang  bool // the loop answers nothing
	count uint64
	busy  bool

	muxHangs bool
	release  chan struct{} // ends a call of the mux that hangs
}

// mux is a call of the mux.
func (l *loops) mux() {
	l.mu.Lock()
	hangs := l.muxHangs
	l.mu.Unlock()
	if hangs {
		<-l.release
	}
}

func (l *loops) Beat(ctx context.Context) error {
	l.mu.Lock()
	hang := l.hang
	l.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (l *loops) Progress() (uint64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count, l.busy
}

// change changes what the loops do.
func (l *loops) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// watch runs a watchdog over loops in fake time.
func watch(t *testing.T, test func(l *loops, w *watchdog, log *bytes.Buffer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l, log := &loops{release: make(chan struct{})}, new(bytes.Buffer)
		w := newWatchdog(slog.New(slog.NewTextHandler(log, nil)),
			pulse{"raft", newRaftPulse(l)}, pulse{"applier", newApplierPulse(l)}, pulse{"mux", newCallPulse(l.mux)})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.run(ctx) }()
		test(l, w, log)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Loops that turn, or have nothing to do, are well for ever.
func TestTheWatchdogIsQuietWhileLoopsTurn(t *testing.T) {
	watch(t, func(_ *loops, w *watchdog, log *bytes.Buffer) {
		for range 100 {
			time.Sleep(time.Minute)
			synctest.Wait()
			if err := w.live(); err != nil || log.Len() > 0 {
				t.Fatalf("live: %v, logged: %s", err, log)
			}
		}
	})
}

// A loop that stands still is found after half a minute, by its name, and is well
// again when it turns again. What goroutines did is logged once.
func TestTheWatchdogFindsALoopThatStandsStill(t *testing.T) {
	for name, still := range map[string]func(l *loops, on bool){
		"raft":    func(l *loops, on bool) { l.hang = on },
		"applier": func(l *loops, on bool) { l.busy = on },
		"mux": func(l *loops, on bool) {
			if l.muxHangs = on; !on {
				close(l.release)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			watch(t, func(l *loops, w *watchdog, log *bytes.Buffer) {
				time.Sleep(time.Minute)
				l.change(func() { still(l, true) })
				time.Sleep(watchdogLimit - 2*watchdogInterval)
				synctest.Wait()
				if err := w.live(); err != nil {
					t.Errorf("too early: %v", err)
				}
				time.Sleep(4 * watchdogInterval)
				for range 3 {
					if err := w.live(); err == nil || !strings.HasPrefix(err.Error(), name+" has stood still for ") {
						t.Errorf("live: %v, want %s to stand still", err, name)
					}
				}
				if said := log.String(); strings.Count(said, "stands still") != 1 || !strings.Contains(said, "watchdog_internal_test.go") {
					t.Errorf("logged: %s", said)
				}
				l.change(func() { still(l, false) })
				time.Sleep(3 * watchdogInterval)
				synctest.Wait()
				if err := w.live(); err != nil {
					t.Errorf("it turns again: %v", err)
				}
			})
		})
	}
}

// A long log that is applied, or a snapshot that is read, is no reason to start anew.
func TestTheWatchdogLetsWorkGoOn(t *testing.T) {
	watch(t, func(l *loops, w *watchdog, _ *bytes.Buffer) {
		l.change(func() { l.hang, l.busy = true, true })
		for range 100 {
			time.Sleep(watchdogLimit / 2)
			l.change(func() { l.count++ })
			synctest.Wait()
			if err := w.live(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// While a node opens, it is alive, has not started, and says for what it is waited.
func TestANodeThatOpensSaysSo(t *testing.T) {
	n := &Node{}
	if err := n.live(); err != nil {
		t.Errorf("live: %v", err)
	}
	for what, probe := range map[string]func() (bool, string){"started": n.startedUp, "ready": n.ready} {
		if ok, why := probe(); ok || !strings.Contains(why, "snapshot") {
			t.Errorf("%s: %t, %q", what, ok, why)
		}
	}
	if all, err := n.gather(); all != nil || err != nil {
		t.Errorf("metrics: %v, %v", all, err)
	}
	n.opened.Store(true)
	if ok, why := n.startedUp(); !ok {
		t.Errorf("not started: %s", why)
	}
}
