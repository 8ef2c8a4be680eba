package main

import (
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"

	"github.com/folkmoot/folkmoot/wire"
)

// bar is a job's progress on a terminal; elsewhere it is nothing.
type bar struct {
	w       progress.Writer // nil: not shown
	tracker *progress.Tracker
	done    chan struct{}
	stopped bool
}

// bar begins to show the progress of j on stderr, if that and stdout are terminals.
func (a *app) bar(j wire.Job) *bar {
	if !terminal(a.err) || !terminal(a.out) || a.flags.output == "json" || a.flags.output == "yaml" || a.flags.output == "name" {
		return &bar{}
	}
	b := &bar{w: progress.NewWriter(), done: make(chan struct{})}
	// The line must not be wider than the usual terminal: a broken one is not drawn over.
	b.tracker = &progress.Tracker{Message: "job " + truncate(j.ID, 10), Total: int64(j.Parts.Total)}
	b.w.SetOutputWriter(a.err)
	b.w.SetAutoStop(false)
	b.w.SetUpdateFrequency(100 * time.Millisecond)
	b.w.SetTrackerLength(30)
	b.w.SetStyle(progress.StyleBlocks)
	b.w.Style().Visibility.Speed = false
	b.w.Style().Options.DoneString = "ended" // how, is said below
	b.w.AppendTracker(b.tracker)
	go func() {
		defer close(b.done)
		b.w.Render()
	}()
	return b
}

func (b *bar) shown() bool { return b.w != nil }

// add counts one part that ended, and prints one that is not done if it is visible.
func (b *bar) add(r wire.PartResult, visible bool) {
	if b.w == nil {
		return
	}
	if visible && r.State != "done" {
		b.w.Log("%s", endedLine(r))
	}
	b.tracker.Increment(1)
}

// endedLine is how a part ended that was not done.
func endedLine(r wire.PartResult) string {
	return fmt.Sprintf("part %d %s: %s", r.Part, r.State, summaryLine(r.Error))
}

// stop removes the bar; once is enough.
func (b *bar) stop() {
	if b.w == nil || b.stopped {
		return
	}
	b.stopped = true
	for !b.w.IsRenderInProgress() { // Stop before Render has begun is not heard
		select {
		case <-b.done:
			return
		case <-time.After(time.Millisecond):
		}
	}
	b.w.Stop()
	<-b.done
}
