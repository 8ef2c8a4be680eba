package fsm

import (
	"fmt"
	"slices"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Kinds of events of topic "member" about raft's group: those of a Group. The
// key is a coordinator's id, the row a Server or, of an election, a Group
// without its servers.
const (
	EventElected  = "leader_elected"
	EventPromoted = "promoted" // it votes now
	EventDemoted  = "demoted"  // it votes no more
)

// Group is the command of a leader that writes down how raft's group stands.
// Elections and changes of who votes are raft's own; without it there would be
// no events of them. It is also what is kept of it in the state.
type Group struct {
	Term     uint64   `json:"term"`
	Leader   string   `json:"leader"`            // id
	ServerID string   `json:"server_id"`         // of the leader
	Servers  []Server `json:"servers,omitempty"` // by server id
}

// Server is one member of raft's group.
type Server struct {
	ID       string `json:"id"`
	ServerID string `json:"server_id"`
	Suffrage string `json:"suffrage"` // voter, nonvoter
}

// Same reports whether two say the same.
func (g Group) Same(o Group) bool {
	return g.Term == o.Term && g.Leader == o.Leader && g.ServerID == o.ServerID && slices.Equal(g.Servers, o.Servers)
}

// writeGroup is refused to a leader of a term before the last one written down.
func (tx *txn) writeGroup(c Group, at time.Time) (struct{}, error) {
	old := tx.Group
	switch {
	case c.Term == 0 || c.Leader == "":
		return struct{}{}, wire.Invalid("term", "a group has a term and a leader")
	case c.Term < old.Term || c.Term == old.Term && c.Leader != old.Leader:
		return struct{}{}, wire.Refuse(wire.CodeConflict, "%s leads in term %d, not %s in term %d", old.Leader, old.Term, c.Leader, c.Term)
	case c.Same(old):
		return struct{}{}, nil
	}
	tx.Group = c
	if c.Term > old.Term {
		elected := c
		elected.Servers = nil
		tx.emitMember(EventElected, c.Leader, fmt.Sprintf("term %d", c.Term), at, Event{Group: &elected})
	}
	for _, s := range c.Servers {
		i := slices.IndexFunc(old.Servers, func(o Server) bool { return o.ServerID == s.ServerID })
		switch {
		case i < 0 || old.Servers[i].Suffrage == s.Suffrage:
		case s.Suffrage == "voter":
			tx.emitMember(EventPromoted, s.ID, "", at, Event{Server: &s})
		default:
			tx.emitMember(EventDemoted, s.ID, "", at, Event{Server: &s})
		}
	}
	return struct{}{}, nil
}

// emitMember appends an event of topic "member" with the row of e.
func (tx *txn) emitMember(kind, key, reason string, at time.Time, e Event) {
	e.Event = wire.Event{Index: tx.Index, Topic: wire.TopicMember, Kind: kind, Key: key, Reason: reason, At: at}
	tx.append(e)
}

func (s *State) loadGroup(decode func(any) error) error {
	var g Group
	if err := decode(&g); err != nil {
		return err
	}
	if g.Term == 0 || s.Group.Term > 0 {
		return fmt.Errorf("a group of term %d, after one of term %d", g.Term, s.Group.Term)
	}
	s.Group = g
	return nil
}
