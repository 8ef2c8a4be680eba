package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/httpapi"
	"github.com/folkmoot/folkmoot/httpapi/ops"
	"github.com/folkmoot/folkmoot/raftnode"
	raftdisk "github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/router"
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
	router   *router.Router
	egress   *router.Egress // the router's; doors of foreign protocols register there
	control  *control.Control
	api      *httpapi.API
	ops      *ops.Server
	leco     lecoParts
	native   nativeParts
	disk     *diskMonitor

	listeners   struct{ http, ops net.Listener }
	workerToken string        // of the own worker, when REST asks for tokens
	certificate []byte        // of the own REST door, DER
	stopping    chan struct{} // closed by stop
	stopOnce    sync.Once
	leaving     atomic.Bool // set before anything is ended, so that nobody counts on us any more
	groupMu     sync.Mutex  // held by recordGroup
}

// Addrs says where a node is reached; every port is the bound one.
type Addrs struct {
	ID, HTTP, Peer, Ops string
	Component           string    // native sessions
	LECO                string    // "" without that door
	LECOData, LECOLogs  [2]string // of publishers, of subscribers
}

// Addrs returns where the node is reached.
func (n *Node) Addrs() Addrs { return n.addrs }

// Open takes the data directory and the ports and starts the node. It returns
// when the node can be asked; a leader may still be missing. Errors name the
// file, the address or the flag that is wrong; the last is a *ConfigError. ctx bounds the opening only.
func Open(ctx context.Context, cfg Config) (_ *Node, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := cfg.Validate(); err != nil {
		return nil, &ConfigError{err}
	}
	n := &Node{cfg: cfg, log: cfg.Logger.With("coordinator", cfg.ID), started: time.Now(), files: openFileLimit(), machine: fsm.New(), stopping: make(chan struct{})}
	if reason := cfg.insecureReason(); reason != "" {
		n.log.Warn("running with --insecure", "open", reason)
	}
	if n.files < warnBelowFiles {
		n.log.Warn("few files may be open (ulimit -n): the doors take fewer connections", "files", n.files, "http", connLimit(n.files, 2, httpapi.DefaultConns))
	}
	// What is open is closed again, last first, if a later step fails.
	var undo []func()
	defer func() {
		if err != nil {
			for i := len(undo) - 1; i >= 0; i-- {
				undo[i]()
			}
		}
	}()

	// The data directory first: it says who we are and refuses a second process.
	identity, err := raftdisk.OpenIdentity(cfg.DataDir, cfg.ID)
	if err != nil {
		return nil, fmt.Errorf("--data-dir %s: %w", cfg.DataDir, err)
	}
	n.disk = &diskMonitor{dir: cfg.DataDir, space: volumeSpace, log: n.log}
	n.disk.check()
	owned := false // by the raft node, once that is open
	undo = append(undo, func() {
		if !owned {
			identity.Close()
		}
	})

	// The doors are bound before they are announced, since port 0 takes any.
	if n.listeners.http, err = listen("--http-addr", cfg.HTTPAddr); err != nil {
		return nil, err
	}
	undo = append(undo, func() { n.listeners.http.Close() })
	if n.listeners.ops, err = listen("--ops-addr", cfg.OpsAddr); err != nil {
		return nil, err
	}
	undo = append(undo, func() { n.listeners.ops.Close() })
	peerConfig := peer.Config{Addr: cfg.PeerAddr, Advertise: cfg.Advertise, Self: func() peer.Hello { return raftnode.PeerHello(identity) }, Logger: n.log}
	if host, _, err := net.SplitHostPort(cfg.PeerAddr); err == nil && cfg.Advertise == "" && isHostname(host) {
		peerConfig.Advertise = cfg.PeerAddr
	}
	if cfg.PeerCA != "" {
		peerConfig.TLS = &peer.TLSFiles{CA: cfg.PeerCA, Cert: cfg.PeerCert, Key: cfg.PeerKey}
	}
	if n.port, err = peer.Listen(peerConfig); err != nil {
		flags := "--peer-addr " + cfg.PeerAddr
		if peerConfig.TLS != nil {
			flags += " with --peer-ca, --peer-cert and --peer-key"
		}
		return nil, fmt.Errorf("%s: %w", flags, err)
	}
	undo = append(undo, func() { n.port.Close() })
	n.addrs = Addrs{ID: cfg.ID, HTTP: n.announcedAddr("--http-addr", cfg.HTTPAddr, n.listeners.http), Peer: n.port.Advertise(), Ops: n.listeners.ops.Addr().String()}
	if err := n.listenNative(); err != nil {
		return nil, err
	}
	undo = append(undo, func() { _ = n.closeNative(context.WithoutCancel(ctx)) })
	if err := n.listenLECO(); err != nil {
		return nil, err
	}
	undo = append(undo, n.closeLECO)

	// The log: with state of its own it votes from here on.
	n.machine.Fatal = func(index uint64, err error) {
		cfg.Fatal(fmt.Errorf("log entry %d: %w", index, err))
	}
	n.raft, err = raftnode.Open(ctx, raftnode.Config{
		ID: cfg.ID, Dir: cfg.DataDir, Identity: identity, Port: n.port, Machine: n.machine,
		Join: cfg.Join, Announced: n.peerAddrs, Expect: cfg.Expect, NonVoter: cfg.NonVoter, Version: cfg.Version, LogStore: cfg.LogStore,
		HeartbeatTimeout: cfg.HeartbeatTimeout, ElectionTimeout: cfg.ElectionTimeout,
		SnapshotInterval: cfg.SnapshotInterval, SnapshotThreshold: cfg.SnapshotThreshold, TrailingLogs: cfg.TrailingLogs,
		Logger: n.log, Fatal: cfg.Fatal,
	})
	if err != nil {
		return nil, fmt.Errorf("--data-dir %s: %w", cfg.DataDir, err)
	}
	owned = true
	undo = append(undo, func() { n.raft.Close(context.WithoutCancel(ctx)) })
	n.proposer = propose.New(n.raft, nil)

	// Mail, use cases, doors.
	self := n.self()
	policy, err := cfg.topology()
	if err != nil {
		return nil, &ConfigError{err}
	}
	n.egress = new(router.Egress)
	n.router = router.Open(router.Config{
		Topology: policy, Egress: n.egress,
		Self: cfg.ID, Namespace: cfg.Namespace, Directory: control.NewDirectory(n.machine, n.raft), Dialer: links{n.port}, Logger: n.log,
	})
	undo = append(undo, func() { n.router.Close() })
	n.raft.OnReachable(n.router.Heard)
	n.raft.OnConfigChange(n.recordGroup)
	known, err := n.authenticator()
	if err != nil {
		return nil, err
	}
	n.control, err = control.New(control.Config{
		Authenticator: known,
		Machine:       n.machine, Node: n.raft, Proposer: n.proposer, Mail: control.OverRouter(n.router), Peers: n.port, Self: self,
		DataDir: cfg.DataDir, Logger: n.log, Describe: n.describe,
		Bounds: control.Bounds{JobResultBytes: cfg.JobResultBytes, ResultBytes: cfg.ResultBytes},
	})
	if err != nil {
		return nil, err
	}
	undo = append(undo, n.control.Close)
	n.registerLeaderTasks()
	if err := n.doors(); err != nil {
		return nil, err
	}
	if err := n.openLECO(); err != nil { // last: from here on there are components
		return nil, err
	}
	return n, nil
}

