package node

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/folkmoot/folkmoot/httpapi/ops"
)

// openOperatorPort serves the operator's port from here on: whoever probes a node that
// reads a long log is told so.
func (o *opener) openOperatorPort(context.Context) (err error) {
	if o.listeners.ops, err = listen("--ops-addr", o.cfg.OpsAddr); err != nil {
		return err
	}
	o.ops, err = ops.New(ops.Config{
		Live: o.live, Ready: o.ready, Started: o.startedUp, Logger: o.log, MaxConns: connLimit(o.files, opsFiles, ops.DefaultConns),
		Gatherers: []prometheus.Gatherer{prometheus.GathererFunc(o.gather), libraryMetrics()}, NoProfiles: !isLoopback(o.listeners.ops.Addr().String()),
	})
	if err != nil {
		o.listeners.ops.Close()
		return err
	}
	server, listener, ended := o.ops, o.listeners.ops, make(chan error, 1)
	o.opsEnded = ended
	go func() { ended <- server.Serve(listener) }()
	o.onRollback(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // nobody waits for a probe
		_ = o.ops.Close(ctx)
	})
	return nil
}

// watchOperatorPort returns when ctx ends, or with the error that ended the port.
func (n *Node) watchOperatorPort(ctx context.Context) error {
	select {
	case err := <-n.opsEnded:
		if err == nil && ctx.Err() == nil && !n.closing.Load() {
			err = errors.New("the port was closed")
		}
		return err
	case <-ctx.Done():
		return nil
	}
}

// startedUp tells whether the stores are open and the machine has what was
// committed for certain when this process began: the newest snapshot. Of what
// the log holds beyond it a leader alone knows whether it was committed, and
// readiness waits for that.
func (n *Node) startedUp() (started bool, reason string) {
	if n.opened.Load() {
		return true, ""
	}
	return false, "opening the log and reading the newest snapshot"
}

// Live returns why this process had better be started anew, as /livez does: a loop of
// it stands still, or its storage has failed. Nil while all is well, whatever
// the cluster does.
func (n *Node) Live() error { return n.live() }

// live returns why this process had better be started anew; nil while it opens.
func (n *Node) live() error {
	if !n.opened.Load() {
		return nil
	}
	if err := n.raft.Live(); err != nil {
		return err
	}
	return n.watchdog.live()
}

// gather returns the metrics of a node that is open.
func (n *Node) gather() ([]*dto.MetricFamily, error) {
	if !n.opened.Load() {
		return nil, nil
	}
	return prometheus.Gatherers{n.metrics(), n.api.Metrics()}.Gather()
}
