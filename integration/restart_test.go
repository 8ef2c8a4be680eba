package integration_test

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// A write that was acknowledged outlives its leader; the dead one comes back
// to the same state.
func TestSignInsOutliveTheLeader(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	for i, p := range c.nodes {
		in := c.signIn(p, fmt.Sprintf("c%d", i), 10*time.Minute)
		c.has(in.FullName, p.name)
	}
	old := c.leader()
	old.kill()
	now := c.leader()
	if now == old {
		t.Fatalf("%s still leads after its death", old.name)
	}
	for i, p := range c.nodes {
		if p != old {
			c.has(fmt.Sprintf("%s.c%d", p.name, i), p.name)
		}
	}
	c.signIn(now, "later", 10*time.Minute)
	old.start()
	c.waitHealthy(3)
	c.has(now.name+".later", now.name)
	c.agree()
}

// All stopped and started again, with no address given, find each other by
// what they kept.
func TestAllRestartedFindEachOtherWithoutJoin(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	in := c.signIn(c.nodes[0], "laser", 10*time.Minute)
	before := c.agree()
	for _, p := range c.nodes {
		p.kill()
	}
	for _, p := range c.nodes {
		p.args = without(p.args, "--join", "--bootstrap-expect")
		p.start()
	}
	c.waitHealthy(3)
	c.has(in.FullName, "n1")
	if after := c.agree(); after.Index < before.Index {
		t.Errorf("index %d after the restart, %d before", after.Index, before.Index)
	}
	// The secret of before is still the key to the session.
	if _, _, err := c.nodes[1].api().Heartbeat(t.Context(), in.FullName, in.Secret); err != nil {
		t.Errorf("heartbeat with the secret of before the restart: %v", err)
	}
}

// Two of three with other addresses, told nothing: the one that stayed where
// it was is enough for all to find each other.
func TestChangedAddressesAreLearnt(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	in := c.signIn(c.nodes[2], "laser", 10*time.Minute)
	for _, p := range c.nodes {
		p.stop()
		p.args = without(p.args, "--join", "--bootstrap-expect")
	}
	for i, addr := range ports(t, 2) {
		c.move(c.nodes[i], addr)
	}
	for _, p := range c.nodes {
		p.start()
	}
	c.waitHealthy(3)
	c.has(in.FullName, "n3")
	c.checkAddresses()
	c.agree()
}

// All three with other addresses need one address that leads to one of them.
func TestAllAddressesChangedNeedOneContact(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	in := c.signIn(c.nodes[0], "laser", 10*time.Minute)
	for _, p := range c.nodes {
		p.stop()
		p.args = without(p.args, "--join", "--bootstrap-expect")
	}
	free := ports(t, 3)
	for i, p := range c.nodes {
		c.move(p, free[i])
		p.args = append(p.args, "--join", free[1])
		p.start()
	}
	c.waitHealthy(3)
	c.has(in.FullName, "n1")
	c.checkAddresses()
	c.agree()
}

// move gives a stopped coordinator another peer address.
func (c *cluster) move(p *process, peer string) {
	p.args = append(without(p.args, "--peer-addr"), "--peer-addr", peer)
	p.peer = peer
}

// checkAddresses waits until the members' list shows where all are now.
func (c *cluster) checkAddresses() {
	c.t.Helper()
	eventually(c.t, "the new addresses in the members' list", func(ctx ctx) error {
		m, _, err := c.api().Members(ctx, client.Read{})
		if err != nil {
			return err
		}
		for _, x := range m.Members {
			if want := c.node(x.ID).peer; x.Address != want {
				return fmt.Errorf("%s is listed at %s, want %s", x.ID, x.Address, want)
			}
		}
		return nil
	})
}

// without drops flags with their values.
func without(args []string, flags ...string) (out []string) {
	for i := 0; i < len(args); i++ {
		drop := false
		for _, f := range flags {
			drop = drop || args[i] == f
		}
		if drop {
			i++
			continue
		}
		out = append(out, args[i])
	}
	return out
}

// An empty disk is a new server: the old one goes, the new one joins as
// non-voter and gets its vote after a while.
func TestEmptyDiskIsANewServer(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	in := c.signIn(c.nodes[0], "laser", 10*time.Minute)
	lost := c.others(c.leader())[0]
	before := c.member(lost.name)
	lost.kill()
	if err := os.RemoveAll(lost.data); err != nil {
		t.Fatal(err)
	}
	lost.start()
	eventually(t, lost.name+" back as another server", func(ctx ctx) error {
		m, _, err := c.api().Members(ctx, client.Read{})
		if err != nil {
			return err
		}
		for _, x := range m.Members {
			if x.ID == lost.name && x.ServerID == before.ServerID {
				return fmt.Errorf("%s is still a member", x.ServerID)
			}
		}
		if len(m.Members) != 3 {
			return fmt.Errorf("%d members", len(m.Members))
		}
		return nil
	})
	c.waitHealthy(3) // it is a voter again
	c.has(in.FullName, "n1")
	c.agree()
}

func (c *cluster) member(id string) wire.Member {
	c.t.Helper()
	m, _, err := c.api().Members(c.t.Context(), client.Read{})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, x := range m.Members {
		if x.ID == id {
			return x
		}
	}
	c.t.Fatalf("no member %s in %+v", id, m.Members)
	return wire.Member{}
}

// SIGTERM hands leadership over first: the others need no election timeout,
// and the one that stopped stays a member.
func TestStopHandsLeadershipOver(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	old := c.leader()
	before := map[*process]int{} // the first election of all is by a timeout
	for _, p := range c.nodes {
		before[p] = len(p.log.String())
	}
	old.stop()
	c.leader()
	// The one that led next; a busy machine may need further elections after that.
	led, next, waited := regexp.MustCompile(`this coordinator leads.* term=(\d+)`), math.MaxInt, ""
	for _, p := range c.others(old) {
		said := p.log.String()[before[p]:]
		if m := led.FindStringSubmatchIndex(said); m != nil {
			if term, _ := strconv.Atoi(said[m[2]:m[3]]); term < next {
				next, waited = term, said[:m[0]]
			}
		}
	}
	if next == math.MaxInt || strings.Contains(waited, "heartbeat timeout reached") {
		t.Errorf("the leader of term %d had to wait for a timeout:\n%s", next, waited)
	}
	eventually(t, "the stopped one to be listed as a voter that is not alive", func(ctx) error {
		if m := c.member(old.name); m.Suffrage != "voter" || m.Alive {
			return fmt.Errorf("got %+v", m)
		}
		return nil
	})
	old.start()
	c.waitHealthy(3)
	c.agree()
}

// One alone founds a cluster of one and keeps it.
func TestOneAlone(t *testing.T) {
	t.Parallel()
	c := &cluster{t: t, dir: t.TempDir()}
	free := ports(t, 3)
	p := c.prepare("solo", free[0], free[1], free[2])
	p.start()
	c.waitHealthy(1)
	in := c.signIn(p, "laser", 10*time.Minute)
	p.kill()
	p.start()
	c.waitHealthy(1)
	c.has(in.FullName, "solo")
}
