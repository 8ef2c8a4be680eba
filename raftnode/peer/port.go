// Package peer is the one port between coordinators: raft streams, links and
// calls, told apart by their first byte after TLS and an exchange of hellos.
package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/certfile"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/pending"
)

// Config says where a Port listens, how it is reached and who it is. Self is
// required; every limit left zero has its default.
type Config struct {
	// Addr is the address to listen on, host:port; port 0 takes a free one.
	Addr string
	// Advertise is the address others dial, usually a name. It is the bound
	// address when empty, which is an error when Addr means every interface.
	// Its port 0 stands for the bound port.
	Advertise string
	// TLS is asked before every handshake for the certificate and the authorities of mutual TLS, which CheckOwn has
	// accepted; it must be quick. Nil speaks in plain text.
	TLS func() *certfile.Content
	// OnRefused, if not nil, is told of every connection that is refused, and of calls of those that are no members. It
	// must be quick.
	OnRefused func(Refused)
	// Self is asked for the own Hello at every new connection and every call;
	// it must be quick. A Version of 0 is sent as wire.Version.
	Self func() Hello
	// Admit may refuse another coordinator, for example one that was removed. It is
	// asked after the Hello of every connection was checked, with no method; before
	// the handler of every call, with its method; and for a link that was dialed.
	// It must be quick. The text of its error is sent to the other side. Nil admits
	// everybody.
	Admit  func(kind Kind, method string, from Hello) error
	Logger *slog.Logger
	Limits Limits
}

// Limits bounds what others can make a Port hold. The zero value stands for
// the defaults named beside the fields.
type Limits struct {
	MaxFrame      int           // bytes of one call frame: 4 MiB
	MaxPending    int           // connections whose handshake is under way: 64; a further one replaces the oldest
	MaxConns      int           // connections accepted, all kinds: 1024
	MaxPerPeer    int           // connections accepted from one coordinator: 128
	MaxHandlers   int           // handlers at once per connection: 1024; a further call is answered busy
	MaxQueue      int           // frames waiting to be written per connection: 4096; a further call is refused busy
	MaxQueueBytes int           // bytes waiting to be written per connection: 16 MiB
	HelloTimeout  time.Duration // TLS and hellos together: 5 s
	DialTimeout   time.Duration // name resolution and TCP connect: 1 s
	PingInterval  time.Duration // call connections: 2 s; a silence of four intervals ends one
	MaxBackoff    time.Duration // longest pause between dials of one address by Call: 1 s
	MaxAge        time.Duration // call connections are made anew after it, so that new certificates come into use: 1 h
	MaxIdle       time.Duration // a call connection without calls is closed after it: 5 min
}

func (l Limits) withDefaults() Limits {
	number := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	span := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	number(&l.MaxFrame, 4<<20)
	number(&l.MaxPending, 64)
	number(&l.MaxConns, 1024)
	number(&l.MaxPerPeer, 128)
	number(&l.MaxHandlers, 1024)
	number(&l.MaxQueue, 4096)
	number(&l.MaxQueueBytes, 16<<20)
	span(&l.HelloTimeout, 5*time.Second)
	span(&l.DialTimeout, time.Second)
	span(&l.PingInterval, 2*time.Second)
	span(&l.MaxBackoff, time.Second)
	span(&l.MaxAge, time.Hour)
	span(&l.MaxIdle, 5*time.Minute)
	return l
}

// Handler answers one call of another coordinator. It owns body, and gives up
// what it returns. An error travels as a *wire.Error: itself if it is one,
// unknown for a context's end, internal for anything else. ctx ends at the
// caller's deadline, when the caller gives up, when the connection is lost and
// at Close; a handler returns soon after, for Close waits for it.
type Handler func(ctx context.Context, from Hello, body []byte) ([]byte, error)

// Port is a listening port and everything dialed from it. Its methods may be
// called from any goroutine.
type Port struct {
	cfg       Config
	limits    Limits
	log       *slog.Logger
	listener  net.Listener
	advertise string

	raft  *RaftLayer
	links *streamQueue

	handlers  sync.Map      // method -> Handler
	selfCalls chan struct{} // semaphore of handlers called by this port itself

	ctx  context.Context // ends at Close
	stop context.CancelFunc
	wg   sync.WaitGroup // every goroutine of the port

	mu       sync.Mutex
	closed   bool
	conns    map[*socketEntry]struct{}  // every socket, until it is closed
	pending  *pending.Set[*socketEntry] // handshake under way
	accepted int                        // accepted, handshake done
	perPeer  map[string]int             // accepted, handshake done, by server id
	evicted  uint64

	dialersMu sync.Mutex // locked before a dialer's own mutex, that before mu
	dialers   map[string]*dialer

	renewal atomic.Pointer[time.Time] // of Renew; nil: never

	refusals   refusals
	refusalLog rateLimitedLog
}

