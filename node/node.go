package node

import (
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/audit/trail"
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/usecases"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/httpapi"
	"github.com/folkmoot/folkmoot/httpapi/ops"
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire/unfinished"
)

// Node is one coordinator, put together. Open makes it answer, Run keeps it
// going, Close ends it.
type Node struct {
	cfg     Config
	log     *slog.Logger
	started time.Time
	files   uint64 // that this process may have open
	addrs   Addrs

	machine  *fsm.Machine
	proposer *propose.Proposer // of all writes
	port     *peer.Port
	raft     *raftnode.Node
	admitter atomic.Pointer[raftnode.Node] // raft, once it can tell who is a member
	router   *router.Router
	egress   *router.Egress // the router's; doors of foreign protocols register there
	control  *usecases.UseCases
	api      *httpapi.API
	ops      *ops.Server
	leco     lecoDoor
	native   nativeDoors
	// unfinished is what the doors together hold of messages that have begun to come.
	unfinished *unfinished.Budget
	disk       *diskMonitor
	watchdog   *watchdog
	tokens     *tokenFile // nil: none

	authenticator *control.Authenticator
	trail         *trail.Trail // nil: none is kept
	backups       *backups

	listeners     struct{ http, ops net.Listener }
	workerToken   string // of the own worker
	certs         certificates
	opened        atomic.Bool   // all of the above is set
	opsEnded      <-chan error  // of serving the operator's port
	stopRequested chan struct{} // closed by stop
	stopOnce      sync.Once
	hurried       chan struct{} // closed by Hurry
	hurryOnce     sync.Once
	draining      atomic.Bool // Hurry would cut something short
	membership    *membership
	closing       atomic.Bool // set before anything is closed, so that readiness ends first
	groupMu       sync.Mutex  // held by recordGroup

	reloaders []reloader // fixed once Open has returned
	reloadMu  sync.Mutex // held by Reload
}

// Addrs are where a node is reached; every port is the bound one.
type Addrs struct {
	ID, HTTP, Peer, Ops string
	Component           string    // native sessions
	LECO                string    // "" without that door
	LECOData, LECOLogs  [2]string // of publishers, of subscribers
}

// Addrs returns where the node is reached.
func (n *Node) Addrs() Addrs { return n.addrs }

// self is this coordinator's row in the registry.
func (n *Node) self() registry.Coordinator {
	return registry.Coordinator{
		ID: n.cfg.ID, ServerID: n.raft.ServerID(), Namespace: n.cfg.Namespace,
		PeerAddr: n.addrs.Peer, HTTPAddr: n.addrs.HTTP, ComponentAddr: n.addrs.Component, LECOAddr: n.addrs.LECO, Version: n.cfg.Version, Level: fsm.Level, NonVoter: n.cfg.NonVoter,
	}
}

// peerAddrs are the peer addresses of the other coordinators' rows.
func (n *Node) peerAddrs() (addrs []string) {
	for c := range n.machine.View().Registry.Coordinators() {
		if c.ID != n.cfg.ID && c.PeerAddr != "" {
			addrs = append(addrs, c.PeerAddr)
		}
	}
	return addrs
}
