// Package work runs the parts a worker's home gives it, each in a process
// group of its own.
package work

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Home is how a worker reaches its coordinator, under its own session. Every
// call may be repeated with the same words.
type Home interface {
	// Start and Finish answer with one verdict for each part, in order.
	Start(ctx context.Context, parts []wire.PartRef) ([]wire.PartVerdict, error)
	Reporter
	AppendLog(ctx context.Context, log wire.AppendLog) error
	// Sync sends the parts that the worker holds and returns what to run and what to
	// drop.
	Sync(ctx context.Context, holding []wire.PartRef) (wire.SyncedParts, error)
	// Hints returns notifications that may be lost; nil is fine. It is called once.
	Hints() <-chan Hint
}

// Hint is a notification of a coordinator. An empty one asks for a sync at once.
type Hint struct {
	Run    []wire.RunPart
	Cancel []wire.PartRef
}

// maxSlots keeps all a worker holds within one sync_parts, which takes 4096.
const maxSlots = 1000

// Config of a worker; only Runtimes has no default.
type Config struct {
	Slots     int           // parts at once, at most 1000; default 1
	Runtimes  []Runtime     // as Offered returns them
	Dir       string        // where temporary directories go; default os.TempDir
	SyncEvery time.Duration // default 3s
	// StartDelay is how long a part may run before its start is reported; one that
	// ends sooner is only reported as finished. Default 200ms.
	StartDelay  time.Duration
	KillDelay   time.Duration // from SIGTERM to SIGKILL; default 2s
	CallTimeout time.Duration // of one call to the home; default 10s
	LogEvery    time.Duration // how often new output is sent; default 500ms
	Logger      *slog.Logger  // default none
}

func (c Config) withDefaults() (Config, error) {
	c.Slots = cmp.Or(c.Slots, 1)
	c.Dir = cmp.Or(c.Dir, os.TempDir())
	c.SyncEvery = cmp.Or(c.SyncEvery, 3*time.Second)
	c.StartDelay = cmp.Or(c.StartDelay, 200*time.Millisecond)
	c.KillDelay = cmp.Or(c.KillDelay, 2*time.Second)
	c.CallTimeout = cmp.Or(c.CallTimeout, 10*time.Second)
	c.LogEvery = cmp.Or(c.LogEvery, 500*time.Millisecond)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Slots < 1 || c.Slots > maxSlots {
		return c, wire.Invalid("slots", "%d slots are not within 1 and %d", c.Slots, maxSlots)
	}
	if len(c.Runtimes) == 0 {
		return c, wire.Invalid("runtimes", "a worker without a runtime can run nothing")
	}
	return c, nil
}

// Stats counts what a worker did since it was opened.
type Stats struct {
	Held    int    // parts known here, whatever their state
	Running int    // processes
	Done    uint64 // reports accepted, by outcome
	Failed  uint64
	Dropped uint64 // cancelled, or refused as stale
}

// Worker runs parts until it is closed.
type Worker struct {
	home    Home
	cfg     Config
	dir     *workDir
	log     *slog.Logger
	ctx     context.Context // of everything the worker started; ended by Close
	cancel  context.CancelFunc
	do      chan func()   // results of calls and processes, for the loop
	stopped chan struct{} // closed when the loop has ended
	wg      sync.WaitGroup
	// parts is owned by the loop.
	parts partQueue
	err   error // of removing the directory; read after stopped
}

// hideOnce calls HideSecrets once: a process has one environment.
var hideOnce = sync.OnceValue(func() error { return HideSecrets() })

