package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/client/worker"
	"github.com/folkmoot/folkmoot/jobs/work"
)

// The waits before the own worker is started: again after it has ended, and while
// the node is not ready.
const (
	workerRestart   = 10 * time.Second
	workerNotReady  = 50 * time.Millisecond
	workerStopGrace = 5 * time.Second // for its parts under way
)

// runWorker runs a worker in this process until ctx ends. A worker that is
// refused, or removed by an operator, is no reason to end the coordinator.
func (n *Node) runWorker(ctx context.Context) error {
	for {
		if n.Ready() {
			if err := n.runWorkerOnce(ctx); err != nil && ctx.Err() == nil {
				n.log.Error("the own worker has ended; it begins anew in a while", "err", err)
			}
		}
		wait := workerRestart
		if !n.Ready() {
			wait = workerNotReady
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// runWorkerOnce signs a worker in through the own door like any other, so that
// nothing is special about it, and runs it until ctx ends or it is refused.
func (n *Node) runWorkerOnce(ctx context.Context) error {
	dir := filepath.Join(n.cfg.DataDir, "work")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	runtimes, missing := work.Offered(nil)
	if len(runtimes) == 0 {
		return fmt.Errorf("--worker: no runtime works here: %w", missing)
	}
	if missing != nil {
		n.log.Warn("some runtimes are not offered: they do not work here", "err", missing)
	}
	scheme := "http://"
	cfg := client.Config{Token: n.workerToken}
	if n.certs.http != nil {
		scheme = "https://"
		cfg.TLS = n.certs.ownDoorTLS()
	}
	cfg.Addrs = []string{scheme + n.listeners.http.Addr().String()}
	c, err := client.New(cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	slots := n.cfg.Slots
	if slots == 0 {
		slots = runtime.NumCPU()
	}
	return worker.Run(ctx, worker.Config{
		Client: c, Name: "worker", Namespace: n.cfg.Namespace, Runtimes: runtimes, Slots: slots, Dir: dir,
		Grace: workerStopGrace, Logger: n.log,
	})
}
