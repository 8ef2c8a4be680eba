package raftnode

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// progress is what a watchdog sees of raft's machine goroutine, and of a snapshot
// that is received or read.
type progress struct {
	moved atomic.Uint64 // entries applied, and pieces of snapshots read
	busy  atomic.Int32  // calls of the machine under way
}

// begin notes a call of the machine; the end of it is the returned function.
func (p *progress) begin() (end func()) {
	p.busy.Add(1)
	return func() { p.busy.Add(-1) }
}

// reader counts what is read of a snapshot.
type progressReader struct {
	io.Reader
	progress *progress
}

// Read implements io.Reader.
func (r progressReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.progress.moved.Add(1)
	}
	return n, err
}

// Progress is a count that grows with every entry that reaches the machine and every
// piece of a snapshot that is received or read, and whether the machine is at
// work: busy while the count stands still for long, it hangs.
func (n *Node) Progress() (count uint64, busy bool) {
	return n.progress.moved.Load(), n.progress.busy.Load() > 0
}

// Beat waits until raft's loop has taken a request and answered it, whatever the
// state of this server or the group; the error is ctx's, or that raft has stopped. A loop
// that receives a snapshot answers nothing meanwhile: see Progress.
func (n *Node) Beat(ctx context.Context) error {
	// Raft refuses a protocol that it does not know before it looks at anything else.
	_, err := n.transport.inject(ctx, &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax + 1}})
	if errors.Is(err, raft.ErrUnsupportedProtocol) {
		return nil
	}
	return err
}
