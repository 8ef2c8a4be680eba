package control

import (
	"maps"
	"slices"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/wire"
)

// topicRights has for each topic of events what reading its things needs.
var topicRights = map[string]Right{
	wire.TopicComponent: ComponentsRead,
	wire.TopicJob:       JobsRead,
	wire.TopicMember:    ClusterRead,
	wire.TopicService:   ServicesRead,
	wire.TopicLock:      LocksRead,
	wire.TopicFlow:      FlowsRead,
}

// visibleEvents is what a principal may read of the feed.
type visibleEvents struct {
	all      bool                         // everything of every topic
	topics   map[string]VisibleNamespaces // by topic; one that is not in it is not read
	filtered bool                         // something may be left out
}

// eventsVisibleTo returns what a principal may read of topics; none are all. Errors:
// unauthorized, forbidden (nothing of one that is named, or of any).
func (a *Authenticator) eventsVisibleTo(who Principal, topics []string) (visibleEvents, error) {
	may, err := a.permissionOf(who)
	switch {
	case err != nil:
		return visibleEvents{}, err
	case may.all && len(topics) == 0:
		return visibleEvents{all: true}, nil
	}
	shows := visibleEvents{topics: make(map[string]VisibleNamespaces, len(topicRights))}
	named := len(topics) > 0
	if !named {
		topics = slices.Collect(maps.Keys(topicRights))
	}
	for _, topic := range topics {
		visible, err := a.Readable(who, topicRights[topic])
		switch {
		case err != nil && named:
			return visibleEvents{}, err
		case err != nil:
			shows.filtered = true
			continue
		}
		shows.topics[topic] = visible
		shows.filtered = shows.filtered || !visible.All()
	}
	if len(shows.topics) == 0 {
		return visibleEvents{}, forbidden(who, access.Read, Thing{})
	}
	return shows, nil
}

// shows reports whether an event may be read.
func (s visibleEvents) shows(view *fsm.State, e *fsm.Event) bool {
	if s.all {
		return true
	}
	visible, read := s.topics[e.Topic]
	return read && (visible.All() || visible.Include(namespaceOfEvent(view, e)))
}

// namespaceOfEvent is the namespace of what an event is about; "" is that of
// nobody.
func namespaceOfEvent(view *fsm.State, e *fsm.Event) string {
	switch e.Topic {
	case wire.TopicComponent:
		return ComponentThing(e.Key).Namespace
	case wire.TopicJob:
		if e.Job != nil {
			return jobs.Spec{Namespace: e.Job.Namespace}.InNamespace()
		}
		// Of a part only the job has it, and under its id there may be another job by now.
		if j, ok := view.Jobs.Job(e.Key); ok && j.SubmitIndex <= e.Index {
			return j.InNamespace()
		}
	}
	return ""
}