// Open starts a worker that takes parts from home until Close.
func Open(home Home, cfg Config) (*Worker, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := hideOnce(); err != nil {
		cfg.Logger.Warn("parts may read this process's environment", "error", err)
	}
	// Scripts run in directories of their own, where a relative path leads nowhere.
	root, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("directory for parts: %w", err)
	}
	dir, err := makeDir(root)
	if err != nil {
		return nil, fmt.Errorf("directory for parts: %w", err)
	}
	if err := dir.shorten(); err != nil {
		cfg.Logger.Warn("the directory for parts is too deep for sockets in it", "dir", dir.path, "error", err)
	}
	w := &Worker{home: home, cfg: cfg, dir: dir, log: cfg.Logger, do: make(chan func()), stopped: make(chan struct{})}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.parts = newPartQueue()
	go w.loop()
	return w, nil
}

// Close ends all processes (SIGTERM, KillDelay, SIGKILL), tries once more to
// report what is finished, and removes every temporary file. Parts that were
// still running are not reported: they go to others when the session ends.
func (w *Worker) Close() error {
	w.cancel()
	<-w.stopped
	return w.err
}

// Stats returns the counts of now; all zero once the worker is closed.
func (w *Worker) Stats() Stats {
	got := make(chan Stats, 1)
	select {
	case w.do <- func() { got <- w.parts.stats() }:
		return <-got
	case <-w.stopped:
		return Stats{}
	}
}

func (w *Worker) loop() {
	defer close(w.stopped)
	hints := w.home.Hints()
	w.sync()
	timer := time.NewTimer(w.cfg.SyncEvery)
	defer timer.Stop()
	for w.ctx.Err() == nil {
		w.pump()
		timer.Reset(max(time.Until(w.parts.wake()), time.Millisecond))
		select {
		case <-w.ctx.Done():
		case f := <-w.do:
			f()
		case h, ok := <-hints:
			if !ok {
				hints = nil // the syncs go on
				continue
			}
			w.handleHint(h)
		case <-timer.C:
		}
	}
	w.drain()
	w.reportLast()
	if err := w.dir.remove(); err != nil {
		w.err = fmt.Errorf("remove the directory of parts: %w", err)
	}
}

// drain waits for everything the loop started and handles its results.
func (w *Worker) drain() {
	idle := make(chan struct{})
	go func() {
		w.wg.Wait()
		close(idle)
	}()
	for {
		select {
		case f := <-w.do:
			f()
		case <-idle:
			return
		}
	}
}

// reportLast reports what was finished before Close and not accepted yet.
func (w *Worker) reportLast() {
	for _, batch := range w.parts.allEnded() {
		ctx, cancel := context.WithTimeout(context.Background(), min(2*time.Second, w.cfg.CallTimeout))
		verdicts, err := w.home.Finish(ctx, batch)
		cancel()
		if err != nil {
			w.log.Warn("finished parts are not reported", "parts", len(batch), "error", err)
			return
		}
		w.parts.applyVerdicts(batch, verdicts)
	}
}

// GivenUp returns how many parts were running when the worker was closed and
// were stopped for it. It waits for the end of Close.
func (w *Worker) GivenUp() int {
	<-w.stopped
	return w.parts.givenUp
}

// Reporter is the part of a Home that takes reports.
type Reporter interface {
	Finish(ctx context.Context, parts []wire.PartDone) ([]wire.PartVerdict, error)
}

// Report reports, after Close, the parts that had ended and have no verdict yet. It
// returns nil when all have one, and may be called again after an error.
func (w *Worker) Report(ctx context.Context, to Reporter) error {
	<-w.stopped
	for len(w.parts.ended) > 0 {
		batch, before := w.parts.batch(0), len(w.parts.ended)
		verdicts, err := to.Finish(ctx, batch)
		if refusal(err) {
			w.refusedBatch(batch, err)
			if len(batch) > 1 {
				continue
			}
		} else if err != nil {
			return err
		}
		w.parts.applyVerdicts(batch, verdicts)
		if len(w.parts.ended) == before {
			return wire.NotTried("%d finished parts have no verdict yet", before)
		}
	}
	return nil
}

