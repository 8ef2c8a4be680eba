package node

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/folkmoot/folkmoot/backup"
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/control/usecases"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/httpapi"
	"github.com/folkmoot/folkmoot/raftnode"
	raftdisk "github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/unfinished"
)

// Open takes the data directory and the ports and starts the node. It returns
// when the node can be asked; a leader may still be missing. Errors name the
// file, the address or the flag that is wrong; the last is a *ConfigError. ctx
// bounds the opening only.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	o, err := newOpener(cfg)
	if err != nil {
		return nil, err
	}
	o.warn()
	for _, step := range []func(context.Context) error{
		o.readFiles,   // before anything is written: a typo founds no cluster
		o.checkSpace,  // before anything is written, too
		o.openDataDir, // first: it says who we are and refuses a second process
		o.openTrail,   // before anything can be asked for
		o.openOperatorPort,
		o.bindPorts, // before they are announced, since port 0 takes any
		o.openRaft,  // with state of its own it votes from here on
		o.openRouter,
		o.openControl,
		o.openHTTPDoors,
		o.openLECODoor, // last: from here on there are components
	} {
		if err := step(ctx); err != nil {
			o.rollback()
			return nil, err
		}
	}
	o.watchdog = newWatchdog(o.log, o.pulses()...)
	o.opened.Store(true)
	return o.Node, nil
}

// Check returns what Open would refuse of cfg before it touches the data directory
// or a port: a setting that cannot work, or a file that cannot be used. Nothing is
// written, and a running coordinator with the same settings is not disturbed. The
// error names the flag.
func Check(cfg Config) error {
	o, err := newOpener(cfg)
	if err != nil {
		return err
	}
	if err := o.readFiles(context.Background()); err != nil {
		return err
	}
	return o.cfg.checkSpace(false)
}

// newOpener completes cfg, or refuses it as a *ConfigError.
func newOpener(cfg Config) (*opener, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := cfg.Validate(); err != nil {
		return nil, &ConfigError{err}
	}
	n := &Node{
		cfg: cfg, log: cfg.Logger.With("coordinator", cfg.ID), started: time.Now(), files: openFileLimit(), machine: fsm.New(),
		stopRequested: make(chan struct{}), hurried: make(chan struct{}), membership: newMembership(),
		unfinished: unfinished.New(unfinishedBytes(memoryLimit())),
	}
	dir := backup.Dir{Path: cfg.BackupDir, Keep: cfg.BackupKeep}
	n.backups = newBackups(dir, cfg.BackupDir, cfg.BackupInterval, restoreBytes(cfg.RestoreBytes, memoryLimit()), cfg.ID, n.machine.View, n.log)
	return &opener{Node: n}, nil
}

// readFiles reads every file that a setting names.
func (o *opener) readFiles(ctx context.Context) error {
	if err := o.openTokens(ctx); err != nil {
		return err
	}
	if err := o.readCertificates(); err != nil {
		return &ConfigError{err}
	}
	return nil
}

// opener opens the parts of a node one after the other; each step relies on
// those before it.
type opener struct {
	*Node
	identity *raftdisk.Identity // raft closes it, once that is open
	closers  []func()           // of what is open
}

// onRollback has close called if a later step fails.
func (o *opener) onRollback(close func()) { o.closers = append(o.closers, close) }

// rollback closes what is open, last first.
func (o *opener) rollback() {
	for i := len(o.closers) - 1; i >= 0; i-- {
		o.closers[i]()
	}
}

// warn logs what an operator should mend though the node opens.
func (o *opener) warn() {
	if reason := o.cfg.insecureReason(); reason != "" {
		o.log.Warn("other machines reach ports without a lock", "open", reason)
	}
	if o.files < warnBelowFiles {
		o.log.Warn("few files may be open (ulimit -n): the doors take fewer connections", "files", o.files, "http", connLimit(o.files, httpFiles, httpapi.DefaultConns))
	}
}

func (o *opener) openDataDir(context.Context) (err error) {
	if err = o.takeIdentity(); err != nil {
		if isRemoved(err) {
			return err
		}
		return fmt.Errorf("--data-dir %s: %w", o.cfg.DataDir, err)
	}
	o.onRollback(func() {
		if o.raft == nil {
			o.identity.Close()
		}
	})
	if now, _, err := o.disk.measure(); err == nil {
		o.disk.last.Store(now) // what it asks for is done once the node runs
	}
	return o.openCertificates()
}

func (o *opener) bindPorts(ctx context.Context) (err error) {
	if o.listeners.http, err = listen("--http-addr", o.cfg.HTTPAddr); err != nil {
		return err
	}
	o.onRollback(func() { o.listeners.http.Close() })
	if err := o.bindPeerPort(); err != nil {
		return err
	}
	o.onRollback(func() { o.port.Close() })
	o.addrs = Addrs{ID: o.cfg.ID, HTTP: o.announcedAddr("--http-addr", o.cfg.HTTPAddr, o.listeners.http), Peer: o.port.Advertise(), Ops: o.listeners.ops.Addr().String()}
	if err := o.listenNative(); err != nil {
		return err
	}
	o.onRollback(func() { _ = o.closeNative(context.WithoutCancel(ctx)) })
	if err := o.listenLECO(); err != nil {
		return err
	}
	o.onRollback(o.closeLECO)
	return nil
}

