package fsm

import (
	"maps"
	"slices"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// Event is one change with the row that it is about: at most one of the
// pointers, by its kind. Rows are read only. Outside this process it is what
// Public returns.
type Event struct {
	wire.Event // without Data

	Token       *access.Token     // without its Hash
	TokenGone   *access.Gone      // without its Hash
	Session     *registry.Session // without its SecretHash
	Ended       *registry.Ended
	Coordinator *registry.Coordinator
	Job         *wire.Job  // without its script
	Part        *jobs.Part // without its result
	Group       *Group     // of EventElected, without its servers
	Server      *Server
}

func accessEvent(e *access.Event) Event {
	return Event{Event: e.Event, Token: e.Token, TokenGone: e.Gone}
}

// Internal reports whether the event is for the coordinators alone: nobody outside
// is told of it.
func (e *Event) Internal() bool { return e.Topic == access.Topic }

func registryEvent(e *registry.Event) Event {
	return Event{Event: e.Event, Session: e.Session, Ended: e.Ended, Coordinator: e.Coordinator}
}

func jobsEvent(e *jobs.Event) Event {
	return Event{Event: e.Event, Job: e.Job, Part: e.Part}
}

// Public returns the event as everybody may see it, with the row as its data.
func (e *Event) Public() wire.Event {
	out := e.Event
	switch {
	case e.Session != nil:
		out.Data = e.Session.Wire()
	case e.Ended != nil:
		out.Data = e.Ended
	case e.Coordinator != nil:
		out.Data = e.Coordinator
	case e.Job != nil:
		out.Data = e.Job
	case e.Part != nil:
		out.Data = e.Part.Wire()
	case e.Group != nil:
		out.Data = e.Group
	case e.Server != nil:
		out.Data = e.Server
	}
	return out
}

// eventSize is what an event takes without its texts, with its row.
const eventSize = 512

// weight is about how many bytes an event keeps in memory: what users choose the
// length of counts as it is.
func (e *Event) weight() int {
	n := eventSize + len(e.Key) + len(e.Reason)
	switch {
	case e.Session != nil:
		n += int(e.Session.Bytes())
	case e.Token != nil:
		n += len(e.Token.Name) + 32*len(e.Token.Grants)
	case e.Part != nil:
		n += len(e.Part.Error) + len(e.Part.Worker) + len(e.Part.Session)
		for _, worker := range e.Part.FailedBy {
			n += len(worker)
		}
	case e.Job != nil:
		n += len(e.Job.Name) + len(e.Job.Group) + len(e.Job.Reason)
		for _, k := range slices.Sorted(maps.Keys(e.Job.Labels)) {
			n += len(k) + len(e.Job.Labels[k])
		}
	}
	return n
}
