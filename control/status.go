package control

import (
	"context"
	"os"
	"runtime"

	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/wire"
)

// Status describes this coordinator. It answers at once, from what is here,
// also without a leader.
func (c *Control) Status(_ context.Context, who Principal) (wire.Status, error) {
	if err := c.Authorize(who, ClusterRead, Thing{}); err != nil {
		return wire.Status{}, err
	}
	return c.Own(), nil
}

// Own is Status for the coordinator itself.
func (c *Control) Own() wire.Status {
	view := c.machine.View()
	leader, _, _, term := c.node.LeaderInfo()
	ready, reason := c.node.Health()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	s := wire.Status{
		ID: c.self.ID, ServerID: c.self.ServerID, Namespace: c.self.Namespace, ClusterID: view.ClusterID,
		Leader: leader, Term: term, Version: c.self.Version, Level: view.Level,
		StartedAt: c.started, UptimeMs: c.now().Sub(c.started).Milliseconds(), AppliedIndex: view.Index,
		Ready: ready, ReadyReason: reason, Components: view.Registry.Len(), LocalSessions: c.homed.len(),
		Jobs: byState(view.Jobs.States()), JobSize: c.bounds.jobSize(view), Links: c.mail.Links(),
		HTTPAddress: c.self.HTTPAddr, PeerAddress: c.self.PeerAddr,
		GoVersion: runtime.Version(), ProcessID: os.Getpid(), Goroutines: runtime.NumGoroutine(), HeapBytes: memory.HeapAlloc,
		MessageCounts: map[string]uint64{}, WriteCounts: c.proposer.Outcomes(), RaftTimeouts: map[string]string{},
	}
	for range view.Registry.Workers() {
		s.Workers++
	}
	if s.Links == nil {
		s.Links = map[string]string{}
	}
	c.replica(&s)
	if c.describe != nil {
		c.describe(&s)
	}
	return s
}

// byState tells every state, also those in which no job is.
func byState(n jobs.StateCounts) map[string]int {
	return map[string]int{
		jobs.Queued: n.Queued, jobs.Running: n.Running, jobs.Done: n.Done, jobs.Failed: n.Failed, jobs.Cancelled: n.Cancelled,
	}
}

// Digest returns the fingerprint of the replicated state: coordinators with
// the same index have the same digest. It costs a walk over the whole state.
// Errors: unavailable.
func (c *Control) Digest(ctx context.Context, who Principal, r Read) (wire.Digest, Fresh, error) {
	if err := c.Authorize(who, ClusterRead, Thing{}); err != nil {
		return wire.Digest{}, Fresh{}, err
	}
	view, fresh, err := c.View(ctx, r)
	if err != nil {
		return wire.Digest{}, fresh, err
	}
	return wire.Digest{Index: view.Index, Digest: view.Fingerprint()}, fresh, nil
}
