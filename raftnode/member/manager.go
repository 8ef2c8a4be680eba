// Package member is who belongs to the group and where: servers find each other, found a cluster or join one, say hello
// to each other every second, and the leader changes the membership.
package member

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/raftnode/outcome"
	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
)

// Host is the node around a Manager.
type Host interface {
	// Leading returns the term in which this server leads and has applied an entry of its own.
	Leading() (term uint64, ok bool)
	// Leader is where the leader is; here says that it is this server. The error is unavailable while none is known.
	Leader() (serverID, addr string, here bool, err error)
	// Retry repeats try while it says that nothing was tried, no longer than the node's patience and ctx.
	Retry(ctx context.Context, try func() error) error
	// HandOver gives leadership to a server, or to the best follower if serverID is "". After nil this server leads no more.
	HandOver(ctx context.Context, serverID string) error
	// Spawn runs f in a goroutine that the node's end waits for. False says that it is too late.
	Spawn(f func()) bool
	// AppliedIndex is how far this process's machine is.
	AppliedIndex() uint64
	// ConfigIndex is the index of the newest configuration that is committed, as far as this server knows.
	ConfigIndex() uint64
	// Fail ends the process, with the first error of the storage or a *SupersededError.
	Fail(err error)
	// DisableElections has this server never campaign, or campaign again.
	DisableElections(disabled bool)
	// Removed is told when the leader has said that this server is out of the cluster, or in it again, once that is on disk.
	// It does not block.
	Removed(removed bool)
	// MarkReachable notes a sign of life of a server, MarkUnreachable a request to it that failed.
	MarkReachable(serverID string)
	MarkUnreachable(serverID string)
	// PruneUnreachable forgets the outages of servers that keep does not want.
	PruneUnreachable(keep func(serverID string) bool)
	// HeldServers are the ids of those that get nothing of the log, since the leader, this server, does not reach them.
	HeldServers() []string
}

// Calls asks other coordinators.
type Calls interface {
	Call(ctx context.Context, addr, method string, body []byte) ([]byte, error)
}

// Handler serves one method for other coordinators.
type Handler = func(ctx context.Context, from peer.Hello, body []byte) ([]byte, error)

// Config says how a Manager is made. Self, Identity, Calls and Logger are required.
type Config struct {
	Self     disk.Peer // this run's record; New adds Run
	Identity *disk.Identity
	Calls    Calls
	Logger   *slog.Logger

	Join      []string        // addresses of coordinators that may know the cluster; may contain the own
	Announced func() []string // addresses at which members were last known to be, by the machine's state; nil: none
	Expect    int             // found a cluster once this many empty coordinators have found each other; 0: never
	NonVoter  bool            // stay without a vote
	Level     int             // the highest level of commands that this binary knows; 0: 1
	// Certificate is what the peer port shows and trusts now; nil: nothing.
	Certificate func() *wire.MemberCertificate
	// Disk is the volume of the data directory, nil while its space is not known; nil: it never is.
	Disk func() *wire.DiskSpace
	// Resolve turns a join address into the addresses to try; nil: by DNS.
	Resolve func(ctx context.Context, addr string) []string

	Ping      time.Duration // pause between questions to each member
	Stabilize time.Duration // how long a new member must be well before it may vote
	MaxLag    uint64        // entries a new member may be behind when it gets its vote
	// Autopilot tells, of what the leader goes by if nothing is set, what holds now; nil: just that. It does not block.
	Autopilot func(AutopilotSettings) AutopilotSettings
}

