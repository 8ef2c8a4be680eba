package raftnode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
)

// Machine is what a node replicates. The node calls Apply, Freeze and Restore
// from one goroutine at a time; Check from any.
type Machine interface {
	// Apply carries out the commands of the log entry at index and answers
	// each. An entry may have none: then only the index moves on.
	Apply(index uint64, commands [][]byte) []wire.Result
	// Check refuses a command that Apply would not understand.
	Check(command []byte) error
	// Freeze returns the present state; writing it runs beside later Applies.
	Freeze() io.WriterTo
	// Restore replaces the state, or leaves it as it was and returns an error.
	Restore(io.Reader) error
}

// Calls is how a node asks other coordinators; *peer.Port is the real one.
type Calls interface {
	Handle(method string, h func(ctx context.Context, from peer.Hello, body []byte) ([]byte, error))
	Call(ctx context.Context, addr, method string, body []byte) ([]byte, error)
}

// Streams is what a node learns of other servers from raft's own connections;
// *peer.RaftLayer is the real one.
type Streams interface {
	// OnStreamClosed has f called with a server's id whenever one of its streams to
	// this server has ended; nil ends that. f does not block.
	OnStreamClosed(f func(serverID string))
	// OnStreamOpened has f called with a server's id whenever it has opened a stream to
	// this server; nil ends that. f does not block.
	OnStreamOpened(f func(serverID string))
	// CloseStreams ends the streams opened from here to a server before a moment.
	CloseStreams(serverID string, before time.Time)
	// ConnectionRefused reports whether the host of addr refuses connections there before
	// ctx ends. False proves nothing.
	ConnectionRefused(ctx context.Context, addr string) bool
}

// Log stores.
const (
	LogStoreBolt = disk.LogStoreBolt
	LogStoreWAL  = disk.LogStoreWAL
)

// Config says how a node is made. ID, Dir and Machine are required, and either
// Port or all of Inject's network seams.
type Config struct {
	ID       string         // the coordinator's name: the first half of its server id
	Dir      string         // data directory, made with mode 0700
	Identity *disk.Identity // already opened by disk.OpenIdentity; nil: Open opens it. Owned by the node either way
	Port     *peer.Port
	Machine  Machine

	Join []string // addresses of coordinators that may know the cluster; may contain the own
	// Announced lists addresses at which members were last known to be, by the
	// machine's own state; nil: none. They are asked while members are missing.
	Announced func() []string
	Expect    int    // found a cluster once this many empty coordinators have found each other; 0: never
	NonVoter  bool   // stay without a vote
	Version   string // this build, shown in Members
	Level     int    // the highest level of commands that this build's machine knows; 0: 1
	// Certificate is what the peer port shows and trusts now, shown in Members; nil: nothing.
	Certificate func() *wire.MemberCertificate
	// Disk is the volume of the data directory as it is told to the others, nil while its space is not known; nil: it never is.
	Disk func() *wire.DiskSpace

	LogStore string // LogStoreBolt or LogStoreWAL; fixed by the first start
	// HeartbeatTimeout is how long a follower waits for its leader, and
	// ElectionTimeout how long a candidate for votes: 600 ms both. Fail-over
	// takes about one and three quarters of the first, or LeaderLease and a
	// little when the leader's process has ended and its machine says so.
	HeartbeatTimeout, ElectionTimeout time.Duration
	LeaderLease                       time.Duration // a leader without a quorum steps down after it: half of HeartbeatTimeout
	CommitTimeout                     time.Duration // an idle leader sends its commit index once more after it, and up to twice that: 100 ms
	SnapshotInterval                  time.Duration // how often a snapshot is considered: 30 s
	SnapshotThreshold                 uint64        // entries since the last snapshot that make one: 16384
	TrailingLogs                      uint64        // entries kept behind a snapshot for slow followers: 10240
	MaxAppendEntries                  int           // entries in one message: 256
	MaxFileSize                       int           // bytes raft.db may grow to; 0: no limit

	// DisableFastElection leaves a leader whose process has ended to raft's own
	// timeout; see DESIGN.md, 14.
	DisableFastElection bool
	// DisableCommitInjection leaves it to raft's own messages, which an idle leader
	// sends after CommitTimeout, to tell followers of commits; see DESIGN.md, 4.
	DisableCommitInjection bool

	Patience  time.Duration // how long a call waits for a leader before it is unavailable: 3 s
	Ping      time.Duration // pause between questions to each member: 1 s
	Stabilize time.Duration // how long a new member must be well before it may vote: 10 s
	MaxLag    uint64        // entries a new member may be behind when it gets its vote: 250
	// Autopilot tells, of what the leader goes by if nothing is set, what holds now; nil: just that. It does not block.
	Autopilot func(AutopilotSettings) AutopilotSettings

	QueueCount int // proposals that may wait at the leader: 65536; then busy
	QueueBytes int // bytes of them: 64 MiB

	// OnRemoved is called when the leader has said that this server is out of the
	// cluster (true), or in it again (false), which is then on disk. It does not block.
	// Nil: nobody is told.
	OnRemoved func(removed bool)

	Logger *slog.Logger
	// Fatal ends the process; it is called once, with the first error of the
	// storage or a *SupersededError. If it returns, the goroutine that met an error
	// of the storage ends. Default: log and exit 1.
	Fatal func(error)

	Inject Inject
}

