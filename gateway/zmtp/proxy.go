package zmtp

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// Proxy joins publishers and subscribers as XSUB and XPUB do (RFC 29): what is
// published at one address is received by the subscribers at the other. It reads
// nothing but the first frame. A subscriber that does not keep up
// misses messages; they are counted, and nobody waits for it.
type Proxy struct {
	in, out   *Server
	warnLimit *rate.Limiter // of log lines

	forwarded, dropped, tooLarge atomic.Uint64

	// mu guards what follows. It is held while a message is handed to the
	// subscribers' queues, which never wait.
	mu          sync.RWMutex
	publishers  map[*Conn]struct{}
	subscribers map[*Conn]*subscriptions
	all         map[string]int // prefix -> how many subscribers
}

// maxSubscriptions bounds the prefixes of one subscriber; it is closed over
// more.
const maxSubscriptions = 10_000

// NewProxy serves publishers at in and subscribers at out until Close. It owns
// both listeners. cfg.Socket is not read.
func NewProxy(in, out net.Listener, cfg Config) *Proxy {
	p := &Proxy{warnLimit: rate.NewLimiter(1, 5), publishers: map[*Conn]struct{}{}, subscribers: map[*Conn]*subscriptions{}, all: map[string]int{}}
	cfg.Socket, cfg.Peers = "XSUB", nil
	p.in = Serve(in, cfg, p.publisher)
	cfg.Socket = "XPUB"
	p.out = Serve(out, cfg, p.subscriber)
	return p
}

// Addrs returns where publishers and subscribers connect.
func (p *Proxy) Addrs() (in, out string) { return p.in.Addr(), p.out.Addr() }

// Counts returns by name how many messages were handed to subscribers
// (forwarded) or not because their queue was full (dropped), how many were
// above the limits (too_large), and how connections of both sides ended (Ends).
func (p *Proxy) Counts() map[string]uint64 {
	in, out := p.in.Ends(), p.out.Ends()
	return map[string]uint64{
		"forwarded":           p.forwarded.Load(),
		"dropped":             p.dropped.Load(),
		"too_large":           p.tooLarge.Load(),
		"refused_connections": in.Refused + out.Refused,
		"broken_connections":  in.Broken + out.Broken,
		"dead_connections":    in.Dead + out.Dead,
		"cut_off_connections": in.CutOff + out.CutOff,
	}
}

// Close ends both sides and waits for all connections.
func (p *Proxy) Close() {
	p.in.Close()
	p.out.Close()
}

// publisher serves one publisher: it is sent the subscriptions, and its messages
// are forwarded.
func (p *Proxy) publisher(c *Conn) {
	p.mu.Lock()
	for _, prefix := range slices.Sorted(maps.Keys(p.all)) {
		sendSubscription(c, 1, prefix)
	}
	p.publishers[c] = struct{}{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.publishers, c)
		p.mu.Unlock()
	}()
	for {
		frames, err := c.Receive()
		if p.skipped(c, err) {
			continue
		}
		if err != nil {
			return
		}
		p.forward(frames)
	}
}

// skipped reports whether err is a message above the limits. Nobody waits for an
// answer on these channels, so it is counted and logged.
func (p *Proxy) skipped(c *Conn, err error) bool {
	var large *TooLarge
	if !errors.As(err, &large) {
		return false
	}
	p.tooLarge.Add(1)
	if p.warnLimit.Allow() {
		topic := large.Start
		if len(large.Frames) > 0 {
			topic = large.Frames[0]
		}
		c.cfg.Logger.Warn("a published message was dropped", "from", c.RemoteAddr(), "topic", fmt.Sprintf("%.80q", topic), "reason", err)
	}
	return true
}

func (p *Proxy) forward(frames [][]byte) {
	var encoded []byte
	p.mu.RLock()
	defer p.mu.RUnlock()
	for c, s := range p.subscribers {
		if !s.matches(frames[0]) {
			continue
		}
		if encoded == nil {
			encoded = AppendMessage(nil, frames...)
		}
		if c.SendEncoded(encoded) == nil {
			p.forwarded.Add(1)
		} else {
			p.dropped.Add(1)
		}
	}
}

// subscriber serves one subscriber: all it sends are subscriptions.
func (p *Proxy) subscriber(c *Conn) {
	subs := &subscriptions{by: map[string]int{}, sizes: map[int]int{}}
	p.mu.Lock()
	p.subscribers[c] = subs
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.subscribers, c)
		for prefix := range subs.by {
			p.unsubscribe(prefix)
		}
	}()
	for {
		frames, err := c.Receive()
		if p.skipped(c, err) {
			continue
		}
		if err != nil {
			return
		}
		if !p.handleSubscription(subs, frames) {
			c.close(protocolErrorf("more than %d subscriptions, or one of more than %d bytes", maxSubscriptions, maxCommand))
			return
		}
	}
}

// handleSubscription adds or removes one subscription; false ends the subscriber.
func (p *Proxy) handleSubscription(subs *subscriptions, frames [][]byte) bool {
	if len(frames) != 1 || len(frames[0]) == 0 || frames[0][0] > 1 {
		return true // an XSUB may send messages of its own; nobody reads them
	}
	prefix := string(frames[0][1:])
	p.mu.Lock()
	defer p.mu.Unlock()
	if frames[0][0] == 0 {
		if subs.remove(prefix) {
			p.unsubscribe(prefix)
		}
		return true
	}
	if len(subs.by) >= maxSubscriptions || len(prefix) > maxCommand {
		return false
	}
	if subs.add(prefix) {
		if p.all[prefix]++; p.all[prefix] == 1 {
			for c := range p.publishers {
				sendSubscription(c, 1, prefix)
			}
		}
	}
	return true
}

// unsubscribe removes one subscriber of the prefix; mu is held.
func (p *Proxy) unsubscribe(prefix string) {
	if p.all[prefix]--; p.all[prefix] > 0 {
		return
	}
	delete(p.all, prefix)
	for c := range p.publishers {
		sendSubscription(c, 0, prefix)
	}
}

// sendSubscription sends a publisher a subscription as the message that every ZMTP 3.x
// peer understands. A publisher whose queue is full of them is closed: it
// would filter by a wrong list for ever.
func sendSubscription(c *Conn, what byte, prefix string) {
	if c.Send(append([]byte{what}, prefix...)) != nil {
		c.close(ErrFull)
	}
}

// subscriptions are the prefixes of one subscriber, each as often as it was
// subscribed to.
type subscriptions struct {
	by    map[string]int
	sizes map[int]int // length -> prefixes of it
}

// add reports whether the prefix is new.
func (s *subscriptions) add(prefix string) bool {
	s.by[prefix]++
	if s.by[prefix] > 1 {
		return false
	}
	s.sizes[len(prefix)]++
	return true
}

// remove reports whether the prefix is gone.
func (s *subscriptions) remove(prefix string) bool {
	if s.by[prefix] == 0 {
		return false
	}
	if s.by[prefix]--; s.by[prefix] > 0 {
		return false
	}
	delete(s.by, prefix)
	if s.sizes[len(prefix)]--; s.sizes[len(prefix)] == 0 {
		delete(s.sizes, len(prefix))
	}
	return true
}

// matches reports whether a topic begins with one of the prefixes.
func (s *subscriptions) matches(topic []byte) bool {
	for n := range s.sizes {
		if n <= len(topic) && s.by[string(topic[:n])] > 0 {
			return true
		}
	}
	return false
}
