package raftnode

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/peer"
)

// transport is a raft.Transport without the heartbeat fast path: a
// heartbeat handled beside raft's main loop can raise the term under a leader
// that is writing (hashicorp/raft issue 695). It also lets this process put a
// request of its own into raft's queue. Embedding keeps RequestPreVote visible.
type transport struct {
	preVoteTransport
	// resolve is the address to dial for a server, whatever raft's configuration
	// says: addresses change without a leader that could write that down.
	resolve func(id raft.ServerID, configured raft.ServerAddress) raft.ServerAddress

	snapshotsSent *snapshotsSent // what became of snapshots and appends
	unreachable   *unreachablePeers
	log           *slog.Logger
	progress      *progress
	closing       context.Context // no request is held after it: raft's end waits for them
	// stillNeeded reports whether a request of the leader of term to a server is still of use.
	stillNeeded func(id raft.ServerID, term uint64) bool
	terms       termCheck // what may be believed of terms

	consumer chan raft.RPC
	ctx      context.Context // ends at Close
	stop     context.CancelFunc
	wg       sync.WaitGroup // forward

	snapshots inFlight // being sent
}

// preVoteTransport is the part of the library's transports that raft looks
// for; without RequestPreVote it would go on with only a warning.
type preVoteTransport interface {
	raft.Transport
	raft.WithPreVote
	raft.WithClose
}

var (
	_ raft.WithPreVote = (*transport)(nil)
	_ raft.WithClose   = (*transport)(nil)
)

func newTransport(t preVoteTransport, where func(raft.ServerID, raft.ServerAddress) raft.ServerAddress, n *Node) *transport {
	q := &transport{
		preVoteTransport: t, resolve: where, snapshotsSent: &n.snapshotsSent, unreachable: &n.unreachable, progress: &n.progress, log: n.log,
		closing: n.ctx, stillNeeded: n.stillNeeded, terms: termCheck{own: n.ownTerm, log: n.log}, consumer: make(chan raft.RPC),
	}
	q.ctx, q.stop = context.WithCancel(context.Background())
	q.wg.Go(q.forward)
	return q
}

// SetHeartbeatHandler does nothing: heartbeats go the way of all requests.
func (q *transport) SetHeartbeatHandler(func(raft.RPC)) {}

// AppendEntriesPipeline and the others dial the server where it is now.
func (q *transport) AppendEntriesPipeline(id raft.ServerID, to raft.ServerAddress) (raft.AppendPipeline, error) {
	under, err := q.preVoteTransport.AppendEntriesPipeline(id, q.resolve(id, to))
	if err != nil {
		return nil, err
	}
	return newCheckedPipeline(under, func(term uint64) error { return q.terms.checkAnswer(id, term) }), nil
}

// AppendEntries is held while the server is not reached, see hold. Heartbeats
// are not: raft waits no longer than half a timeout between those.
func (q *transport) AppendEntries(id raft.ServerID, to raft.ServerAddress, a *raft.AppendEntriesRequest, r *raft.AppendEntriesResponse) error {
	err := q.appendEntries(id, to, a, r)
	if err == nil || isHeartbeat(a) {
		return err
	}
	return q.retryWhileNeeded(id, a.Term, err, func() (bool, error) {
		*r = raft.AppendEntriesResponse{}
		return true, q.appendEntries(id, to, a, r)
	})
}

func (q *transport) appendEntries(id raft.ServerID, to raft.ServerAddress, a *raft.AppendEntriesRequest, r *raft.AppendEntriesResponse) error {
	err := q.recordResult(id, q.preVoteTransport.AppendEntries(id, q.resolve(id, to), a, r))
	if err == nil {
		err = q.terms.checkAnswer(id, r.Term)
	}
	if err == nil {
		q.snapshotsSent.recordAppend(id, a, r)
	}
	return err
}

// isHeartbeat reports whether a request is a heartbeat of raft's, which names no
// place in the log.
func isHeartbeat(a *raft.AppendEntriesRequest) bool {
	return a.PrevLogEntry == 0 && len(a.Entries) == 0 && a.LeaderCommitIndex == 0
}

func (q *transport) RequestVote(id raft.ServerID, to raft.ServerAddress, a *raft.RequestVoteRequest, r *raft.RequestVoteResponse) error {
	if err := q.recordResult(id, q.preVoteTransport.RequestVote(id, q.resolve(id, to), a, r)); err != nil {
		return err
	}
	return q.terms.checkAnswer(id, r.Term)
}

func (q *transport) RequestPreVote(id raft.ServerID, to raft.ServerAddress, a *raft.RequestPreVoteRequest, r *raft.RequestPreVoteResponse) error {
	if err := q.recordResult(id, q.preVoteTransport.RequestPreVote(id, q.resolve(id, to), a, r)); err != nil {
		return err
	}
	return q.terms.checkAnswer(id, r.Term)
}

// InstallSnapshot is held like AppendEntries, until some of the snapshot was
// read: it can be read only once.
func (q *transport) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, a *raft.InstallSnapshotRequest, r *raft.InstallSnapshotResponse, data io.Reader) error {
	defer q.snapshots.begin(string(id))()
	once := &readTracker{Reader: data}
	send := func() (more bool, err error) {
		*r = raft.InstallSnapshotResponse{}
		err = q.recordResult(id, q.preVoteTransport.InstallSnapshot(id, q.resolve(id, to), a, r, once))
		return !once.started.Load(), err
	}
	more, err := send()
	if err != nil && more {
		err = q.retryWhileNeeded(id, a.Term, err, send)
	}
	if err == nil {
		err = q.terms.checkAnswer(id, r.Term)
	}
	if err == nil && r.Success {
		q.snapshotsSent.recordSnapshot(id)
	}
	return err
}

