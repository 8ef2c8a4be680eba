package fsm

import (
	"iter"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// Domain is a part of the state with rows and commands of its own; T is the type
// of its table, E that of its events. Only the applying goroutine calls Next and what changes a table,
// and only on the newest copy.
type Domain[T, E any] interface {
	// Next returns a copy for the commands of the entry at index, without events,
	// at a cost that does not depend on how many rows there are. The original is
	// frozen from then on.
	Next(index uint64) T
	// TakeEvents returns the events of the commands carried out since it was last
	// called, in order, without Seq. They are good until the next command.
	TakeEvents() []E
	table
}

// table is what a Domain is beside its type.
type table interface {
	// Writes counts the changes of this copy, so that a caller can see whether a
	// refused command left it as it was.
	Writes() int
	// Rows yields every row with the name of its table, in the order of a
	// snapshot. A row is a pointer, good only until the next one.
	Rows() iter.Seq2[string, any]
	// Load adds a row of a snapshot; rows come in the order of Rows. decode fills
	// its argument. known is false when the name is no table of this domain's.
	Load(name string, decode func(any) error) (known bool, err error)
	// Verify says where rows and what is derived from them contradict each other.
	// It reads every row.
	Verify() error
}

// Places of the domains in the list.
const (
	accessDomain = iota
	registryDomain
	clusterDomain
	jobsDomain
	auditDomain
	domainCount
)

// domains are all there are, in the order of their rows in a snapshot. What a
// command of one does to others it does to those further down. A new one is a
// field of State, a place, and a line here.
var domains = [domainCount]domain{
	accessDomain:   domainOf(func(s *State) **access.Table { return &s.Access }, accessEvent, access.TableJoinTokens),
	registryDomain: domainOf(func(s *State) **registry.Table { return &s.Registry }, registryEvent, registry.TableCoordinators),
	clusterDomain: {
		table: func(s *State) table { return clusterRows{s} }, next: func(*State) {}, takeEvents: func(*txn) {},
		stays: []string{rowGroup, rowAutopilot, rowRestored, rowRestoring, rowChunk},
	},
	jobsDomain: domainOf(func(s *State) **jobs.Table { return &s.Jobs }, jobsEvent),
	auditDomain: { // it tells of nothing
		table: func(s *State) table { return s.Audit }, next: func(s *State) { s.Audit = s.Audit.Next(s.Index) }, takeEvents: func(*txn) {},
		stays: []string{audit.KindAnchor},
	},
}

// domain is one line of the list.
type domain struct {
	table func(*State) table
	next  func(*State) // puts a copy for the entry at State.Index in place of the table
	// takeEvents appends the events of the table to those of the txn.
	takeEvents func(*txn)
	// stays are the names of its tables that belong to one group of coordinators: they
	// are in no file that leaves it.
	stays []string
}

// domainOf is a domain whose table is a field of State.
func domainOf[T Domain[T, E], E any](field func(*State) *T, event func(*E) Event, stays ...string) domain {
	return domain{
		stays: stays,
		table: func(s *State) table { return *field(s) },
		next:  func(s *State) { t := field(s); *t = (*t).Next(s.Index) },
		takeEvents: func(tx *txn) {
			events := (*field(&tx.State)).TakeEvents()
			for i := range events {
				tx.append(event(&events[i]))
			}
		},
	}
}

// Verify says where rows and what is derived from them contradict each other. It
// reads every row: it is for tests and for a restored snapshot.
func (s *State) Verify() error {
	for i := range domains {
		if err := domains[i].table(s).Verify(); err != nil {
			return err
		}
	}
	return nil
}

// clusterRows is the domain of what the state machine itself knows, as fields of
// State: they are copied with it.
type clusterRows struct{ s *State }

func (clusterRows) Writes() int     { return 0 }
func (c clusterRows) Verify() error { return c.s.verifyRestore() }

func (c clusterRows) Rows() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		if c.s.Group.Term > 0 && !yield(rowGroup, &c.s.Group) {
			return
		}
		if c.s.Autopilot != (wire.AutopilotSettings{}) && !yield(rowAutopilot, &c.s.Autopilot) {
			return
		}
		c.s.restoreRows()(yield)
	}
}

func (c clusterRows) Load(name string, decode func(any) error) (known bool, err error) {
	switch name {
	case rowGroup:
		return true, c.s.loadGroup(decode)
	case rowAutopilot:
		return true, c.s.loadAutopilot(decode)
	}
	return c.s.loadRestore(name, decode)
}
