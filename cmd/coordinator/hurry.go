package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// hurryAtSecondSignal has hurry called at the first SIGTERM or SIGINT that comes
// after ctx has ended, which such a signal did: whoever sends a second one does
// not want to wait. When hurry says that there was nothing to cut short, and at
// every later signal, the process ends at once. stop ends it.
func hurryAtSecondSignal(ctx context.Context, log *slog.Logger, hurry func() bool) (stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	asked := ctx.Err() != nil // its signal came before
	done := make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() {
		select {
		case <-ctx.Done():
		case <-done:
			return
		}
		for {
			select {
			case s := <-signals:
				if !asked {
					asked = true // the one that ended ctx
					continue
				}
				log.Warn("a second signal: requests are not waited for", "signal", s)
				signal.Stop(signals)
				if !hurry() {
					endBy(s)
				}
				return
			case <-done:
				return
			}
		}
	})
	return func() {
		signal.Stop(signals)
		close(done)
		ended.Wait()
	}
}

// endBy ends this process as s does when nobody takes it.
func endBy(s os.Signal) {
	signal.Reset(s)
	if number, ok := s.(syscall.Signal); ok {
		_ = syscall.Kill(os.Getpid(), number) // what follows ends it otherwise
	}
	time.Sleep(time.Second)
	os.Exit(1)
}
