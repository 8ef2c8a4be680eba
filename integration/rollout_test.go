package integration_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A rollout restarts all under a client that writes: the leader last, after one that is
// done has taken over. One that does not come back ends it, and the gate is shut; the
// same command goes on where it was. Nothing is lost that the client was told is in.
func TestRollout(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, steadyLeader...)
	c.gateOpens()
	led := c.leader()
	stays := c.others(led)[1] // is not started again at first
	var mu sync.Mutex
	var restarted []string
	failing := true
	by := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, rq *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		p := c.node(strings.TrimPrefix(rq.URL.Path, "/"))
		restarted = append(restarted, p.name)
		if p.running() {
			p.stop()
		}
		if p != stays || !failing {
			p.start()
		}
	}))
	defer by.Close()
	w := c.countWrites()
	run := []string{"rollout", "run", "--restart", askEnv + "=" + by.URL + "/{id} " + os.Args[0]}
	if out := c.ctl(1, append(run, "--timeout", "45s")...); !strings.Contains(out, stays.name+" is back") {
		t.Errorf("the first run said %q", out)
	}
	if out := c.ctl(1, "rollout", "gate"); !strings.Contains(out, stays.name) || !strings.Contains(out, "want at least 1") {
		t.Errorf("the gate said %q", out)
	}
	c.gateOpens("--ignore", stays.name)
	mu.Lock()
	failing = false
	mu.Unlock()
	out := c.ctl(0, append(run, "--timeout", "2m")...)
	want := []string{c.others(led)[0].name, stays.name, stays.name, led.name}
	if !slices.Equal(restarted, want) || !strings.Contains(out, "all are done") {
		t.Errorf("restarted were %q, want %q: %s", restarted, want, out)
	}
	if now := c.leader(); now == led {
		t.Errorf("%s leads again", led.name)
	}
	for _, p := range c.nodes {
		if n := p.said("heartbeat timeout reached"); n > 0 {
			t.Logf("%s missed its leader %d times", p.name, n)
		}
	}
	c.waitHealthy(3)
	w.finish()
	c.agree()
	if out := c.ctl(2, "rollout", "run", "--restart", "true"); !strings.Contains(out, "{id}") {
		t.Errorf("without an id: %s", out)
	}
	if out := c.ctl(2, append(run, "--only", fmt.Sprint("n", 9))...); !strings.Contains(out, "no such member") {
		t.Errorf("of nobody: %s", out)
	}
}

// gateOpens waits until the gate is open: what coordinators know of each other is a second old.
func (c *cluster) gateOpens(args ...string) {
	c.t.Helper()
	eventually(c.t, "the gate is open", func(ctx) error {
		if out, errs, code := c.raftctl(append([]string{"rollout", "gate"}, args...)...); code != 0 || !strings.Contains(out, "may be restarted") {
			return fmt.Errorf("exit %d: %s%s", code, out, errs)
		}
		return nil
	})
}
