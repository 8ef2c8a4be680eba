package node

import (
	"context"
	"strings"
	"sync"

	gometrics "github.com/armon/go-metrics"
	goprom "github.com/armon/go-metrics/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/folkmoot/folkmoot/gateway/zmtp"
	"github.com/folkmoot/folkmoot/raftnode"
)

// metrics returns the numbers of this node. They are read when asked for, so
// that nothing on the way of a request counts twice.
func (n *Node) metrics() prometheus.Gatherer {
	r := prometheus.NewRegistry()
	r.MustRegister(&collector{n})
	return r
}

// collector reads one node's own counters.
type collector struct{ n *Node }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("folkmoot_"+name, help, labels, nil)
}

var (
	writesDesc     = desc("writes_total", "Writes proposed at this coordinator, by outcome.", "outcome")
	messagesDesc   = desc("messages_total", "Messages sent from this coordinator and what happened to mail, by outcome.", "outcome")
	linksDesc      = desc("link_up", "Whether the link to another coordinator is up.", "coordinator")
	componentsDesc = desc("components", "Components signed in, in the whole cluster.")
	localDesc      = desc("local_sessions", "Sessions homed here.")
	jobsDesc       = desc("jobs", "Jobs, by state.", "state")
	partsDesc      = desc("job_parts", "Parts of all jobs that are kept, begun or not.")
	jobBytesDesc   = desc("job_bytes", "What all jobs that are kept take of every coordinator's memory: their input, and the results and error texts of their parts.", "of")
	jobMaxDesc     = desc("job_bytes_max", "What that may be at most: beyond it jobs are refused, and parts fail as result_quota.", "of")
	indexDesc      = desc("index", "Log indexes of this coordinator.", "of")
	leaderDesc     = desc("is_leader", "Whether this coordinator leads.")
	termDesc       = desc("term", "Raft term.")
	changesDesc    = desc("leader_changes_total", "Leader changes seen by this process.")
	readyDesc      = desc("ready", "Whether clients may count on this coordinator.")
	lecoDesc       = desc("leco_total", "What the LECO door has seen.", "what")
	channelDesc    = desc("leco_channel_total", "What LECO's data and log channels have seen.", "channel", "what")
	nativeDesc     = desc("native_total", "What the doors for native sessions have seen: connections refused, forged senders, connections cut off as slow, dead or broken.", "what")
	nativeNowDesc  = desc("native_connections", "Connections at the doors for native sessions now.")
	slowDesc       = desc("slow_consumers_total", "Connections cut off for reading too slowly, by door.", "door")
	snapshotsDesc  = desc("snapshots_sent_total", "Snapshots that another coordinator has taken from this one, its leader.", "coordinator")
	inVainDesc     = desc("snapshots_in_vain", "Of them, those since it last took entries of the log: above 2 it does not catch up. Only the leader counts.", "coordinator")
	diskFreeDesc   = desc("disk_free_bytes", "Bytes that this coordinator may still write to the volume of its data directory.")
	diskSizeDesc   = desc("disk_size_bytes", "Size of the volume of the data directory.")
	diskLowDesc    = desc("disk_low", "Whether the volume of the data directory is nearly full.")
	toleranceDesc  = desc("failure_tolerance", "Healthy voters that may fail now before writes stop; -1 when nobody can tell.")
)

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		writesDesc, messagesDesc, linksDesc, componentsDesc, localDesc, jobsDesc, partsDesc, jobBytesDesc, jobMaxDesc,
		indexDesc, leaderDesc, termDesc, changesDesc, readyDesc, toleranceDesc, lecoDesc, channelDesc,
		nativeDesc, nativeNowDesc, slowDesc, snapshotsDesc, inVainDesc, diskFreeDesc, diskSizeDesc, diskLowDesc,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	st, err := c.n.control.Status(context.Background()) // at once, from what is here
	if err != nil {
		return
	}
	for outcome, count := range st.WriteCounts {
		counter(writesDesc, count, outcome)
	}
	if c.n.leco.door != nil {
		for what, count := range c.n.leco.door.Counts() {
			counter(lecoDesc, count, what)
		}
	}
	for what, count := range c.n.native.hub.Counts() {
		if what == "connections" {
			gauge(nativeNowDesc, float64(count))
		} else {
			counter(nativeDesc, count, what)
		}
	}
	for door, count := range st.SlowConsumers.Doors {
		counter(slowDesc, count, door)
	}
	for channel, p := range map[string]*zmtp.Proxy{"data": c.n.leco.data, "log": c.n.leco.logs} {
		if p == nil {
			continue
		}
		for what, count := range p.Counts() {
			counter(channelDesc, count, channel, what)
		}
	}
	for outcome, count := range st.MessageCounts {
		counter(messagesDesc, count, outcome)
	}
	for id, state := range st.Links {
		gauge(linksDesc, truth(state == "up"), id)
	}
	for state, count := range st.Jobs {
		gauge(jobsDesc, float64(count), state)
	}
	gauge(partsDesc, float64(st.JobSize.Parts))
	gauge(jobBytesDesc, float64(st.JobSize.InputBytes), "input")
	gauge(jobBytesDesc, float64(st.JobSize.ResultBytes), "results")
	gauge(jobMaxDesc, float64(st.JobSize.MaxInputBytes), "input")
	gauge(jobMaxDesc, float64(st.JobSize.MaxResultBytes), "results")
	for server, sent := range perCoordinator(c.n.raft.Status().Shipments) {
		counter(snapshotsDesc, sent.Sent, server)
		gauge(inVainDesc, float64(sent.InVain), server)
	}
	if st.Disk != nil {
		gauge(diskFreeDesc, float64(st.Disk.Free))
		gauge(diskSizeDesc, float64(st.Disk.Size))
		gauge(diskLowDesc, truth(st.Disk.Low))
	}
	gauge(componentsDesc, float64(st.Components))
	gauge(localDesc, float64(st.LocalSessions))
	gauge(indexDesc, float64(st.LastIndex), "last")
	gauge(indexDesc, float64(st.CommitIndex), "commit")
	gauge(indexDesc, float64(st.AppliedIndex), "applied")
	gauge(leaderDesc, truth(st.State == "leader"))
	gauge(termDesc, float64(st.Term))
	counter(changesDesc, st.LeaderChanges)
	gauge(readyDesc, truth(st.Ready))
	gauge(toleranceDesc, float64(st.Tolerance))
}

// perCoordinator adds up what the disks of each coordinator got.
func perCoordinator(byServer map[string]raftnode.Shipment) map[string]raftnode.Shipment {
	all := map[string]raftnode.Shipment{}
	for server, sent := range byServer {
		id, _, _ := strings.Cut(server, "/")
		sum := all[id]
		sum.Sent += sent.Sent
		sum.InVain = max(sum.InVain, sent.InVain)
		all[id] = sum
	}
	return all
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// libraryMetrics returns the numbers of the process and of the Raft library,
// which keeps them in a global of its own: one set a process.
var libraryMetrics = sync.OnceValue(func() prometheus.Gatherer {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	sink, err := goprom.NewPrometheusSinkFrom(goprom.PrometheusOpts{Registerer: r})
	if err != nil {
		return r
	}
	cfg := gometrics.DefaultConfig("")
	cfg.EnableHostname, cfg.EnableRuntimeMetrics = false, false
	_, _ = gometrics.NewGlobal(cfg, sink)
	return r
})
