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
		Machine: n.machine, Propose: n.raft.Propose, Logger: n.log,
		Alive: func(home string) bool {
			alive, _ := n.raft.Alive(home)
			return alive || home == n.cfg.ID
		},
	})
}

// work runs a worker in this process's care. It signs in through the own door
// like any other, so that nothing is special about it.
func (n *Node) work(ctx context.Context) error {
	dir := filepath.Join(n.cfg.DataDir, "work")
	if err := os.RemoveAll(dir); err != nil { // left behind by a kill
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	runtimes := work.Offered([]string{"python3", "sh"})
	if len(runtimes) == 0 {
		return fmt.Errorf("--worker: neither python3 nor sh works here")
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
