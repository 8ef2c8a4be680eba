package rest

import (
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/folkmoot/folkmoot/control"
)

// Values of headers, made once. They are shared: nobody may append to them.
var (
	nosniff     = []string{"nosniff"}
	typeJSON    = []string{"application/json"}
	typeProblem = []string{"application/problem+json"}
	typeNDJSON  = []string{"application/x-ndjson"}
	typeText    = []string{"text/plain; charset=utf-8"}
	typeGzip    = []string{"application/gzip"}
	typeSSE     = []string{"text/event-stream"}
	noStore     = []string{"no-store"}
	noBuffering = []string{"no"}
	zeroMs      = []string{"0"}
	noLeader    = []string{""}
	filtered    = []string{"true"}
	consistency = map[string][]string{"stale": {"stale"}, "default": {"default"}, "strict": {"strict"}}
)

// writeConsistency is the X-Consistency of a write: it is answered from the log
// itself.
const writeConsistency = "strict"

// freshnessHeaders sets the headers that every answer carries. It keeps the last
// values, since most answers have the same.
type freshnessHeaders struct {
	cluster atomic.Pointer[[]string]
	leader  atomic.Pointer[[]string]
	index   atomic.Pointer[indexHeader]
}

type indexHeader struct {
	index uint64
	value []string
}

// set sets the headers, but X-Cluster and X-Stale-Ms only where they are known.
// cluster is "" while this coordinator does not know its cluster's id.
func (c *freshnessHeaders) set(h http.Header, f control.Fresh, cluster string) {
	if cluster != "" {
		known := c.cluster.Load()
		if known == nil || (*known)[0] != cluster {
			known = &[]string{cluster}
			c.cluster.Store(known)
		}
		h["X-Cluster"] = *known
	}
	last := c.index.Load()
	if last == nil || last.index != f.Index {
		last = &indexHeader{f.Index, []string{strconv.FormatUint(f.Index, 10)}}
		c.index.Store(last)
	}
	h["X-Index"] = last.value
	leader := noLeader
	if f.Leader != "" {
		if known := c.leader.Load(); known != nil && (*known)[0] == f.Leader {
			leader = *known
		} else {
			leader = []string{f.Leader}
			c.leader.Store(&leader)
		}
	}
	h["X-Leader"] = leader
	value := consistency[f.Consistency]
	if value == nil {
		value = consistency["default"]
	}
	h["X-Consistency"] = value
	switch {
	case f.StaleMs == 0:
		h["X-Stale-Ms"] = zeroMs
	case f.StaleMs > 0: // else it is not known
		h["X-Stale-Ms"] = []string{strconv.FormatInt(f.StaleMs, 10)}
	}
}

func (rq *Request) setFreshness(f control.Fresh) {
	rq.freshnessSet = true
	rq.router.freshness.set(rq.w.Header(), f, rq.router.cfg.Coordinator.ClusterID())
}

// ensureFreshness sets the headers to those of now unless they are set.
func (rq *Request) ensureFreshness() {
	if !rq.freshnessSet {
		rq.setFreshness(rq.router.cfg.Coordinator.Now())
	}
}

// Filtered says in the headers that the caller does not see all there is, so that
// something may have been left out. It must be called before anything is written.
func (rq *Request) Filtered() { rq.w.Header()["X-Filtered"] = filtered }

// FreshFrom sets the headers of a read, whether it succeeded or not, and returns
// its error.
func (rq *Request) FreshFrom(f control.Fresh, err error) error {
	if err == nil && f.Filtered && rq.route.Scope == ScopeRows { // a row that is answered is answered whole
		rq.Filtered()
	}
	if err == nil || f.Index > 0 {
		rq.setFreshness(f)
	}
	return err
}

// WrittenAt sets the headers of a write at an index of the log; 0 is a call that
// wrote nothing.
func (rq *Request) WrittenAt(index uint64) {
	rq.writtenAt = index
	if index == 0 {
		rq.setFreshness(rq.router.cfg.Coordinator.Now())
		return
	}
	rq.setFreshness(control.Fresh{Index: index, Leader: rq.router.cfg.Coordinator.Leads(), Consistency: writeConsistency})
}
