package cluster

import (
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/wire"
)

// leaveOut takes out of a status what its principal may not read. Errors:
// unauthorized.
func (c *Cluster) leaveOut(s *wire.Status, who control.Principal) error {
	components, err := c.seen(who, control.ComponentsRead)
	if err != nil {
		return err
	}
	work, err := c.seen(who, control.JobsRead)
	if err != nil {
		return err
	}
	view := c.State()
	if !components.All() {
		c.countComponents(s, view, components)
	}
	if !work.All() {
		countJobs(s, view, work)
	}
	return nil
}

// seen is what a principal may read for a right; nothing, if it has not the right.
func (c *Cluster) seen(who control.Principal, right control.Right) (control.VisibleNamespaces, error) {
	visible, err := c.Readable(who, right)
	if wire.CodeOf(err) == wire.CodeForbidden {
		err = nil
	}
	return visible, err
}

func (c *Cluster) countComponents(s *wire.Status, view *fsm.State, seen control.VisibleNamespaces) {
	s.Components, s.LocalSessions, s.Workers = 0, 0, 0
	for row := range view.Registry.Sessions() {
		if !seen.Include(row.Namespace) {
			continue
		}
		s.Components++
		if row.Home == c.Self().ID {
			s.LocalSessions++
		}
		if row.Slots > 0 {
			s.Workers++
		}
	}
	if slow := s.SlowConsumers; slow != nil && slow.Last != "" && !seen.Include(control.ComponentThing(slow.Last).Namespace) {
		hidden := *slow
		hidden.Last, hidden.Remote = "", ""
		s.SlowConsumers = &hidden
	}
}

func countJobs(s *wire.Status, view *fsm.State, seen control.VisibleNamespaces) {
	s.Jobs = byState(jobs.StateCounts{})
	size := wire.JobSize{}
	if s.JobSize != nil {
		size.MaxJobs, size.MaxParts = s.JobSize.MaxJobs, s.JobSize.MaxParts
		size.MaxInputBytes, size.MaxResultBytes = s.JobSize.MaxInputBytes, s.JobSize.MaxResultBytes
	}
	for j := range view.Jobs.Jobs() {
		if !seen.Include(j.InNamespace()) {
			continue
		}
		has := view.Jobs.SizeOf(j.ID)
		s.Jobs[j.State]++
		size.Jobs++
		size.Parts += has.Parts
		size.InputBytes += has.Input
		size.ResultBytes += has.Results
	}
	s.JobSize = &size
}