// Manager keeps one server's membership of its group. Before Attach only Self, Address, AddressOr, PingNow and
// AwaitSupersederGone may be called; from then on all methods, from any goroutine.
type Manager struct {
	cfg      Config
	host     Host
	log      *slog.Logger
	identity *disk.Identity
	serverID string
	self     disk.Peer // this run's record
	calls    Calls
	raft     *raft.Raft
	futures  *outcome.Futures

	addresses    *addressBook
	peers        peerHealth
	founderCalls founderCalls
	liveRuns     liveRuns
	admission    admission

	changeLock     chan struct{} // held by the one membership change under way
	discoverNow    chan struct{} // wakes discoveryLoop
	pingNow        chan struct{} // wakes pingLoop
	founderSetSeen atomic.Pointer[string]
	discovering    atomic.Pointer[string] // why this server is in no cluster yet
	warning        atomic.Pointer[string] // what is wrong though it is in one
	onConfigChange atomic.Pointer[func(ctx context.Context)]

	ctx context.Context // ends with the node
}

// New makes the manager of a server that is not running yet. ctx ends when raft has stopped.
func New(ctx context.Context, c Config, host Host) *Manager {
	if c.Resolve == nil {
		c.Resolve = resolve
	}
	c.Self.Run = newRun(time.Now())
	m := &Manager{
		cfg:         c,
		host:        host,
		log:         c.Logger,
		identity:    c.Identity,
		serverID:    c.Self.ServerID,
		self:        c.Self,
		calls:       c.Calls,
		changeLock:  make(chan struct{}, 1),
		discoverNow: make(chan struct{}, 1),
		pingNow:     make(chan struct{}, 1),
		ctx:         ctx,
	}
	m.addresses = &addressBook{local: m.identity, self: m.self}
	return m
}

// Attach gives the manager the library's server and the node's count of what it has
// not answered yet, before any loop or handler runs.
func (m *Manager) Attach(r *raft.Raft, f *outcome.Futures) {
	m.raft, m.futures = r, f
	m.peers.init(m.cfg.Ping)
	m.addresses.configured = func(id string) (string, bool) {
		s, ok := m.Server(id)
		return string(s.Address), ok
	}
}

// Start starts what runs until the node ends. The handlers are registered before.
func (m *Manager) Start() {
	m.host.Spawn(func() { m.peers.clock.Run(m.ctx) })
	m.host.Spawn(m.pingLoop)
	m.host.Spawn(m.discoveryLoop)
	m.host.Spawn(m.warningLoop)
}

// Handlers are the methods that a manager answers.
func (m *Manager) Handlers() map[string]Handler {
	return map[string]Handler{
		methodHello: m.handleHello,
		methodOrder: m.handleChange,
		methodVote:  m.handleVote,
	}
}

// Self is this run's record. Its boot is the final one after AwaitSupersederGone.
func (m *Manager) Self() disk.Peer { return m.self }

// PingNow has every member asked soon, not at the next tick only.
func (m *Manager) PingNow() { wake(m.pingNow) }

// Warning is what an operator should mend though this server is in a cluster, "" if nothing.
func (m *Manager) Warning() string {
	if w := m.warning.Load(); w != nil {
		return *w
	}
	return ""
}

// WaitingFor is why this server is in no cluster yet, "" when there is nothing to say.
func (m *Manager) WaitingFor() string {
	if why := m.discovering.Load(); why != nil {
		return *why
	}
	return ""
}

// Server is a server of raft's newest configuration.
func (m *Manager) Server(id string) (raft.Server, bool) {
	for _, s := range m.raft.GetConfiguration().Configuration().Servers {
		if string(s.ID) == id {
			return s, true
		}
	}
	return raft.Server{}, false
}

// IsMember reports whether this server is in its own newest configuration.
func (m *Manager) IsMember() bool {
	_, ok := m.Server(m.serverID)
	return ok
}

// OtherVoters counts the voters but for this server.
func (m *Manager) OtherVoters() (count int) {
	for _, s := range m.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage == raft.Voter && string(s.ID) != m.serverID {
			count++
		}
	}
	return count
}

// failStorage is the end, like any failure of the storage, unless the node is
// closing its files itself.
func (m *Manager) failStorage(err error) {
	if m.ctx.Err() == nil {
		m.host.Fail(err)
	}
}

// wake wakes the goroutine that waits on c, now or later.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
