package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// server is one process of a cluster.
type server struct {
	name string
	addr string // what clients ask
	args []string
	bin  string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
}

// cluster is three servers of one system.
type cluster struct {
	system  string
	servers []*server
	run     int
	filled  bool
	// leaderOf names the leading server's index as one server sees it.
	leaderOf func(ctx context.Context, addr string) (string, error)
	// dial makes a client of one server.
	dial func(ctx context.Context, addr string) (client, error)
}

// start runs three servers of a system with fresh data under dir and waits
// until they have a leader.
func start(ctx context.Context, o options, system, dir string) (*cluster, error) {
	ports, err := freePorts(9)
	if err != nil {
		return nil, err
	}
	c := &cluster{system: system}
	addr := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	if system == "etcd" {
		c.leaderOf, c.dial = etcdLeader, dialEtcd
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		var initial []string
		for i := range 3 {
			initial = append(initial, fmt.Sprintf("e%d=http://%s", i+1, addr(3+i)))
		}
		for i := range 3 {
			name := fmt.Sprintf("e%d", i+1)
			c.servers = append(c.servers, &server{name: name, addr: addr(i), bin: self, args: []string{
				"etcd-server", "--name", name, "--data-dir", filepath.Join(dir, name), "--log-level", "error",
				"--listen-client-urls", "http://" + addr(i), "--advertise-client-urls", "http://" + addr(i),
				"--listen-peer-urls", "http://" + addr(3+i), "--initial-advertise-peer-urls", "http://" + addr(3+i),
				"--initial-cluster", strings.Join(initial, ","), "--initial-cluster-state", "new",
			}})
		}
	} else {
		c.leaderOf, c.dial = folkmootLeader, dialFolkmoot
		store := "bolt"
		if system == "folkmoot-wal" {
			store = "wal"
		}
		peers := strings.Join([]string{addr(3), addr(4), addr(5)}, ",")
		for i := range 3 {
			name := fmt.Sprintf("n%d", i+1)
			c.servers = append(c.servers, &server{name: name, addr: addr(i), bin: o.binary, args: []string{
				"serve", "--id", name, "--data-dir", filepath.Join(dir, name), "--log-level", "warn", "--log-store", store,
				"--http-addr", addr(i), "--peer-addr", addr(3 + i), "--ops-addr", addr(6 + i), "--component-addr", "127.0.0.1:0", "--join", peers, "--bootstrap-expect", "3",
			}})
		}
	}
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
	ready, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	if _, err := c.leader(ready); err != nil {
		c.stop()
		return nil, err
	}
	return c, c.settle(ready)
}

// settle writes once through every server, so that all of them take part.
func (c *cluster) settle(ctx context.Context) error {
	for i := range c.servers {
		for n := 0; ; n++ {
			err := c.writeAt(ctx, i, fmt.Sprintf("settle%d-%d-%d", c.run, i, n))
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
	return cl.write(ctx, key, value)
}

func (c *cluster) client(ctx context.Context, i int) (client, error) {
	return c.dial(ctx, c.servers[i].addr)
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

func (s *server) start() error {
	out, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	s.cmd = exec.Command(s.bin, s.args...)
	s.cmd.Stdout, s.cmd.Stderr = out, out
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	s.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		cmd.Wait()
		close(done)
	}(s.cmd, s.done)
	return nil
}

func (s *server) running() bool {
	if s.cmd == nil {
		return false
	}
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// kill is kill -9, waited for.
func (s *server) kill() {
	if s.running() {
		s.cmd.Process.Kill()
		<-s.done
	}
}

func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
