package leco

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/gateway/zmtp"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/pending"
)

// Door is one coordinator as LECO sees it. All methods are safe for concurrent
// use.
type Door struct {
	cfg             Config
	cluster         Cluster
	log             *slog.Logger
	id              string // of the coordinator
	namespace, full string // full is namespace.COORDINATOR
	server          *zmtp.Server
	counts          counts
	reaper          reaper
	changed         chan struct{} // capacity 1: the foreign coordinators should be notified
	warnLimit       *rate.Limiter // of log lines about what others send

	ctx    context.Context // of every goroutine
	cancel context.CancelFunc
	goMu   sync.Mutex // guards running.Add against Close
	wg     sync.WaitGroup

	// mu guards what follows. Nothing is written while it is held, and nothing queued but the answer to a sign-in.
	mu            sync.RWMutex
	conns         map[*peerConn]struct{}
	registrations map[string]*registration // by plain name: who is signed in over this door
	nodes         map[string]*node         // foreign coordinators by namespace
	links         map[string]*link         // to them, by address
	strangers     *pending.Set[*peerConn]  // of conns, those on which nobody is signed in
	// pendingRegistrations counts those whose sign-in is granted or asked for, not written.
	pendingRegistrations int
}

// Open starts a door; Close ends it. The listener is the door's in any case.
func Open(cfg Config) (*Door, error) {
	if cfg.Cluster == nil || cfg.Listener == nil {
		return nil, errors.New("leco: no cluster or no listener")
	}
	cfg = cfg.withDefaults()
	self := cfg.Cluster.Self()
	d := &Door{
		cfg: cfg, cluster: cfg.Cluster, log: cfg.Logger, id: self.ID,
		namespace: self.Namespace, full: registry.FullName(self.Namespace, wire.Coordinator),
		reaper: reaper{wake: make(chan struct{}, 1)}, changed: make(chan struct{}, 1), warnLimit: rate.NewLimiter(1, 5),
		strangers: pending.New[*peerConn](cfg.Strangers), conns: map[*peerConn]struct{}{}, registrations: map[string]*registration{}, nodes: map[string]*node{}, links: map[string]*link{},
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	transport := cfg.Transport
	transport.Socket, transport.Logger = "ROUTER", cfg.Logger
	d.server = zmtp.Serve(cfg.Listener, transport, d.serve)
	d.spawn(d.reap)
	d.spawn(d.maintain)
	d.spawn(d.publishUpdates)
	for _, address := range cfg.Peers {
		d.dial(address, true)
	}
	return d, nil
}

// Addr is the address it listens at.
func (d *Door) Addr() string { return d.server.Addr() }

// spawn starts a goroutine that Close waits for, unless Close waits already.
func (d *Door) spawn(f func()) bool {
	d.goMu.Lock()
	defer d.goMu.Unlock()
	if d.ctx.Err() != nil {
		return false
	}
	d.wg.Go(f)
	return true
}

// Close signs out from the foreign coordinators, ends the sessions of this
// door and their connections, and waits for all it started. ctx bounds the
// polite part.
func (d *Door) Close(ctx context.Context) {
	d.server.StopAccepting()
	d.signOutFromNodes()
	d.endAll(ctx)
	d.mu.RLock()
	conns := make([]*peerConn, 0, len(d.conns))
	for c := range d.conns {
		conns = append(conns, c)
	}
	d.mu.RUnlock()
	var ending sync.WaitGroup
	for _, c := range conns {
		ending.Go(func() { c.conn.Shutdown(flushTimeout) })
	}
	ending.Wait()
	d.goMu.Lock()
	d.cancel()
	d.goMu.Unlock()
	d.server.Close()
	d.wg.Wait()
}

// flushTimeout is how long a peer may take to read its last answers.
const flushTimeout = 300 * time.Millisecond

// endAll ends the sessions of this door in one write, so that their names are
// free at once.
func (d *Door) endAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var fences []registry.Fence
	d.mu.Lock()
	for _, reg := range d.registrations {
		if reg.fence.Session != "" {
			fences = append(fences, reg.fence)
		}
		d.unregister(reg)
	}
	d.mu.Unlock()
	if len(fences) == 0 {
		return
	}
	if err := d.cluster.EndSessions(ctx, fences, "its coordinator stopped"); err != nil {
		d.log.Info("LECO sessions end by their leases", "sessions", len(fences), "error", err)
	}
}

// withPort is an address with LECO's port if it names none.
func withPort(address string) (string, bool) {
	if address == "" || len(address) > 300 {
		return "", false
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port, err = net.SplitHostPort(address + ":" + DefaultPort)
	}
	if err != nil || host == "" || port == "" {
		return "", false
	}
	return net.JoinHostPort(host, port), true
}

// sleep is true when the time has passed, false when the door closes.
func (d *Door) sleep(t time.Duration) bool { return control.Sleep(d.ctx, t) }

// inCluster reports whether a coordinator of our own cluster owns the
// namespace.
func (d *Door) inCluster(namespace string) bool {
	_, ok := d.cluster.State().Registry.NamespaceOwner(namespace)
	return ok
}
