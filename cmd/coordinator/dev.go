package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/folkmoot/folkmoot/cmd/settings"
	"github.com/folkmoot/folkmoot/cmd/version"
	"github.com/folkmoot/folkmoot/node"
)

// devOptions are the flags of dev.
type devOptions struct {
	dir, http, component, peer, ops string
	worker                          bool
	slots                           int
	log                             settings.Logging
}

func devCommand() *cobra.Command {
	var o devOptions
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster of three in one process, with a worker, until interrupted",
		Example: `  coordinator dev
  coordinator dev --http-addr 127.0.0.1:7380 --data-dir ./dev   # 7380, 7381, 7382; kept`,
		Args:          noArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGHUP) // its terminal is closed
			defer stop()
			return dev(ctx, o, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "data-dir", "", "keep the data here (default: a temporary folder, removed at the end)")
	f.StringVar(&o.http, "http-addr", "127.0.0.1:0", "REST of the first coordinator; the others take the next ports; port 0 takes free ones")
	f.StringVar(&o.component, "component-addr", "127.0.0.1:0", "native sessions at the first; as above")
	f.StringVar(&o.peer, "peer-addr", "127.0.0.1:0", "peer port of the first; as above")
	f.StringVar(&o.ops, "ops-addr", "127.0.0.1:0", "health and metrics of the first; as above")
	f.BoolVar(&o.worker, "worker", true, "run job parts in this process's care")
	f.IntVar(&o.slots, "slots", 0, "parts at once of each worker (default: one for each processor)")
	o.log.Declare(f, "error")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	return cmd
}

// dev runs three nodes until ctx ends.
func dev(ctx context.Context, o devOptions, stdout io.Writer) (err error) {
	log, level, err := o.log.Open(os.Stderr)
	if err != nil {
		return usageError{err}
	}
	// The three end together: each then logs that it misses the others, which is expected. Errors of closing are returned.
	defer context.AfterFunc(ctx, func() { level.Set(max(level.Level(), slog.LevelError+1)) })()
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "folkmoot-dev-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	}
	const n = 3
	https, err1 := nextPorts("--http-addr", o.http, n)
	components, err2 := nextPorts("--component-addr", o.component, n)
	peers, err3 := nextPorts("--peer-addr", o.peer, n)
	opses, err4 := nextPorts("--ops-addr", o.ops, n)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return usageError{err}
	}
	var nodes []*node.Node
	defer func() {
		// Together, since the last two cannot hand leadership over alone.
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownLimit)
		defer cancel()
		var g errgroup.Group
		for _, nd := range nodes {
			g.Go(func() error { return nd.Close(end) })
		}
		err = errors.Join(err, g.Wait())
	}()
	for i := range n {
		id := fmt.Sprintf("n%d", i+1)
		nd, err := node.Open(ctx, node.Config{
			ID: id, DataDir: filepath.Join(o.dir, id), HTTPAddr: https[i], ComponentAddr: components[i], PeerAddr: peers[i], OpsAddr: opses[i],
			Join: peers, Expect: n, Worker: o.worker, Slots: o.slots, Logger: log, Version: version.Short(),
		})
		if err != nil {
			return err
		}
		nodes = append(nodes, nd)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, nd := range nodes {
		g.Go(func() error { return nd.Run(ctx) })
	}
	g.Go(func() error {
		for !nodes[0].Ready() {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(20 * time.Millisecond):
			}
		}
		printDev(newPrinter(stdout), nodes, o)
		return nil
	})
	return g.Wait()
}

// printDev prints where the cluster is and what to try.
func printDev(out *printer, nodes []*node.Node, o devOptions) {
	out.title("A cluster of three in one process; end it with Ctrl-C")
	var doors, rest []table.Row // two tables, for terminals of 80 columns
	for _, nd := range nodes {
		a := nd.Addrs()
		doors = append(doors, table.Row{a.ID, "http://" + a.HTTP, a.Component, a.Peer})
		rest = append(rest, table.Row{a.ID, "http://" + a.Ops, filepath.Join(o.dir, a.ID)})
	}
	out.table(table.Row{"coordinator", "people ask", "components dial", "peers dial"}, doors)
	out.printf("")
	out.table(table.Row{"coordinator", "health, metrics", "data"}, rest)
	out.printf("")
	first := nodes[0].Addrs().HTTP
	out.printf("Try:  export FOLKMOOT_ADDR=%s", first)
	out.printf("      raftctl status")
	out.printf("      curl -s %s/v1/members", "http://"+first)
	out.printf("      curl -s -X POST %s/v1/components -H 'Content-Type: application/json' -d '{\"name\":\"laser\"}'", "http://"+first)
}

// nextPorts returns n addresses from addr on; port 0 takes free ones.
func nextPorts(flag, addr string, n int) (out []string, err error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%s %q: want host:port", flag, addr)
	}
	first, err := strconv.ParseUint(port, 10, 16)
	if err != nil || first+uint64(n) > 65536 {
		return nil, fmt.Errorf("%s %q: the port is a number from 0 to %d", flag, addr, 65536-n)
	}
	ports := make([]int, n)
	if first == 0 {
		if ports, err = freePorts(n); err != nil {
			return nil, err
		}
	} else {
		for i := range n {
			ports[i] = int(first) + i
		}
	}
	for _, p := range ports {
		out = append(out, net.JoinHostPort(host, strconv.Itoa(p)))
	}
	return out, nil
}
