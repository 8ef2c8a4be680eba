package integration_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// keepWriting has every coordinator take writes, whatever becomes of them, until
// the returned function is called.
func (c *cluster) keepWriting() (stop func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	var writers sync.WaitGroup
	for i, p := range c.nodes {
		api := p.api()
		writers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				try, done := context.WithTimeout(ctx, time.Second)
				_, _, _ = api.SignIn(try, wire.SignIn{Name: fmt.Sprintf("writer%d-%d", i, n), Lease: wire.Duration(10 * time.Minute)}, "")
				done()
			}
		})
	}
	return func() { cancel(); writers.Wait() }
}

// Coordinators that all stood still for longer than a disk may take, or than a
// link may be silent, go on as if nothing had been.
func TestAllStoppedForAWhileLiveOn(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	c.linked()
	stop := c.keepWriting()
	time.Sleep(500 * time.Millisecond) // writes are under way
	for _, p := range c.nodes {
		p.signal(syscall.SIGSTOP)
	}
	time.Sleep(12 * time.Second)
	for _, p := range c.nodes {
		p.signal(syscall.SIGCONT)
	}
	time.Sleep(time.Second) // whoever ends does so now
	stop()
	for _, p := range c.nodes {
		if !p.running() {
			t.Errorf("%s ended", p.name)
		}
	}
	c.waitHealthy(3)
	c.linked()
	for _, p := range c.nodes {
		for line := range strings.Lines(p.log.String()) {
			if strings.Contains(line, "link down") {
				t.Errorf("%s: %s", p.name, line)
			}
		}
	}
	c.agree()
}

// linked waits until every coordinator that runs has its link to every other.
func (c *cluster) linked() {
	c.t.Helper()
	eventually(c.t, "all links up", func(ctx ctx) error {
		for _, p := range c.nodes {
			if err := p.hasLinks(ctx, len(c.nodes)-1); err != nil {
				return err
			}
		}
		return nil
	})
}

// hasLinks tells whether a coordinator has that many links.
func (p *process) hasLinks(ctx ctx, n int) error {
	s, _, err := p.api().Status(ctx)
	if err != nil {
		return err
	}
	up := 0
	for _, state := range s.Links {
		if state == "up" {
			up++
		}
	}
	if up < n {
		return fmt.Errorf("%s has %d of %d links: %v", p.name, up, n, s.Links)
	}
	return nil
}

// A coordinator that was away for a while has the log, its links and its part in
// the quorum again soon after its return: raft and the links wait longer the
// longer nobody is reached, and that must not be added to the absence.
func TestAReturnedCoordinatorIsSoonOfUse(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	c.linked()
	leader := c.leader()
	gone := c.others(leader)[0]
	gone.kill()
	time.Sleep(13 * time.Second) // raft alone would try again about nine seconds later
	in := c.signIn(leader, "laser", 10*time.Minute)
	acknowledged := time.Now()
	gone.start()
	eventually(t, "its door is open", func(ctx ctx) error {
		_, _, err := gone.api().Status(ctx)
		return err
	})
	opened := time.Now()
	gone.tellsItsAge(in.Index, acknowledged)
	eventually(t, "it reads", func(ctx ctx) error {
		_, _, err := gone.api().Component(ctx, in.FullName, client.Read{})
		return err
	})
	eventually(t, "its leader counts on it", func(ctx ctx) error {
		s, _, err := leader.api().Status(ctx)
		if err == nil && s.Tolerance != 1 {
			err = fmt.Errorf("%d may fail", s.Tolerance)
		}
		return err
	})
	c.linked()
	took := time.Since(opened)
	t.Logf("of use again after %v", took)
	if took > 7*time.Second {
		t.Errorf("it was of use again %v after its doors had opened, want a second or so, and less than raft alone takes", took)
	}
	c.agree()
}
