// Command bench measures a cluster of three coordinators beside its peers
// (etcd, NATS, pyleco), in one run on one machine, and prints the ratios.
// Every server is a process of its own, on loopback, with real disks; the load
// comes from this process, or for LECO from Python. Each round starts every
// system afresh, so that drift of the machine hits all of them alike.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] { // a server of a peer: this program again
		case "etcd-server":
			etcdmain.Main(os.Args[1:])
			return
		case "nats-server":
			if err := natsServer(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, "bench:", err)
				os.Exit(1)
			}
			return
		}
	}
	o := readFlags()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures all that is wanted and prints what was measured, also when the
// rest failed.
func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "folkmoot-bench-")
	if err != nil {
		return err
	}
	if !o.keep {
		defer os.RemoveAll(dir)
	}
	if err := build(ctx, &o, dir); err != nil {
		return err
	}
	if o.profiles != "" {
		if err := os.MkdirAll(o.profiles, 0o755); err != nil {
			return err
		}
	}
	res := results{}
	list := measurements()
	var requests []measurement
	for _, m := range list {
		if m.run == nil && o.wants(m.name) {
			requests = append(requests, m)
		}
	}
	if len(requests) > 0 {
		err = loads(ctx, o, requests, dir, res)
	}
	for _, m := range list {
		if err == nil && m.run != nil && o.wants(m.name) {
			err = m.run(ctx, o, m, dir, res)
		}
	}
	for _, m := range list {
		res.print(os.Stdout, o, m)
		if m.name == "failover" {
			res.printFailover(os.Stdout, o, m)
		}
	}
	return err
}
