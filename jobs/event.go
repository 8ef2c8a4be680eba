package jobs

import (
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Kinds of events, all of topic "job" with the job's id as key. Those of a job
// have a Job, those of a part (part_...) a Part.
const (
	EventSubmitted     = "submitted"
	EventRunning       = "running"
	EventDone          = "done"
	EventFailed        = "failed"
	EventCancelled     = "cancelled"
	EventForgotten     = "forgotten"
	EventPartAssigned  = "part_assigned"
	EventPartStarted   = "part_started"
	EventPartDone      = "part_done"
	EventPartRetried   = "part_retried"  // an attempt failed, the part waits again
	EventPartFailed    = "part_failed"   // the last attempt failed
	EventPartRequeued  = "part_requeued" // an attempt was taken back; the part as it waits, with the last worker
	EventPartLost      = "part_lost"     // taken back once too often
	EventPartCancelled = "part_cancelled"
)

// Kinds of events of topic "component" with the full name of a worker as key
// and no row.
const (
	EventWorkerSuspect = "worker_suspect" // its attempts fail where others' succeed: it gets fewer
	EventWorkerTrusted = "worker_trusted" // no longer suspect
)

// Event is an event with the row that it is about. Rows are read only.
type Event struct {
	wire.Event // without Data
	Row
}

// Row is what an event of this package is about: at most one of the pointers.
type Row struct {
	Job  *wire.Job // without its script
	Part *Part     // without its result
}

// Events returns the events of the commands carried out on this copy, in order.
func (t *Table) Events() []Event { return t.events }

// TakeEvents returns the events and begins anew. What it returned is good until
// the next command.
func (t *Table) TakeEvents() []Event {
	events := t.events
	t.events = t.events[:0]
	return events
}

// emit appends an event of topic "job"; what it is about is set in place.
func (t *Table) emit(kind, key, reason string, at time.Time) *Event {
	t.writes++
	t.events = append(t.events, Event{Event: wire.Event{
		Index: t.index, Seq: len(t.events), Topic: wire.TopicJob, Kind: kind, Key: key, Reason: reason, At: at,
	}})
	return &t.events[len(t.events)-1]
}

func (t *Table) emitJob(kind string, j Job, reason string, at time.Time) {
	row := j.Wire(false)
	t.emit(kind, j.ID, reason, at).Job = &row
}

func (t *Table) emitPart(kind string, p Part, reason string, at time.Time) {
	p.Result = nil
	t.emit(kind, p.Job, reason, at).Part = &p
}

// emitWorker has no row: whoever keeps a list of components takes one for the
// component's new row.
func (t *Table) emitWorker(kind string, h WorkerHealth, reason string, at time.Time) {
	t.emit(kind, h.Worker, reason, at).Topic = wire.TopicComponent
}
