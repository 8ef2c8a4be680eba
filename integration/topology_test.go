package integration_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// sends sends a message and expects the code of its outcome.
func (p *process) sends(from wire.SignedIn, to, content string, want wire.Code) {
	p.t.Helper()
	_, _, err := p.api().Send(p.t.Context(), from.Secret, wire.SendMessage{To: to, Content: []byte(content)}, "")
	if wire.CodeOf(err) != want {
		p.t.Errorf("%s sends %s to %s: %v, want code %q", from.FullName, content, to, err, want)
	}
}

// counted is one of a coordinator's counters of messages.
func (p *process) counted(name string) uint64 {
	p.t.Helper()
	st, _, err := p.api().Status(p.t.Context())
	if err != nil {
		p.t.Fatalf("status of %s: %v", p.name, err)
	}
	return st.MessageCounts[name]
}

// got reads messages of a session until one has the content last, and returns
// the contents.
func got(t *testing.T, s *client.Session, last string) (all []string) {
	t.Helper()
	limit := time.After(patience)
	for {
		select {
		case m := <-s.Messages():
			all = append(all, string(m.Payload[0]))
			if string(m.Payload[0]) == last {
				return all
			}
		case <-limit:
			t.Fatalf("%s did not come; got %d messages", last, len(all))
		}
	}
}

// Seven coordinators in a ring: messages pass those between; one is killed in
// the midst of a stream and the messages take the other way. What was said to
// be delivered is there, what was refused is not, and all is in order.
func TestARingOfSeven(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 7, "--topology", "ring")
	camera := c.signIn(c.nodes[0], "camera", 10*time.Minute)
	laser := c.open(wire.SignIn{Name: "laser", Lease: wire.Duration(10 * time.Minute)}, c.nodes[2])
	if home := laser.Welcome().Home; home != "n3" {
		t.Fatalf("laser is at home at %s", home)
	}
	// n1 - n2 - n3 is the short way, n1 - n7 - n6 - n5 - n4 - n3 the long one.
	// The first link that is up takes the message, so the short way may not be the first one.
	eventually(t, "n2 to pass a message on", func(ctx) error {
		c.nodes[0].sends(camera, "n3.laser", `"short"`, "")
		if got(t, laser, `"short"`); c.nodes[1].counted("relayed") == 0 {
			return errors.New("it went the other way")
		}
		return nil
	})
	for _, p := range c.nodes {
		for i := range c.nodes {
			to := c.signIn(c.nodes[i], "from-"+p.name, 10*time.Minute)
			from := c.signIn(p, "to-"+to.Home, 10*time.Minute)
			p.sends(from, to.FullName, `"all to all"`, "")
		}
		p.sends(c.signIn(p, "asker", 10*time.Minute), "n5.nobody", `1`, wire.CodeNotFound)
	}

	const total = 2000
	codes := make([]wire.Code, total)
	var mu sync.Mutex
	half := make(chan struct{})
	api := c.nodes[0].api()
	var sender sync.WaitGroup
	sender.Go(func() { // one after the other, so that their order is known
		for i := range total {
			_, _, err := api.Send(t.Context(), camera.Secret, wire.SendMessage{To: "n3.laser", Content: fmt.Appendf(nil, "%d", i)}, "")
			mu.Lock()
			codes[i] = wire.CodeOf(err)
			mu.Unlock()
			if i == total/2 {
				close(half)
			}
		}
	})
	<-half
	c.nodes[1].kill()
	sender.Wait()
	c.nodes[0].sends(camera, "n3.laser", `"long"`, "")
	there := got(t, laser, `"long"`)
	if c.nodes[4].counted("relayed") == 0 {
		t.Error("n5 passed no message on")
	}
	count := map[wire.Code]int{}
	last := -1
	for i, code := range codes {
		count[code]++
		at := slices.Index(there, fmt.Sprint(i))
		switch {
		case code == "" && at < 0:
			t.Errorf("message %d is said to be delivered and did not come", i)
		case code != "" && code != wire.CodeUnknown && at >= 0:
			t.Errorf("message %d came, its outcome was %s", i, code)
		case at >= 0 && at < last:
			t.Errorf("message %d came too late", i)
		}
		last = max(last, at)
	}
	t.Logf("outcomes: %v", count)
	if count[""] < total-100 || count[wire.CodeUnknown] > 2 {
		t.Errorf("outcomes %v: one message at most was under way when n2 died, and the other way was free", count)
	}
	if n := slices.Compact(slices.Sorted(slices.Values(there))); len(n) != len(there) {
		t.Errorf("%d messages came twice", len(there)-len(n))
	}
	c.nodes[1].start()
	c.waitHealthy(7)
	before := c.nodes[1].counted("relayed")
	eventually(t, "the short way again", func(ctx ctx) error {
		if _, _, err := api.Send(ctx, camera.Secret, wire.SendMessage{To: "n3.laser", Content: []byte("1")}, ""); err != nil {
			return err
		}
		if c.nodes[1].counted("relayed") == before {
			return errors.New("n2 passes nothing on")
		}
		return nil
	})
	for _, p := range c.nodes {
		if n := p.counted("forged_way") + p.counted("forged_sender"); n > 0 {
			t.Errorf("%s took %d honest messages for forged", p.name, n)
		}
	}
	c.agree()
}