// stop ends Run as the end of its context would.
func (n *Node) stop() { n.stopOnce.Do(func() { close(n.stopping) }) }

func listen(flag, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", flag, addr, err)
	}
	return l, nil
}

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

// Run serves until ctx ends or a part of the node fails; its error names the
// part. Close must follow.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		select {
		case <-n.stopping:
			cancel()
		case <-ctx.Done():
		}
		return nil
	})
	part := func(name string, run func(context.Context) error) {
		g.Go(func() error {
			if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	part("control", n.control.Run)
	part("announce", n.announce)
	part("disk", n.disk.run)
	worked := make(chan struct{})
	part("worker", func(ctx context.Context) error {
		defer close(worked)
		if !n.cfg.Worker {
			return nil
		}
		return n.runWorker(ctx)
	})
	part("api", func(context.Context) error { return n.api.Serve(n.listeners.http) })
	part("ops", func(context.Context) error { return n.ops.Serve(n.listeners.ops) })
	part("native sessions", func(context.Context) error { return n.serveNative() })
	g.Go(func() error {
		<-ctx.Done()
		// The doors end first, since Run's parts wait for them: whoever comes
		// after this is told to go elsewhere, what is under way is finished.
		n.leaving.Store(true)
		<-worked // it signs out through the door
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		if n.leco.door != nil {
			n.leco.door.Close(end) // frees the names while there is a log to write it to
		}
		return errors.Join(n.closeNative(end), n.api.Close(end), n.ops.Close(end))
	})
	return g.Wait()
}

// Close ends what Open started and Run did not end, top to bottom: nobody
// above a part is left to call it when it goes. ctx bounds it.
func (n *Node) Close(ctx context.Context) error {
	n.leaving.Store(true)
	var errs []error
	// No new work, and what is under way gets its answer.
	if n.leco.door != nil {
		n.leco.door.Close(ctx)
	}
	n.closeLECO()
	errs = append(errs, n.closeNative(ctx), n.api.Close(ctx), n.ops.Close(ctx))
	// Use cases before mail and log, which they call.
	n.control.Close()
	// Mail: links say goodbye, so that the others do not wait for a dead one.
	n.router.Close()
	// The log: hands leadership over, then the stores are closed. A stopped
	// coordinator stays a member; it never leaves by itself.
	errs = append(errs, n.raft.Close(ctx))
	// The port last: all of the above speak through it.
	errs = append(errs, n.port.Close())
	n.listeners.http.Close()
	n.listeners.ops.Close()
	return errors.Join(errs...)
}