func listen(flag, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", flag, addr, err)
	}
	return l, nil
}

func (o *opener) bindPeerPort() (err error) {
	cfg := peer.Config{Addr: o.cfg.PeerAddr, Advertise: o.cfg.Advertise, Self: func() peer.Hello { return raftnode.PeerHello(o.identity) }, Admit: o.admit, Logger: o.log}
	if host, _, err := net.SplitHostPort(o.cfg.PeerAddr); err == nil && o.cfg.Advertise == "" && isHostname(host) {
		cfg.Advertise = o.cfg.PeerAddr
	}
	if o.certs.peer != nil {
		cfg.TLS = o.certs.peer.Current
		cfg.OnRefused = o.recordPeerRefused
	}
	if o.port, err = peer.Listen(cfg); err != nil {
		return fmt.Errorf("--peer-addr %s: %w", o.cfg.PeerAddr, err)
	}
	return nil
}

// admit tells the peer port whom it may take. Until the configuration is known that is nobody.
func (n *Node) admit(kind peer.Kind, method string, from peer.Hello) error {
	if r := n.admitter.Load(); r != nil {
		return r.Admit(kind, method, from)
	}
	if kind == peer.KindCall && method == "" {
		return nil
	}
	return wire.NotTried("%s is starting", n.cfg.ID)
}

func (o *opener) openRaft(ctx context.Context) (err error) {
	o.machine.Fatal = func(index uint64, err error) {
		o.cfg.Fatal(fmt.Errorf("log entry %d: %w", index, err))
	}
	o.raft, err = raftnode.Open(ctx, raftnode.Config{
		ID: o.cfg.ID, Dir: o.cfg.DataDir, Identity: o.identity, Port: o.port, Machine: o.machine,
		Join: o.cfg.Join, Announced: o.peerAddrs, Expect: o.cfg.Expect, NonVoter: o.cfg.NonVoter, Level: fsm.Level, Version: o.cfg.Version, Certificate: o.certs.peerInfo, Disk: o.disk.last.Load, LogStore: o.cfg.LogStore,
		HeartbeatTimeout: o.cfg.HeartbeatTimeout, ElectionTimeout: o.cfg.ElectionTimeout,
		DisableFastElection: o.cfg.DisableFastElection, DisableCommitInjection: o.cfg.DisableCommitInjection,
		SnapshotInterval: o.cfg.SnapshotInterval, SnapshotThreshold: o.cfg.SnapshotThreshold, TrailingLogs: o.cfg.TrailingLogs,
		OnRemoved: o.membership.change, Autopilot: o.autopilot, Logger: o.log, Fatal: o.cfg.Fatal,
	})
	if err != nil {
		return fmt.Errorf("--data-dir %s: %w", o.cfg.DataDir, err)
	}
	o.admitter.Store(o.raft)
	o.onRollback(func() { o.raft.Close(context.WithoutCancel(ctx)) })
	o.port.Handle(methodSign, o.handleSign)
	o.proposer = propose.New(o.raft, nil)
	return nil
}

func (o *opener) openRouter(context.Context) error {
	policy, err := o.cfg.topology()
	if err != nil {
		return &ConfigError{err}
	}
	o.egress = new(router.Egress)
	o.router = router.Open(router.Config{
		Topology: policy, Egress: o.egress,
		Self: o.cfg.ID, Namespace: o.cfg.Namespace, Directory: control.NewDirectory(o.machine, o.raft), Dialer: linkDialer{o.port}, Logger: o.log,
	})
	o.onRollback(func() { o.router.Close() })
	o.raft.OnReachable(o.router.PeerAlive)
	o.raft.OnConfigChange(o.recordGroup)
	return nil
}

func (o *opener) openControl(context.Context) (err error) {
	o.control, err = usecases.New(usecases.Config{
		Authenticator: o.authenticator,
		Machine:       o.machine, Replica: o.raft, Proposer: o.proposer, Mail: home.MailOf(o.router), Peers: o.port, Self: o.self(),
		DataDir: o.cfg.DataDir, Logger: o.log, Describe: o.describe, Debug: o.writeDebug, Signer: &o.certs,
		Trail: o.controlTrail(), GrowthRefused: o.growthRefused, Bounds: control.Bounds{JobResultBytes: o.cfg.JobResultBytes, ResultBytes: o.cfg.ResultBytes, RestoreBytes: restoreBytes(o.cfg.RestoreBytes, memoryLimit())},
	})
	if err != nil {
		return err
	}
	o.onRollback(o.control.Close)
	o.registerLeaderTasks()
	return nil
}
