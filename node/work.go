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
	"github.com/folkmoot/folkmoot/jobs/dispatch"
	"github.com/folkmoot/folkmoot/jobs/work"
)

// dispatch hands parts out while this node leads.
func (n *Node) dispatch(ctx context.Context) error {
	return dispatch.Run(ctx, dispatch.Config{
		Machine: n.machine, Proposer: n.proposer, Logger: n.log,
		Alive: func(home string) bool {
			alive, _ := n.raft.Alive(home)
			return alive || home == n.cfg.ID
		},
	})
}

// work keeps a worker going in this process's care. A worker that is refused,
// or removed by an operator, is no reason to end the coordinator.
func (n *Node) work(ctx context.Context) error {
	for {
		if n.Ready() {
			if err := n.workOnce(ctx); err != nil && ctx.Err() == nil {
				n.log.Error("the own worker has ended; it begins anew in a while", "err", err)
			}
		}
		pause := 10 * time.Second
		if !n.Ready() {
			pause = 50 * time.Millisecond
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// workOnce signs a worker in through the own door like any other, so that
// nothing is special about it, and runs it until ctx ends or it is refused.
func (n *Node) workOnce(ctx context.Context) error {
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
	if n.cfg.HTTPCert != "" {
		scheme = "https://"
		cfg.TLS = n.ownTLS()
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
		Grace: 5 * time.Second, Logger: n.log,
	})
}
