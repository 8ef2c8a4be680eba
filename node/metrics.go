package node

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	gometrics "github.com/armon/go-metrics"
	goprom "github.com/armon/go-metrics/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/folkmoot/folkmoot/certfile"
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/gateway/zmtp"
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/histogram"
)

// metrics returns the metrics of this node. They are collected by a scrape, so
// that no request counts anything twice.
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
	buildDesc      = desc("build_info", "1; the labels say which build this is, and which level of commands the cluster is at.", "version", "level")
	knownDesc      = desc("leader_known", "Whether this coordinator knows a leader.")
	contactDesc    = desc("last_contact_seconds", "Time since the leader was last heard here; 0 at the leader, absent while none was ever heard.")
	healthyDesc    = desc("member_healthy", "Whether a member is well, as this coordinator sees it: it answers, knows a leader and has nearly all of the log.", "coordinator")
	votersDesc     = desc("voters", "Members with a vote, in the newest configuration that is known here.")
	membersDesc    = desc("members", "All members, in the newest configuration that is known here.")
	backupDesc     = desc("backup_last_success_timestamp_seconds", "When the newest snapshot in --backup-dir was made; absent while there is none.")
	intervalDesc   = desc("backup_interval_seconds", "How often a snapshot is made in --backup-dir; absent where none are kept.")
	lecoDesc       = desc("leco_total", "What the LECO door has seen.", "what")
	channelDesc    = desc("leco_channel_total", "What LECO's data and log channels have seen.", "channel", "what")
	nativeDesc     = desc("native_total", "What the doors for native sessions have seen: connections refused, forged senders, connections cut off as slow, dead or broken.", "what")
	nativeNowDesc  = desc("native_connections", "Connections at the doors for native sessions now.")
	slowDesc       = desc("slow_consumers_total", "Connections cut off for reading too slowly, by door.", "door")
	snapshotsDesc  = desc("snapshots_sent_total", "Snapshots that another coordinator has taken from this one, its leader.", "coordinator")
	inVainDesc     = desc("snapshots_in_vain", "Of them, those since it last took entries of the log: above 2 it does not catch up. Only the leader counts.", "coordinator")
	diskFreeDesc   = desc("disk_free_bytes", "Bytes that this coordinator may still write to the volume of its data directory.")
	diskSizeDesc   = desc("disk_size_bytes", "Size of the volume of the data directory.")
	diskLowDesc    = desc("disk_low", "Whether the volume of the data directory is nearly full, or worse.")
	diskStateDesc  = desc("disk_state", "1 for the state that the volume of the data directory is in: ok, low, full or critical.", "state")
	expiryDesc     = desc("certificate_expiry_timestamp_seconds", "When the certificate of a port ends, in seconds since 1970.", "port")
	reloadDesc     = desc("tls_reload_failures_total", "Changed certificate files that could not be used: the old ones stay.")
	refusedDesc    = desc("peer_refused_total", "Connections, and calls of those that are no members, refused at the peer port, by reason.", "reason")
	auditDesc      = desc("audit_failures_total", "Attempts to write the audit trail that failed.")
	authDesc       = desc("auth_refused_total", "Requests, sign-ins and messages refused for want of a token or a right, by door and code.", "door", "code")
	tokensDesc     = desc("tokens", "Tokens in the state, those of the token file not among them.")
	snapshotDesc   = desc("snapshot_last_timestamp_seconds", "When the newest snapshot of the log was begun here, in seconds since 1970; absent while there is none.")
	logBytesDesc   = desc("log_bytes", "Size of the files that hold the log.")
	logFreeDesc    = desc("log_free_bytes", "How much of it is free for further entries: what raftctl compact gives back.")
	applyDesc      = desc("apply_seconds", "Time to apply an entry of the log, replayed ones too.")
	commitDesc     = desc("commit_seconds", "Time from a write proposed here as the leader until it was committed.")
	fsyncDesc      = desc("fsync_seconds", "Time to store entries of the log, until they are on the disk.")
	toleranceDesc  = desc("failure_tolerance", "Healthy voters that may fail now before writes stop; -1 when nobody can tell.")
)

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		writesDesc, linksDesc, componentsDesc, localDesc, jobsDesc, partsDesc, jobBytesDesc, jobMaxDesc,
		indexDesc, leaderDesc, termDesc, changesDesc, readyDesc, toleranceDesc, buildDesc, knownDesc, contactDesc, healthyDesc, votersDesc, membersDesc, backupDesc, intervalDesc, lecoDesc, channelDesc,
		nativeDesc, nativeNowDesc, slowDesc, snapshotsDesc, inVainDesc, diskFreeDesc, diskSizeDesc, diskLowDesc, diskStateDesc,
		expiryDesc, reloadDesc, refusedDesc, auditDesc, authDesc, tokensDesc,
		snapshotDesc, logBytesDesc, logFreeDesc, applyDesc, commitDesc, fsyncDesc,
	} {
		out <- d
	}
	for _, m := range messageMetrics {
		out <- m.desc
	}
}