// readTracker reports whether anything was read.
type readTracker struct {
	io.Reader
	started atomic.Bool
}

func (b *readTracker) Read(p []byte) (int, error) {
	b.started.Store(true)
	return b.Reader.Read(p)
}

// recordResult notes whether a request reached the server.
func (q *transport) recordResult(id raft.ServerID, err error) error {
	switch {
	case err == nil:
		q.unreachable.markReachable(string(id))
	case !errors.Is(err, raft.ErrTransportShutdown):
		q.unreachable.markUnreachable(string(id))
	}
	return err
}

// retryWhileNeeded repeats a request of the leader of term, which failed with err, until it
// is answered or of no use any more. If raft saw the failures it would
// double the pause before its next request at each, up to ten seconds, and take
// no notice of the server's return: one that was away for a while would get
// nothing for as long again. again reports whether it may be called once more.
func (q *transport) retryWhileNeeded(id raft.ServerID, term uint64, err error, again func() (more bool, err error)) error {
	defer q.unreachable.held.begin(string(id))()
	began, said := time.Now(), false
	for pause := minRetryPause; q.stillNeeded(id, term); pause = min(2*pause, maxRetryPause) {
		if !q.unreachable.waitToRetry(q.closing, string(id), pause) || !q.stillNeeded(id, term) {
			return err
		}
		var more bool
		more, err = again()
		switch {
		case err == nil && said:
			q.log.Info("a coordinator takes the log again", "server", id, "after", time.Since(began).Round(time.Millisecond))
			return nil
		case err == nil || !more:
			return err
		case !said && time.Since(began) >= notableOutage:
			said = true
			q.log.Warn("a coordinator cannot be reached: it gets the log again as soon as it is heard", "server", id, "error", err)
		}
	}
	return err
}

func (q *transport) TimeoutNow(id raft.ServerID, to raft.ServerAddress, a *raft.TimeoutNowRequest, r *raft.TimeoutNowResponse) error {
	return q.preVoteTransport.TimeoutNow(id, q.resolve(id, to), a, r)
}

// EncodePeer returns an address as it is, without the address book.
func (q *transport) EncodePeer(_ raft.ServerID, addr raft.ServerAddress) []byte {
	return []byte(addr)
}

// Consumer is where raft takes requests from.
func (q *transport) Consumer() <-chan raft.RPC { return q.consumer }

func (q *transport) forward() {
	in := q.preVoteTransport.Consumer()
	for {
		select {
		case rpc := <-in:
			if err := q.terms.checkRequest(rpc.Command); err != nil {
				rpc.Respond(nil, err)
				continue
			}
			if rpc.Reader != nil { // a snapshot: raft's loop does nothing else while it is received
				rpc.Reader = progressReader{rpc.Reader, q.progress}
			}
			select {
			case q.consumer <- rpc:
			case <-q.ctx.Done():
				return // no answer; the transport below is closing its streams
			}
		case <-q.ctx.Done():
			return
		}
	}
}

// inject hands raft a request as if it had come from outside, and waits for
// its answer.
func (q *transport) inject(ctx context.Context, command any) (any, error) {
	answer := make(chan raft.RPCResponse, 1)
	select {
	case q.consumer <- raft.RPC{Command: command, RespChan: answer}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-q.ctx.Done():
		return nil, raft.ErrTransportShutdown
	}
	select {
	case a := <-answer:
		return a.Response, a.Error
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-q.ctx.Done():
		return nil, raft.ErrTransportShutdown
	}
}

// Close ends the pump and the transport below.
func (q *transport) Close() error {
	q.stop()
	err := q.preVoteTransport.Close()
	q.wg.Wait()
	return err
}

// Network timeouts of raft's own streams.
const (
	raftDial = time.Second      // name resolution and connect
	raftIO   = 10 * time.Second // one request; a snapshot gets as many times that as it has 256 KiB
	raftPool = 3                // idle streams kept per server
)

// networkTransport runs raft over the peer port.
func networkTransport(c Config) *raft.NetworkTransport {
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Logger:  adaptLogger(c.Logger.With("part", "raft-net")),
		Stream:  streamLayer{c.Port.RaftLayer()},
		MaxPool: raftPool,
		Timeout: raftIO,
		// False keeps the time format that all releases of ours have spoken.
		MsgpackUseNewTimeFormat: false,
	})
}

// streamLayer adapts raft's address type to the port's. Every stream must be
// answered by the very server that is meant: a message that reached another
// one would count as the acknowledgement of two.
type streamLayer struct{ *peer.RaftLayer }

// dialTarget joins server and address into what Dial takes apart again.
func dialTarget(serverID, addr string) raft.ServerAddress {
	return raft.ServerAddress(serverID + "|" + addr)
}

func (s streamLayer) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	want, addr, ok := strings.Cut(string(to), "|")
	if !ok {
		want, addr = "", want
	}
	return s.DialServer(addr, want, min(timeout, raftDial))
}
