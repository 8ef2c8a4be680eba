package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// natsCluster is three NATS servers in a mesh of routes, core only; each is
// this program again.
func natsCluster() (*cluster, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	addrs, err := freeAddrs(6)
	if err != nil {
		return nil, err
	}
	c := &cluster{}
	for i := range 3 {
		name := fmt.Sprintf("m%d", i+1)
		c.servers = append(c.servers, &server{name: name, addr: addrs[i], bin: self, args: []string{
			"nats-server", name, addrs[i], addrs[3+i], strings.Join(addrs[3:], ","),
		}})
	}
	return c, nil
}

// natsServer is one NATS server with its defaults until the process is killed:
// name, client address, route address, the routes.
func natsServer(args []string) error {
	if len(args) != 4 {
		return errors.New("nats-server: name, two addresses and the routes")
	}
	host, port, err := hostPort(args[1])
	if err != nil {
		return err
	}
	routeHost, routePort, err := hostPort(args[2])
	if err != nil {
		return err
	}
	o := &natsserver.Options{
		ServerName: args[0], Host: host, Port: port, NoSigs: true,
		Cluster: natsserver.ClusterOpts{Name: "bench", Host: routeHost, Port: routePort},
	}
	for _, r := range strings.Split(args[3], ",") {
		if r != args[2] {
			o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: r})
		}
	}
	s, err := natsserver.NewServer(o)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	s.WaitForShutdown()
	return nil
}

func hostPort(addr string) (string, int, error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.Atoi(p)
	return host, port, err
}

// dialNATS connects to one server, which may just be starting.
func dialNATS(ctx context.Context, s *server) (*nats.Conn, error) {
	for {
		nc, err := nats.Connect("nats://"+s.addr, nats.NoReconnect(), nats.Timeout(2*time.Second))
		if err == nil {
			return nc, nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
}

// natsPair is a publisher at the first server and a subscriber at the second.
type natsPair struct {
	out, in *nats.Conn
	subject string
	payload []byte
}

// dialPair connects to the first two servers.
func dialPair(ctx context.Context, c *cluster, name string) (*natsPair, error) {
	p := &natsPair{subject: "bench." + name}
	var err error
	if p.in, err = dialNATS(ctx, c.servers[1]); err != nil {
		return nil, err
	}
	if p.out, err = dialNATS(ctx, c.servers[0]); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// openNATS connects a pair and returns when a first message has come through:
// then the interest of the subscriber has reached the first server.
func openNATS(ctx context.Context, c *cluster, name string, size int, t *tally) (sender, error) {
	p, err := dialPair(ctx, c, name)
	if err != nil {
		return nil, err
	}
	p.payload = make([]byte, size)
	first := make(chan struct{}, 1)
	sub, err := p.in.Subscribe(p.subject, func(m *nats.Msg) {
		if len(m.Data) == 0 { // a probe
			select {
			case first <- struct{}{}:
			default:
			}
			return
		}
		t.arrived(binary.BigEndian.Uint64(m.Data))
	})
	if err == nil {
		err = sub.SetPendingLimits(-1, -1) // what waits is bounded by the sender's lead
	}
	if err == nil {
		err = p.probe(ctx, first)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// probe sends empty messages until one has come.
func (p *natsPair) probe(ctx context.Context, came <-chan struct{}) error {
	for {
		if err := errors.Join(p.out.Publish(p.subject, nil), p.out.Flush()); err != nil {
			return err
		}
		select {
		case <-came:
			return nil
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return errors.New("nothing comes through two servers")
		}
	}
}

func (p *natsPair) send(_ context.Context, seq uint64) error {
	binary.BigEndian.PutUint64(p.payload, seq)
	return p.out.Publish(p.subject, p.payload)
}

// flush leaves it to the client, which writes what it has as soon as it can.
func (p *natsPair) flush() error { return nil }

func (p *natsPair) outcomes() outcomes { return outcomes{none: true} }

func (p *natsPair) close() {
	for _, nc := range []*nats.Conn{p.in, p.out} {
		if nc != nil {
			nc.Close()
		}
	}
}

// askNATS is a requester at the first server and an answerer at the second.
func askNATS(ctx context.Context, c *cluster, name string, payload []byte) (asker, error) {
	p, err := dialPair(ctx, c, name)
	if err != nil {
		return asker{}, err
	}
	if _, err := p.in.Subscribe(p.subject, func(m *nats.Msg) { _ = m.Respond(m.Data) }); err != nil {
		p.close()
		return asker{}, err
	}
	a := asker{close: p.close, ask: func(ctx context.Context, _ int) error {
		_, err := p.out.RequestWithContext(ctx, p.subject, payload)
		return err
	}}
	// A request before the interest is known there has no responders.
	for {
		try, cancel := context.WithTimeout(ctx, time.Second)
		err := a.ask(try, 0)
		cancel()
		if err == nil {
			return a, nil
		}
		if ctx.Err() != nil {
			a.close()
			return asker{}, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}
