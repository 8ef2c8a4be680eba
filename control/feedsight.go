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

// feedSight is what a principal may read of the feed.
type feedSight struct {
	all      bool             // everything of every topic
	topics   map[string]Sight // by topic; one that is not in it is not read
	filtered bool             // something may be left out
}

// feedSight returns what a principal may read of topics; none are all. Errors:
// unauthorized, forbidden (nothing of one that is named, or of any).
func (a *Authenticator) feedSight(who Principal, topics []string) (feedSight, error) {
	may, err := a.permissionOf(who)
	switch {
	case err != nil:
		return feedSight{}, err
	case may.all && len(topics) == 0:
		return feedSight{all: true}, nil
	}
	sees := feedSight{topics: make(map[string]Sight, len(topicRights))}
	named := len(topics) > 0
	if !named {
		topics = slices.Collect(maps.Keys(topicRights))
	}
	for _, topic := range topics {
		sight, err := a.Readable(who, topicRights[topic])
		switch {
		case err != nil && named:
			return feedSight{}, err
		case err != nil:
			sees.filtered = true
			continue
		}
		sees.topics[topic] = sight
		sees.filtered = sees.filtered || !sight.All()
	}
	if len(sees.topics) == 0 {
		return feedSight{}, forbidden(who, access.Read, Thing{})
	}
	return sees, nil
}

// sees reports whether an event may be read.
func (s feedSight) sees(view *fsm.State, e *fsm.Event) bool {
	if s.all {
		return true
	}
	sight, read := s.topics[e.Topic]
	return read && (sight.All() || sight.Sees(namespaceOfEvent(view, e)))
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
