package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// cluster is the servers of one system.
type cluster struct {
	system  string
	servers []*server
	run     int
	filled  bool
	// leaderOf names the leading server's index as one server sees it.
	leaderOf func(ctx context.Context, addr string) (string, error)
	// dial makes a client of one server that writes and reads; nil where the
	// system has neither.
	dial func(ctx context.Context, s *server) (client, error)
	// dialNative is dial by native sessions, for writes alone.
	dialNative func(ctx context.Context, s *server) (client, error)
}

// clusterOf makes the servers of a system, with data under dir. What stands
// behind a system's name after a dash is how it is asked, but for the log
// store.
func clusterOf(o options, system, dir string) (*cluster, error) {
	base, _, _ := strings.Cut(system, "-")
	switch {
	case base == "etcd":
		return etcdCluster(dir)
	case base == "nats":
		return natsCluster()
	case base == "pyleco":
		return pylecoCluster(dir)
	case system == "folkmoot-wal":
		return folkmootCluster(o, dir, "wal", nil)
	case system == "folkmoot-tls":
		return securedCluster(o, dir, false)
	case system == "folkmoot-tls-tokens":
		return securedCluster(o, dir, true)
	case base == "folkmoot":
		return folkmootCluster(o, dir, "bolt", nil)
	}
	return nil, fmt.Errorf("there is no system %q", system)
}

// start runs the servers of a system with fresh data under dir and waits until
// they work.
func start(ctx context.Context, o options, system, dir string) (*cluster, error) {
	c, err := clusterOf(o, system, dir)
	if err != nil {
		return nil, err
	}
	c.system = system
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for _, s := range c.servers {
		s.log = filepath.Join(dir, s.name+".log")
		if err := s.start(); err != nil {
			c.stop()
			return nil, err
		}
	}
	if err := c.ready(ctx); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

// ready waits for a leader, where the system has one, and for writes at every
// server.
func (c *cluster) ready(ctx context.Context) error {
	if c.leaderOf == nil {
		return nil // who uses it waits for it
	}
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	if _, err := c.leader(ctx); err != nil {
		return err
	}
	return c.warmUp(ctx)
}

// warmUp writes once through every server, so that all of them take part.
func (c *cluster) warmUp(ctx context.Context) error {
	for i := range c.servers {
		for n := 0; ; n++ {
			err := c.writeAt(ctx, i, fmt.Sprintf("warmup%d-%d-%d", c.run, i, n))
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("%s does not take writes: %w", c.servers[i].name, err)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	c.run++
	return nil
}

func (c *cluster) writeAt(ctx context.Context, i int, key string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	cl, err := c.client(ctx, i)
	if err != nil {
		return err
	}
	defer cl.close()
	return cl.write(ctx, key, value())
}

func (c *cluster) client(ctx context.Context, i int) (client, error) {
	return c.dial(ctx, c.servers[i])
}

// leader waits for a server that calls itself the leader, as two others or
// itself say, and returns its index.
func (c *cluster) leader(ctx context.Context) (int, error) {
	var last error = errors.New("no server runs")
	for {
		votes := map[string]int{}
		for _, s := range c.servers {
			if !s.running() {
				continue
			}
			ask, cancel := context.WithTimeout(ctx, time.Second)
			name, err := c.leaderOf(ask, s.addr)
			cancel()
			if err != nil {
				last = err
				continue
			}
			votes[name]++
		}
		for i, s := range c.servers {
			if votes[s.name] >= 2 && s.running() {
				return i, nil
			}
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("no leader: %w", last)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *cluster) stop() {
	for _, s := range c.servers {
		s.kill()
	}
}
