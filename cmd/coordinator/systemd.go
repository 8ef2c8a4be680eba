package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/folkmoot/folkmoot/cmd/sdnotify"
	"github.com/folkmoot/folkmoot/node"
)

// supervisor tells systemd, if that started this process, how it fares.
type supervisor struct {
	sdnotify.Notifier
	log *slog.Logger
}

func newSupervisor(log *slog.Logger) supervisor {
	n, err := sdnotify.New()
	if err != nil {
		log.Warn("systemd is told nothing", "err", err)
	}
	return supervisor{n, log}
}

func (s supervisor) tell(states ...string) {
	if err := s.Send(states...); err != nil {
		s.log.Warn("systemd was not told", "err", err)
	}
}

// A start says, while it lasts, that it needs so much longer. The second is less than
// systemd waits for at first (TimeoutStartSec of the unit).
const (
	moreTime      = 3 * time.Minute
	moreTimeEvery = 30 * time.Second
)

// opening tells that the start takes its time until stop is called: a long log or a
// large snapshot is no reason to be ended.
func (s supervisor) opening() (stop func()) {
	s.tell(sdnotify.Status("opening the log and reading the newest snapshot"))
	return s.every(moreTimeEvery, func() { s.tell(sdnotify.MoreTime(moreTime)) })
}

// opened tells that the node can be asked, and shows signs of life while it lives,
// until stop is called.
func (s supervisor) opened(n *node.Node) (stop func()) {
	s.tell(sdnotify.Ready, sdnotify.Status(ready(n.Addrs())))
	return s.every(s.WatchdogInterval(), func() {
		if err := n.Live(); err != nil {
			s.tell(sdnotify.Status(fmt.Sprintf("no sign of life: %v", err)))
			return
		}
		s.tell(sdnotify.Watchdog)
	})
}

// reload calls f between word of its beginning and of its end.
func (s supervisor) reload(f func()) {
	s.tell(sdnotify.Reloading())
	f()
	s.tell(sdnotify.Ready)
}

// stopping tells that the end has begun, which takes at most so long.
func (s supervisor) stopping(atMost time.Duration) {
	s.tell(sdnotify.Stopping, sdnotify.Status("serving what is under way, handing leadership over"), sdnotify.MoreTime(atMost))
}

// every calls f again and again until stop is called, which waits for it; never if the
// interval is 0.
func (s supervisor) every(interval time.Duration, f func()) (stop func()) {
	if interval <= 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				f()
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