// Listen opens the port and starts to accept connections. Streams wait in
// small queues until they are accepted; calls find the handlers known so far.
func Listen(cfg Config) (*Port, error) {
	if cfg.Self == nil {
		return nil, errors.New("peer port: Config.Self is missing")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	limits := cfg.Limits.withDefaults()
	p := &Port{
		cfg:     cfg,
		limits:  limits,
		pending: pending.New[*socketEntry](limits.MaxPending),
		log:     cfg.Logger,
		conns:   map[*socketEntry]struct{}{},
		perPeer: map[string]int{},
		dialers: map[string]*dialer{},
	}
	if cfg.TLS != nil {
		if err := CheckOwn(cfg.TLS(), ""); err != nil {
			return nil, fmt.Errorf("peer port: own certificate: %w", err)
		}
	}
	lc := net.ListenConfig{KeepAliveConfig: keepAlive}
	l, err := lc.Listen(context.Background(), "tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("peer port: %w", err)
	}
	if p.advertise, err = advertised(cfg.Advertise, l.Addr()); err != nil {
		l.Close()
		return nil, err
	}
	p.listener = l
	p.selfCalls = make(chan struct{}, p.limits.MaxHandlers)
	p.links = newStreamQueue(p)
	p.raft = &RaftLayer{streams: newStreamQueue(p), addr: address(p.advertise), openStreams: map[net.Conn]dialInfo{}}
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.spawn(p.acceptLoop)
	return p, nil
}

// advertised works out the address others dial.
func advertised(want string, bound net.Addr) (string, error) {
	tcp := bound.(*net.TCPAddr)
	if want == "" {
		if tcp.IP.IsUnspecified() {
			return "", fmt.Errorf("peer port: listening on every interface (%s) needs an address to advertise", bound)
		}
		return bound.String(), nil
	}
	host, port, err := net.SplitHostPort(want)
	if err != nil {
		return "", fmt.Errorf("peer port: advertise %q: %w", want, err)
	}
	if port == "0" {
		port = fmt.Sprint(tcp.Port)
	}
	return net.JoinHostPort(host, port), nil
}

// Addr is the bound address, host:port.
func (p *Port) Addr() string { return p.listener.Addr().String() }

// Advertise is the address others dial.
func (p *Port) Advertise() string { return p.advertise }

// Handle answers calls of method by h from now on, replacing an earlier
// handler. A method without a handler is answered unavailable.
func (p *Port) Handle(method string, h func(ctx context.Context, from Hello, body []byte) ([]byte, error)) {
	p.handlers.Store(method, Handler(h))
}

// Renew has call connections that were opened before now made anew, each when the next call comes: a new certificate is
// to be used. No call fails for it.
func (p *Port) Renew() {
	now := time.Now()
	p.renewal.Store(&now)
}

// renewed is when Renew was called last.
func (p *Port) renewed() (at time.Time) {
	if t := p.renewal.Load(); t != nil {
		at = *t
	}
	return at
}

// Close closes every connection, dialed or accepted, including the streams that
// were handed out, cancels all handlers and waits for all it started. Calls
// under way end with unavailable or unknown.
func (p *Port) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		p.wg.Wait()
		return nil
	}
	p.closed = true
	open := make([]*socketEntry, 0, len(p.conns))
	for e := range p.conns {
		open = append(open, e)
	}
	p.mu.Unlock()

	p.stop()
	err := p.listener.Close()
	p.raft.streams.close()
	p.links.close()
	for _, e := range open {
		e.close()
	}
	p.wg.Wait()
	return err
}

// spawn runs f in a goroutine that Close waits for, unless the port is closed.
func (p *Port) spawn(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.wg.Go(f)
	return true
}

// ownHello is the own Hello as it is sent.
func (p *Port) ownHello() Hello {
	h := p.cfg.Self()
	if h.Version == 0 {
		h.Version = wire.Version
	}
	return h
}