// Unreported returns how many parts had ended and have no verdict yet.
func (w *Worker) Unreported() int {
	<-w.stopped
	return len(w.parts.ended)
}

// handleHint carries a hint out; an empty one makes a sync due.
func (w *Worker) handleHint(h Hint) {
	w.enqueue(h.Run)
	for _, ref := range h.Cancel {
		w.discard(ref, "cancelled")
	}
	if len(h.Run)+len(h.Cancel) == 0 {
		w.parts.syncAt = time.Now()
	}
}

// enqueue queues parts, unless they are held or were resolved before.
func (w *Worker) enqueue(parts []wire.RunPart) {
	for _, p := range parts {
		if w.parts.tasks[p.PartRef] != nil || w.parts.resolved.has(p.PartRef) {
			continue
		}
		if len(w.parts.tasks) >= 4*w.cfg.Slots+64 {
			w.log.Warn("more parts than slots: left for the next sync", "job", p.Job, "part", p.Part)
			return
		}
		for ref := range w.parts.tasks {
			if ref.Job == p.Job && ref.Part == p.Part && ref.Attempt < p.Attempt {
				w.discard(ref, "a later attempt was given")
			}
		}
		w.parts.add(p)
	}
}

// discard drops a part: its process is stopped and no report is made. One that has
// ended stays until the verdict on its report: the coordinator that cancels it may
// be behind.
func (w *Worker) discard(ref wire.PartRef, reason string) {
	t := w.parts.tasks[ref]
	if t == nil || t.state == dropped || t.state == ended {
		return
	}
	w.log.Info("part dropped", "job", ref.Job, "part", ref.Part, "attempt", ref.Attempt, "reason", reason)
	w.parts.dropped++
	if t.state == running {
		t.state = dropped // it is removed when its process is gone
		t.stop()
		return
	}
	w.parts.remove(t)
}

// pump does what is due: processes for waiting parts, and calls.
func (w *Worker) pump() {
	for w.parts.running < w.cfg.Slots {
		t := w.parts.next()
		if t == nil {
			break
		}
		w.launch(t)
	}
	now := time.Now()
	if !w.parts.syncing && !now.Before(w.parts.syncAt) {
		w.sync()
	}
	if !w.parts.starting && !now.Before(w.parts.startAt) {
		w.reportStarts(now)
	}
	if !w.parts.finishing && !now.Before(w.parts.finishAt) {
		w.reportFinishes()
	}
}

// launch runs a part in a goroutine of its own.
func (w *Worker) launch(t *task) {
	i := slices.IndexFunc(w.cfg.Runtimes, func(r Runtime) bool { return r.Name == t.part.Runtime })
	if i < 0 {
		w.parts.markEnded(t, outcome{err: fmt.Sprintf("runtime %q is not offered by this worker", t.part.Runtime)})
		return
	}
	ctx, stop := context.WithCancel(w.ctx)
	t.stop = stop
	w.parts.markRunning(t, time.Now().Add(w.cfg.StartDelay))
	w.wg.Go(func() {
		defer stop()
		out := w.run(ctx, w.cfg.Runtimes[i], t.part)
		w.do <- func() { w.processEnded(t, out) }
	})
}

func (w *Worker) processEnded(t *task, out outcome) {
	w.parts.running--
	if out.stopped && t.state != dropped {
		w.parts.givenUp++
	}
	if t.state == dropped || out.stopped {
		w.parts.remove(t)
		return
	}
	w.parts.markEnded(t, out)
}

// refusal says whether repeating the same words is useless.
func refusal(err error) bool {
	var e *wire.Error
	return errors.As(err, &e) && (e.Code == wire.CodeInvalid || e.Code == wire.CodeTooLarge)
}

// tail is the end of a text, for an error message.
func tail(s string, n int) string {
	if len(s) > n {
		s = "... " + strings.ToValidUTF8(s[len(s)-n:], "")
	}
	return strings.TrimSpace(s)
}
