package work

import (
	"context"
	"encoding/json"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/folkmoot/folkmoot/wire"
)

// partQueue holds the parts of a worker. Only the loop touches it.
type partQueue struct {
	tasks    map[wire.PartRef]*task
	queue    []*task    // waiting for a slot, first come first
	ended    []*task    // waiting for a verdict, first come first
	running  int        // processes, those of dropped parts included
	resolved recentRefs // parts that have a verdict or were refused

	// One call of each kind at a time; ...At is when the next may begin.
	syncing, starting, finishing bool
	syncAt, startAt, finishAt    time.Time
	startPause, finishPause      *backoff.ExponentialBackOff
	single                       bool // a batch was refused: one by one

	done, failed, dropped uint64
	givenUp               int // were running when the worker was closed
}

// States of a task.
type taskState int

const (
	queued taskState = iota
	running
	ended   // its report waits for a verdict
	dropped // its process is being ended
)

type task struct {
	part          wire.RunPart
	state         taskState
	stop          context.CancelFunc
	startDue      time.Time
	startReported bool
	report        wire.PartDone
}

func newPartQueue() partQueue {
	return partQueue{tasks: map[wire.PartRef]*task{}, resolved: newRecentRefs(4096), startPause: newBackOff(), finishPause: newBackOff()}
}

// newBackOff makes the waits between repeated calls: 100 ms doubling to 3 s, with
// jitter.
func newBackOff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier, b.RandomizationFactor = 100*time.Millisecond, 3*time.Second, 2, 0.5
	return b
}

func (d *partQueue) stats() Stats {
	return Stats{Held: len(d.tasks), Running: d.running, Done: d.done, Failed: d.failed, Dropped: d.dropped}
}

func (d *partQueue) add(p wire.RunPart) {
	t := &task{part: p}
	d.tasks[p.PartRef] = t
	d.queue = append(d.queue, t)
}

// next removes and returns the first part that waits for a slot; nil if there is none.
func (d *partQueue) next() *task {
	for len(d.queue) > 0 {
		t := d.queue[0]
		d.queue = d.queue[1:]
		if d.tasks[t.part.PartRef] == t {
			return t
		}
	}
	return nil
}

func (d *partQueue) markRunning(t *task, startDue time.Time) {
	t.state, t.startDue = running, startDue
	d.running++
}

// markEnded turns a part into its report.
func (d *partQueue) markEnded(t *task, out outcome) {
	t.state = ended
	t.report = wire.PartDone{PartRef: t.part.PartRef, OK: out.err == "", Result: out.result, Error: out.err, Millis: out.took.Milliseconds()}
	d.ended = append(d.ended, t)
}

func (d *partQueue) remove(t *task) {
	if d.tasks[t.part.PartRef] == t {
		delete(d.tasks, t.part.PartRef)
	}
	for i, e := range d.ended {
		if e == t {
			d.ended = append(d.ended[:i:i], d.ended[i+1:]...)
			return
		}
	}
}

// holding returns the parts that a sync sends: all but those being dropped.
func (d *partQueue) holding() []wire.PartRef {
	refs := make([]wire.PartRef, 0, len(d.tasks))
	for ref, t := range d.tasks {
		if t.state != dropped {
			refs = append(refs, ref)
		}
	}
	return refs
}

// startsDue returns the parts whose start is to be reported now.
func (d *partQueue) startsDue(now time.Time) (refs []wire.PartRef) {
	for ref, t := range d.tasks {
		if t.state == running && !t.startReported && !now.Before(t.startDue) {
			refs = append(refs, ref)
		}
	}
	return refs
}

// wake is when something is due next.
func (d *partQueue) wake() time.Time {
	next := time.Now().Add(time.Minute)
	sooner := func(at time.Time) {
		if at.Before(next) {
			next = at
		}
	}
	if !d.syncing {
		sooner(d.syncAt)
	}
	if !d.finishing && len(d.ended) > 0 {
		sooner(d.finishAt)
	}
	if !d.starting {
		for _, t := range d.tasks {
			if t.state == running && !t.startReported {
				sooner(later(t.startDue, d.startAt))
			}
		}
	}
	return next
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Limits of one finish_parts: it has to fit into one entry of the log.
const (
	maxFinishParts = 64
	maxFinishBytes = 160 << 10
)

// batch returns the first reports that wait for a verdict.
func (d *partQueue) batch(from int) (parts []wire.PartDone) {
	size := 0
	for _, t := range d.ended[from:] {
		size += len(t.report.Result) + len(t.report.Error) + 200
		if len(parts) > 0 && (d.single || size > maxFinishBytes || len(parts) == maxFinishParts) {
			break
		}
		parts = append(parts, t.report)
	}
	return parts
}

func (d *partQueue) allEnded() (batches [][]wire.PartDone) {
	for from := 0; from < len(d.ended); {
		b := d.batch(from)
		batches = append(batches, b)
		from += len(b)
	}
	return batches
}

// applyVerdicts applies the coordinator's verdicts on reports.
func (d *partQueue) applyVerdicts(parts []wire.PartDone, verdicts []wire.PartVerdict) {
	for i, p := range parts {
		t := d.tasks[p.PartRef]
		if i >= len(verdicts) || t == nil || t.state != ended {
			continue
		}
		v := verdicts[i]
		switch {
		case v.Code == "" && p.OK:
			d.done++
		case v.Code == "":
			d.failed++
		case (v.Code == wire.CodeTooLarge || v.Code == wire.CodeInvalid) && t.report.OK:
			t.report.OK, t.report.Result, t.report.Error = false, nil, "the result was refused: "+v.Message
			continue
		case v.Code == wire.CodeUnavailable || v.Code == wire.CodeUnknown || v.Code == wire.CodeBusy || v.Code == wire.CodeInternal:
			continue // no verdict on the part: report it again
		default:
			d.dropped++
		}
		d.resolved.add(p.PartRef)
		d.remove(t)
	}
}

// recentRefs is a set of the refs that were added last.
type recentRefs struct {
	refs []wire.PartRef
	at   int
	set  map[wire.PartRef]bool
}

func newRecentRefs(n int) recentRefs {
	return recentRefs{refs: make([]wire.PartRef, 0, n), set: make(map[wire.PartRef]bool)}
}

func (r *recentRefs) has(ref wire.PartRef) bool { return r.set[ref] }

func (r *recentRefs) add(ref wire.PartRef) {
	if r.set[ref] {
		return
	}
	r.set[ref] = true
	if len(r.refs) < cap(r.refs) {
		r.refs = append(r.refs, ref)
		return
	}
	delete(r.set, r.refs[r.at])
	r.refs[r.at] = ref
	r.at = (r.at + 1) % len(r.refs)
}

// outcome of one process.
type outcome struct {
	result  json.RawMessage
	err     string // empty: done
	tail    bool   // err goes on with the end of the log
	took    time.Duration
	stopped bool // ended by us, for a reason other than the part's own
}
