package main

import (
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// hangUps takes SIGHUP, which never ends a coordinator, be it from a terminal that
// is closed or from an operator: it asks for the files to be read again.
type hangUps struct {
	log    *slog.Logger
	mu     sync.Mutex // held while reload is called
	reload func()
	hung   chan os.Signal
	done   chan struct{}
	ended  chan struct{}
}

// newHangUps takes SIGHUP from now on, until stop.
func newHangUps(log *slog.Logger) *hangUps {
	h := &hangUps{log: log, hung: make(chan os.Signal, 1), done: make(chan struct{}), ended: make(chan struct{})}
	signal.Notify(h.hung, syscall.SIGHUP)
	go h.run()
	return h
}

func (h *hangUps) run() {
	defer close(h.ended)
	for {
		select {
		case <-h.hung:
			h.log.Info("SIGHUP: files are read again; to end a coordinator use SIGTERM")
			h.mu.Lock()
			if h.reload != nil {
				h.reload()
			}
			h.mu.Unlock()
		case <-h.done:
			return
		}
	}
}

// call has f called at each signal from now on, one call at a time; nil ends that, and
// waits for a call that is under way.
func (h *hangUps) call(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reload = f
}

// stop waits for a call that is under way.
func (h *hangUps) stop() {
	signal.Stop(h.hung)
	close(h.done)
	<-h.ended
}