// Collect implements prometheus.Collector. What it costs does not depend on how
// many jobs there are.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	st := c.n.control.Own()
	to := samples{out}
	own := c.n.raft.Status()
	to.raft(&st)
	to.group(&own)
	if members, err := c.n.raft.Members(context.Background()); err == nil { // it asks nobody
		to.members(members)
	}
	to.gauge(buildDesc, 1, st.Version, strconv.Itoa(st.Level))
	to.snapshots(own.SnapshotsSent)
	to.state(&st)
	to.messages(&st)
	to.disk(st.Disk)
	to.certificates(&c.n.certs)
	to.refusals(c.n.port.Refused())
	to.authRefusals(c.n.control.Refused())
	to.gauge(tokensDesc, float64(c.n.machine.View().Access.Len()))
	to.log(c.n.raft, own.LastSnapshotMade)
	if c.n.cfg.BackupDir != "" {
		to.gauge(intervalDesc, c.n.cfg.BackupInterval.Seconds())
	}
	if at := c.n.backups.last.Load(); at != 0 {
		to.gauge(backupDesc, float64(at))
	}
	if c.n.trail != nil {
		to.counter(auditDesc, c.n.trail.Failures())
	}
	to.nativeDoors(c.n.native.hub.Counts())
	to.lecoDoor(&c.n.leco)
}

// samples takes the samples of one scrape.
type samples struct{ out chan<- prometheus.Metric }