// Inject replaces parts of the outside world, for tests.
type Inject struct {
	Transport raft.Transport
	Calls     Calls
	Streams   Streams // without it, and without a Port, every leader is missed by the timeout only
	Address   string  // what Port.Advertise would say
	Logs      raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore
	// Resolve turns a join address into the addresses to try; nil: by DNS.
	Resolve func(ctx context.Context, addr string) []string
}

// withDefaults fills in what is zero and refuses what cannot work.
func (c Config) withDefaults() (Config, error) {
	if c.ID == "" || strings.ContainsAny(c.ID, "/|\n") {
		return c, wire.Invalid("id", "the coordinator id %q is empty or contains one of / | or a line end", c.ID)
	}
	if c.Dir == "" && c.Identity == nil {
		return c, wire.Invalid("dir", "no data directory is given")
	}
	if c.Machine == nil {
		return c, errors.New("raftnode: Config.Machine is missing")
	}
	if c.Port == nil && (c.Inject.Transport == nil || c.Inject.Calls == nil) {
		return c, errors.New("raftnode: Config.Port is missing")
	}
	if c.Expect < 0 || c.Expect > 0 && c.NonVoter {
		return c, wire.Invalid("bootstrap_expect", "a non-voter cannot found a cluster, and %d founders make no sense", c.Expect)
	}
	if c.Expect > 1 && len(c.Join) == 0 {
		return c, wire.Invalid("join", "%d coordinators are to found the cluster, but no address to find the others is given", c.Expect)
	}
	if c.LogStore != "" && c.LogStore != LogStoreBolt && c.LogStore != LogStoreWAL {
		return c, wire.Invalid("log_store", "the log store %q is neither %s nor %s", c.LogStore, LogStoreBolt, LogStoreWAL)
	}
	setDefaultDuration(&c.HeartbeatTimeout, 600*time.Millisecond)
	setDefaultDuration(&c.ElectionTimeout, c.HeartbeatTimeout)
	setDefaultDuration(&c.LeaderLease, c.HeartbeatTimeout/2)
	setDefaultDuration(&c.CommitTimeout, 100*time.Millisecond)
	setDefaultDuration(&c.SnapshotInterval, 30*time.Second)
	setDefaultDuration(&c.Patience, 3*time.Second)
	setDefaultDuration(&c.Ping, time.Second)
	setDefaultDuration(&c.Stabilize, 10*time.Second)
	setDefault(&c.SnapshotThreshold, 16384)
	setDefault(&c.TrailingLogs, 10240)
	setDefault(&c.MaxAppendEntries, 256)
	setDefault(&c.MaxLag, 250)
	setDefault(&c.QueueCount, 65536)
	setDefault(&c.QueueBytes, 64<<20)
	if c.LeaderLease > c.HeartbeatTimeout || c.ElectionTimeout < c.HeartbeatTimeout {
		return c, wire.Invalid("heartbeat_timeout", "the election timeout %s must not be below the heartbeat timeout %s, nor that below the leader's lease %s",
			c.ElectionTimeout, c.HeartbeatTimeout, c.LeaderLease)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Fatal == nil {
		log := c.Logger
		c.Fatal = func(err error) {
			log.Error("stopping at once", "error", fatalReason(err))
			fmt.Fprintln(os.Stderr, fatalReason(err))
			os.Exit(1)
		}
	}
	if c.Port != nil {
		if c.Inject.Calls == nil {
			c.Inject.Calls = c.Port
		}
		if c.Inject.Streams == nil {
			c.Inject.Streams = c.Port.RaftLayer()
		}
		if c.Inject.Address == "" {
			c.Inject.Address = c.Port.Advertise()
		}
	} else if c.Inject.Address == "" {
		c.Inject.Address = string(c.Inject.Transport.LocalAddr())
	}
	return c, nil
}

func setDefaultDuration(v *time.Duration, d time.Duration) {
	if *v <= 0 {
		*v = d
	}
}

func setDefault[T int | uint64](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// diskConfig says how the stores are opened.
func (c Config) diskConfig() disk.Config {
	return disk.Config{
		Dir: c.Dir, LogStore: c.LogStore, MaxFileSize: c.MaxFileSize, Logger: adaptLogger(c.Logger),
		Logs: c.Inject.Logs, Stable: c.Inject.Stable, Snapshots: c.Inject.Snapshots,
	}
}

// raftConfig is the library's own configuration.
func (c Config) raftConfig(serverID string) *raft.Config {
	r := raft.DefaultConfig()
	r.LocalID = raft.ServerID(serverID)
	r.HeartbeatTimeout = c.HeartbeatTimeout
	r.ElectionTimeout = c.ElectionTimeout
	r.LeaderLeaseTimeout = c.LeaderLease
	r.CommitTimeout = c.CommitTimeout
	r.SnapshotInterval = c.SnapshotInterval
	r.SnapshotThreshold = c.SnapshotThreshold
	r.TrailingLogs = c.TrailingLogs
	r.MaxAppendEntries = c.MaxAppendEntries
	r.ShutdownOnRemove = false // a removed server says so instead of vanishing
	r.NoLegacyTelemetry = true
	r.Logger = adaptLogger(c.Logger.With("part", "raft"))
	return r
}
