package integration_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

type ctx = context.Context

// A leader that was stopped for a while and wakes up must not answer a strict
// read from its past, nor think it leads.
func TestAPausedLeaderServesNoPast(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	old := c.leader()
	in := c.signIn(old, "laser", 10*time.Minute)
	old.signal(syscall.SIGSTOP)
	var now *process
	eventually(t, "another leader", func(ctx ctx) error {
		for _, p := range c.others(old) {
			l, _, err := p.api().Leader(ctx)
			if err != nil {
				return err
			}
			if l.ID == old.name {
				return fmt.Errorf("%s names the stopped one", p.name)
			}
			now = c.node(l.ID)
		}
		return nil
	})
	if _, err := now.api().RemoveComponent(t.Context(), in.FullName, "test"); err != nil {
		t.Fatalf("a write while one is stopped: %v", err)
	}
	written := c.signIn(now, "camera", 10*time.Minute)
	acknowledged := time.Now()
	// The question lies in the stopped one's socket before it wakes up.
	answer := make(chan error, 1)
	go func() {
		_, _, err := old.api().Component(t.Context(), in.FullName, client.Read{Consistency: "strict"})
		answer <- err
	}()
	time.Sleep(200 * time.Millisecond) // the request must be on its way, not the answer
	old.signal(syscall.SIGCONT)
	old.tellsItsAge(written.Index, acknowledged)
	if err := <-answer; wire.CodeOf(err) != wire.CodeNotFound && wire.CodeOf(err) != wire.CodeUnavailable {
		t.Errorf("strict read at the old leader after its pause: got %v, want not_found (or unavailable)", err)
	}
	c.waitHealthy(3)
	c.agree()
}

// tellsItsAge has a coordinator read what it has, again and again until it has a
// write, and checks that no answer without that write claims to be newer.
func (p *process) tellsItsAge(written uint64, acknowledged time.Time) {
	p.t.Helper()
	api := p.api()
	eventually(p.t, p.name+" has the write", func(ctx ctx) error {
		for {
			asked := time.Now()
			_, meta, err := api.Components(ctx, client.Components{Read: client.Read{Consistency: "stale"}})
			if err != nil || meta.Index >= written {
				return err
			}
			if lacks := asked.Sub(acknowledged); meta.StaleMs >= 0 && time.Duration(meta.StaleMs)*time.Millisecond < lacks {
				p.t.Errorf("%s says at index %d that it is %d ms old; index %d was acknowledged %v before", p.name, meta.Index, meta.StaleMs, written, lacks)
			}
		}
	})
}

// Nothing expires because a leader changed: leases shorter than the commotion
// survive as long as their owner renews them.
func TestALeaderChangeExpiresNothing(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	var sessions []*client.Session
	for i := range 9 {
		s, err := apiOf(t, c.nodes[i%3]).Dial(t.Context(), client.Component{SignIn: wire.SignIn{Name: fmt.Sprintf("c%d", i), Lease: wire.Duration(3 * time.Second)}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close(context.Background()) })
		sessions = append(sessions, s)
	}
	for i := range 4 {
		old := c.leader()
		before, _, err := old.api().Leader(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		now, _, err := c.nodes[i%3].api().TransferLeadership(t.Context(), "")
		if err != nil {
			t.Fatalf("transfer from %s: %v", old.name, err)
		}
		if now.ID == "" || now.ID == old.name || now.Term <= before.Term || now.HTTPAddress == "" {
			t.Errorf("a transfer from %+v at %s answered %+v, want another leader in a later term", before, c.nodes[i%3].name, now)
		}
		eventually(t, "another leader", func(ctx) error {
			if c.leader() == old {
				return fmt.Errorf("%s still leads", old.name)
			}
			return nil
		})
	}
	for _, s := range sessions {
		select {
		case <-s.Done():
			t.Errorf("%s ended: %v", s.FullName(), s.Err())
		default:
		}
	}
	list, _, err := c.api().Components(t.Context(), client.Components{Read: client.Read{Consistency: "strict"}})
	if err != nil || len(list.Components) != len(sessions) {
		t.Errorf("%d of %d components are there after four leader changes (%v)", len(list.Components), len(sessions), err)
	}
	c.agree()
}

// A component whose coordinator dies keeps its name and its session at
// another one, and mail reaches it there.
func TestASessionMovesWhenItsHomeDies(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	home := c.nodes[0]
	s, err := apiOf(t, c.nodes...).Dial(t.Context(), client.Component{Inbox: true, SignIn: wire.SignIn{Name: "laser", Lease: wire.Duration(4 * time.Second)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	if got := s.Welcome().Home; got != home.name {
		t.Fatalf("home is %s, want %s", got, home.name)
	}
	session := s.Welcome().Session
	camera := c.signIn(c.nodes[1], "camera", 10*time.Minute)
	home.kill()
	eventually(t, "the session at another home", func(ctx ctx) error {
		got, _, err := apiOf(t, c.nodes[1], c.nodes[2]).Component(ctx, "n1.laser", client.Read{})
		if err != nil {
			return err
		}
		if got.Home == home.name {
			return fmt.Errorf("still at %s", got.Home)
		}
		if got.Session != session {
			t.Errorf("session %s became %s", session, got.Session)
		}
		return nil
	})
	if _, _, err := c.nodes[1].api().Send(t.Context(), camera.Secret, wire.SendMessage{To: "n1.laser", Content: []byte(`"still there?"`)}, ""); err != nil {
		t.Fatalf("send to the moved component: %v", err)
	}
	select {
	case m := <-s.Messages():
		if string(m.Payload[0]) != `"still there?"` || m.From != "n2.camera" {
			t.Errorf("got %s from %s", m.Payload[0], m.From)
		}
	case <-time.After(patience):
		t.Error("a delivered message never came")
	}
	home.start()
	c.waitHealthy(3)
	c.agree()
}

// The sessions of a coordinator that stays away end after their leases, which
// are longer than the grace here, and the names are free.
func TestSessionsOfALostHomeExpire(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, "--grace", "2s")
	lost := c.others(c.leader())[0]
	in := c.signIn(lost, "laser", 4*time.Second)
	lost.kill()
	eventually(t, "the name to be free", func(ctx ctx) error {
		_, _, err := c.api().Component(ctx, in.FullName, client.Read{Consistency: "strict"})
		if wire.CodeOf(err) == wire.CodeNotFound {
			return nil
		}
		return fmt.Errorf("got %v, want not_found", err)
	})
	lost.start()
	c.waitHealthy(3)
	c.agree()
}
