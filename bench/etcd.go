package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// etcdCluster is three etcd servers; each is this program again.
func etcdCluster(dir string) (*cluster, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	addrs, err := freeAddrs(6)
	if err != nil {
		return nil, err
	}
	c := &cluster{leaderOf: etcdLeader, dial: dialEtcd, dialNative: dialEtcd}
	var initial []string
	for i := range 3 {
		initial = append(initial, fmt.Sprintf("e%d=http://%s", i+1, addrs[3+i]))
	}
	for i := range 3 {
		name := fmt.Sprintf("e%d", i+1)
		c.servers = append(c.servers, &server{name: name, addr: addrs[i], bin: self, args: []string{
			"etcd-server", "--name", name, "--data-dir", filepath.Join(dir, name), "--log-level", "error",
			"--listen-client-urls", "http://" + addrs[i], "--advertise-client-urls", "http://" + addrs[i],
			"--listen-peer-urls", "http://" + addrs[3+i], "--initial-advertise-peer-urls", "http://" + addrs[3+i],
			"--initial-cluster", strings.Join(initial, ","), "--initial-cluster-state", "new",
		}})
	}
	return c, nil
}

// etcdClient is etcd's own client: one gRPC connection each.
type etcdClient struct{ c *clientv3.Client }

func dialEtcd(ctx context.Context, s *server) (client, error) {
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.addr}, Context: ctx, Logger: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	return etcdClient{c}, nil
}

func (e etcdClient) write(ctx context.Context, key, value string) error {
	_, err := e.c.Put(ctx, key, value)
	return err
}

func (e etcdClient) read(ctx context.Context, key string, strict bool) error {
	var opts []clientv3.OpOption
	if !strict {
		opts = append(opts, clientv3.WithSerializable())
	}
	r, err := e.c.Get(ctx, key, opts...)
	if err == nil && len(r.Kvs) != 1 {
		err = fmt.Errorf("%s: %d rows", key, len(r.Kvs))
	}
	return err
}

func (e etcdClient) close() { e.c.Close() }

// etcdLeader returns the leader's name as one server sees it.
func etcdLeader(ctx context.Context, addr string) (string, error) {
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{addr}, Context: ctx, Logger: zap.NewNop()})
	if err != nil {
		return "", err
	}
	defer c.Close()
	st, err := c.Status(ctx, addr)
	if err != nil {
		return "", err
	}
	members, err := c.MemberList(ctx)
	if err != nil {
		return "", err
	}
	for _, m := range members.Members {
		if m.ID == st.Leader {
			return m.Name, nil
		}
	}
	return "", fmt.Errorf("%s knows no leader", addr)
}
