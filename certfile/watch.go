package certfile

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// pollEvery is the pause between two looks at the files. What is wrong counts when it is seen twice: whoever writes
// several files is between two of them at times.
const pollEvery = 3 * time.Second

// sayAgain is the pause before files that are still wrong are logged, and counted, again.
const sayAgain = time.Hour

// Watcher has the newest content of files that could be used. Its methods may be called from any goroutine.
type Watcher struct {
	name    string
	source  Source
	log     *slog.Logger
	current atomic.Pointer[Content]

	failures atomic.Uint64 // read while mu is held over files that take long

	mu   sync.Mutex
	mark [sha256.Size]byte // of the bytes last looked at and settled
	bad  [sha256.Size]byte // of those that cannot be used, seen once
	said time.Time         // when bad was logged; zero: not yet
}

// Open reads the files for the first time: anything wrong is an error. name is what the log calls them.
func Open(name string, s Source, log *slog.Logger) (*Watcher, error) {
	c, mark, problem := s.load()
	if c == nil || len(s.Pairs) < 2 && problem != nil {
		return nil, problem
	}
	w := &Watcher{name: name, source: s, log: log, mark: mark}
	w.current.Store(c)
	if problem != nil {
		w.mark = [sha256.Size]byte{} // looked at again: its time may come
		log.Warn("a certificate is not usable, another is used", "of", name, "used", c.From.Cert, "error", problem)
	}
	return w, nil
}

// Current is the newest content that could be used.
func (w *Watcher) Current() *Content { return w.current.Load() }

// Failures counts how often changed files could not be used.
func (w *Watcher) Failures() uint64 {
	return w.failures.Load()
}

// Run looks at the files until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.look(false)
		}
	}
}

// Reload looks at the files now, because somebody says that they are complete. What is wrong is logged at once.
func (w *Watcher) Reload() error { return w.look(true) }

// look takes changed files into use, or says what is wrong with them.
func (w *Watcher) look(certain bool) error {
	w.mu.Lock()
	c, mark, problem := w.source.load()
	if mark == w.mark {
		w.bad, w.said = [sha256.Size]byte{}, time.Time{}
		w.mu.Unlock()
		return nil
	}
	if problem != nil && !w.countBad(mark, certain) {
		w.mu.Unlock()
		return problem
	}
	if c == nil || problem != nil && len(w.source.Pairs) < 2 {
		w.mu.Unlock()
		w.log.Warn("changed certificate files are not usable, the old ones stay in use", "of", w.name, "error", problem)
		return problem
	}
	if w.mark = mark; problem != nil {
		w.mark = [sha256.Size]byte{} // looked at again: its time may come
	}
	w.current.Store(c)
	w.mu.Unlock()
	if problem != nil {
		w.log.Warn("a changed certificate is not usable, another is used", "of", w.name, "error", problem)
	}
	args := []any{"of", w.name}
	if c.Leaf != nil {
		args = append(args, "certificate", c.From.Cert, "expires", c.Leaf.NotAfter.UTC())
	}
	w.log.Info("changed certificate files are in use", args...)
	return problem
}

// countBad counts content that cannot be used, and reports whether it is to be told: when it is seen for the second
// time, and then every hour. The caller holds w.mu.
func (w *Watcher) countBad(mark [sha256.Size]byte, certain bool) bool {
	if mark != w.bad {
		w.bad, w.said = mark, time.Time{}
		if !certain {
			return false
		}
	}
	if !w.said.IsZero() && time.Since(w.said) < sayAgain {
		return false
	}
	w.said = time.Now()
	w.failures.Add(1)
	return true
}