func (s samples) counter(d *prometheus.Desc, v uint64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func (s samples) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (s samples) raft(st *wire.Status) {
	s.gauge(indexDesc, float64(st.LastIndex), "last")
	s.gauge(indexDesc, float64(st.CommitIndex), "commit")
	s.gauge(indexDesc, float64(st.AppliedIndex), "applied")
	s.gauge(leaderDesc, boolValue(st.State == "leader"))
	s.gauge(termDesc, float64(st.Term))
	s.counter(changesDesc, st.LeaderChanges)
	s.gauge(readyDesc, boolValue(st.Ready))
	s.gauge(toleranceDesc, float64(st.Tolerance))
	for outcome, count := range st.WriteCounts {
		s.counter(writesDesc, count, outcome)
	}
}

// group samples who leads and how many there are.
func (s samples) group(own *raftnode.Status) {
	s.gauge(knownDesc, boolValue(own.Leader != ""))
	if own.LastContact >= 0 {
		s.gauge(contactDesc, own.LastContact.Seconds())
	}
	s.gauge(votersDesc, float64(own.Voters))
	s.gauge(membersDesc, float64(own.Members))
}

// members samples the health of each. While a coordinator's disk is replaced it may
// have two servers for a moment: it is well if one of them is.
func (s samples) members(all []raftnode.MemberInfo) {
	healthy := map[string]bool{}
	for _, m := range all {
		healthy[m.ID] = healthy[m.ID] || m.Healthy
	}
	for id, well := range healthy {
		s.gauge(healthyDesc, boolValue(well), id)
	}
}

func (s samples) snapshots(byServer map[string]raftnode.SnapshotStats) {
	for server, sent := range perCoordinator(byServer) {
		s.counter(snapshotsDesc, sent.Sent, server)
		s.gauge(inVainDesc, float64(sent.SinceAppend), server)
	}
}

// state samples components and jobs.
func (s samples) state(st *wire.Status) {
	s.gauge(componentsDesc, float64(st.Components))
	s.gauge(localDesc, float64(st.LocalSessions))
	for state, count := range st.Jobs {
		s.gauge(jobsDesc, float64(count), state)
	}
	s.gauge(partsDesc, float64(st.JobSize.Parts))
	s.gauge(jobBytesDesc, float64(st.JobSize.InputBytes), "input")
	s.gauge(jobBytesDesc, float64(st.JobSize.ResultBytes), "results")
	s.gauge(jobMaxDesc, float64(st.JobSize.MaxInputBytes), "input")
	s.gauge(jobMaxDesc, float64(st.JobSize.MaxResultBytes), "results")
}

// messages samples messages and the links that carry them.
func (s samples) messages(st *wire.Status) {
	for name, m := range messageMetrics {
		s.counter(m.desc, st.MessageCounts[name], m.labels...)
	}
	for id, state := range st.Links {
		s.gauge(linksDesc, boolValue(state == "up"), id)
	}
	for door, count := range st.SlowConsumers.Doors {
		s.counter(slowDesc, count, door)
	}
}

// disk samples nothing while the space is not known.
func (s samples) disk(d *wire.DiskSpace) {
	if d == nil {
		return
	}
	s.gauge(diskFreeDesc, float64(d.Free))
	s.gauge(diskSizeDesc, float64(d.Size))
	s.gauge(diskLowDesc, boolValue(d.Low))
	for _, state := range []string{wire.DiskOK, wire.DiskLow, wire.DiskFull, wire.DiskCritical} {
		s.gauge(diskStateDesc, boolValue(d.State == state), state)
	}
}

func (s samples) certificates(c *certificates) {
	for port, w := range map[string]*certfile.Watcher{"peer": c.peer, "http": c.http, "component": c.http} {
		if w != nil {
			s.gauge(expiryDesc, float64(w.Current().Leaf.NotAfter.Unix()), port)
		}
	}
	failures := uint64(0)
	for _, w := range c.watchers() {
		failures += w.Failures()
	}
	s.counter(reloadDesc, failures)
}

// refusals samples every reason, so that a first refusal is seen as an increase.
func (s samples) refusals(by map[peer.Reason]uint64) {
	for _, reason := range peer.Reasons() {
		s.counter(refusedDesc, by[reason], string(reason))
	}
}

// authRefusals samples every door and code, so that a first refusal is seen as an increase.
func (s samples) authRefusals(all []control.RefusalCount) {
	for _, r := range all {
		s.counter(authDesc, r.Count, r.Door, string(r.Code))
	}
}

// log samples the log of a server: its files, and how long its steps took.
func (s samples) log(n *raftnode.Node, snapshot time.Time) {
	if !snapshot.IsZero() {
		s.gauge(snapshotDesc, float64(snapshot.UnixMilli())/1000)
	}
	size, free := n.LogSize()
	s.gauge(logBytesDesc, float64(size))
	s.gauge(logFreeDesc, float64(free))
	s.histogram(applyDesc, &n.Timings().Apply)
	s.histogram(commitDesc, &n.Timings().Commit)
	s.histogram(fsyncDesc, n.Stored())
}

func (s samples) histogram(d *prometheus.Desc, h *histogram.Histogram) {
	now := h.Snapshot()
	s.out <- prometheus.MustNewConstHistogram(d, now.Count, now.Seconds, now.Buckets)
}

func (s samples) nativeDoors(counts map[string]uint64) {
	for what, count := range counts {
		if what == "connections" {
			s.gauge(nativeNowDesc, float64(count))
		} else {
			s.counter(nativeDesc, count, what)
		}
	}
}

func (s samples) lecoDoor(leco *lecoDoor) {
	if leco.door != nil {
		for what, count := range leco.door.Counts() {
			s.counter(lecoDesc, count, what)
		}
	}
	for channel, p := range map[string]*zmtp.Proxy{"data": leco.data, "log": leco.logs} {
		if p == nil {
			continue
		}
		for what, count := range p.Counts() {
			s.counter(channelDesc, count, channel, what)
		}
	}
}

// perCoordinator adds up the snapshots that the disks of each coordinator were sent.
func perCoordinator(byServer map[string]raftnode.SnapshotStats) map[string]raftnode.SnapshotStats {
	all := map[string]raftnode.SnapshotStats{}
	for server, sent := range byServer {
		id, _, _ := strings.Cut(server, "/")
		sum := all[id]
		sum.Sent += sent.Sent
		sum.SinceAppend = max(sum.SinceAppend, sent.SinceAppend)
		all[id] = sum
	}
	return all
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// libraryMetrics returns the numbers of the process and of the Raft library,
// which keeps them in a global variable: one set for each process.
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
