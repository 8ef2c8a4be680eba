package cluster

import (
	"context"
	"os"
	"runtime"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/wire"
)

// Status describes this coordinator. It answers at once, from what is here,
// also without a leader. Components and jobs that the principal may not read are not
// counted.
func (c *Cluster) Status(_ context.Context, who control.Principal) (wire.Status, error) {
	if err := c.Authorize(who, control.ClusterRead, control.Thing{}); err != nil {
		return wire.Status{}, err
	}
	s := c.Own()
	err := c.leaveOut(&s, who)
	return s, err
}

// Own is Status for the coordinator itself.
func (c *Cluster) Own() wire.Status {
	view := c.State()
	leader, _, _, term := c.Replica().LeaderInfo()
	ready, reason := c.Replica().Health()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	s := wire.Status{
		ID: c.Self().ID, ServerID: c.Self().ServerID, Namespace: c.Self().Namespace, ClusterID: view.ClusterID,
		Leader: leader, Term: term, Version: c.Self().Version, Level: view.Level,
		StartedAt: c.Started(), UptimeMs: c.Now().Sub(c.Started()).Milliseconds(), AppliedIndex: view.Index,
		Ready: ready, ReadyReason: reason, Components: view.Registry.Len(), LocalSessions: c.home.Sessions(),
		Jobs: byState(view.Jobs.States()), JobSize: c.Bounds().JobSize(view), Links: c.home.Mail().Links(),
		HTTPAddress: c.Self().HTTPAddr, PeerAddress: c.Self().PeerAddr,
		GoVersion: runtime.Version(), ProcessID: os.Getpid(), Goroutines: runtime.NumGoroutine(), HeapBytes: memory.HeapAlloc,
		MessageCounts: map[string]uint64{}, WriteCounts: c.Proposer().Outcomes(), RaftTimeouts: map[string]string{},
	}
	for range view.Registry.Workers() {
		s.Workers++
	}
	if s.Links == nil {
		s.Links = map[string]string{}
	}
	c.fromReplica(&s)
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
func (c *Cluster) Digest(ctx context.Context, who control.Principal, r control.Read) (wire.Digest, control.Fresh, error) {
	if err := c.Authorize(who, control.ClusterRead, control.Thing{}); err != nil {
		return wire.Digest{}, control.Fresh{}, err
	}
	view, fresh, err := c.View(ctx, r)
	if err != nil {
		return wire.Digest{}, fresh, err
	}
	return wire.Digest{Index: view.Index, Digest: view.Fingerprint()}, fresh, nil
}
